"""The command `report`: what tasks cost, what they would have cost, and how well they were done."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tierbus.bus.client import Client, client
from tierbus.cli.output import Exit, fail, out, run
from tierbus.cli.reporting.figures import Figures, Period, figures
from tierbus.cli.reporting.page import page
from tierbus.cli.reporting.terminal import show
from tierbus.contracts import CallRecorded, Result, TaskRejected
from tierbus.settings import Settings

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([mhd])", re.ASCII)
_UNIT_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}|\*")
_WEB = re.compile(r"https?://[^\s/]+\S*")


def report(
    since: Annotated[str, typer.Option("--since", help="30m, 12h, 7d, or an ISO date (UTC without a zone).")] = "7d",
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Only this tenant.")] = "*",
    html: Annotated[Path | None, typer.Option("--html", help="Write one HTML page that needs nothing else.")] = None,
    jaeger: Annotated[str | None, typer.Option("--jaeger", help="Link trace ids to this address.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="A line to print on top.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Report spend, saving against the frontier alone, and quality; on the terminal or as a page."""
    now = time.time()
    try:
        period = Period.of(beginning(since, now), now)
        _check(tenant, jaeger, html)
    except ValueError as error:
        fail(str(error), Exit.USAGE, as_json=as_json)
    found = run(_read(period, tenant), as_json=as_json)
    if html is not None:
        try:
            html.write_text(page(found, note, jaeger), encoding="utf-8")
        except OSError as error:
            fail(_unwritable(html, error.strerror), Exit.USAGE, as_json=as_json)
    if as_json:
        print(found.model_dump_json())
    elif html is not None:
        print(html)
    else:
        show(found, out, note)


def beginning(since: str, now: float) -> float:
    """Unix seconds of `30m`, `12h`, `7d` before now, or of an ISO date.

    Raises:
        ValueError: it is neither, or not before now.
    """
    span = _DURATION.fullmatch(since)
    try:
        at = now - float(span.group(1)) * _UNIT_S[span.group(2)] if span else _iso(since)
    except ValueError:
        raise ValueError(
            f"--since {since!r} is neither a duration such as 30m, 12h or 7d nor an ISO date such as 2026-03-01"
        ) from None
    if at >= now:
        raise ValueError(f"--since {since!r} is not before now: the period would be empty")
    if at < 0:
        raise ValueError(f"--since {since!r} is before 1970")
    return at


def _iso(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _check(tenant: str, jaeger: str | None, html: Path | None) -> None:
    """Refuse before the bus is asked what would be refused after.

    Raises:
        ValueError: a value that cannot be used, named.
    """
    if not _TENANT.fullmatch(tenant):
        raise ValueError(f"--tenant {tenant!r} may have letters, digits, _ and - only")
    if jaeger is not None and not _WEB.fullmatch(jaeger):
        raise ValueError(f"--jaeger {jaeger!r} is not an address that begins with http:// or https://")
    if html is not None and not html.parent.is_dir():
        raise ValueError(_unwritable(html, f"there is no folder {str(html.parent)!r}"))


def _unwritable(html: Path, why: str | None) -> str:
    return f"--html {str(html)!r} cannot be written: {why}"


async def _read(period: Period, tenant: str) -> Figures:
    """Results before the ledger: then the calls of every result that was read are there."""
    async with client(Settings.read()) as bus:
        results, rejected = await _ends(bus, tenant)
        calls: list[CallRecorded] = [call async for call in bus.ledger(f"tierbus.ledger.{tenant}.>")]
        watched = [one async for one in bus.measured(tenant)]
        said = [one async for one in bus.feedback(tenant)]
    return figures(calls, results, rejected, period, None if tenant == "*" else tenant, watched, said)


async def _ends(bus: Client, tenant: str) -> tuple[list[Result], list[TaskRejected]]:
    events = [event async for event in bus.events(f"tierbus.event.{tenant}.*.result")]
    events += [event async for event in bus.events(f"tierbus.event.{tenant}.*.rejected")]
    return (
        [event for event in events if isinstance(event, Result)],
        [event for event in events if isinstance(event, TaskRejected)],
    )
