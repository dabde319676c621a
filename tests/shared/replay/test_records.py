"""Reading and writing recorded answers."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.shared.replay.recorded import pairs

from tierbus.replay.errors import BadRecords
from tierbus.replay.records import read, write

OUTPUT = {
    "correct": True,
    "answer": "4",
    "response": "It is 4.",
    "input_tokens": 9,
    "output_tokens": 5,
    "cost_usd": 0.000004,
    "latency_s": None,
}
LINE = {
    "id": "sum-1",
    "task": "sums",
    "group": None,
    "split": "train",
    "prompt": "What is 2 + 2?",
    "gold": "4",
    "outputs": {"small": OUTPUT},
}


def saved(folder: Path, *lines: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in LINE.items() if name != field}


def output_with(**changed: Any) -> dict[str, Any]:
    return {**LINE, "outputs": {"small": {**OUTPUT, **changed}}}


def test_what_is_written_is_read_again_plain_and_compressed(tmp_path: Path) -> None:
    rows = pairs("bwsn")

    for name in ("rows.jsonl", "rows.jsonl.gz"):
        count = write(tmp_path / name, rows)

        assert (count, read(tmp_path / name)) == (4, rows)


def test_a_field_that_may_be_null_is_read_as_none(tmp_path: Path) -> None:
    nothing = dict.fromkeys(OUTPUT)
    [row] = read(saved(tmp_path, {**LINE, "gold": None, "outputs": {"small": nothing}}))

    assert row.outputs["small"].cost_usd is None
    assert row.gold is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (without("prompt"), "no field prompt"),
        ({**LINE, "extra": 1}, "unknown field extra"),
        ({**LINE, "id": ""}, 'id is "", not a string that is not empty'),
        ({**LINE, "split": "dev"}, 'split is "dev", not "train" or "test"'),
        ({**LINE, "split": []}, "split is [], not"),
        ({**LINE, "outputs": {}}, "outputs is {}, not an object that is not empty"),
        ({**LINE, "outputs": {"small": 7}}, "outputs.small is 7, not an object"),
        (output_with(correct=1), "outputs.small.correct is 1, not true, false or null"),
        (output_with(answer=4), "outputs.small.answer is 4, not a string or null"),
        (output_with(input_tokens=-1), "outputs.small.input_tokens is -1, not an integer"),
        (output_with(output_tokens=True), "outputs.small.output_tokens is true, not an integer"),
        (output_with(cost_usd="1"), 'outputs.small.cost_usd is "1", not a number of at least 0'),
        (output_with(cost_usd=-0.1), "outputs.small.cost_usd is -0.1"),
        (output_with(price=1), "unknown field outputs.small.price"),
        ({**LINE, "outputs": {"small": {"correct": True}}}, "no field outputs.small.answer"),
        ([1], "list instead of an object"),
    ],
)
def test_a_wrong_line_is_named_with_file_line_and_field(tmp_path: Path, line: object, told: str) -> None:
    path = saved(tmp_path, {**LINE, "id": "good"}, line)

    with pytest.raises(BadRecords) as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert told in str(caught.value)


def test_an_id_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(BadRecords, match="line 2: id 'sum-1' stands on line 1 already"):
        read(saved(tmp_path, LINE, LINE))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no line in it"),
        (b"{", "line 1: no JSON"),
        (b'{"cost": NaN}', "NaN is not JSON"),
        (b"\xff\n", "is not UTF-8 text"),
    ],
)
def test_what_is_no_jsonl_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)

    with pytest.raises(BadRecords, match=told):
        read(path)


@pytest.mark.parametrize("content", [b"plain", gzip.compress(b"{}" * 500)[:-9]], ids=["plain", "cut"])
def test_a_broken_archive_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(content)

    with pytest.raises(BadRecords, match="cannot be read"):
        read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecords, match=r"nothing\.jsonl cannot be read: No such file"):
        read(tmp_path / "nothing.jsonl")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Any:
        yield pairs("b")[0]
        raise BadRecords("the second row")

    with pytest.raises(BadRecords, match="the second row"):
        write(tmp_path / "rows.jsonl", broken())

    assert list(tmp_path.iterdir()) == []


def test_the_example_in_the_format_page_is_a_valid_line(tmp_path: Path) -> None:
    import tierbus.replay.records as module

    page = (Path(module.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
    example = page.split("```json\n")[1].split("```")[0]

    [row] = read(saved(tmp_path, json.loads(example)))

    assert set(row.outputs) == {"small", "large"}
    assert [f"`{field}`" for field in (*LINE, *OUTPUT) if f"`{field}`" not in page] == []
