"""The audit as one HTML page that needs nothing else, in the clothes of the cost report."""

from collections.abc import Mapping, Sequence

from tierbus.audit.figures import Figures, KindRow, Row, TierCost
from tierbus.audit.kinds import BANDS
from tierbus.cli.auditing.charts import MOST_ROWS, charts, described
from tierbus.cli.auditing.sentences import (
    dollars,
    doubts,
    headline,
    nothing_first,
    period,
    prefixes,
    repeats,
    saving,
    sources,
    why,
)
from tierbus.cli.reporting.charts import Chart
from tierbus.cli.reporting.markup import Column, Html, table, tag
from tierbus.cli.reporting.page import document
from tierbus.cli.reporting.sections import badge
from tierbus.cli.reporting.text import AT_LEAST, UNKNOWN, count, share
from tierbus.contracts import Tier


def page(found: Figures) -> str:
    """The page."""
    drawn = charts(found)
    return document(f"Tierbus audit, {period(found)}", _parts(found, drawn), drawn)


def _parts(found: Figures, drawn: Mapping[str, Chart]) -> list[Html]:
    head = [_header(found), *_boxes(found)]
    if not found.calls:
        return [*head, tag("p", "No model call was found in these files.", class_="empty"), _files(found)]
    return [
        *head,
        _tiles(found),
        _first(found),
        _tiers(found, drawn),
        _kinds(found),
        _where(found, drawn),
        _caching(found),
        *_samples(found),
        _files(found),
        _method(found),
    ]


def _header(found: Figures) -> Html:
    models = ", ".join(f"{tier} {model}" for tier, model in found.tier_models.items())
    facts = [
        ("Period", period(found)),
        ("Calls", f"{found.calls:,}"),
        ("Files", f"{len(found.files):,}"),
        ("Tiers", f"{found.tier_file}: {models}"),
    ]
    return tag(
        "header",
        tag("p", "Tierbus audit of call logs", class_="eyebrow"),
        tag("h1", headline(found)),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )


def _boxes(found: Figures) -> list[Html]:
    boxes = (
        ("warning", "Before you trust the sums", doubts(found)),
        ("coverage", "Where the figures are from", sources(found) if found.calls else []),
    )
    return [
        tag("aside", tag("h2", title), tag("ul", *(tag("li", line) for line in lines)), class_=f"box {kind}")
        for kind, title, lines in boxes
        if lines
    ]


def _tiles(found: Figures) -> Html:
    today, again = found.cost_nano_usd, found.again
    moved = sum(row.calls for row in found.first)
    tiles = (
        _tile("Spent", f"{AT_LEAST if found.unpriced else ''}{dollars(today)}", count(found.calls, "call")),
        _tile(
            "Saving, low",
            dollars(found.low_nano_usd),
            f"{share(found.low_nano_usd, today)} of today",
            "good" if found.low_nano_usd else "",
        ),
        _tile(
            "Saving, high",
            dollars(found.high_nano_usd),
            f"{share(found.high_nano_usd, today)} of today",
            "good" if found.high_nano_usd else "",
        ),
        _tile(
            "First to move",
            dollars(sum(row.low_nano_usd for row in found.first)),
            f"at least, from {share(moved, found.calls)} of the calls",
        ),
    )
    small = (
        _tile("Simple", share(found.bands[0].calls, found.calls), f"{found.bands[0].calls:,} calls"),
        _tile("Hard", share(found.bands[2].calls, found.calls), f"{found.bands[2].calls:,} calls"),
        _tile(
            "Repeated prompts",
            dollars(again.repeated_nano_usd) if again.comparable else UNKNOWN,
            f"{again.repeated:,} calls repeat an earlier one",
        ),
        _tile(
            "Shared prefixes",
            dollars(again.prefix_nano_usd) if found.with_text else UNKNOWN,
            "by prompt caching, not added to the saving",
        ),
    )
    return tag(
        "section",
        tag("div", *tiles, class_="tiles"),
        tag("div", *small, class_="tiles small"),
        aria_label="Key figures",
    )


