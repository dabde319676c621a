"""The demo: everything started, the scenario tasks published, live progress, then what it cost and what it saved."""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from tierbus.bus.client import Client, Published, client
from tierbus.cli.jaeger import NO_PAGE, has_page, shape, trace_url, wait_whole
from tierbus.cli.output import Exit, err, fail, out, percent, tier_path, usd
from tierbus.cli.show import STATUS_STYLE, bill, path_of, saving, step_tree
from tierbus.cli.stack import Stack, stop_when_told
from tierbus.contracts import (
    Message,
    Result,
    StepReviewed,
    StepStarted,
    TaskPlanned,
    TaskRouted,
    TaskStatus,
    VerdictKind,
)
from tierbus.errors import TierbusError
from tierbus.settings import Settings
from tierbus.testing.sim.script import Scenario, load_scenarios

TENANT = "demo"
PATIENCE_S = {"sim": 80.0, "local": 1500.0}
LIVE_PATIENCE_S = 900.0
TRACES_S = 10.0


@dataclass
class Row:
    """One task of the demo as it stands."""

    scenario: Scenario
    published: Published
    said: str = "published"
    verdicts: Counter[str] = field(default_factory=Counter)
    result: Result | None = None
    began: float = field(default_factory=time.monotonic)
    took_s: float = 0.0

    def hear(self, event: Message) -> None:
        """Take an event of this task."""
        match event:
            case TaskRouted():
                self.said = f"routed: {event.decision.route}"
            case TaskPlanned():
                self.said = f"planned: {len(event.steps)} steps"
            case StepStarted():
                self.said = f"{event.step} on {event.tier}"
            case StepReviewed():
                self.verdicts[event.verdict.kind] += 1
                self.said = f"{event.step} {event.verdict.kind} by {event.verdict.rung}"
            case Result():
                self.result = event
                self.took_s = time.monotonic() - self.began
                self.said = event.status


def demo(
    models: Annotated[str, typer.Option("--models", "-m", help="sim, local, anthropic, or a tier file.")] = "sim",
    only: Annotated[list[str] | None, typer.Option("--only", help="Just this scenario; repeat.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON at the end.")] = False,
    jaeger: Annotated[bool, typer.Option("--jaeger", help="Run a Jaeger too, and show each task's trace.")] = False,
) -> None:
    """Start everything, run the scenario tasks, show cost, baseline and saving, and stop everything."""
    scenarios = [scenario for scenario in load_scenarios() if not only or scenario.name in only]
    if not scenarios:
        fail(f"no scenario is called {', '.join(only or [])}", Exit.USAGE)
    stop_when_told()
    simulated = models == "sim"
    err.print(
        f"{'SIMULATED models (scripted answers, real prices)' if simulated else f'models: {models}'}; {len(scenarios)} tasks"
    )
    with tempfile.TemporaryDirectory(prefix="tierbus-demo-") as folder:
        log = Path(folder) / "services.log"
        with log.open("w", encoding="utf-8") as lines:
            try:
                with Stack(data=Path(folder), models=models, logs=lines, jaeger=jaeger) as stack:
                    rows = asyncio.run(_run(stack.settings, scenarios, PATIENCE_S.get(models, LIVE_PATIENCE_S)))
                    calls = asyncio.run(_ledger_total(stack.settings))
                    _print(rows, models, calls, as_json)
                    if stack.jaeger_url:
                        stack.stop_services()
                        _show_traces(rows, stack.jaeger_url, as_json)
            except TierbusError as error:
                err.print(log.read_text(encoding="utf-8")[-2000:], markup=False, end="")
                fail(str(error), Exit.MISCONFIGURED)
    missing = [row.scenario.name for row in rows if row.result is None]
    if missing:
        fail(f"no result of {', '.join(missing)}", Exit.TIMEOUT)


def _print(rows: list[Row], models: str, calls: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps([json.loads(row.result.model_dump_json()) for row in rows if row.result]))
    else:
        report(rows, models, calls)


def _show_traces(rows: list[Row], url: str, as_json: bool) -> None:
    """One line a task, from what Jaeger has; on a terminal Jaeger stays until somebody has looked."""
    console = err if as_json else out
    looked_at = sys.stdin.isatty() and console.is_terminal
    page = has_page(url)
    width = max(len(row.scenario.name) for row in rows)
    until = time.monotonic() + TRACES_S
    console.print("\n[bold]Traces[/bold]")
    for row in rows:
        if row.result is None or row.result.trace_id is None:
            continue
        told = str(shape(wait_whole(url, row.result.trace_id, until - time.monotonic())))
        if looked_at:
            told += f"  {trace_url(url, row.result.trace_id, page=page)}"
        console.print(f" {row.scenario.name:<{width}}  {told}", markup=False, soft_wrap=True)
    if looked_at:
        console.print(f"Jaeger: {url}{'' if page else f' ({NO_PAGE})'}; Enter or Ctrl-C stops it", soft_wrap=True)
        with suppress(KeyboardInterrupt):
            sys.stdin.readline()


