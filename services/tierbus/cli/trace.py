"""The `trace` command: a task as one picture in the terminal, or as OTLP JSON for Jaeger, from the bus's own records."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tierbus.bus.client import client
from tierbus.cli.output import PIPED_WIDTH, TIER_STYLE, Exit, fail, out, percent, run, usd
from tierbus.cli.show import STATUS_STYLE, VERDICT_STYLE
from tierbus.cli.words import short
from tierbus.contracts import CallStatus, Result, Tier, VerdictKind, run_id
from tierbus.settings import Settings
from tierbus.telemetry.names import Attr
from tierbus.telemetry.otlp import document
from tierbus.telemetry.spans import Span, Story
from tierbus.telemetry.story import story_of
from tierbus.telemetry.story import trace as spans_of

BAR = 30
SHORT_CHARS = 70
NARROW = 110
"""On fewer columns the bars give way to what was said and what it cost."""


class Line(NamedTuple):
    """A span in its place in the tree; `branch` is what is drawn before its name."""

    span: Span
    branch: str


def trace(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose task it is.")] = "default",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print OTLP JSON: Jaeger's upload page and any collector read it.")
    ] = False,
) -> None:
    """Draw a task's trace: what each part waited, took and cost, what was rejected, and why; no Jaeger needed."""
    identity = run_id(tenant, task)

    async def work() -> Story | None:
        async with client(Settings.read()) as bus:
            state = await bus.run(identity)
            return story_of(state, await bus.calls(identity), time.time()) if state else None

    story = run(work(), as_json=as_json)
    if story is None:
        fail(
            f"no task {task!r} of tenant {tenant!r} is known (runs are kept for a week; `tierbus tasks` lists them,"
            " `tierbus dead list` shows what was refused)",
            Exit.USAGE,
            as_json=as_json,
        )
    spans = spans_of(story)
    if as_json:
        print(json.dumps(document(spans, version("tierbus"))))
        return
    out.print(headline(story))
    out.print(drawn(spans, out.width))


def headline(story: Story) -> str:
    """What a person wants first: how it ended, what it cost, what it would have cost, where the time went."""
    result = story.result
    status = f"[{STATUS_STYLE[story.status]}]{story.status}[/]" if story.status else "[cyan]running[/cyan]"
    took = (result.at if story.status else story.at) - result.submitted_at
    where = f"{result.queue_s:.2f} s in queues, {result.llm_s:.2f} s in models"
    lines = [
        f"[bold]{escape(result.task or result.run)}[/bold] {status} after {took:.2f} s ({where}), {_escalated(result)}",
        f"{usd(result.cost_nano_usd)}{_against(result)}; [dim]trace {story.trace_id}[/dim]",
    ]
    if result.reason:
        lines.append(f"[red]{escape(result.reason)}[/red]")
    return "\n".join(lines)


def _against(result: Result) -> str:
    baseline = result.baseline.cost_nano_usd if result.baseline else None
    if baseline is None:
        return ""
    more = result.cost_nano_usd > baseline
    share = percent(abs(baseline - result.cost_nano_usd), baseline)
    return f" against {usd(baseline)} on the frontier: {share} {'more' if more else 'saved'}"


def _escalated(result: Result) -> str:
    return f"{result.escalations} escalation{'' if result.escalations == 1 else 's'}"


