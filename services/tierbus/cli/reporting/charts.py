"""From the numbers of a report to plotly charts, as plain JSON values. Dollars are floats only here."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from tierbus.cli.reporting.figures import Compared, Figures, Period, QualityBucket, Share, merged
from tierbus.cli.reporting.text import bucket_name, count, tick_name
from tierbus.contracts import NANO, Tier
from tierbus.quality.measure import ClassQuality

FILL: Mapping[Tier, str] = {Tier.SMALL: "#27824f", Tier.MID: "#f0b132", Tier.FRONTIER: "#6a3fb8"}
INK: Mapping[Tier, str] = {Tier.SMALL: "#ffffff", Tier.MID: "#1d2230", Tier.FRONTIER: "#ffffff"}
"""Text on the fill: at least 4.5 to 1."""
LINE: Mapping[Tier, str] = {Tier.SMALL: "#27824f", Tier.MID: "#b87900", Tier.FRONTIER: "#6a3fb8"}
SYMBOL: Mapping[Tier, str] = {Tier.SMALL: "circle", Tier.MID: "square", Tier.FRONTIER: "diamond"}
NEUTRAL = "#98a1b3"
MOST_ROWS = 12
_TEXT, _SOFT, _GRID = "#1d2230", "#5a6376", "#e6e9ef"
_LABEL_CHARS = 26
_BAR = 0.62
_TICKS = 9
_LEAST_BUCKETS, _UNKEPT_BUCKETS = 8, 4
Chart = dict[str, Any]


def charts(figures: Figures) -> dict[str, Chart]:
    """Every chart that has something to show, by the id of its place in the page."""
    drawn: dict[str, Chart] = {}
    if figures.compared.baseline_nano_usd is not None:
        drawn["compared"] = compared(figures.compared)
    if figures.over_time:
        drawn["over-time"] = over_time(figures)
        drawn["by-role"] = bars(figures.by_role)
        drawn["by-model"] = bars(merged(figures.by_model, MOST_ROWS))
        drawn["by-tenant"] = bars(merged(figures.by_tenant, MOST_ROWS))
    if figures.first_pass_over_time:
        drawn["first-pass"] = first_pass(figures)
    if figures.watched.compared:
        drawn["watched"] = watched(compared_classes(figures.watched.classes))
    return drawn


def compared_classes(classes: Sequence[ClassQuality]) -> list[ClassQuality]:
    """Those that have a comparison, as many as a chart has rows."""
    return [one for one in classes if one.measured.difference is not None][:MOST_ROWS]


def watched(classes: Sequence[ClassQuality]) -> Chart:
    """A point a class with its interval: right of the line its answers were better than the frontier's, left of it worse."""
    found = [one.measured.difference for one in classes if one.measured.difference is not None]
    values = [100 * one.value for one in found]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": list(range(len(found))),
        "marker": {"color": _TEXT, "size": 9},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (one.high - one.value) for one in found],
            "arrayminus": [100 * (one.value - one.low) for one in found],
            "color": NEUTRAL,
            "thickness": 3,
            "width": 6,
        },
        "customdata": [f"{100 * one.low:.1f} to {100 * one.high:.1f} %" for one in found],
        "hovertemplate": "%{x:.1f} % (%{customdata})<extra></extra>",
        "showlegend": False,
    }
    rows = max(2, len(found))
    names = {**_names([label(one.task_class) for one in classes]), "range": [rows - 0.5, -0.5], "autorange": False}
    reach = max(10.0, *(100 * max(abs(one.low), abs(one.high)) for one in found)) * 1.05
    axis = {
        **_AXIS,
        "range": [-reach, reach],
        "autorange": False,
        "ticksuffix": " %",
        "gridcolor": _GRID,
        "zeroline": True,
        "zerolinecolor": _SOFT,
        "zerolinewidth": 2,
    }
    layout = _layout(60 + 32 * rows, xaxis=axis, yaxis=names, margin={"l": 8, "r": 16, "t": 8, "b": 8})
    return {"data": [points], "layout": layout}