async def _ledger_total(settings: Settings) -> int:
    async with client(settings) as bus:
        return sum([call.cost_nano_usd or 0 async for call in bus.ledger(f"tierbus.ledger.{TENANT}.>")])


async def _run(settings: Settings, scenarios: list[Scenario], patience_s: float) -> list[Row]:
    async with client(settings) as bus:
        rows = [await _publish(bus, scenario) for scenario in scenarios]
        with Live(_progress(rows), console=err, refresh_per_second=4, transient=not err.is_terminal) as live:
            await asyncio.gather(*(_follow(bus, row, rows, live, patience_s) for row in rows))
    return rows


async def _publish(bus: Client, scenario: Scenario) -> Row:
    body: dict[str, Any] = {**scenario.task_body(), "id": scenario.name}
    priority = body.get("priority", "normal")
    return Row(scenario, await bus.publish(body, TENANT, priority, scenario.name))


async def _follow(bus: Client, row: Row, rows: list[Row], live: Live, patience_s: float) -> None:
    async for event in bus.follow(row.published.subjects, patience_s):
        row.hear(event)
        live.update(_progress(rows))
        if row.result is not None:
            return


def _progress(rows: list[Row]) -> Table:
    done = sum(row.result is not None for row in rows)
    table = Table(title=f"{done} of {len(rows)} tasks ended", title_justify="left", box=None, padding=(0, 1))
    for name in ("task", "now"):
        table.add_column(name)
    for row in rows:
        style = STATUS_STYLE[row.result.status] if row.result else ""
        table.add_row(row.scenario.name, f"[{style}]{escape(row.said)}[/]" if style else escape(row.said))
    return table


def report(rows: list[Row], models: str, ledger_nano_usd: int) -> None:
    """Print what happened: the tasks, the totals by tier and role, and one task's steps."""
    results = [row.result for row in rows if row.result is not None]
    out.print(_tasks_table(rows, models))
    out.print("Verdicts: ✓ accepted, ✗ rejected and tried one tier up, ✗✗ failed.")
    if not results:
        return
    _print_totals(results, ledger_nano_usd)
    planned = [result for result in results if len(result.steps) > 1]
    example = max(planned or results, key=lambda result: (result.escalations, len(result.steps)))
    out.print("\n[bold]One task, step by step[/bold]")
    out.print(step_tree(example))
    if example.baseline:
        out.print(f"\nBaseline: {example.baseline.method}.", soft_wrap=True)


def _tasks_table(rows: list[Row], models: str) -> Table:
    note = "SIMULATED answers, list prices" if models == "sim" else models
    table = Table(title=f"Tasks ({note})", title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in ("task", "status", "route", "tier path", "verdicts"):
        table.add_column(name, no_wrap=name != "tier path")
    for name in ("time", "cost", "baseline", "saving"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        result = row.result
        if result is None:
            table.add_row(row.scenario.name, "[red]no result[/red]", *[""] * 7)
            continue
        table.add_row(
            row.scenario.name,
            f"[{STATUS_STYLE[result.status]}]{result.status}[/]",
            result.decision.route.value if result.decision else "–",
            tier_path(path_of(result)),
            _verdicts(row.verdicts),
            f"{row.took_s:.1f} s",
            usd(result.cost_nano_usd),
            usd(result.baseline.cost_nano_usd) if result.baseline else "–",
            saving(result),
        )
    return table


def _verdicts(counted: Counter[str]) -> str:
    marks = {VerdictKind.ACCEPT: "✓", VerdictKind.ESCALATE: "✗", VerdictKind.FAIL: "✗✗"}
    return " ".join(f"{counted[kind]}{mark}" for kind, mark in marks.items() if counted[kind]) or "–"


def _print_totals(results: list[Result], ledger_nano_usd: int) -> None:
    for title, key in (("Cost by tier", "cost_by_tier"), ("Cost by role", "cost_by_role")):
        groups: dict[str, list[int]] = {}
        for result in results:
            for name, cost in getattr(result, key).items():
                sums = groups.setdefault(str(name), [0, 0, 0, 0])
                sums[0] += cost.calls
                sums[1] += cost.usage.input
                sums[2] += cost.usage.output
                sums[3] += cost.cost_nano_usd
        out.print(bill(title, [(name, sums[0], sums[1], sums[2], sums[3]) for name, sums in groups.items()]))
    total = sum(result.cost_nano_usd for result in results)
    done = [result for result in results if result.status is TaskStatus.SUCCEEDED and result.baseline]
    baseline = sum(result.baseline.cost_nano_usd or 0 for result in done if result.baseline)
    same = "the same as" if ledger_nano_usd == total else "NOT the same as"
    out.print(
        f"{len(results)} tasks, {len(done)} succeeded, {usd(total)} spent: {same} the ledger's sum, {usd(ledger_nano_usd)}."
    )
    if baseline:
        out.print(
            f"The succeeded ones on the frontier tier alone: {usd(baseline)}; everything above, failures included: "
            f"{usd(total)}, a saving of {percent(baseline - total, baseline)}."
        )
    cached = sum(result.usage.cache_read for result in results)
    out.print(f"Cache reads: {cached:,} of {sum(result.usage.input for result in results):,} input tokens.")
