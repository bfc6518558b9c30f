"""One table of all samples."""

from __future__ import annotations

from typing import Any, Iterable

from account import Sample, as_dict, spread
from faults import TITLES

HEADER = (
    "system",
    "fault",
    "runs",
    "longest write gap, s (min, median, max)",
    "lost acknowledged writes",
    "two writers seen",
    "rejoined by itself after, s",
)

LEGEND = (
    "gap: a client in the site that survives, a numbered commit every 10 ms, deadline 1 s",
    "two writers: both databases committed what waits for no standby (synchronous_commit = local), on their own hosts",
    "rejoined: from the end of the fault (heal, power on), or from the kill or command, until the other database streamed",
)


def table(samples: list[Sample], failed: list[dict[str, str]]) -> str:
    rows = [HEADER, *(row(group) for group in groups(samples).values())]
    widths = [max(len(line[column]) for line in rows) for column in range(len(HEADER))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    lines += ["", *LEGEND] + phases(samples)
    lines += [f"failed: {each['system']}, {each['what']}: {each['why']}" for each in failed]
    return "\n".join(lines)


def groups(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.system, sample.fault), []).append(sample)
    return found


def row(group: list[Sample]) -> tuple[str, ...]:
    first = group[0]
    gaps = [sample.gap_s for sample in group if sample.gap_s is not None]
    return (
        first.system,
        TITLES[first.fault],
        str(len(group)),
        numbers(gaps, ".2f"),
        str(sum(sample.lost for sample in group)),
        writers(group),
        rejoined(group),
    )


def numbers(values: list[float], form: str) -> str:
    return ", ".join(format(value, form) for value in spread(values))


def writers(group: list[Sample]) -> str:
    seen = [sample.two_writers_s for sample in group if sample.two_writers_s is not None]
    return f"YES, {len(seen)} of {len(group)}: up to {max(seen):.1f} s" if seen else "no"


def rejoined(group: list[Sample]) -> str:
    times = [sample.rejoined_s for sample in group if sample.rejoined_s is not None]
    if not times:
        return "no"
    missing = len(group) - len(times)
    return numbers(times, ".1f") + (f"; {missing} of {len(group)} not" if missing else "")


def phases(samples: list[Sample]) -> list[str]:
    """Where the time of hafail's failovers went."""
    lines = []
    for (system, fault), group in groups(samples).items():
        told = [sample.phases for sample in group if sample.phases]
        if told:
            names = dict.fromkeys(name for each in told for name in each)
            parts = [f"{name} {numbers([each[name] for each in told if name in each], '.2f')}" for name in names]
            lines.append(f"{system}, {TITLES[fault]}, s (min, median, max): " + "; ".join(parts))
    return lines and ["", *lines]


def document(samples: list[Sample], failed: list[dict[str, str]]) -> dict[str, Any]:
    return {"samples": [as_dict(sample) for sample in samples], "failed": failed}
