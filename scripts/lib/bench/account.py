"""What a run was, from the logs of its writers. Nothing here touches a host."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """One numbered commit; times in seconds of the hosts' common clock."""

    number: int
    begin: float
    end: float
    answer: str


@dataclass
class Sample:
    """A fault and what came of it."""

    system: str
    fault: str
    #: Longest time without an acknowledged write, from the last before it.
    gap_s: float | None
    #: From the fault to the end of that time.
    recovered_s: float | None
    #: Acknowledged and not there afterwards.
    lost: int
    #: Without an answer, and how many of those are there.
    unknown: int
    unknown_present: int
    #: How long both databases acknowledged writes; none: never.
    two_writers_s: float | None
    failed_over: bool
    #: From the heal, boot, kill or command until it streamed; none: it did not.
    rejoined_s: float | None
    phases: dict[str, Any] = field(default_factory=dict)


def attempts(text: str) -> list[Attempt]:
    """Lines of a writer's log; the last may have been cut off."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[3] in ("accepted", "refused", "unknown"):
            found.append(Attempt(int(words[0]), int(words[1]) / 1e9, int(words[2]) / 1e9, words[3]))
    return found


def accepted(log: list[Attempt]) -> list[Attempt]:
    return [attempt for attempt in log if attempt.answer == "accepted"]


def longest_gap(log: list[Attempt], begun: float) -> tuple[float, float] | None:
    """Begin and end of the longest time without an acknowledgement that did
    not end before the fault; none: nothing was acknowledged any more."""
    ends = [attempt.end for attempt in accepted(log)]
    pairs = [pair for pair in zip(ends, ends[1:]) if pair[1] > begun]
    return max(pairs, key=lambda pair: pair[1] - pair[0]) if pairs else None


def goes_on(log: list[Attempt], begun: float, now: float) -> bool:
    """Whether writes are acknowledged again, one after the other."""
    last = log[-50:]
    fine = len(last) == 50 and all(each.answer == "accepted" and each.begin > begun for each in last)
    return fine and now - last[-1].end < 0.5


def two_writers(one: list[Attempt], other: list[Attempt]) -> float | None:
    """How long both databases acknowledged writes; none: one had ended before
    the other began."""
    logs = [accepted(one), accepted(other)]
    if not all(logs):
        return None
    overlap = min(log[-1].end for log in logs) - max(log[0].end for log in logs)
    return overlap if overlap > 0 else None


def missing(log: list[Attempt], present: set[int]) -> int:
    return sum(attempt.number not in present for attempt in accepted(log))


def spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def as_dict(sample: Sample) -> dict[str, Any]:
    return asdict(sample)