def _tile(name: str, value: str, about: str, mood: str = "") -> Html:
    parts = (tag("p", name, class_="name"), tag("p", value, class_="value"), tag("p", about, class_="about"))
    return tag("div", *parts, class_=f"tile {mood}".rstrip())


def _section(title: str, *parts: object, lead: str = "") -> Html:
    return tag("section", tag("h2", title), *([tag("p", lead, class_="lead")] if lead else []), *parts, class_="wide")


def _chart(name: str, drawn: Mapping[str, Chart]) -> list[Html]:
    return (
        [tag("div", id=f"chart-{name}", class_="chart", role="img", aria_label=described(name))]
        if name in drawn
        else []
    )


def _numbers(*names: str) -> list[Column]:
    return [Column(name, number=True) for name in names]


def _cost(row: Row) -> str:
    if row.unpriced and row.unpriced == row.calls:
        return "unpriced"
    return f"{AT_LEAST if row.unpriced else ''}{dollars(row.cost_nano_usd)}"


def _first(found: Figures) -> Html:
    if not found.first:
        return _section("The first 20 % to move", tag("p", f"None: {nothing_first(found)}.", class_="empty"))
    rows = [
        (
            tag("span", f"{row.kind}, {row.band}", style="white-space:nowrap"),
            badge(row.tier),
            f"{row.calls:,}" if row.calls == row.of_calls else f"{row.calls:,} of {row.of_calls:,}",
            dollars(row.today_nano_usd),
            f"{dollars(row.low_nano_usd)} to {dollars(row.high_nano_usd)}",
            f"{row.up_low:,} to {row.up_high:,}",
            why(row),
        )
        for row in found.first
    ]
    low, high = (sum(getattr(row, name) for row in found.first) for name in ("low_nano_usd", "high_nano_usd"))
    columns = [Column("class"), Column("to"), *_numbers("calls", "today", "saving", "going up"), Column("why")]
    caption = "going up: first answers that a check sends to today's model, at today's cost (counted)"
    lead = f"Most dollars for their risk first. Together {saving(low, high, found.cost_nano_usd)} of everything spent."
    return _section("The first 20 % to move", table(caption, columns, rows), lead=lead)


def _tiers(found: Figures, drawn: Mapping[str, Chart]) -> Html:
    rows = [
        (
            row.name,
            _cost(row),
            *(_tier(cost, row.calls) for cost in row.tiers),
            *(dollars(amount) if row.high_nano_usd else "stays" for amount in (row.low_nano_usd, row.high_nano_usd)),
        )
        for row in found.kinds
    ]
    columns = [Column("kind"), *_numbers("today", *(tier.value for tier in Tier), "saving low", "saving high")]
    foot = (
        "all",
        f"{AT_LEAST if found.unpriced else ''}{dollars(found.cost_nano_usd)}",
        "",
        "",
        "",
        dollars(found.low_nano_usd),
        dollars(found.high_nano_usd),
    )
    caption = " ".join(
        [
            "One answer to each call at today's prices; checks and second tries only in the saving.",
            *(f"{step}." for step in found.steps),
        ]
    )
    return _section(
        "What each kind would cost on each tier", *_chart("tiers", drawn), table(caption, columns, rows, foot), tag("h3", "What moving saves"), *_chart("saving", drawn)
    )  # fmt: skip


def _tier(cost: TierCost, calls: int) -> str:
    if cost.too_long == calls:
        return "too long"
    if cost.cost_nano_usd is None:
        return "no price"
    return f"{dollars(cost.cost_nano_usd)}{f' ({cost.too_long:,} too long)' if cost.too_long else ''}"


