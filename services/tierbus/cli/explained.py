"""`tierbus costs --explain`: reading what it needs from the bus, and drawing it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from tierbus.bus.client import Client
from tierbus.cli.output import percent, usd
from tierbus.contracts import CallRecorded, Result
from tierbus.pricing.explain import Explained, Overhead, Saving, Told, explain, plan_costs
from tierbus.pricing.quotes import Quotes
from tierbus.result import BASELINE_METHOD, result_of
from tierbus.tiers.catalog import Catalog

SAVINGS = {
    Saving.ROUTING: "routing: direct tasks on cheaper tiers",
    Saving.PLANNING: "planning: steps of plans on cheaper tiers",
    Saving.RESULT_CACHE: "result cache: answers taken over",
    Saving.PLAN_REUSE: "plan reuse: plans not made again",
    Saving.PROMPT_CACHE: "prompt cache: reads, less what writes cost more",
    Saving.BASELINE_PROMPT_CACHE: "prompt cache that the baseline has too",
    Saving.BATCH: "batch",
}
OVERHEADS = {
    Overhead.ROUTER: "router",
    Overhead.PLANNER: "planner",
    Overhead.REVIEWER: "reviewer",
    Overhead.ESCALATIONS: "escalations: answers not used",
    Overhead.UNFINISHED: "interrupted, failed and open calls",
    Overhead.SHADOW: "shadows: cheap paths that are only judged",
    Overhead.WATCH: "quality watch",
    Overhead.NOT_SUCCEEDED: "tasks that did not succeed",
    Overhead.NO_BASELINE: "answers without a known baseline",
    Overhead.NO_RESULT: "tasks without a known result",
}
TOLD = {
    Told.UNPRICED_CALLS: "calls have no known price and are in no line: the true cost is higher than shown",
    Told.ANSWERS_WITHOUT_BASELINE: "answers have no known baseline: what they saved is not shown",
    Told.TASKS_WITHOUT_RESULT: "tasks run still, or ended so long ago that their result is no longer kept",
    Told.CALLS_NOT_SPLIT: "calls are priced otherwise by the tier file in force: what cache and batch took off them is not told apart",
    Told.PLANS_OF_UNKNOWN_COST: "plans were used again whose cost is not known",
}
KEPT = "Answers taken over cost no call; they are known as long as their results are kept (72 hours)."


class Material(NamedTuple):
    """The calls in question, what is known of how their tasks ended, and what plans had cost."""

    calls: list[CallRecorded]
    results: list[Result]
    plans: dict[str, int | None]


async def material(bus: Client, tenant: str, since: float) -> Material:
    """What was called since then, and the results: from the events, else from the runs' states."""
    every = [call async for call in bus.ledger(f"tierbus.ledger.{tenant}.>")]
    calls = [call for call in every if call.started_at >= since]
    told: dict[str, Result] = {}
    async for event in bus.events(f"tierbus.event.{tenant}.*.result"):
        if isinstance(event, Result):
            told[event.run] = event
    runs = {call.run for call in calls}
    for identity in sorted(runs - set(told)):
        run = await bus.run(identity)
        if run is not None and run.status is not None:
            told[identity] = result_of(run)
    results = [result for result in told.values() if result.run in runs or result.at >= since]
    return Material(calls, results, plan_costs(every))


def explained(given: Material, catalog: Catalog) -> Explained:
    """The explanation of a bill by a tier file."""
    quotes = Quotes(catalog)
    return explain([(call, quotes.of(call)) for call in given.calls], given.results, given.plans)


def as_json(found: Explained) -> dict[str, Any]:
    """For programs: every part, also those that are 0."""
    return {
        "baseline_nano_usd": found.baseline_nano_usd,
        "baseline_method": BASELINE_METHOD,
        "savings_nano_usd": {saving.value: amount for saving, amount in found.savings.items()},
        "overheads_nano_usd": {overhead.value: amount for overhead, amount in found.overheads.items()},
        "cost_nano_usd": found.spent_nano_usd,
        "told": {what.value: count for what, count in found.told.items()},
    }


def drawn(found: Explained) -> Table:
    """For a person: from the baseline down to what was spent, without the parts that are 0."""
    table = Table(title="From all on the frontier to what was spent", title_justify="left", box=box.SIMPLE)
    table.add_column("part")
    table.add_column("amount", justify="right")
    table.add_column("of baseline", justify="right")
    whole = found.baseline_nano_usd
    table.add_row("all on the frontier (baseline)", usd(whole), "", style="bold")
    _add(table, "-", ((SAVINGS[saving], -amount) for saving, amount in found.savings.items()), whole)
    _add(table, "+", ((OVERHEADS[overhead], amount) for overhead, amount in found.overheads.items()), whole)
    table.add_row(
        "spent (the ledger's sum)", usd(found.spent_nano_usd), percent(found.spent_nano_usd, whole), style="bold"
    )
    return table


def _add(table: Table, sign: str, parts: Iterable[tuple[str, int]], whole: int) -> None:
    for name, amount in parts:
        if amount:
            dollars = f"{'-' if amount < 0 else '+'}{usd(abs(amount))}"
            table.add_row(f"{sign} {name}", dollars, percent(amount, whole))


def notes(found: Explained) -> list[str]:
    """What the table does not hold, and how the baseline is reckoned."""
    told = [f"{count} {TOLD[what]}." for what, count in found.told.items() if count]
    return [*told, f"Baseline: {BASELINE_METHOD}.", KEPT]
