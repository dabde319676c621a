"""RouterBench's table (Hu et al. 2024, arXiv 2403.12031) as recorded answers.

It is one line a task: `sample_id`, `prompt`, `eval_name`, `oracle_model_to_route_to`, and for every model `<model>` (a
score from 0 to 1), `<model>|model_response` and `<model>|total_cost` (dollars). It is published as a pickle of a pandas
frame. A pickle runs code when it is read, so none is read here: save it as CSV or JSONL where you trust it.
"""

import csv
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal
from zlib import crc32

from tierbus.replay.errors import BadRecords
from tierbus.replay.records import Output, Row

RIGHT = 0.5
"""A score of at least this counts as right; most scores are 0 or 1."""
_COST, _RESPONSE = "|total_cost", "|model_response"
_TASK = ("sample_id", "prompt", "eval_name")
_TRAIN_SHARE = 0.6
_SUBJECTS = "mmlu"
_LARGEST_CELL = 1 << 27
HOW = (
    "save it as CSV where you trust it: "
    "python -c \"import pandas; pandas.read_pickle('routerbench.pkl').to_csv('routerbench.csv', index=False)\""
)


def convert(path: Path) -> Iterator[Row]:
    """The rows of a table, `.csv` or `.jsonl`, each also with `.gz`.

    A task's class is its `eval_name`, the subjects of MMLU being one class; its group is the `eval_name`. Its split is train
    for 60 % of the ids, by a hash of the id.

    Raises:
        BadRecords: the file is a pickle, cannot be read, or is no such table; the text names line and column.
    """
    seen: dict[str, int] = {}
    for number, cells in _table(path):
        where = f"{path}, line {number}"
        row = _row(cells, where)
        if row.id in seen:
            raise BadRecords(f"{where}: sample_id {row.id!r} stands on line {seen[row.id]} already")
        seen[row.id] = number
        yield row
    if not seen:
        raise BadRecords(f"{path}: no line in it")


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in (".csv", ".jsonl"):
        about = (
            "a pickle runs code when it is read, so it is not read"
            if kind in (".pkl", ".pickle")
            else "no .csv or .jsonl"
        )
        raise BadRecords(f"{path}: {about}; {HOW}")
    try:
        with _opened(path, "rt") as file:
            yield from _csv(file, path) if kind == ".csv" else _jsonl(file, path)
    except (OSError, EOFError) as error:
        raise BadRecords(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise BadRecords(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _opened(path: Path, mode: Literal["rt"]) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, mode, encoding="utf-8", newline="")
    return path.open(mode, encoding="utf-8", newline="")


def _csv(file: IO[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        reader = csv.DictReader(file, strict=True)
        for cells in reader:
            if None in cells or None in cells.values():
                raise BadRecords(
                    f"{path}, line {reader.line_num}: {len(reader.fieldnames or ())} columns are named, not as many given"
                )
            yield reader.line_num, {name: value if value != "" else None for name, value in cells.items()}
    except csv.Error as error:
        raise BadRecords(f"{path}, line {reader.line_num}: no CSV: {error}") from error
    finally:
        csv.field_size_limit(before)


def _jsonl(file: IO[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise BadRecords(f"{path}, line {number}: no JSON: {error}") from error
        if not isinstance(cells, dict):
            raise BadRecords(f"{path}, line {number}: {type(cells).__name__} instead of an object")
        yield number, cells


def _row(cells: dict[str, Any], where: str) -> Row:
    for name in _TASK:
        if not isinstance(cells.get(name), str):
            raise BadRecords(f"{where}: no text in column {name!r}")
    models = [name.removesuffix(_COST) for name in cells if name.endswith(_COST)]
    if not models:
        raise BadRecords(f"{where}: no column ends in {_COST!r}, so there is no model in the table")
    name = cells["eval_name"]
    return Row(
        id=cells["sample_id"],
        task=_SUBJECTS if name.startswith(_SUBJECTS) else name,
        group=name,
        split="train" if crc32(cells["sample_id"].encode()) / 2**32 < _TRAIN_SHARE else "test",
        prompt=cells["prompt"],
        gold=None,
        outputs={model: _output(cells, model, where) for model in models},
    )


def _output(cells: dict[str, Any], model: str, where: str) -> Output:
    if model not in cells:
        raise BadRecords(f"{where}: there is a column {model + _COST!r}, but no column {model!r} with its score")
    score = _number(cells[model], model, where)
    response = cells.get(model + _RESPONSE)
    return Output(
        correct=None if score is None else score >= RIGHT,
        answer=None,
        response=response if response is None else str(response),
        input_tokens=None,
        output_tokens=None,
        cost_usd=_number(cells[model + _COST], model + _COST, where),
        latency_s=None,
    )


def _number(cell: Any, column: str, where: str) -> float | None:
    """A number of at least 0; an empty cell is None."""
    if cell is None:
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BadRecords(f"{where}: {cell!r} in column {column!r} is no number of at least 0")
    return value