def _kinds(found: Figures) -> Html:
    columns = [
        Column("kind"),
        *_numbers("calls", "share", *BANDS, "risk words", "tokens in", "tokens out", "cost", "share"),
    ]
    return _section(
        "Tasks by kind and complexity",
        table(
            "Sorted by words of the prompt, or by the class that the log names",
            columns,
            [_kind(row, found) for row in found.kinds],
        ),
    )


def _kind(row: KindRow, found: Figures) -> tuple[object, ...]:
    bands = (share(row.bands[band], row.calls) for band in BANDS)
    tokens = (f"{row.input:,}", f"{row.output:,}")
    return (
        row.name,
        f"{row.calls:,}",
        share(row.calls, found.calls),
        *bands,
        share(row.risky, row.calls),
        *tokens,
        _cost(row),
        _part(row, found),
    )


def _part(row: Row, found: Figures) -> str:
    """A share of all dollars; none of it is known where no call has a price."""
    return UNKNOWN if row.unpriced and row.unpriced == row.calls else share(row.cost_nano_usd, found.cost_nano_usd)


def _where(found: Figures, drawn: Mapping[str, Chart]) -> Html:
    parts: list[Html] = [tag("h3", "Days"), *_chart("days", drawn)] if "days" in drawn else []
    groups = {"model": found.models[: 2 * MOST_ROWS], **found.who}
    for name, rows in groups.items():
        parts.append(
            tag(
                "div",
                tag("div", tag("h3", f"By {name}"), *_chart(f"{name}s", drawn)),
                _shares(name, rows, found),
                class_="pair",
            )
        )
    return _section("Where the money goes", *parts)


def _shares(name: str, rows: Sequence[Row], found: Figures) -> Html:
    cells = [(row.name, f"{row.calls:,}", _cost(row), _part(row, found)) for row in rows]
    exact = "" if found.who_exact or name == "model" else "; small ones among very many are in the others"
    return table(f"Cost by {name}{exact}", [Column(name), *_numbers("calls", "cost", "share")], cells)


def _caching(found: Figures) -> Html:
    rows = [(row.name, f"{row.calls:,}", dollars(row.cost_nano_usd)) for row in found.again.top]
    tables = (
        [table("Prompts whose repetition cost most, by hash", [Column("prompt"), *_numbers("sent", "cost")], rows)]
        if rows
        else []
    )
    return _section(
        "What caching would save",
        tag("p", repeats(found)),
        tag("p", prefixes(found)),
        *tables,
        lead="Not added to the saving by tiers: both work on the same calls.",
    )


def _samples(found: Figures) -> list[Html]:
    parts = [
        tag("details", tag("summary", kind), tag("ul", *(tag("li", text) for text in texts)))
        for kind, texts in found.samples.items()
    ]
    return [_section("Samples, cut and redacted", *parts)] if parts else []


def _files(found: Figures) -> Html:
    rows = [
        (file.name, f"{file.format}, {file.container}" if file.format else "not read", f"{file.calls:,}", f"{file.skipped:,}", f"{file.unreadable:,}", file.trouble)
        for file in found.files
    ]  # fmt: skip
    columns = [Column("file"), Column("read as"), *_numbers("calls", "no calls", "unreadable"), Column("trouble")]
    parts: list[object] = [table("no calls: spans of other things, failed requests", columns, rows)]
    if found.problems:
        wrong = [
            (problem.reason, f"{problem.count:,}", tag("div", *(tag("p", one) for one in problem.examples)))
            for problem in found.problems
        ]
        parts.append(
            table("What could not be read", [Column("reason"), *_numbers("rows"), Column("the first places")], wrong)
        )
    return _section("What was read", *parts)


def _method(found: Figures) -> Html:
    lines = [
        *found.assumptions,
        "Nothing was sent anywhere and no model was asked. Prices are those of the tier file and of genai-prices.",
    ]
    return tag("footer", tag("h2", "How it is reckoned"), tag("ul", *(tag("li", line) for line in lines)))
