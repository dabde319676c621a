"""RouterBench's table as recorded answers."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tierbus.replay.errors import BadRecords
from tierbus.replay.records import read, write
from tierbus.replay.routerbench import convert

LINE = {
    "sample_id": "mmlu-law.val.1",
    "prompt": "['Which?\\nA) this']",
    "eval_name": "mmlu-law",
    "acme/small": "0.0",
    "large": "1.0",
    "acme/small|model_response": "['B']",
    "large|model_response": "",
    "acme/small|total_cost": "6.2e-05",
    "large|total_cost": "",
    "oracle_model_to_route_to": "large",
}


def table(folder: Path, lines: Sequence[Mapping[str, object]], name: str = "table.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_a_line_becomes_a_task_with_every_models_worth_text_and_cost(tmp_path: Path) -> None:
    [row] = convert(table(tmp_path, [LINE]))
    small, large = row.outputs["acme/small"], row.outputs["large"]

    assert (row.id, row.task, row.group, row.gold) == ("mmlu-law.val.1", "mmlu", "mmlu-law", None)
    assert row.prompt == LINE["prompt"]
    assert (small.correct, small.response, small.cost_usd, small.answer) == (False, "['B']", 6.2e-05, None)
    assert (large.correct, large.response, large.cost_usd) == (True, None, None)


def test_what_is_converted_is_in_the_documented_format(tmp_path: Path) -> None:
    lines = [{**LINE, "sample_id": f"gsm.{at}", "eval_name": "gsm"} for at in range(300)]

    write(tmp_path / "out.jsonl.gz", convert(table(tmp_path, lines)))
    rows = read(tmp_path / "out.jsonl.gz")

    assert len(rows) == 300
    assert rows[0].task == rows[0].group == "gsm"
    assert 0.5 < sum(row.split == "train" for row in rows) / 300 < 0.7


def test_csv_and_jsonl_plain_and_compressed_are_the_same(tmp_path: Path) -> None:
    plain = table(tmp_path, [LINE])
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    cells: dict[str, Any] = {
        **LINE,
        "acme/small": 0.0,
        "large": 1.0,
        "large|total_cost": None,
        "large|model_response": None,
    }
    lines = tmp_path / "table.jsonl"
    lines.write_text(json.dumps(cells) + "\n", encoding="utf-8")

    rows = [list(convert(path)) for path in (plain, packed, lines)]

    assert rows[0] == rows[1] == rows[2]


def test_a_score_of_a_half_or_more_is_right_and_an_empty_one_unknown(tmp_path: Path) -> None:
    scores = ("0.4", "0.5", "")
    lines = [{**LINE, "sample_id": score, "large": score} for score in scores]
    lines[2]["sample_id"] = "none"

    assert [row.outputs["large"].correct for row in convert(table(tmp_path, lines))] == [False, True, None]


@pytest.mark.parametrize("name", ["routerbench_0shot.pkl", "routerbench.pkl.gz", "a.pickle"])
def test_a_pickle_is_never_read_and_the_error_says_how_to_save_it_as_csv(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRecords, match=r"runs code when it is read.*to_csv"):
        list(convert(tmp_path / name))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"large|total_cost": "cheap"}, "line 2: 'cheap' in column 'large|total_cost' is no number"),
        ({"large|total_cost": "-1"}, "'-1' in column"),
        ({"large": "inf"}, "'inf' in column 'large'"),
        ({"sample_id": ""}, "no text in column 'sample_id'"),
    ],
)
def test_a_wrong_cell_is_named_with_line_and_column(tmp_path: Path, changed: dict[str, str], told: str) -> None:
    with pytest.raises(BadRecords) as caught:
        list(convert(table(tmp_path, [{**LINE, **changed}])))

    assert told in str(caught.value)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    without_cost = {name: value for name, value in LINE.items() if not name.endswith("total_cost")}
    without_score = {name: value for name, value in LINE.items() if name != "large"}

    with pytest.raises(BadRecords, match=r"no column ends in '\|total_cost'"):
        list(convert(table(tmp_path, [without_cost])))
    with pytest.raises(BadRecords, match="but no column 'large' with its score"):
        list(convert(table(tmp_path, [without_score])))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", "", "no line in it"),
        ("t.csv", "a,b\n1\n", "line 2: 2 columns are named, not as many given"),
        ("t.csv", 'a,b\n1,"2', "no CSV"),
        ("t.jsonl", "{\n", "line 1: no JSON"),
        ("t.jsonl", "[]\n", "line 1: list instead of an object"),
        ("t.parquet", "", "no .csv or .jsonl"),
        ("t.csv.gz", "plain", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")

    with pytest.raises(BadRecords) as caught:
        list(convert(tmp_path / name))

    assert told in str(caught.value)


def test_an_id_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecords, match=r"line 3: sample_id 'mmlu-law\.val\.1' stands on line 2 already"):
        list(convert(table(tmp_path, [LINE, LINE])))
