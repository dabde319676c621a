"""Turning command-line options into a task as it goes on the bus. Checks form only; what the task says, the router checks."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def deadline(text: str) -> float:
    """Unix seconds of `90s`, `15m`, `2h`, `1d` from now, or of an ISO date with time.

    Raises:
        typer.BadParameter: it is neither.
    """
    found = _DURATION.fullmatch(text)
    if found:
        return time.time() + float(found.group(1)) * _UNIT_S[found.group(2)]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a duration such as 15m nor an ISO date") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def attachment(text: str) -> dict[str, Any]:
    """An attachment from `PATH` or `NAME=PATH`.

    Raises:
        typer.BadParameter: the file cannot be read as text.
    """
    name, _, path = text.rpartition("=")
    file = Path(path)
    return {"name": name or file.name, "content": {"text": _read(file)}}


def schema(path: Path) -> Any:
    """A JSON document from a file.

    Raises:
        typer.BadParameter: it cannot be read or is not JSON.
    """
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}") from None


def prompt(given: str | None, file: Path | None) -> str:
    """The prompt from the argument, a file, or standard input for `-`.

    Raises:
        typer.BadParameter: none or both are given, or the file cannot be read.
    """
    if (given is None) == (file is None):
        raise typer.BadParameter("give either a PROMPT or --file")
    if file is not None:
        return _read(file)
    if given == "-":
        return typer.get_text_stream("stdin").read()
    return given or ""


def pairs(given: list[str]) -> dict[str, str]:
    """`KEY=VALUE` options.

    Raises:
        typer.BadParameter: one has no `=`.
    """
    for item in given:
        if "=" not in item:
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE")
    return dict(item.split("=", 1) for item in given)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} is not UTF-8 text") from None