def drawn(spans: Sequence[Span], width: int = PIPED_WIDTH) -> Table:
    """The tree with a bar for each span on one time axis, if there is room for that."""
    start = min(span.start for span in spans)
    length = max(max(span.end for span in spans) - start, 1e-9)
    wide = width >= NARROW
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("what", no_wrap=True, max_width=None if wide else width // 2)
    table.add_column("how it went", overflow="fold")
    for name in ("cost", "from", "took") if wide else ("cost", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column(f"0 – {length:.2f} s", no_wrap=True)
    for line in lines_of(spans):
        span, style = line.span, _style(line.span)
        told = (Text(f"{line.branch}{_name(span)}", style=style), _told(span), _cost(span))
        begin, end = span.start - start, span.end - start
        if wide:
            table.add_row(
                *told, seconds(begin), seconds(end - begin), Text(bar(begin / length, end / length), style=style)
            )
        else:
            table.add_row(*told, seconds(end - begin))
    return table


def seconds(span_s: float) -> str:
    """A time as a person reads it."""
    if span_s < 0.0005:  # noqa: PLR2004 - half a millisecond
        return "0"
    return f"{span_s * 1000:.0f} ms" if span_s < 0.9995 else f"{span_s:.2f} s"  # noqa: PLR2004 - else 1000 ms


def lines_of(spans: Sequence[Span]) -> list[Line]:
    """The spans in the order of the tree, each with its branches; one whose parent is unknown stands at the top."""
    known = {span.span_id for span in spans}
    children: defaultdict[str | None, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        children[span.parent_id if span.parent_id in known else None].append(span)

    def below(parent: str | None, indent: str) -> Iterator[Line]:
        family = children[parent]
        for place, span in enumerate(family):
            last = place == len(family) - 1
            fork, rest = ("", "") if parent is None else ("└ " if last else "├ ", "  " if last else "│ ")
            yield Line(span, indent + fork)
            yield from below(span.span_id, indent + rest)

    return list(below(None, ""))


def bar(begin: float, end: float, width: int = BAR) -> str:
    """A stretch of a line of `width` characters, from and to a share of it; never empty."""
    first = min(width - 1, int(begin * width))
    last = max(first + 1, min(width, round(end * width)))
    return " " * first + "█" * (last - first)


def _name(span: Span) -> str:
    """A step by its own id, which means more to a person than its place in the plan."""
    step = span.attributes.get(Attr.STEP)
    return f"step {step}" if span.name.startswith("step ") and step else span.name.replace("tierbus.", "")


def _style(span: Span) -> str:
    if span.error is not None:
        return "red"
    if span.name.startswith("wait "):
        return "dim"
    tier = span.attributes.get(Attr.TIER)
    return TIER_STYLE[Tier(str(tier))] if tier else "bold" if span.name.startswith(("task ", "step ")) else ""


def _cost(span: Span) -> str:
    nano = span.attributes.get(Attr.COST_TOTAL_NANO, span.attributes.get(Attr.COST_NANO))
    if isinstance(nano, int):
        return usd(nano)
    return "unpriced" if span.attributes.get(Attr.PRICE_KNOWN) is False else ""


def _told(span: Span) -> str:
    """The one thing about a span that explains it."""
    about = span.attributes
    if span.name.startswith("chat "):
        return _call(span)
    if Attr.VERDICT in about:
        kind = VerdictKind(str(about[Attr.VERDICT]))
        return f"{VERDICT_STYLE[kind]} by {about[Attr.RUNG]}: {_short(about.get(Attr.VERDICT_REASON, ''))}"
    if Attr.STEP_TIERS in about and isinstance(tiers := about[Attr.STEP_TIERS], list):
        return " → ".join(f"[{TIER_STYLE[Tier(tier)]}]{tier}[/]" for tier in tiers)
    if Attr.ATTEMPT_OUTCOME in about:
        again = f", delivery {about[Attr.DELIVERIES]}" if about.get(Attr.DELIVERIES, 1) != 1 else ""
        return f"attempt {about[Attr.ATTEMPT]}: {about[Attr.ATTEMPT_OUTCOME]}{again}"
    if Attr.PLAN_FALLBACK in about:
        return f"no plan: {_short(about[Attr.PLAN_FALLBACK])}"
    if span.name.startswith("process ") and Attr.PLAN_STEPS in about:
        how = ", repaired" if about.get(Attr.PLAN_REPAIRED) else ""
        how += f", the plan of run {about[Attr.PLAN_REUSED_FROM]} adapted" if Attr.PLAN_REUSED_FROM in about else ""
        return f"{about[Attr.PLAN_STEPS]} steps{how}"
    if span.name.startswith("process ") and Attr.ROUTE_CAUSE in about:
        return f"{about[Attr.ROUTE]}: {_short(about[Attr.ROUTE_CAUSE])}"
    return ""


def _call(span: Span) -> str:
    about = span.attributes
    charged = ", charged by estimate" if about.get(Attr.COST_ESTIMATED) and Attr.COST_NANO in about else ""
    if about[Attr.CALL_STATUS] == CallStatus.STARTED:
        return f"[cyan]open[/cyan]{charged}"
    if span.error is not None:
        return f"[red]{about[Attr.CALL_STATUS]}[/red]: {_short(span.error)}{charged}"
    cached = about.get(Attr.USAGE_CACHE_READ)
    read = f" ({cached} from the cache)" if cached else ""
    return f"{about[Attr.USAGE_INPUT]} tokens in{read}, {about[Attr.USAGE_OUTPUT]} out"


def _short(text: object) -> str:
    return escape(short(str(text), SHORT_CHARS))
