# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Charts as inline SVG.

PRIVATE to the collection: it can have breaking changes at any time.

The page's style has colours and line widths; this module has positions, in units of the viewBox.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, NamedTuple

from markupsafe import Markup, escape

Values = Sequence[int | None]

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 8, 12, 28
_WIDEST = 40  # a bar
_CHART: Final = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
_GRID: Final = 4  # lines above the base
_LABELS: Final = 8  # days with a label below the base, about


class Series(NamedTuple):
    """Values drawn in one colour."""

    name: str
    css_class: str
    values: Values


def area(days: Sequence[date], series: Series, show: Callable[[int], str], binary: bool = False) -> Markup:
    """A line over an area; days without a value are gaps.  `binary`: steps are powers of 1024."""
    frame = _Frame(days, [series.values], binary)
    body = []
    for run in _runs(series.values):
        points = [(frame.x(number), frame.y(value)) for number, value in run]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        base = f"{points[-1][0]:.1f},{frame.base} {points[0][0]:.1f},{frame.base}"
        body.append(f'<polygon class="{series.css_class} area" points="{line} {base}"/>')
        body.append(f'<polyline class="{series.css_class} line" points="{line}"/>')
        if len(points) == 1:
            body.append(
                f'<circle class="{series.css_class} dot" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3"/>'
            )
    for number, value in enumerate(series.values):
        if value is not None:
            body.append(frame.tip(number, f"{days[number]}: {show(value)}"))
    return frame.drawing(series.name, "".join(body), show)


def bars(days: Sequence[date], name: str, group: Sequence[Series], show: Callable[[int], str]) -> Markup:
    """Bars side by side for each day."""
    frame = _Frame(days, [series.values for series in group], binary=False)
    width = min(_WIDEST, frame.step * 0.72 / len(group))
    body = []
    for number, day in enumerate(days):
        for place, series in enumerate(group):
            value = series.values[number]
            if value:
                x = frame.x(number) - width * len(group) / 2 + width * place
                y = frame.y(value)
                body.append(
                    f'<rect class="{series.css_class} bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{frame.base - y:.1f}"/>'
                )
        said = ", ".join(f"{series.name} {show(series.values[number] or 0)}" for series in group)
        body.append(frame.tip(number, f"{day}: {said}"))
    return frame.drawing(name, "".join(body), show)


def sparkline(values: Values) -> Markup:
    """A line as high as a word, without numbers; empty without values."""
    top = max((value for value in values if value), default=0) or 1
    step = 96 / max(1, len(values) - 1)
    lines = []
    for run in _runs(values):
        points = " ".join(f"{2 + number * step:.1f},{20 - 18 * value / top:.1f}" for number, value in run)
        if len(run) == 1:
            points += f" {2 + run[0][0] * step + 1.5:.1f},{20 - 18 * run[0][1] / top:.1f}"
        lines.append(f'<polyline class="bytes line" points="{points}"/>')
    return Markup('<svg class="spark" viewBox="0 0 100 22" aria-hidden="true">{}</svg>').format(Markup("".join(lines)))  # noqa: S704


class _Frame:
    """The positions of days and values."""

    base: Final = _HEIGHT - _BOTTOM

    def __init__(self, days: Sequence[date], values: Sequence[Values], binary: bool) -> None:
        self._days = days
        self.step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(days))
        highest = max((value for one in values for value in one if value), default=0)
        self._tick = tick(highest, binary)

    def x(self, number: int) -> float:
        """The middle of a day."""
        return _LEFT + self.step * (number + 0.5)

    def y(self, value: float) -> float:
        return self.base - (self.base - _TOP) * value / (self._tick * _GRID)

    def tip(self, number: int, text: str) -> str:
        """The tooltip of a day."""
        return (
            f'<rect class="tip" x="{self.x(number) - self.step / 2:.1f}" y="{_TOP}" width="{self.step:.1f}" '
            f'height="{self.base - _TOP}"><title>{escape(text)}</title></rect>'
        )

    def drawing(self, name: str, body: str, show: Callable[[int], str]) -> Markup:
        lines = []
        for number in range(_GRID + 1):
            value = self._tick * number
            y = self.y(value)
            lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            lines.append(f'<text class="value" x="{_LEFT - 8}" y="{y + 4:.1f}">{escape(show(value))}</text>')
        every = math.ceil(len(self._days) / _LABELS)
        for number in range(0, len(self._days), every):
            day = self._days[number]
            lines.append(f'<text class="day" x="{self.x(number):.1f}" y="{_HEIGHT - 6}">{day.month}/{day.day}</text>')
        # Texts are escaped, and all else is made here.
        inside = Markup("".join(lines) + body)  # noqa: S704
        return _CHART.format(_WIDTH, _HEIGHT, name, inside)


def tick(highest: int, binary: bool) -> int:
    """The distance of two grid lines: 1, 2 or 5 times a power of ten, in a binary unit if `binary`."""
    unit = 1
    while binary and highest >= unit * 1024 and unit < 1 << 40:
        unit *= 1024
    wanted = highest / unit / _GRID
    power = 10 ** math.floor(math.log10(wanted)) if wanted > 0 else 1
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    step = next((step for step in steps if step >= wanted), steps[-1])
    return max(1, math.ceil(step * unit))


def _runs(values: Values) -> list[list[tuple[int, int]]]:
    """The values with their numbers, in runs without gaps."""
    runs: list[list[tuple[int, int]]] = []
    previous = None
    for number, value in enumerate(values):
        if value is not None:
            if previous != number - 1 or not runs:
                runs.append([])
            runs[-1].append((number, value))
            previous = number
    return runs
