"""The audit's charts as plotly takes them. Dollars are floats only here."""

from collections.abc import Mapping, Sequence
from typing import Any

from tierbus.audit.figures import Figures, Row
from tierbus.cli.reporting.charts import FILL, NEUTRAL, Chart, label
from tierbus.cli.reporting.figures import DAY_S
from tierbus.cli.reporting.text import bucket_name, tick_name
from tierbus.contracts import NANO, Tier

MOST_ROWS = 10
_TICKS = 9
_TEXT, _SOFT, _GRID, _BLUE = "#1d2230", "#5a6376", "#e6e9ef", "#3f5ea8"
_AXIS: Mapping[str, Any] = {"tickfont": {"color": _SOFT}, "fixedrange": True, "automargin": True}


def charts(found: Figures) -> dict[str, Chart]:
    """Every chart that has something to show, by the id of its place."""
    drawn = (
        {"tiers": tiers(found), "models": bars(found.models[:MOST_ROWS]), "saving": saving(found)}
        if found.calls
        else {}
    )
    if found.calls and found.who.get("tenant"):
        drawn["tenants"] = bars(found.who["tenant"])
    if len(found.days) > 1:
        drawn["days"] = days(found)
    return drawn


def described(name: str) -> str:
    """What a chart shows, for who does not see it."""
    return {
        "tiers": "Bar chart: dollars of each kind of task today and on each tier.",
        "models": "Bar chart: dollars by model.",
        "tenants": "Bar chart: dollars by tenant.",
        "saving": "Bar chart: the range of dollars that moving each kind would save.",
        "days": "Bar chart: dollars a day.",
    }[name]


def bars(rows: Sequence[Row]) -> Chart:
    """One bar a name, dearest on top."""
    return {
        "data": [_across("dollars", _BLUE, rows, [row.cost_nano_usd for row in rows])],
        "layout": _layout(rows, 32, showlegend=False),
    }


def tiers(found: Figures) -> Chart:
    """Four bars a kind: today, and each tier; a bar is missing where a price is not known."""
    rows = found.kinds[:MOST_ROWS]
    data = [
        _across(
            tier.value, FILL[tier], rows, [next(c.cost_nano_usd for c in row.tiers if c.tier is tier) for row in rows]
        )
        for tier in reversed(Tier)
    ]
    data.append(_across("today", NEUTRAL, rows, [row.cost_nano_usd for row in rows]))
    return {"data": data[::-1], "layout": _layout(rows, 62, barmode="group", bargap=0.25)}


def saving(found: Figures) -> Chart:
    """From the low to the high figure, a kind each."""
    rows = [row for row in found.kinds[:MOST_ROWS] if row.high_nano_usd]
    sure = _across("low figure", FILL[Tier.SMALL], rows, [row.low_nano_usd for row in rows])
    more = _across("up to the high figure", "#a9d3bb", rows, [row.high_nano_usd - row.low_nano_usd for row in rows])
    return {"data": [sure, more], "layout": _layout(rows, 32, barmode="stack")}


def days(found: Figures) -> Chart:
    """Dollars a day."""
    at = list(found.days)
    shown = at[:: -(-len(at) // _TICKS)]
    bar = {
        "type": "bar",
        "x": at,
        "y": [cost / NANO for cost in found.days.values()],
        "width": DAY_S * 0.8,
        "marker": {"color": _BLUE},
        "customdata": [bucket_name(day, DAY_S) for day in at],
        "hovertemplate": "%{customdata}: $%{y:,.2f}<extra></extra>",
    }
    times = {
        **_AXIS,
        "tickmode": "array",
        "tickvals": shown,
        "ticktext": [tick_name(day, DAY_S) for day in shown],
        "tickangle": 0,
    }
    layout = {
        **_layout((), 0),
        "height": 260,
        "showlegend": False,
        "xaxis": {**times, "showgrid": False},
        "yaxis": _money(),
    }
    return {"data": [bar], "layout": layout}


def _across(name: str, colour: str, rows: Sequence[Row], amounts: Sequence[int | None]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": [None if amount is None else amount / NANO for amount in amounts],
        "y": list(range(len(rows))),
        "marker": {"color": colour},
        "hovertemplate": f"{name}: $%{{x:,.2f}}<extra></extra>",
    }


def _money() -> dict[str, Any]:
    return {
        **_AXIS,
        "tickprefix": "$",
        "exponentformat": "none",
        "separatethousands": True,
        "nticks": 6,
        "gridcolor": _GRID,
        "rangemode": "tozero",
    }


def _layout(rows: Sequence[Row], row_px: int, **more: Any) -> dict[str, Any]:
    number = max(2, len(rows))
    names = {
        **_AXIS, "tickfont": {"color": _TEXT}, "tickmode": "array", "tickvals": list(range(len(rows))), "ticktext": [label(row.name) for row in rows],
        "showgrid": False, "zeroline": False, "range": [number - 0.5, -0.5], "autorange": False, "ticklen": 6, "tickcolor": "#ffffff",
    }  # fmt: skip
    return {
        "height": 90 + row_px * number,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": _TEXT},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "closest",
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        "xaxis": _money(),
        "yaxis": names,
        "bargap": 0.35,
        **more,
    }  # fmt: skip