def label(text: str) -> str:
    """A name for an axis: short, and escaped, because plotly reads some HTML in labels."""
    short = text if len(text) <= _LABEL_CHARS else f"{text[: _LABEL_CHARS - 1]}…"
    return html.escape(short)


def _dollars(nano_usd: int) -> float:
    return nano_usd / NANO


def _bar(tier: Tier, **more: Any) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": tier.value,
        "marker": {"color": FILL[tier], "line": {"color": "#ffffff", "width": 1}},
        **more,
    }


def compared(numbers: Compared) -> Chart:
    """Two bars: the frontier alone, and what was spent by tier."""
    baseline = _dollars(numbers.baseline_nano_usd or 0)
    alone = {
        "type": "bar",
        "name": "frontier alone",
        "orientation": "h",
        "x": [baseline],
        "y": [1],
        "marker": {"color": NEUTRAL},
        "width": _BAR,
        "showlegend": False,
        "hovertemplate": "frontier alone: $%{x:,.6f}<extra></extra>",
    }
    parts = [_across(tier, [numbers.by_tier[tier]]) for tier in Tier]
    axis = {**_names(["frontier alone", "spent"]), "tickvals": [1, 0], "range": [-0.5, 1.5], "autorange": False}
    return {"data": [*parts, alone], "layout": _layout(150, xaxis=_money(), yaxis=axis)}


def _across(tier: Tier, amounts: Sequence[int]) -> dict[str, Any]:
    return _bar(
        tier,
        orientation="h",
        width=_BAR,
        x=[_dollars(amount) for amount in amounts],
        y=list(range(len(amounts))),
        hovertemplate=f"{tier.value}: $%{{x:,.6f}}<extra></extra>",
    )


def bars(shares: Sequence[Share]) -> Chart:
    """One bar a share, dearest on top, split by tier."""
    data = [_across(tier, [share.by_tier[tier] for share in shares]) for tier in Tier]
    rows = max(2, len(shares))
    axis = {**_names([label(share.name) for share in shares]), "range": [rows - 0.5, -0.5], "autorange": False}
    return {"data": data, "layout": _layout(84 + 32 * rows, xaxis=_money(), yaxis=axis)}


def over_time(figures: Figures) -> Chart:
    """Dollars a bucket, stacked by tier."""
    period = figures.period
    places = [bucket.at for bucket in figures.over_time]
    data = [
        _bar(
            tier,
            x=places,
            y=[_dollars(bucket.by_tier[tier]) for bucket in figures.over_time],
            width=period.bucket_s * 0.8,
            customdata=[bucket_name(at, period.bucket_s) for at in places],
            hovertemplate=f"%{{customdata}}, {tier.value}: $%{{y:,.6f}}<extra></extra>",
        )
        for tier in Tier
    ]
    return {
        "data": data,
        "layout": _layout(320, xaxis=_times(period.bucket_s, *_window(figures)), yaxis=_money(), bargap=0),
    }


def first_pass(figures: Figures) -> Chart:
    """Per cent of first attempts accepted, by tier; a bucket without any is a gap, and so is what is no longer kept."""
    period = figures.period
    found = {bucket.at: bucket for bucket in figures.first_pass_over_time}
    places = list(period.buckets(figures.first_pass_over_time[0].at))
    data = [_line(tier, places, found, period) for tier in Tier]
    axis = {**_AXIS, "range": [-4, 104], "ticksuffix": " %", "dtick": 25, "gridcolor": _GRID, "zeroline": False}
    times = _times(period.bucket_s, *_kept_window(figures))
    return {"data": data, "layout": _layout(300, xaxis=times, yaxis=axis, **_unkept(figures))}


def _line(tier: Tier, places: Sequence[int], found: Mapping[int, QualityBucket], period: Period) -> dict[str, Any]:
    mine = [found[at].tiers[tier] if at in found else None for at in places]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": tier.value,
        "x": list(places),
        "y": [100 * one.accepted / one.answered if one and one.answered else None for one in mine],
        "connectgaps": False,
        "line": {"color": LINE[tier], "width": 2},
        "marker": {"color": LINE[tier], "size": 8, "symbol": SYMBOL[tier]},
        "customdata": [
            f"{bucket_name(at, period.bucket_s)}: {one.accepted:,} of {one.answered:,}" if one else ""
            for at, one in zip(places, mine, strict=True)
        ],
        "hovertemplate": f"%{{customdata}} on {tier.value}<extra></extra>",
    }


