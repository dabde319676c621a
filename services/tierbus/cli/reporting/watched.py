"""The page's section about the quality watch: how answers stand to the frontier's own, what was truly saved, what people say."""

from tierbus.cli.reporting.charts import compared_classes, described
from tierbus.cli.reporting.figures import Figures
from tierbus.cli.reporting.findings import watch_findings
from tierbus.cli.reporting.markup import Column, Html, table, tag
from tierbus.cli.reporting.text import UNKNOWN, count, interval, places, rate, share, usd
from tierbus.quality.measure import ClassQuality, Measured, Quality, Saving

_TITLE = "Quality watch"
_COUNTS = tuple(Column(name, number=True) for name in ("compared", "better", "tie", "worse"))


def section(figures: Figures) -> Html:
    """What was compared and said in the period, or how to have it compared."""
    found = figures.watched
    if found.all is None:
        told = (
            "Nothing was compared with the frontier in this period, and nobody gave feedback. Quality is watched where the"
            " classes file has `watch` rules; `tierbus feedback` says what a person thinks."
        )
        return tag("section", tag("h2", _TITLE), tag("p", told, class_="empty"))
    parts: list[Html] = [tag("p", " ".join(watch_findings(found)), class_="lead")]
    if found.compared:
        name = described(figures)["watched"]
        parts += [
            tag("h3", "Quality against the frontier's own answer: better less worse, in percent of the compared tasks"),
            tag("div", id="chart-watched", class_="chart", role="img", aria_label=name),
            *_more(found),
            _by_class(found),
            _savings(found),
        ]
    if found.all.feedback.n:
        parts.append(_feedback(found))
    parts.append(tag("details", tag("summary", "Table: by day"), _by_day(found.all)))
    return tag("section", tag("h2", _TITLE), *parts, class_="wide")


def _more(found: Quality) -> list[Html]:
    left = sum(one.measured.n > 0 for one in found.classes) - len(compared_classes(found.classes))
    return [tag("p", f"{count(left, 'class', 'classes')} more in the table.", class_="hint")] if left > 0 else []


def _by_class(found: Quality) -> Html:
    rows = [(one.task_class, *_counts(one.measured)) for one in found.classes if one.measured.n]
    columns = (Column("class"), *_COUNTS, Column("quality difference", number=True))
    return table(
        "Answers beside the frontier's, with the 95 % interval of the difference",
        columns,
        rows,
        *_foot(found, ("all", *_counts(found.all.measured)) if found.all else ()),
    )


def _counts(one: Measured) -> tuple[str, ...]:
    return (*(f"{number:,}" for number in (one.n, one.better, one.ties, one.worse)), interval(one.difference))


def _foot(found: Quality, row: tuple[object, ...]) -> list[tuple[object, ...]]:
    return [row] if row and len(found.classes) > 1 else []


def _savings(found: Quality) -> Html:
    shown = [one for one in found.classes if one.measured.n]
    digits = places(one.measured.saving.frontier_nano_usd for one in shown)
    rows = [(one.task_class, *_saving(one.measured, digits)) for one in shown]
    columns = (
        Column("class"),
        *(
            Column(name, number=True)
            for name in ("tasks", "cost", "frontier", "true saving", "estimated saving", "watch cost")
        ),
    )
    foot = ("all", *_saving(found.all.measured, digits)) if found.all else ()
    return table(
        "What compared tasks cost, against what the frontier's answers to them cost; estimated: by the results' baselines",
        columns,
        rows,
        *_foot(found, foot),
    )


def _saving(one: Measured, digits: int) -> tuple[str, ...]:
    known = one.saving
    return (
        f"{known.pairs:,}",
        usd(known.task_nano_usd, digits),
        usd(known.frontier_nano_usd, digits),
        interval(known.ratio),
        _estimated(known),
        usd(one.own_nano_usd, digits),
    )


def _estimated(known: Saving) -> str:
    if known.estimated_nano_usd is None:
        return UNKNOWN
    return share(known.estimated_nano_usd - known.task_nano_usd, known.estimated_nano_usd)


def _feedback(found: Quality) -> Html:
    rows = [
        (one.task_class, f"{one.feedback.n:,}", rate(one.feedback.score)) for one in found.classes if one.feedback.n
    ]
    columns = (Column("class"), Column("tasks", number=True), Column("good", number=True))
    foot = ("all", f"{found.all.feedback.n:,}", rate(found.all.feedback.score)) if found.all else ()
    return table(
        "Feedback: the mean score, 1 is good and 0 bad, with its 95 % interval", columns, rows, *_foot(found, foot)
    )


def _by_day(all_: ClassQuality) -> Html:
    rows = [
        (
            day.day,
            *_counts(day.measured),
            interval(day.measured.saving.ratio),
            usd(day.measured.own_nano_usd),
            f"{day.feedback.n:,}" if day.feedback.n else UNKNOWN,
        )
        for day in all_.days
    ]
    columns = (
        Column("day (UTC)"),
        *_COUNTS,
        *(Column(name, number=True) for name in ("quality difference", "true saving", "watch cost", "feedback")),
    )
    return table("All classes by the day on which the tasks ended", columns, rows)
