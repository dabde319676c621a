"""Commands about money: costs, tiers."""

import csv
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from tierbus.bus.client import client
from tierbus.cli import explained
from tierbus.cli.output import Exit, fail, out, percent, run, usd
from tierbus.contracts import CallRecorded, CallStatus, Tier, Usage, spent
from tierbus.errors import Misconfigured
from tierbus.pricing.cost import rates
from tierbus.settings import Settings
from tierbus.tiers.catalog import ModelSpec, load, names

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class By(StrEnum):
    """What the bill is split by."""

    TIER = "tier"
    ROLE = "role"
    MODEL = "model"
    TENANT = "tenant"
    DAY = "day"


_KEYS: dict[By, Callable[[CallRecorded], str]] = {
    By.TIER: lambda call: call.tier.value,
    By.ROLE: lambda call: call.role.value,
    By.MODEL: lambda call: call.model,
    By.TENANT: lambda call: call.tenant,
    By.DAY: lambda call: datetime.fromtimestamp(call.started_at, UTC).date().isoformat(),
}
_FIELDS = (
    "calls",
    "failed",
    "interrupted",
    "unpriced",
    "open",
    "input",
    "output",
    "cache_read",
    "cache_write",
)


def costs(
    by: Annotated[By | None, typer.Option("--by", help="What to split the bill by; tier unless given.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Only this tenant.")] = "*",
    days: Annotated[float | None, typer.Option("--days", help="Only the last so many days, above 0.")] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what was saved by what, and what was spent on what.")
    ] = False,
) -> None:
    """Print the bill from the ledger: every call, failed and interrupted ones included."""

    async def work() -> list[CallRecorded]:
        async with client(Settings.read()) as bus:
            return [call async for call in bus.ledger(f"tierbus.ledger.{tenant}.>")]

    if days is not None and not days > 0:
        fail(f"--days {days:g} must be above 0", Exit.USAGE, as_json=as_json)
    if as_json and as_csv:
        fail("--json and --csv are two ways to print the same: give one", Exit.USAGE, as_json=True)
    since = time.time() - days * 86400 if days is not None else 0.0
    if explain:
        if by is not None:
            fail(f"--explain splits the bill its own way, not --by {by}", Exit.USAGE, as_json=as_json)
        _explain(tenant, since, as_json=as_json, as_csv=as_csv)
        return
    by = by or By.TIER
    rows = summed([call for call in run(work(), as_json=as_json) if call.started_at >= since], by)
    if as_json:
        print(json.dumps({"by": by.value, "rows": rows, "cost_nano_usd": sum(row["cost_nano_usd"] for row in rows)}))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, fieldnames=[by.value, *_FIELDS, "cost_nano_usd", "cost_usd"])
        writer.writeheader()
        writer.writerows({**row, "cost_usd": f"{row['cost_nano_usd'] / 1e9:.9f}"} for row in rows)
    else:
        _print(rows, by)


def _explain(tenant: str, since: float, *, as_json: bool, as_csv: bool) -> None:
    if as_csv:
        fail("--explain prints a table or --json, no CSV", Exit.USAGE)
    try:
        settings = Settings.read()
        catalog = load(settings.tiers)
    except Misconfigured as error:
        fail(str(error), Exit.MISCONFIGURED, as_json=as_json)

    async def work() -> explained.Material:
        async with client(settings) as bus:
            return await explained.material(bus, tenant, since)

    found = explained.explained(run(work(), as_json=as_json), catalog)
    if as_json:
        print(json.dumps(explained.as_json(found)))
        return
    out.print(explained.drawn(found))
    for note in explained.notes(found):
        out.print(note, soft_wrap=True)


def summed(calls: list[CallRecorded], by: By) -> list[dict[str, Any]]:
    """One row a group, dearest first."""
    groups: defaultdict[str, list[CallRecorded]] = defaultdict(list)
    for call in calls:
        groups[_KEYS[by](call)].append(call)
    rows = [_sum(by, name, group) for name, group in groups.items()]
    return sorted(rows, key=lambda row: (-row["cost_nano_usd"], row[by.value]))


def _sum(by: By, name: str, calls: list[CallRecorded]) -> dict[str, Any]:
    def count(status: CallStatus) -> int:
        return sum(call.status is status for call in calls)

    return {
        by.value: name,
        "calls": len(calls),
        "failed": count(CallStatus.FAILED),
        "interrupted": count(CallStatus.INTERRUPTED),
        "unpriced": sum(call.cost_nano_usd is None for call in calls),
        "open": count(CallStatus.STARTED),
        **Usage.total(call.usage for call in calls).model_dump(),
        "cost_nano_usd": spent(calls),
    }


def _print(rows: list[dict[str, Any]], by: By) -> None:
    total = sum(row["cost_nano_usd"] for row in rows)
    table = Table(title=f"Cost by {by.value}", title_justify="left")
    table.add_column(by.value, overflow="fold")
    for name in (*_FIELDS, "cost", "share"):
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(
            row[by.value],
            *(f"{row[name]:,}" for name in _FIELDS),
            usd(row["cost_nano_usd"]),
            percent(row["cost_nano_usd"], total),
        )
    table.add_row("total", *([""] * len(_FIELDS)), usd(total), "", style="bold")
    out.print(table)
    if any(row["unpriced"] for row in rows):
        out.print("[red]Some calls have no known price: the true cost is higher than shown.[/red]")


def tiers(
    name: Annotated[str | None, typer.Argument(help="A tier file; without it, the one in force.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All tier files that come with Tierbus.")] = False,
    as_json: Json = False,
) -> None:
    """Print tier files with their models, prices and limits."""
    wanted = names() if every else [name or Settings.read().tiers]
    try:
        catalogs = [load(each) for each in wanted]
    except Misconfigured as error:
        fail(str(error), Exit.MISCONFIGURED, as_json=as_json)
    rows = [
        {"file": catalog.name, "tier": tier.value, **_model(spec)}
        for catalog in catalogs
        for tier in Tier
        for spec in catalog.tiers[tier]
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for catalog in catalogs:
        table = Table(title=f"{catalog.name}: {catalog.about}", title_justify="left")
        columns = (
            "tier",
            "model",
            "provider",
            "price",
            "window",
            "max_output",
            "concurrency",
            "requests_per_min",
            "tokens_per_min",
        )
        for column in columns:
            table.add_column(
                column.replace("_", " "), justify="right" if column in columns[4:] else "left", overflow="fold"
            )
        for row in rows:
            if row["file"] == catalog.name:
                table.add_row(*(_cell(row[column]) for column in columns))
        out.print(table)
    out.print("Prices are dollars per million tokens: in / out / cache read.")


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _model(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model": spec.id,
        "provider": spec.provider,
        "price": price_text(spec),
        "window": spec.context_window,
        "max_output": spec.max_output,
        "concurrency": spec.limits.concurrency,
        "requests_per_min": spec.limits.requests_per_min,
        "tokens_per_min": spec.limits.tokens_per_min,
    }


def price_text(spec: ModelSpec) -> str:
    """A model's price as a person reads it."""
    if spec.price == "free":
        return "free"
    hourly = getattr(spec.price, "usd_per_hour", None)
    if hourly is not None:
        return f"${hourly} an hour"
    found = rates(spec, time.time())
    if found is None:
        return "no price known"
    return " / ".join("–" if part is None else f"{part.normalize():f}" for part in found)