def _unkept(figures: Figures) -> dict[str, Any]:
    """A grey field over the time whose results are no longer kept."""
    first, _ = _kept_window(figures)
    left, right = first - figures.period.bucket_s / 2, figures.period.results_from - figures.period.bucket_s / 2
    if figures.period.results_complete or right <= left:
        return {}
    field = {"type": "rect", "yref": "paper", "x0": left, "x1": right, "y0": 0, "y1": 1, "layer": "below"}
    note = {"x": (left + right) / 2, "yref": "paper", "y": 0.5, "showarrow": False, "font": {"color": _SOFT}}
    return {
        "shapes": [{**field, "fillcolor": "#eef0f4", "line": {"width": 0}}],
        "annotations": [{**note, "text": "results no longer kept"}],
    }


_AXIS: Mapping[str, Any] = {"tickfont": {"color": _SOFT}, "fixedrange": True, "automargin": True}


def _money() -> dict[str, Any]:
    return {
        **_AXIS,
        "tickprefix": "$",
        "exponentformat": "none",
        "separatethousands": True,
        "nticks": 6,
        "gridcolor": _GRID,
        "zerolinecolor": NEUTRAL,
        "rangemode": "tozero",
    }


def _names(names: Sequence[str]) -> dict[str, Any]:
    return {
        **_AXIS,
        "tickfont": {"color": _TEXT},
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "showgrid": False,
        "zeroline": False,
        "ticklen": 6,
        "tickcolor": "#ffffff",
    }


def _window(figures: Figures) -> tuple[int, int]:
    """First and last bucket of the time axis: what is on record, and a few buckets before where that is little."""
    period = figures.period
    last = period.bucket(period.until)
    starts = [bucket.at for bucket in figures.over_time] + [bucket.at for bucket in figures.first_pass_over_time]
    roomy = max(period.bucket(period.since), last - (_LEAST_BUCKETS - 1) * period.bucket_s)
    return min(*starts, roomy), last


def _kept_window(figures: Figures) -> tuple[int, int]:
    """The same, but little of a long time whose results are no longer kept."""
    first, last = _window(figures)
    kept = figures.period.bucket(figures.period.results_from)
    return max(first, kept - _UNKEPT_BUCKETS * figures.period.bucket_s), last


def _times(step: int, first: int, last: int) -> dict[str, Any]:
    every = -(-((last - first) // step + 1) // _TICKS)
    shown = list(range(last, first - 1, -every * step))[::-1]
    return {
        **_AXIS,
        "range": [first - step * 0.6, last + step * 0.6],
        "tickmode": "array",
        "tickvals": shown,
        "ticktext": [tick_name(at, step) for at in shown],
        "tickangle": 0,
        "ticklen": 6,
        "tickcolor": "#ffffff",
        "showgrid": False,
        "zeroline": False,
    }


def _layout(height: int, **more: Any) -> dict[str, Any]:
    return {
        "height": height,
        "barmode": "stack",
        "bargap": 0.35,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": _TEXT},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": NEUTRAL, "font": {"color": _TEXT}},
        "hovermode": "closest",
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        **more,
    }


def described(figures: Figures) -> dict[str, str]:
    """What each chart shows, for who does not see it; the numbers stand in the table beside it."""
    return {
        "compared": "Bar chart: dollars on the frontier alone, and dollars spent by tier.",
        "over-time": f"Bar chart: dollars spent over {count(len(figures.over_time), 'bucket')} of time, stacked by tier.",
        "watched": "Points with intervals: how much better or worse than the frontier's the answers of each class were.",
        "by-role": "Bar chart: dollars by role, split by tier.",
        "by-model": "Bar chart: dollars by model, split by tier.",
        "by-tenant": "Bar chart: dollars by tenant, split by tier.",
        "first-pass": "Line chart: per cent of first attempts accepted over time, by tier.",
    }
