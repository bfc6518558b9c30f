"""A picture of all samples: a dot for each run, on a scale of seconds."""

from __future__ import annotations

import math
from typing import Iterator
from xml.sax.saxutils import escape

from account import Sample, spread
from faults import FAULTS, TITLES
from table import groups

#: Pixels. Names stand left of the scale, remarks right of it.
LEFT, SCALE, RIGHT = 240, 420, 180
LINE, TITLE, TOP, BOTTOM = 22, 34, 16, 44

#: Seconds at the ends of the scale, and between them. It is logarithmic: a
#: tenth of a second matters as much for a short gap as ten for a long one.
FIRST, LAST = 0.1, 100.0
AXIS = "longest time without an accepted write, seconds (logarithmic); the line: median"
MARKS = (0.1, 0.3, 1, 3, 10, 30, 100)

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .small { font-size: 12px; fill: #59636e }
.bad { font-size: 12px; fill: #c62828 }
line { stroke: #d1d9e0 } line.median { stroke: #1f2328; stroke-width: 2 }
circle { fill: #8a939c } circle.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .small { fill: #9198a1 } .bad { fill: #ff7b72 }
  line { stroke: #3d444d } line.median { stroke: #f0f6fc } circle.ours { fill: #4493f8 }
}
"""


def chart(samples: list[Sample]) -> str:
    """As SVG; runs without a gap, in which nothing was accepted any more, are
    drawn at the end of the scale."""
    systems = list(dict.fromkeys(sample.system for sample in samples))
    faults = [fault for fault in FAULTS if any(sample.fault == fault for sample in samples)]
    height = TOP + len(faults) * (TITLE + len(systems) * LINE) + BOTTOM
    bottom = height - BOTTOM
    width = LEFT + SCALE + RIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="longest time without an accepted write">',
        f"<style>{STYLE}</style>",
        *scale(bottom),
    ]
    found, top = groups(samples), TOP
    for fault in faults:
        lines.append(words(4, top + 18, TITLES[fault], "title"))
        top += TITLE
        for system in systems:
            lines += row(found.get((system, fault), []), system, top)
            top += LINE
    lines.append(words(LEFT, bottom + 34, AXIS, "small"))
    return "\n".join([*lines, "</svg>", ""])


def scale(bottom: int) -> Iterator[str]:
    for mark in MARKS:
        x = place(mark)
        yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{mark:g}</text>'


def row(group: list[Sample], system: str, top: int) -> Iterator[str]:
    yield f'<text text-anchor="end" x="{LEFT - 14}" y="{top + 4}">{escape(system)}</text>'
    gaps = [LAST if sample.gap_s is None else sample.gap_s for sample in group]
    if gaps:
        x = place(spread(gaps)[1])
        yield f'<line class="median" x1="{x:.1f}" y1="{top - 7}" x2="{x:.1f}" y2="{top + 7}"/>'
    for sample, gap in zip(group, gaps):
        kind = "bad" if remarks([sample]) else "ours" if system.startswith("hafail") else "other"
        title = f"<title>{gap:.2f} s</title>"
        yield f'<circle class="{kind}" cx="{place(gap):.1f}" cy="{top}" r="4" fill-opacity="0.75">{title}</circle>'
    if remark := remarks(group):
        yield words(LEFT + SCALE + 14, top + 4, remark, "bad")


def place(seconds: float) -> float:
    """Where that many seconds are on the scale."""
    within = min(max(seconds, FIRST), LAST)
    return LEFT + SCALE * math.log(within / FIRST) / math.log(LAST / FIRST)


def remarks(group: list[Sample]) -> str:
    """What must not happen; empty where it did not."""
    lost = sum(sample.lost for sample in group)
    both = [sample.two_writers_s for sample in group if sample.two_writers_s is not None]
    said = [f"{lost} lost"] if lost else []
    said += [f"two writers, {max(both):.0f} s"] if both else []
    said += ["no write any more"] if any(sample.gap_s is None for sample in group) else []
    return ", ".join(said)


def words(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
