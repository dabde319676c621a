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
    fitted = [line for line in report.lines if line.resplits]
    if fitted:
        yield _fitted(fitted)
    ordered = [line for line in report.lines if line.orders]
    if ordered:
        yield _ordered(ordered)
    reviewed = [line for line in report.lines if line.reviewed and line.policy != "always-strong"]
    if reviewed:
        yield _reviewed(reviewed, report)
    asking = [line for line in reviewed if line.asks_looks]
    if asking:
        yield _looks(asking)
    if report.routes:
        yield _routes(report)


def _quality(report: Report) -> Figures:
    filled = (
        f" Recorded calls without a cost got their model's mean: {report.filled_costs}." if report.filled_costs else ""
    )
    about = (
        "Saving: lower end of the 95 % interval of what is saved against the strong model alone, paired bootstrap over tasks, "
        f"{report.rules.draws:,} draws; {UNKNOWN} where accuracy is more than {margin(report.rules.margin)} lower. "
        f"Every attempt is paid. A task may need several decisions.{filled}"
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


def _fitted(lines: list[Line]) -> Figures:
    about = "Fitted anew on random splits, 60 % to fit and 40 % to play: how many missed equal quality, and means."
    rows = tuple(
        Record(
            line.kind,
            (
                line.policy,
                f"{found.missed} of {found.splits}",
                points(found.against_strong),
                percent(found.cost_share),
            ),
        )
        for line in lines
        if (found := line.resplits)
    )
    return Figures("On other splits", about, ("policy",), ("missed", "against strong", "cost"), rows)


def _ordered(lines: list[Line]) -> Figures:
    about = "Policies that learn in use, over random orders of arrival: the mean, and the worst of all."
    rows = tuple(
        Record(
            line.kind,
            (
                line.policy,
                f"{found.orders:,}",
                percent(found.accuracy, 2),
                percent(found.worst_accuracy, 2),
                percent(found.cost_share),
                percent(found.worst_cost_share),
            ),
        )
        for line in lines
        if (found := line.orders)
    )
    names = ("orders", "right, mean", "right, worst", "cost, mean", "cost, worst")
    return Figures("In other orders", about, ("policy",), names, rows)


def _reviewed(lines: list[Line], report: Report) -> Figures:
    names = tuple(f"errs {percent(one.error, 0)}" for one in lines[0].reviewed)
    about = (
        f"Right, and cost. The reviewer looks at every cheap answer that the policy takes, for {percent(report.rules.review_price, 0)} "
        "of the strong call's price; it errs so often both ways, and what it rejects goes up a place. A learned policy knows "
        "price and error and asks for a look itself, only where that is expected to pay."
    )
    rows = tuple(
        Record(
            line.kind,
            (line.policy, *(f"{percent(one.accuracy, 2)}, {percent(one.cost_share)}" for one in line.reviewed)),
        )
        for line in lines
    )
    return Figures("With a reviewer behind it", about, ("policy",), names, rows)


def _looks(lines: list[Line]) -> Figures:
    names = tuple(f"errs {percent(one.error, 0)}" for one in lines[0].reviewed)
    about = "The share of tasks with an answer that a policy which decides itself had the reviewer look at."
    rows = tuple(Record(line.kind, (line.policy, *(percent(one.looked) for one in line.reviewed))) for line in lines)
    return Figures("Looks that it asked for", about, ("policy",), names, rows)


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
