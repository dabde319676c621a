"""Drawing results for a terminal: the step tree, tables of cost, live progress lines."""

from collections.abc import Iterable

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from tierbus.cli.output import TIER_STYLE, percent, tier_path, usd
from tierbus.cli.words import short
from tierbus.contracts import (
    Message,
    Result,
    StepReport,
    StepReviewed,
    StepStarted,
    TaskPlanned,
    TaskRejected,
    TaskRouted,
    TaskStatus,
    Tier,
    VerdictKind,
)

TEXT_CHARS = 100
STATUS_STYLE = {
    TaskStatus.SUCCEEDED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "yellow",
    TaskStatus.EXPIRED: "red",
}
VERDICT_STYLE = {
    VerdictKind.ACCEPT: "[green]accepted[/green]",
    VerdictKind.ESCALATE: "[yellow]rejected[/yellow]",
    VerdictKind.FAIL: "[red]failed[/red]",
}


def line(event: Message) -> str:
    """One event as a line of progress."""
    match event:
        case TaskRouted():
            tier = "" if event.decision.route == "plan" else f" on {event.decision.tier}"
            return (
                f"routed   {event.decision.route}{tier}, review {event.decision.review}: {escape(event.decision.cause)}"
            )
        case TaskPlanned() if event.fallback:
            return f"planned  no plan, one step on the frontier: {escape(event.fallback)}"
        case TaskPlanned():
            how = ", repaired" if event.repaired else ""
            how += f", the plan of run {event.plan_reused_from} adapted" if event.plan_reused_from else ""
            return f"planned  {len(event.steps)} steps{how}: {', '.join(step.id for step in event.steps)}"
        case StepStarted():
            return f"started  {event.step} on [{TIER_STYLE[event.tier]}]{event.tier}[/] (attempt {event.attempt})"
        case StepReviewed():
            verdict = event.verdict
            return (
                f"reviewed {event.step} on {event.tier}: {VERDICT_STYLE[verdict.kind]} by {verdict.rung},"
                f" {usd(event.cost_nano_usd)}: {escape(short(verdict.reason, TEXT_CHARS))}"
            )
        case TaskRejected():
            return "[red]rejected[/red] " + escape("; ".join(event.reasons))
        case Result():
            reason = f": {escape(event.reason)}" if event.reason else ""
            return f"[{STATUS_STYLE[event.status]}]{event.status}[/] {usd(event.cost_nano_usd)}{_taken(event)}{reason}"
        case _:
            return event.kind


def step_tree(result: Result) -> Tree:
    """A result's steps with every attempt, its verdict, cost and times."""
    root = Tree(
        f"[bold]{escape(result.task)}[/bold] [{STATUS_STYLE[result.status]}]{result.status}[/]"
        f" {usd(result.cost_nano_usd)}, queue {result.queue_s:.2f} s, model {result.llm_s:.2f} s{_taken(result)}{_reused(result)}"
    )
    for step in result.steps:
        _add_step(root, step)
    return root


def _taken(result: Result) -> str:
    """Whose answer it is, where it was taken over."""
    return f", the answer of run {result.cached_from}" if result.cached_from else ""


def _reused(result: Result) -> str:
    """Whose plan it was, and what that saved; a try in vain is told too, because it was paid."""
    saved = result.plan_saved_nano_usd
    if result.plan_reused_from is None:
        return f", adapting a plan in vain cost {usd(-saved)}" if saved else ""
    estimate = f", estimated to save {usd(saved)}" if saved is not None else ""
    return f", the plan of run {result.plan_reused_from} adapted{estimate}"


def _add_step(root: Tree, step: StepReport) -> None:
    needs = f" needs {', '.join(step.needs)}" if step.needs else ""
    branch = root.add(f"{step.id} {tier_path(step.tier_path)}{needs}: {escape(short(step.instruction, TEXT_CHARS))}")
    for attempt in step.attempts:
        branch.add(
            f"{attempt.attempt}. [{TIER_STYLE[attempt.tier]}]{attempt.tier}[/] {attempt.model} {VERDICT_STYLE[attempt.verdict.kind]}"
            f" by {attempt.verdict.rung}, {usd(attempt.cost_nano_usd)}, queue {attempt.queue_s:.2f} s,"
            f" model {attempt.llm_s:.2f} s: {escape(short(attempt.verdict.reason, TEXT_CHARS))}"
        )


def saving(result: Result) -> str:
    """What was saved against the baseline, or a dash where there is none."""
    if result.baseline is None or result.baseline.cost_nano_usd is None:
        return "–"
    return percent(result.baseline.cost_nano_usd - result.cost_nano_usd, result.baseline.cost_nano_usd)


def bill(title: str, rows: Iterable[tuple[str, int, int, int, int]]) -> Table:
    """A cost table: name, calls, input tokens, output tokens, nano-dollars."""
    listed = list(rows)
    total = sum(row[4] for row in listed)
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column(title.rsplit(maxsplit=1)[-1])
    for name in ("calls", "tokens in", "tokens out", "cost", "share"):
        table.add_column(name, justify="right")
    for name, calls, tokens_in, tokens_out, cost in listed:
        table.add_row(name, str(calls), f"{tokens_in:,}", f"{tokens_out:,}", usd(cost), percent(cost, total))
    table.add_row("total", str(sum(row[1] for row in listed)), "", "", usd(total), "", style="bold")
    return table


def path_of(result: Result) -> list[Tier]:
    """The tiers a result went through, step by step, without repeats in a row."""
    path: list[Tier] = []
    for step in result.steps:
        for tier in step.tier_path:
            if not path or path[-1] != tier:
                path.append(tier)
    return path
