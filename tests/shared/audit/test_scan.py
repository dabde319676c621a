"""Whole files: every format, every kind of damage, pieces, processes."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit_logs import COLUMNS, WRITERS, write

from tierbus.audit import pieces, scan
from tierbus.audit.detect import Container, Format
from tierbus.audit.figures import Figures, figures
from tierbus.audit.readers.columns import parse
from tierbus.audit.scan import Wanted
from tierbus.audit.tally import Known
from tierbus.tiers.catalog import load

NOW = 1_795_500_000.0
KNOWN = Known(load("default"), NOW)
ROWS = 400
READ_AS = {
    "requests.jsonl": (Format.REQUESTS, Container.LINES),
    "litellm.jsonl": (Format.LITELLM, Container.LINES),
    "litellm.json": (Format.LITELLM, Container.ARRAY),
    "litellm.csv": (Format.LITELLM, Container.CSV),
    "langfuse.jsonl": (Format.LANGFUSE, Container.LINES),
    "langfuse.json": (Format.LANGFUSE, Container.ARRAY),
    "otel.json": (Format.OTEL, Container.DOCUMENT),
    "otel.jsonl": (Format.OTEL, Container.LINES),
    "table.csv": (Format.COLUMNS, Container.CSV),
}
GOOD = '{"request": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}, "response": {"model": "gpt-4o", "usage": {"prompt_tokens": 10, "completion_tokens": 2}}}'


def read(*paths: Path, wanted: Wanted | None = None) -> Figures:
    tally, files = scan.scan(paths, KNOWN, wanted)
    return figures(tally, files, KNOWN)


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def wanted_for(name: str) -> Wanted:
    return Wanted(None, parse(COLUMNS)) if name == "table.csv" else Wanted()


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_format_is_known_by_its_look_and_gives_the_same_calls(name: str, tmp_path: Path) -> None:
    reference = read(write("requests.jsonl", tmp_path, ROWS))

    found = read(write(name, tmp_path, ROWS), wanted=wanted_for(name))

    [file] = found.files
    assert (file.format, file.container) == tuple(READ_AS[name])
    assert (found.calls, found.unreadable, file.trouble) == (ROWS, 0, "")
    assert found.cost_nano_usd == reference.cost_nano_usd > 0
    assert found.unpriced == reference.unpriced > 0
    assert {row.name: row.calls for row in found.models} == {row.name: row.calls for row in reference.models}
    assert found.again.cached_tokens == reference.again.cached_tokens > 0


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_file_cut_into_many_pieces_gives_the_same_as_in_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write(name, tmp_path, ROWS)
    whole = read(log, wanted=wanted_for(name))

    monkeypatch.setattr(pieces, "PIECE_BYTES", 3000)
    tally, files = scan.scan([log], KNOWN, wanted_for(name))

    assert len(tally.pieces) >= 4
    assert figures(tally, files, KNOWN) == whole


@pytest.mark.parametrize("name", ["requests.jsonl", "otel.json"])
def test_several_processes_count_the_same_as_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(name, tmp_path, ROWS)
    alone = read(log)

    monkeypatch.setattr(scan, "ALONE_BYTES", 0)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 20_000)
    spread = read(log)

    assert spread.model_copy(update={"again": alone.again}) == alone
    assert (spread.again.repeated, spread.again.repeated_nano_usd) == (
        alone.again.repeated,
        alone.again.repeated_nano_usd,
    )


@pytest.mark.parametrize("name", ["litellm.jsonl", "langfuse.json", "table.csv"])
def test_a_gzip_file_is_read_as_what_is_in_it(name: str, tmp_path: Path) -> None:
    plain = write(name, tmp_path, ROWS)
    packed = put(tmp_path, f"{name}.gz", gzip.compress(plain.read_bytes()))

    assert read(packed, wanted=wanted_for(name)).cost_nano_usd == read(plain, wanted=wanted_for(name)).cost_nano_usd


def test_a_pretty_printed_document_with_a_list_is_read(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in write("langfuse.jsonl", tmp_path, 20).read_text().splitlines()]

    found = read(put(tmp_path, "api.json", json.dumps({"data": rows, "meta": {"page": 1}}, indent=2)))

    assert (found.calls, found.files[0].container, found.files[0].format) == (20, Container.DOCUMENT, "langfuse")


def test_pretty_printed_objects_one_after_the_other_are_read(tmp_path: Path) -> None:
    rows = [json.loads(GOOD)] * 3

    found = read(put(tmp_path, "jq.json", "\n".join(json.dumps(row, indent=2) for row in rows)))

    assert (found.calls, found.files[0].container) == (3, Container.OBJECTS)


def test_rows_of_another_format_in_a_file_are_read_as_what_they_are(tmp_path: Path) -> None:
    spend = write("litellm.jsonl", tmp_path, 3).read_text()

    found = read(put(tmp_path, "mixed.jsonl", f"{GOOD}\n{spend}{GOOD}\n"))

    assert (found.calls, found.unreadable) == (5, 0)


@pytest.mark.parametrize(
    ("bad", "reason", "said"),
    [
        ('{"request": {"mod', "not JSON", "line 2: EOF while parsing a string at column 17"),
        ("oops", "not JSON", "line 2: expected value at column 1"),
        ("[1, 2]", "not a JSON object", "line 2: it is a list"),
        ('{"response": {"usage": {"prompt_tokens": 1}}}', "no model name", "line 2: fields 'response'"),
        ('{"response": {"model": "m", "usage": {"prompt_tokens": "x", "completion_tokens": 1}}}', "token count is not a number", "line 2: input tokens 'x'"),
        ('{"response": {"model": "m", "usage": {"prompt_tokens": "1.000", "completion_tokens": 1}}}', "token count with a point: thousands or a fraction?", "line 2: input tokens '1.000'"),
        ('{"response": {"model": "m", "usage": {"prompt_tokens": -1, "completion_tokens": 1}}}', "token count is out of range", "line 2: input tokens '-1'"),
        ('{"response": {"model": "m"}, "request": {}}', "no token counts, and no text to estimate them from", "line 2: fields 'model'"),
        ('{"request": {"messages": {"a": [[]]}}, "response": {"model": "m", "usage": {"prompt_tokens": 1}}, "timestamp": {"a": 1}}', "time is not readable", "line 2: "),
    ],
)  # fmt: skip
def test_a_bad_line_is_counted_by_reason_and_named_with_its_place(
    bad: str, reason: str, said: str, tmp_path: Path
) -> None:
    log = put(tmp_path, "a.jsonl", f"{GOOD}\n{bad}\n\n{GOOD}\n")

    found = read(log)

    [problem] = found.problems
    assert (found.calls, problem.reason, problem.count) == (2, reason, 1)
    assert problem.examples[0].startswith(f"{log}, {said}")


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    lines = put(tmp_path, "a.jsonl", GOOD.encode() + b'\n{"a": "\xff\xfe"}\n')
    table = put(tmp_path, "b.csv", b"model,input_tokens,output_tokens\nm,1,2\n\xff,1,2\n")

    found = read(lines, table)

    assert found.calls == 2
    assert {problem.reason for problem in found.problems} == {"not JSON", "not UTF-8"}
    assert any(f"{table}, line 3" in example for problem in found.problems for example in problem.examples)


def test_only_the_first_few_of_a_reason_are_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    found = read(put(tmp_path, "a.jsonl", f"{GOOD}\n" + "x\n" * 50))

    [problem] = found.problems
    assert (problem.count, len(problem.examples)) == (50, 3)
    assert [example.split(", ")[1].split(":")[0] for example in problem.examples] == ["line 2", "line 3", "line 4"]


def test_a_csv_row_of_another_width_and_a_bad_count_are_named_by_line(tmp_path: Path) -> None:
    log = put(tmp_path, "a.csv", 'model,input_tokens,output_tokens,prompt\nm,1,2,"a\nb"\nm,1\nm,many,2,x\nm,3,4,y\n')

    found = read(log)

    told = {problem.reason: problem.examples[0] for problem in found.problems}
    assert found.calls == 2
    assert told["a CSV row of another width"] == f"{log}, line 4: 2 fields, the header has 4"
    assert told["token count is not a number"] == f"{log}, line 5: input_tokens 'many'"


def test_a_broken_element_of_an_array_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    log = put(tmp_path, "a.json", f"[\n{GOOD},\n{GOOD[:80]} oops,\n{GOOD},\n7,\n{GOOD}\n]")

    found = read(log)

    told = {problem.reason: problem.examples[0] for problem in found.problems}
    assert found.calls == 3
    assert told["not JSON"] == f"{log}, element 2: Expecting ',' delimiter, line 3"
    assert told["not a JSON object"] == f"{log}, element 4: it is a number"


def test_an_array_that_ends_in_the_middle_is_read_up_to_there(tmp_path: Path) -> None:
    log = put(tmp_path, "a.json", f"[{GOOD},\n{GOOD},\n{GOOD[:60]}")

    found = read(log)

    assert found.calls == 2
    [problem] = found.problems
    assert f"{log}, element 3: " in problem.examples[0]


def test_a_broken_span_leaves_the_others(tmp_path: Path) -> None:
    text = write("otel.json", tmp_path, 5).read_text().replace('"kind": 3', '"kind": ', 1)

    found = read(put(tmp_path, "a.json", text))

    assert (found.calls, found.unreadable) == (4, 1)
    assert "element 1: " in found.problems[0].examples[0]


def test_a_span_without_counts_is_named_by_its_id(tmp_path: Path) -> None:
    text = write("otel.jsonl", tmp_path, 150).read_text().replace("gen_ai.usage.", "gen_ai.use.")

    found = read(put(tmp_path, "a.jsonl", text))

    assert (found.calls, found.problems[0].reason) == (0, "span without token counts")
    assert "line 1: spanId '" in found.problems[0].examples[0]
    assert found.problems[0].count == 150


@pytest.mark.parametrize(
    ("name", "content", "trouble"),
    [
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n\n", "the file is empty"),
        ("excel.csv", "model,input_tokens\n".encode("utf-16"), "the file is UTF-16: save it as UTF-8"),
        ("picture.jsonl", b"\x89PNG\0\0", r"the file is binary: it begins with '\x89PNG\x00\x00'"),
        ("words.txt", b"hello world\n", "neither JSON nor a table: the first line has 11 characters and no separator"),
        ("numbers.json", b"[1, 2]", "a JSON array without objects"),
        (
            "table.csv",
            b"model,colour\nm,red\n",
            "no column for it: input_tokens, output_tokens; there are model, colour",
        ),
        ("cut.jsonl.gz", gzip.compress((f"{GOOD}\n" * 999).encode())[:-20], "gzip data are broken"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_does_not_stop_the_others(
    name: str, content: bytes, trouble: str, tmp_path: Path
) -> None:
    good = put(tmp_path, "good.jsonl", f"{GOOD}\n")

    found = read(put(tmp_path, name, content), good)

    assert found.files[0].trouble.startswith(trouble)
    assert (found.files[1].calls, found.files[1].trouble) == (1, "")


@pytest.mark.parametrize(
    ("part", "deeper"),
    [
        (b'[{"a": {"b": [', 4),
        (b'"}}]", {', 1),
        (b'{"a": "\\"{{", "b": 1}', 0),
        (b'{"a": "x\\\\", "b": {', 2),
        (b"}]}", -3),
        (b'["{", "{", "", "]"', 1),
        (b'{"": "\\n{", "b": "\\\\", "c": [', 2),
        (b'{"a": "\\d", "b": [', 2),
    ],
)
def test_brackets_in_texts_do_not_count_for_the_depth(part: bytes, deeper: int) -> None:
    assert pieces._deeper(part) == deeper


@given(
    st.recursive(
        st.text('"\\\n{}[]:, x') | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\{}'), inner),
    ),
    st.data(),
)
def test_the_depth_is_that_of_the_brackets_outside_of_texts(value: object, data: st.DataObject) -> None:
    text = json.dumps(value)[: data.draw(st.integers(0, 200))]

    depth, inside, escaped = 0, False, False
    for sign in text:
        depth += 0 if inside else (sign in "{[") - (sign in "}]")
        inside ^= sign == '"' and not escaped
        escaped = sign == "\\" and not escaped

    assert pieces._deeper(text.encode()) == depth


def test_the_resource_is_the_last_one_and_not_a_word_or_a_text() -> None:
    first, last = b'{"resource": {"a": 1}, "spans": [', b'{"resource" : {"b": 2}, "spans": ['
    words = b'{"kind": "resource", "text": "\\"resource\\": {}"}'

    assert pieces._last_resource(first + last + words) == b'{"b": 2}'
    assert pieces._last_resource(words) is None


def test_a_row_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_BYTES", 10_000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4_000)
    monkeypatch.setattr(pieces, "HEAD_BYTES", 4_000)
    log = put(tmp_path, "a.jsonl", f"{GOOD}\n" + "x" * 30_000)

    assert read(log).files[0].trouble.startswith("a row is too long")


def test_the_progress_is_told_in_bytes_on_disk(tmp_path: Path) -> None:
    log = write("requests.jsonl", tmp_path, ROWS)
    seen: list[int] = []

    scan.scan([log], KNOWN, None, lambda _path, more: seen.append(more))

    assert sum(seen) == log.stat().st_size
