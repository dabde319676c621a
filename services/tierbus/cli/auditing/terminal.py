"""The audit as a terminal shows it: one line on top, then a few tables."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tierbus.audit.figures import Figures, KindRow, ProblemRow, Row, TierCost
from tierbus.audit.kinds import BANDS
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
from tierbus.cli.output import TIER_STYLE
from tierbus.cli.reporting.text import AT_LEAST, count, share
from tierbus.contracts import Tier

MOST_ROWS = 10


def show(found: Figures, console: Console) -> None:
    """Print all of it."""
    _say(console, f"[bold]{escape(headline(found))}[/bold]")
    _say(
        console,
        escape(f"{period(found)}; tiers of {found.tier_file!r} at today's prices; no call was made, nothing was sent."),
    )
    for line in doubts(found):
        _say(console, f"[red]{escape(line)}[/red]")
    console.print(_files(found))
    if found.problems:
        _problems(console, found.problems)
    if not found.calls:
        return
    console.print(_kinds(found))
    console.print(_tiers(found))
    for step in found.steps:
        _say(console, escape(f"  {step}; both sides are reckoned."))
    console.print(_shares("Where the money goes: models", found.models, found.cost_nano_usd))
    for name, rows in found.who.items():
        console.print(_shares(f"Where the money goes: {name}s", rows, found.cost_nano_usd))
    console.print(_first(found))
    _caching(console, found)
    _samples(console, found)
    _list(console, "How it is reckoned", [*sources(found), *found.assumptions])


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    console.print(f"\n[italic]{title}[/italic]")
    for line in lines:
        _say(console, f"  {escape(line)}")


def _table(title: str, first: str, numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _files(found: Figures) -> Table:
    table = _table("Files", "file", ("read as", "calls", "no calls", "unreadable"))
    for file in found.files[: 2 * MOST_ROWS]:
        read_as = f"{file.format}, {file.container}" if file.format else "not read"
        table.add_row(escape(file.name), read_as, f"{file.calls:,}", f"{file.skipped:,}", f"{file.unreadable:,}")
    rest = found.files[2 * MOST_ROWS :]
    if rest:
        sums = [sum(getattr(file, name) for file in rest) for name in ("calls", "skipped", "unreadable")]
        table.add_row(f"{len(rest):,} more files", "", *(f"{number:,}" for number in sums))
    if found.skipped:
        table.caption = "no calls: " + "; ".join(f"{number:,} × {escape(why)}" for why, number in found.skipped.items())
        table.caption_justify = "left"
    return table


def _problems(console: Console, problems: Sequence[ProblemRow]) -> None:
    console.print("[italic]What could not be read[/italic]")
    for problem in problems:
        _say(console, f"  [red]{problem.count:,} × {escape(problem.reason)}[/red]")
        for example in problem.examples:
            _say(console, f"      {escape(example)}")
        if problem.count > len(problem.examples):
            _say(console, f"      and {problem.count - len(problem.examples):,} more")


def _kinds(found: Figures) -> Table:
    table = _table("Tasks by kind", "kind", ("calls", "share", *BANDS, "risk words", "cost", "share", "per 1,000"))
    rows = found.kinds[:MOST_ROWS]
    for row in rows:
        table.add_row(*_kind(row, found))
    bands = {band.name: band.calls for band in found.bands}
    risky = share(sum(row.risky for row in found.kinds), found.calls)
    table.add_row(
        "all", f"{found.calls:,}", "", *(share(bands[band], found.calls) for band in BANDS), risky,
        _cost_of(found.cost_nano_usd, found.calls, found.unpriced), "", _each(found.cost_nano_usd, found.calls - found.unpriced), style="bold",
    )  # fmt: skip
    return table


def _kind(row: KindRow, found: Figures) -> tuple[str, ...]:
    return (
        escape(row.name),
        f"{row.calls:,}",
        share(row.calls, found.calls),
        *(share(row.bands[band], row.calls) for band in BANDS),
        share(row.risky, row.calls),
        _cost(row),
        share(row.cost_nano_usd, found.cost_nano_usd) if row.unpriced < row.calls else "–",
        _each(row.cost_nano_usd, row.calls - row.unpriced),
    )


def _cost(row: Row) -> str:
    return _cost_of(row.cost_nano_usd, row.calls, row.unpriced)


def _cost_of(nano_usd: int, calls: int, unpriced: int) -> str:
    if unpriced and unpriced == calls:
        return "unpriced"
    return f"{AT_LEAST if unpriced else ''}{dollars(nano_usd)}"


def _each(nano_usd: int, calls: int) -> str:
    return dollars(1000 * nano_usd // calls) if calls else "–"


def _tiers(found: Figures) -> Table:
    names = [f"[{TIER_STYLE[tier]}]{tier}[/]" for tier in Tier]
    table = _table(
        "The same calls on each tier, and what moving them would save",
        "kind",
        ("today", *names, "saving low", "high", "of today"),
    )
    for row in found.kinds[:MOST_ROWS]:
        range_ = f"{share(row.low_nano_usd, row.cost_nano_usd)} to {share(row.high_nano_usd, row.cost_nano_usd)}"
        stays = not row.high_nano_usd
        table.add_row(
            escape(row.name),
            _cost(row),
            *(_tier(cost, row.calls) for cost in row.tiers),
            "stays" if stays else dollars(row.low_nano_usd),
            "stays" if stays else dollars(row.high_nano_usd),
            "–" if stays else range_,
        )
    total = f"{share(found.low_nano_usd, found.cost_nano_usd)} to {share(found.high_nano_usd, found.cost_nano_usd)}"
    sums = (
        _cost_of(found.cost_nano_usd, found.calls, found.unpriced),
        "",
        "",
        "",
        dollars(found.low_nano_usd),
        dollars(found.high_nano_usd),
        total,
    )
    table.add_row("all", *sums, style="bold")
    models = ", ".join(f"{tier}: {escape(model)}" for tier, model in found.tier_models.items())
    table.caption, table.caption_justify = (
        f"one answer to each call, checks and second tries not counted; {models}",
        "left",
    )
    return table


def _tier(cost: TierCost, calls: int) -> str:
    if cost.too_long == calls:
        return "too long"
    if cost.cost_nano_usd is None:
        return "no price"
    return f"{dollars(cost.cost_nano_usd)}{f' ({cost.too_long:,} too long)' if cost.too_long else ''}"


def _shares(title: str, rows: Sequence[Row], total: int) -> Table:
    table = _table(title, "name", ("calls", "cost", "share", "per 1,000"))
    for row in rows[: MOST_ROWS + 1]:
        part = share(row.cost_nano_usd, total) if row.unpriced < row.calls else "–"
        table.add_row(
            escape(row.name), f"{row.calls:,}", _cost(row), part, _each(row.cost_nano_usd, row.calls - row.unpriced)
        )
    return table


def _first(found: Figures) -> Table:
    table = _table(
        "The first 20 % of calls to move: most dollars for their risk first",
        "class",
        ("calls", "to", "today", "saving", "first answers going up"),
    )
    if not found.first:
        table.add_row(f"none: {nothing_first(found)}", "", "", "", "", "")
    for row in found.first:
        part = "" if row.calls == row.of_calls else f" of {row.of_calls:,}"
        tier = f"[{TIER_STYLE[row.tier]}]{row.tier}[/]"
        range_ = f"{dollars(row.low_nano_usd)} to {dollars(row.high_nano_usd)}"
        name = f"{escape(row.kind)}, {row.band}\n[dim]{escape(why(row))}[/dim]"
        table.add_row(
            name,
            f"{row.calls:,}{part}",
            tier,
            dollars(row.today_nano_usd),
            range_,
            f"{row.up_low:,} to {row.up_high:,}",
        )
    if found.first:
        sums = [sum(getattr(row, name) for row in found.first) for name in ("low_nano_usd", "high_nano_usd")]
        moved = sum(row.calls for row in found.first)
        table.caption = f"{count(moved, 'call')}, {share(moved, found.calls)} of all, would save {saving(sums[0], sums[1], found.cost_nano_usd)} of everything spent"
        table.caption_justify = "left"
    return table


def _caching(console: Console, found: Figures) -> None:
    _list(console, "What caching would save (not added to the figures above)", [repeats(found), prefixes(found)])
    for row in found.again.top:
        _say(console, f"    prompt {escape(row.name)}: sent {row.calls:,} times, {dollars(row.cost_nano_usd)} in all")


def _samples(console: Console, found: Figures) -> None:
    for kind, texts in found.samples.items():
        _list(console, f"Samples of {escape(kind)}, cut and redacted", texts)
