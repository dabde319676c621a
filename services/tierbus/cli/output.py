"""How the command line speaks: one clear line for an error, a documented exit code, JSON where a script wants it."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from decimal import Decimal
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console

from tierbus.contracts import NANO, Tier
from tierbus.errors import Misconfigured, Rejected, TierbusError, Unavailable

T = TypeVar("T")
PIPED_WIDTH = 132
out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, highlight=False)

TIER_STYLE = {Tier.SMALL: "green", Tier.MID: "yellow", Tier.FRONTIER: "magenta"}


class Exit(IntEnum):
    """Exit codes: what a script can tell apart."""

    OK = 0
    NOT_SUCCEEDED = 1
    USAGE = 2
    REJECTED = 3
    NO_BUS = 4
    TIMEOUT = 5
    MISCONFIGURED = 6


def fail(message: str, code: Exit, *, as_json: bool = False) -> NoReturn:
    """Say what is wrong in one line and end."""
    if as_json:
        print(json.dumps({"error": message, "exit": code.name.lower()}))
    else:
        err.print(f"[red]error:[/red] {message}", soft_wrap=True, markup=True) if "[" not in message else err.print(
            f"error: {message}", soft_wrap=True, markup=False
        )
    raise typer.Exit(int(code))


def run(work: Coroutine[Any, Any, T], *, as_json: bool = False) -> T:
    """Run a command's work; errors of ours become one line and an exit code."""
    try:
        return asyncio.run(work)
    except Rejected as error:
        fail(str(error), Exit.REJECTED, as_json=as_json)
    except Unavailable as error:
        hint = " (start one with `tierbus up`, or set TIERBUS_NATS_URL)" if "no bus at" in str(error) else ""
        fail(f"{error}{hint}", Exit.NO_BUS, as_json=as_json)
    except Misconfigured as error:
        fail(str(error), Exit.MISCONFIGURED, as_json=as_json)
    except TierbusError as error:
        fail(str(error), Exit.NOT_SUCCEEDED, as_json=as_json)
    except KeyboardInterrupt:
        sys.exit(130)


def usd(nano_usd: int | None, places: int = 6) -> str:
    """Dollars as a person reads them; an unknown price is never $0."""
    return "unpriced" if nano_usd is None else f"${Decimal(nano_usd) / NANO:.{places}f}"


def percent(part: float, whole: float) -> str:
    """A share, or a dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def tier_path(tiers: tuple[Tier, ...] | list[Tier]) -> str:
    """A tier path with its colours."""
    return " → ".join(f"[{TIER_STYLE[tier]}]{tier}[/{TIER_STYLE[tier]}]" for tier in tiers) or "–"
