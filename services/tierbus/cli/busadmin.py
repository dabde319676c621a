"""Commands about the bus itself: bus apply, bus status, bus docs, dead list, dead show, dead redrive."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tierbus.bus import apply as bus_apply
from tierbus.bus.client import client
from tierbus.bus.docs import asyncapi
from tierbus.cli.output import Exit, fail, out, run
from tierbus.contracts import DeadLettered
from tierbus.settings import Settings

bus = typer.Typer(no_args_is_help=True, help="The bus: its streams and consumers.")
dead = typer.Typer(no_args_is_help=True, help="Messages that nobody could handle.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@bus.command("apply")
def apply(
    replicas: Annotated[
        int | None, typer.Option("--replicas", help="Copies of every stream; default TIERBUS_NATS_REPLICAS.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; report drift and exit 6 if there is any.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create or update streams and consumers; fails on what cannot be changed in place."""
    settings = Settings.read()
    copies = replicas or settings.nats_replicas

    async def work() -> list[str]:
        async with client(settings) as connection:
            if check:
                return [str(found) for found in await bus_apply.drift(connection.nc, replicas=copies)]
            return await bus_apply.apply(connection.nc, replicas=copies)

    lines = run(work(), as_json=as_json)
    if as_json:
        print(json.dumps({"drift" if check else "done": lines}))
    elif not check or not lines:
        out.print("\n".join(lines) or "everything is as declared", markup=False)
    if check and lines:
        fail("the bus differs from its declaration: " + "; ".join(lines), Exit.MISCONFIGURED, as_json=as_json)


@bus.command("status")
def status(as_json: Json = False) -> None:
    """Show what waits and what is being worked on, consumer by consumer."""

    async def work() -> list[dict[str, Any]]:
        async with client(Settings.read()) as connection:
            return await bus_apply.status(connection.nc)

    rows = run(work(), as_json=as_json)
    if as_json:
        print(json.dumps(rows))
        return
    table = Table()
    names = ("consumer", "filter", "waiting", "in_flight", "redelivered", "pulls_open", "error")
    for name in names:
        table.add_column(name.replace("_", " "), justify="left" if name in ("consumer", "filter", "error") else "right")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in names))
    out.print(table)


@bus.command("docs")
def docs(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.")] = None,
) -> None:
    """Print the AsyncAPI document of every message and subject, generated from the code."""
    text = asyncapi()
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf-8")


@dead.command("list")
def listed(as_json: Json = False) -> None:
    """List the dead letters, oldest first."""
    letters = run(_letters(), as_json=as_json)
    if as_json:
        print(json.dumps([_brief(letter) for letter in letters]))
        return
    table = Table()
    for name in ("id", "service", "reason", "from", "at", "error"):
        table.add_column(name)
    for letter in letters:
        brief = _brief(letter)
        table.add_row(*(brief[name] for name in ("id", "service", "reason", "from", "at")), brief["error"][:80])
    out.print(table)


@dead.command("show")
def show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="An id from `tierbus dead list`.")],
) -> None:
    """Print one dead letter whole, as JSON."""
    print(_find(identity, as_json=False).model_dump_json(indent=2, exclude_none=True))


@dead.command("redrive")
def redrive(
    identity: Annotated[str, typer.Argument(metavar="ID", help="An id from `tierbus dead list`.")],
    body: Annotated[
        Path | None, typer.Option("--body", help="Publish this file's text instead of the old body.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish a dead letter's message again where it came from."""
    letter = _find(identity, as_json=as_json)
    data = body.read_bytes() if body else _body(letter)

    async def work() -> None:
        async with client(Settings.read()) as connection:
            await connection.redrive(letter, data)

    run(work(), as_json=as_json)
    print(json.dumps({"redriven": identity, "to": letter.origin}) if as_json else f"published again on {letter.origin}")


async def _letters() -> list[DeadLettered]:
    async with client(Settings.read()) as connection:
        return [letter async for letter in connection.dead()]


def _find(identity: str, *, as_json: bool) -> DeadLettered:
    found = [letter for letter in run(_letters(), as_json=as_json) if _id(letter) == identity]
    if not found:
        fail(
            f"there is no dead letter {identity!r}; `tierbus dead list` shows them",
            Exit.USAGE,
            as_json=as_json,
        )
    return found[-1]


def _id(letter: DeadLettered) -> str:
    return f"{letter.stream}-{letter.sequence}"


def _body(letter: DeadLettered) -> bytes:
    return letter.body.encode() if letter.body is not None else base64.b64decode(letter.body_b64 or "")


def _brief(letter: DeadLettered) -> dict[str, str]:
    return {
        "id": _id(letter),
        "service": letter.service,
        "reason": letter.reason,
        "from": letter.origin,
        "at": datetime.fromtimestamp(letter.at, UTC).isoformat(timespec="seconds"),
        "error": letter.error,
    }
