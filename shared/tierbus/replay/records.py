"""Recorded answers as they stand in a file. FORMAT.md says what every field means; the reader refuses everything else."""

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tierbus.replay.errors import BadRecords

SPLITS = ("train", "test")
_SHOWN = 60
"""Characters of a wrong value that an error shows."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a model answered, whether it was right, and what that cost."""

    correct: bool | None
    answer: str | None
    response: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A task with the answers of several models."""

    id: str
    task: str
    group: str | None
    split: str
    prompt: str
    gold: str | None
    outputs: dict[str, Output]


class _Kind(NamedTuple):
    """What a field may hold, and how to say it."""

    name: str
    fits: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_TEXT = _Kind("a string", _text)
_TEXT_OR_NULL = _Kind("a string or null", _or_null(_text))
_COUNT = _Kind("an integer of at least 0, or null", _or_null(_count))
_AMOUNT = _Kind("a number of at least 0, or null", _or_null(_amount))
_ROW = {
    "id": _Kind("a string that is not empty", lambda value: _text(value) and value != ""),
    "task": _TEXT,
    "group": _TEXT_OR_NULL,
    "split": _Kind('"train" or "test"', lambda value: value in SPLITS),
    "prompt": _TEXT,
    "gold": _TEXT_OR_NULL,
    "outputs": _Kind("an object that is not empty", lambda value: isinstance(value, dict) and bool(value)),
}
_OUTPUT = {
    "correct": _Kind("true, false or null", lambda value: value is None or isinstance(value, bool)),
    "answer": _TEXT_OR_NULL,
    "response": _TEXT_OR_NULL,
    "input_tokens": _COUNT,
    "output_tokens": _COUNT,
    "cost_usd": _AMOUNT,
    "latency_s": _AMOUNT,
}


def read(path: Path) -> list[Row]:
    """All rows of a file, `.jsonl` or `.gz`.

    Raises:
        BadRecords: the file cannot be read, is empty, or a line is not as FORMAT.md says.
    """
    rows: list[Row] = []
    first: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        row = _row(_object(line, where), where)
        if row.id in first:
            raise BadRecords(f"{where}: id {row.id!r} stands on line {first[row.id]} already")
        first[row.id] = number
        rows.append(row)
    if not rows:
        raise BadRecords(f"{path}: no line in it")
    return rows


def write(path: Path, rows: Iterable[Row]) -> int:
    """Write rows, compressed if the name ends in `.gz`; how many there were. The file is there whole or not at all.

    Raises:
        BadRecords: the file cannot be written, or making the rows raised it.
    """
    part = path.with_name(f".part-{path.name}")
    written = 0
    try:
        with _opened(part, "wt") as file:
            for row in rows:
                file.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")
                written += 1
        part.replace(path)
    except OSError as error:
        raise BadRecords(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _opened(path: Path, mode: Literal["rt", "wt"]) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, mode, encoding="utf-8", newline="\n")
    return path.open(mode, encoding="utf-8", newline="\n")


def _lines(path: Path) -> Iterator[str]:
    try:
        with _opened(path, "rt") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise BadRecords(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise BadRecords(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except ValueError as error:
        raise BadRecords(f"{where}: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRecords(f"{where}: {type(value).__name__} instead of an object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _row(value: dict[str, Any], where: str) -> Row:
    _check(value, _ROW, where, "")
    outputs = {}
    for model, output in value["outputs"].items():
        field = f"outputs.{model}"
        if not isinstance(output, dict):
            raise BadRecords(f"{where}: {field} is {_shown(output)}, not an object")
        _check(output, _OUTPUT, where, f"{field}.")
        outputs[model] = Output(**output)
    return Row(**{**value, "outputs": outputs})


def _check(value: dict[str, Any], kinds: dict[str, _Kind], where: str, prefix: str) -> None:
    for name, kind in kinds.items():
        if name not in value:
            raise BadRecords(f"{where}: no field {prefix}{name}")
        if not kind.fits(value[name]):
            raise BadRecords(f"{where}: {prefix}{name} is {_shown(value[name])}, not {kind.name}")
    unknown = sorted(value.keys() - kinds.keys())
    if unknown:
        raise BadRecords(f"{where}: unknown field {prefix}{unknown[0]}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
