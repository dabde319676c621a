"""The figures of a replay as tables of words; the terminal and the page show the same ones. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from tierbus.cli.replaying.text import UNKNOWN, dollars, margin, micros, percent, points, spread
from tierbus.replay.baselines import Kind
from tierbus.replay.evaluate import Line
from tierbus.replay.report import Report
from tierbus.replay.resample import Interval


class Record(NamedTuple):
    """A line of a table; the kind of its policy decides its colour."""

    kind: Kind
    cells: tuple[str, ...]


class Figures(NamedTuple):
    """A table: `words` are columns on the left, `numbers` those on the right; `about` says how it is counted."""

    title: str
    about: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[Record, ...]


def headline(report: Report) -> str:
    """What was played on, and the model that everything is compared with."""
    price = "" if report.strong_usd_per_1000 is None else f", {dollars(report.strong_usd_per_1000)} per 1,000 tasks"
    ladder = " → ".join(report.models)
    strong = f"{report.models[-1]} alone: {percent(report.strong_accuracy, 2)} right{price}"
    return f"{report.tasks:,} recorded tasks, ladder {ladder}. {strong}. Fitted on {report.fitted_on}."


def tables(report: Report) -> Iterator[Figures]:
    """Every table that has something in it."""
    if report.lines:
        yield _quality(report)
    again = [line for line in report.lines if line.resplits or line.orders]
    if again:
        yield _again(again)
    reviewed = [line for line in report.lines if line.reviewed and line.policy != "always-strong"]
    if reviewed:
        yield _reviewed(reviewed, report)
    if report.routes:
        yield _routes(report)


def _quality(report: Report) -> Figures:
    filled = (
        f" {report.filled_costs} calls without a recorded cost got their model's mean cost."
        if report.filled_costs
        else ""
    )
    about = (
        "Saving: lower end of the 95 % interval of what is saved against the strong model alone, paired bootstrap over tasks, "
        f"{report.rules.draws:,} draws; {UNKNOWN} where accuracy is more than {margin(report.rules.margin)} lower. "
        f"Every attempt is paid.{filled}"
    )
    names = ("right", "against strong", "per 1,000", "cost", "saving ≥", "strong asked", "decision p50/p99")
    return Figures("Cost and quality", about, ("policy",), names, tuple(map(_quality_row, report.lines)))


def _quality_row(line: Line) -> Record:
    found = line.quality
    cells = (
        line.policy,
        percent(found.accuracy, 2),
        spread(found.against_strong, points),
        dollars(found.usd_per_1000),
        percent(found.cost_share.mean),
        UNKNOWN if found.saving_low is None else percent(found.saving_low),
        percent(found.strong_share),
        f"{micros(line.decision.p50_s)} / {micros(line.decision.p99_s)}",
    )
    return Record(line.kind, cells)


def _again(lines: list[Line]) -> Figures:
    names = ("splits missed", "against strong", "cost", "orders", "right, mean", "worst", "cost, mean", "worst")
    about = (
        "Fitted anew on random 60/40 splits: how many missed equal quality, and means. "
        "Where the order of arrival matters: the mean over random orders, and the worst one."
    )
    return Figures("On other splits and in other orders", about, ("policy",), names, tuple(map(_again_row, lines)))


def _again_row(line: Line) -> Record:
    splits, orders = line.resplits, line.orders
    fitted = [UNKNOWN] * 3
    if splits:
        missed = f"{splits.missed} of {splits.splits}"
        fitted = [missed, points(splits.against_strong), percent(splits.cost_share)]
    met = [UNKNOWN] * 5
    if orders:
        right = [percent(orders.accuracy, 2), percent(orders.worst_accuracy, 2)]
        met = [f"{orders.orders:,}", *right, percent(orders.cost_share), percent(orders.worst_cost_share)]
    return Record(line.kind, (line.policy, *fitted, *met))


def _reviewed(lines: list[Line], report: Report) -> Figures:
    names = tuple(f"errs {percent(one.error, 0)}" for one in lines[0].reviewed)
    about = (
        f"Right, and cost. The reviewer sees every cheap answer that the policy takes, for {percent(report.rules.review_price, 0)} "
        "of the strong call's price; it errs so often both ways, and what it rejects goes up a place."
    )
    rows = tuple(
        Record(
            line.kind,
            (line.policy, *(f"{percent(one.accuracy, 2)}, {percent(one.cost_share)}" for one in line.reviewed)),
        )
        for line in lines
    )
    return Figures("With a reviewer behind it", about, ("policy",), names, rows)


def _routes(report: Report) -> Figures:
    about = (
        f"From {report.models[0]} to {report.models[-1]}, by RouteLLM's protocol: it counts strong calls, not dollars, "
        "nor what a cascade pays for the cheap answer. Differences are paired over tasks."
    )
    kinds = {line.policy: line.kind for line in report.lines}
    rows = []
    for route in report.routes:
        sees = "both answers" if route.policy == "oracle" else "the cheap answer" if route.sees_answer else "the task"
        found = route.figures
        over = (_over(route.over_length), _over(route.over_category))
        cells = (route.policy, sees, f"{found.apgr:.3f}", percent(found.cpt50), percent(found.cpt80), *over)
        rows.append(Record(kinds.get(route.policy, Kind.BASELINE), cells))
    names = ("APGR", "CPT50", "CPT80", "over length", "over category")
    return Figures("Routers by their scores", about, ("policy", "sees"), names, tuple(rows))


def _over(found: Interval | None) -> str:
    return UNKNOWN if found is None else spread(found, lambda value: f"{value:+.3f}")
