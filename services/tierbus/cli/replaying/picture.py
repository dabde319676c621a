"""Cost and quality of policies as one drawing: SVG, drawn by hand, that needs no font, script or network."""

import html
import math
from collections.abc import Iterator
from itertools import cycle

from tierbus.cli.replaying.text import UNKNOWN, margin, percent
from tierbus.cli.words import short
from tierbus.replay.baselines import Kind
from tierbus.replay.evaluate import Line
from tierbus.replay.report import Report
from tierbus.replay.scored import Route

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 1120, 76, 430, 72, 60
_PLOT = 440
_ROW = 26
_NAME_CHARS = 18
_LADDER_CHARS = 150
_TICKS = 6
_LEAST_SPAN = 0.01
"""One point: where all policies are equally good, there is still an axis."""
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"
_TEXT, _SOFT, _GRID, _WHISKER, _EQUAL = "#1d2230", "#5a6376", "#e6e9ef", "#98a1b3", "#1c7046"
_FILL = {Kind.TIER: "#dfe3ea", Kind.BASELINE: "#3f5ea8", Kind.BOUND: "#ffffff", Kind.POLICY: "#27824f"}
_EDGE = {Kind.TIER: "#5a6376", Kind.BASELINE: "#ffffff", Kind.BOUND: "#5a6376", Kind.POLICY: "#ffffff"}
_INK = {Kind.TIER: _TEXT, Kind.BASELINE: "#ffffff", Kind.BOUND: _TEXT, Kind.POLICY: "#ffffff"}
_CURVES = (("#98a1b3", "2 3"), ("#b87900", "7 3"), ("#6a3fb8", "9 3 2 3"), ("#27824f", "none"), ("#1d7a8c", "4 2"))


class _Scale:
    """From values to places, with round values for the grid."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        raw = max(high - low, _LEAST_SPAN) / _TICKS
        unit = math.pow(10, math.floor(math.log10(raw)))
        self.step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
        self.high = math.ceil(high / self.step) * self.step
        self.low = min(math.floor(low / self.step) * self.step, self.high - self.step)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """The round values."""
        return [self.low + self.step * at for at in range(round((self.high - self.low) / self.step) + 1)]

    @property
    def digits(self) -> int:
        """Digits behind the point that tell two per cent values apart."""
        return max(0, -math.floor(math.log10(self.step * 100)))


def drawing(report: Report) -> str:
    """Accuracy over dollars as a share of the strong model's, with 95 % intervals; the figures stand beside it."""
    rows = len(report.lines) + len(_curved(report)) + 3
    height = max(_TOP + _PLOT + _BOTTOM, _TOP + _ROW * rows)
    title = f"Cost and quality on {report.tasks:,} recorded tasks"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{_safe(title)}" font-family="{_FONT}">'
    )
    parts = [
        opening,
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _words(_LEFT, 26, title, size=17, weight=600),
        _words(_LEFT, 47, short(" → ".join(report.models), _LADDER_CHARS), fill=_SOFT, size=12),
    ]
    if report.lines:
        parts += [*_plot(report), *_legend(report)]
    else:
        parts.append(_words(_LEFT, _TOP + 40, "No policy was played for money: there is nothing to draw.", fill=_SOFT))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _plot(report: Report) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _TOP + _PLOT
    strong, curves = report.strong_accuracy, _curved(report)
    points = [point for route in curves for point in route.curve]
    found = [line.quality for line in report.lines]
    costs = [1.0, *(one.cost_share.high for one in found), *(cost for cost, _ in points)]
    levels = [strong + end for one in found for end in (one.against_strong.low, one.against_strong.high)]
    levels += [level for _, level in points]
    across = _Scale(0.0, max(costs), _LEFT, right)
    up = _Scale(min(levels), max(levels), bottom, _TOP)
    yield from _axes(across, up)
    level = up(strong - report.rules.margin)
    yield f'<line x1="{_LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}" stroke="{_EQUAL}" stroke-dasharray="5 4"/>'
    for route, (colour, dash) in zip(curves, cycle(_CURVES)):
        way = " ".join(f"{across(cost):.1f},{up(level):.1f}" for cost, level in route.curve)
        yield f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-dasharray="{dash}" stroke-width="1.5"/>'
    for number, line in reversed(list(enumerate(report.lines, 1))):
        yield from _mark(number, line, across, up, strong)


