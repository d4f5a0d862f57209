"""The picture for the README: how long the jobs take, as bars on a logarithmic scale.

It is an SVG by hand, legible on light and on dark pages.

**Threading:** plain functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from scripts.benchmark.measure import MOONFS, Outcome
from scripts.benchmark.report import shown_value

_WIDTH: Final = 860
_LEFT: Final = 220
_RIGHT: Final = 770
_ROW: Final = 17
_GAP: Final = 30
_TOP: Final = 62
_STYLE: Final = """<style>
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #3b434b; }
.job, .us { font-weight: 600; }
.small { font-size: 11px; fill: #6b747d; }
.grid { stroke: #8a939c; stroke-opacity: .25; }
.theirs { fill: #aab2ba; }
.ours { fill: #4f6bed; }
@media (prefers-color-scheme: dark) {
  text { fill: #d5dae0; }
  .small { fill: #9aa4ae; }
  .theirs { fill: #6b747d; }
  .ours { fill: #8098ff; }
}
</style>"""


@dataclass(frozen=True, slots=True)
class _Group:
    """The bars of one measure: names and seconds, ours first."""

    title: str
    bars: list[tuple[str, float]]


def draw(outcomes: Sequence[Outcome], conditions: str) -> str:
    """Return the picture; empty when nothing of it was measured."""
    groups = [group for outcome in outcomes for group in _groups(outcome)]
    if not groups:
        return ""
    values = [value for group in groups for _, value in group.bars]
    low, high = math.floor(math.log10(min(values)) - 0.01), math.ceil(math.log10(max(values)))
    height = _TOP + sum(_GAP + _ROW * len(group.bars) for group in groups) + 12

    def x(seconds: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (math.log10(seconds) - low) / max(1, high - low)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">',
        _STYLE,
        f'<text class="small" x="8" y="16">{escape(conditions)}.</text>',
        '<text class="small" x="8" y="32">Shorter is better; each vertical line is 10 times the one before it.</text>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{height - 8}"/>')
        label = shown_value(10.0**power, "s")
        parts.append(f'<text class="small" x="{at:.1f}" y="{_TOP - 8}" text-anchor="middle">{label}</text>')
    y = _TOP
    for group in groups:
        parts.append(f'<text class="job" x="8" y="{y + 20}">{escape(group.title)}</text>')
        y += _GAP
        for name, seconds in group.bars:
            parts += _bar(name, seconds, x(seconds), y)
            y += _ROW
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(name: str, seconds: float, right: float, y: int) -> list[str]:
    bar, label = ("ours", ' class="us"') if name == MOONFS else ("theirs", "")
    return [
        f'<text{label} x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{bar}" x="{_LEFT}" y="{y + 1}" width="{right - _LEFT:.1f}" height="{_ROW - 5}" rx="2"/>',
        f'<text{label} x="{right + 6:.1f}" y="{y + 11}">{shown_value(seconds, "s")}</text>',
    ]


def _groups(outcome: Outcome) -> list[_Group]:
    groups = []
    for measure in outcome.job.drawn:
        lines = [line for line in outcome.lines if line.measure == measure and line.other is not None]
        if lines:
            others = [(line.against or "", line.other or 0.0) for line in lines]
            title = f"{outcome.job.title}, {measure}"
            groups.append(_Group(title, [(MOONFS, lines[0].value), *others]))
    return groups
