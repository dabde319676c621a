"""The report's summary as a terminal shows it."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tierbus.cli.output import TIER_STYLE
from tierbus.cli.reporting.figures import Figures, Reason, Share, merged
from tierbus.cli.reporting.findings import bound, coverage, headline, warnings
from tierbus.cli.reporting.text import UNKNOWN, cost, count, interval, places, share, span, usd
from tierbus.contracts import Tier
from tierbus.quality.measure import ClassQuality, Day, Quality

_MOST_ROWS = 8


def show(figures: Figures, console: Console, note: str | None = None) -> None:
    """Print key figures, the bill and the failures."""
    tenant = "all tenants" if figures.tenant is None else f"tenant {figures.tenant}"
    if note:
        console.print(f"[bold]{escape(note)}[/bold]")
    console.print(f"[bold]{escape(headline(figures))}[/bold]")
    console.print(escape(f"{span(figures.period)}, {tenant}, {count(figures.tasks, 'task')}"), soft_wrap=True)
    for line in warnings(figures):
        console.print(f"[red]{escape(line)}[/red]", soft_wrap=True)
    for line in coverage(figures):
        console.print(escape(line), soft_wrap=True)
    if not figures.tasks and not figures.rejected:
        return
    console.print(_key_figures(figures))
    shares = (("tier", figures.by_tier), ("role", figures.by_role), ("model", figures.by_model))
    for name, parts in (*shares, ("tenant", figures.by_tenant)):
        console.print(_bill(name, merged(parts, _MOST_ROWS), figures.spent_nano_usd))
    if not figures.watched.empty:
        console.print(watched(figures.watched))
    for title, reasons in (("Not succeeded", figures.failures), ("Rejected", figures.rejections)):
        if reasons:
            console.print(_reasons(title, reasons))
    console.print(escape(f"Baseline: {figures.compared.method}."), soft_wrap=True)


def watched(quality: Quality, *, by_day: bool = False) -> Table:
    """What the quality watch found, one row a class or a day (UTC), and all together where there are several."""
    table = Table(
        title="Quality watch: against the frontier's own answer, with 95 % intervals",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
    )
    table.add_column("day" if by_day else "class", overflow="fold")
    for column in ("compared", "better/tie/worse", "quality", "true saving", "watch cost", "feedback"):
        table.add_column(column, justify="right", no_wrap=True)
    if quality.all is None:
        return table
    classes = [(one.task_class, one) for one in quality.classes]
    rows: list[tuple[str, ClassQuality | Day]] = [(one.day, one) for one in quality.all.days] if by_day else [*classes]
    for name, one in rows:
        table.add_row(escape(name), *_watched(one))
    if len(rows) > 1:
        table.add_row("all", *_watched(quality.all), style="bold")
    return table


def _watched(one: ClassQuality | Day) -> tuple[str, ...]:
    found = one.measured
    said = f"{100 * one.feedback.score.value:.0f} % of {one.feedback.n:,}" if one.feedback.score else UNKNOWN
    return (
        f"{found.n:,}",
        f"{found.better:,}/{found.ties:,}/{found.worse:,}" if found.n else UNKNOWN,
        interval(found.difference),
        interval(found.saving.ratio),
        usd(found.own_nano_usd),
        said,
    )


def _key_figures(figures: Figures) -> Table:
    numbers = figures.compared
    accepted, answered = figures.first_accepted, figures.first_answered
    saving = f"{bound(numbers) if numbers.saving_nano_usd is not None else ''}{usd(numbers.saving_nano_usd)}"
    spent = cost(figures.spent_nano_usd, figures.calls, figures.doubts.unpriced)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value, about in (
        ("spent", spent, count(figures.calls, "model call")),
        ("baseline", usd(numbers.baseline_nano_usd), "succeeded tasks on the frontier alone"),
        ("saving", saving, share(numbers.saving_nano_usd, numbers.baseline_nano_usd)),
        ("per accepted task", usd(numbers.per_accepted_nano_usd), "failed ones' cost included"),
        ("overhead", usd(figures.overhead_nano_usd), share(figures.overhead_nano_usd, figures.spent_nano_usd)),
        ("succeeded", share(numbers.succeeded, numbers.ended), f"{numbers.succeeded:,} of {numbers.ended:,} ended"),
        ("accepted at first try", share(accepted, answered), f"{accepted:,} of {count(answered, 'step')}"),
        ("by tier", _first_pass(figures), ""),
        ("escalations", _escalations(figures), ""),
    ):
        table.add_row(name, value, about)
    return table


def _first_pass(figures: Figures) -> str:
    return ", ".join(f"{_tier(one.tier)} {share(one.accepted, one.answered)}" for one in figures.first_pass)


def _escalations(figures: Figures) -> str:
    told = [f"{_tier(one.source)} → {_tier(one.target)} {one.count:,}" for one in figures.escalations]
    return ", ".join(told) or ("0" if figures.compared.ended else UNKNOWN)


def _tier(tier: Tier) -> str:
    return f"[{TIER_STYLE[tier]}]{tier}[/]"


def _bill(name: str, shares: tuple[Share, ...], total: int) -> Table:
    table = Table(title=f"Cost by {name}", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column(name)
    for column in ("calls", "tokens in", "tokens out", "cost", "share"):
        table.add_column(column, justify="right")
    digits = places([total])
    for one in shares:
        table.add_row(
            escape(one.name),
            f"{one.calls:,}",
            f"{one.tokens_in:,}",
            f"{one.tokens_out:,}",
            cost(one.cost_nano_usd, one.calls, one.unpriced, digits),
            share(one.cost_nano_usd, total),
        )
    return table


def _reasons(title: str, reasons: tuple[Reason, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("tasks", justify="right")
    for column in ("status", "reason"):
        table.add_column(column)
    for one in reasons:
        table.add_row(f"{one.count:,}", one.status, escape(one.reason))
    return table