def _curved(report: Report) -> list[Route]:
    return [route for route in report.routes if route.curve]


def _axes(across: _Scale, up: _Scale) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _TOP + _PLOT
    for value in across.ticks():
        at = across(value)
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}" stroke="{_GRID}"/>'
        yield _words(at, bottom + 18, percent(value, across.digits), fill=_SOFT, size=12, anchor="middle")
    for value in up.ticks():
        at = up(value)
        yield f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="{_GRID}"/>'
        yield _words(_LEFT - 8, at + 4, percent(value, up.digits), fill=_SOFT, size=12, anchor="end")
    about = "dollars spent, as a share of the strong model's; every attempt is paid"
    yield _words((_LEFT + right) / 2, bottom + 42, about, size=12, anchor="middle")
    middle = (_TOP + bottom) / 2
    yield f'<g transform="rotate(-90 18 {middle:.0f})">{_words(18, middle, "tasks answered right", size=12, anchor="middle")}</g>'


def _mark(number: int, line: Line, across: _Scale, up: _Scale, strong: float) -> Iterator[str]:
    """A policy: its number where it is, and how far cost and accuracy may be off."""
    found = line.quality
    x, y = across(found.cost_share.mean), up(found.accuracy)
    left, right = across(found.cost_share.low), across(found.cost_share.high)
    low, high = up(strong + found.against_strong.low), up(strong + found.against_strong.high)
    told = f"{line.policy}: {percent(found.accuracy, 2)} right at {percent(found.cost_share.mean)} of the cost"
    whiskers = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {low:.1f}V{high:.1f}"
    yield f'<g><title>{_safe(told)}</title><path d="{whiskers}" stroke="{_WHISKER}" stroke-width="1.5" fill="none"/>'
    yield f"{_number(number, line.kind, x, y)}</g>"


def _number(number: int, kind: Kind, x: float, y: float) -> str:
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="{_FILL[kind]}" stroke="{_EDGE[kind]}" stroke-width="1.5"/>'
    return circle + _words(x, y + 4, str(number), fill=_INK[kind], size=11, weight=600, anchor="middle")


def _legend(report: Report) -> Iterator[str]:
    left = _WIDTH - _RIGHT + 24
    columns = ((left + 214, "right"), (left + 284, "cost"), (left + 366, "saving ≥"))
    for at, name in columns:
        yield _words(at, _TOP + 4, name, fill=_SOFT, size=12, anchor="end")
    y = _TOP + 4.0
    for number, line in enumerate(report.lines, 1):
        y, found = y + _ROW, line.quality
        yield _number(number, line.kind, left + 9, y - 4)
        yield _words(left + 26, y, short(line.policy, _NAME_CHARS))
        saving = UNKNOWN if found.saving_low is None else percent(found.saving_low)
        for (at, _), told in zip(
            columns, (percent(found.accuracy), percent(found.cost_share.mean), saving), strict=True
        ):
            yield _words(at, y, told, anchor="end")
    y += _ROW + 10
    yield f'<line x1="{left}" x2="{left + 20}" y1="{y - 4:.1f}" y2="{y - 4:.1f}" stroke="{_EQUAL}" stroke-dasharray="5 4"/>'
    yield _words(left + 26, y, f"equal quality: strong less {margin(report.rules.margin)}", fill=_SOFT, size=12)
    for route, (colour, dash) in zip(_curved(report), cycle(_CURVES)):
        y += _ROW - 6
        yield (
            f'<line x1="{left}" x2="{left + 20}" y1="{y - 4:.1f}" y2="{y - 4:.1f}" stroke="{colour}" '
            f'stroke-dasharray="{dash}" stroke-width="1.5"/>'
        )
        yield _words(left + 26, y, f"{short(route.policy, _NAME_CHARS)} at every threshold", fill=_SOFT, size=12)


def _words(
    x: float, y: float, text: str, *, fill: str = _TEXT, size: int = 13, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{_safe(text)}</text>'
    )


def _safe(text: str) -> str:
    return html.escape(text)
