"""Which format a log is in, from its first bytes. Pure."""

import csv
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic_core import from_json

from tierbus.audit.call import Unreadable
from tierbus.audit.readers.columns import Columns, matched
from tierbus.audit.values import shown

HEAD_BYTES = 1 << 20
_FIRST_KEY = rb"\[\s*\{\s*(\"(?:[^\"\\]|\\.)*\")\s*:"
_TOP = re.compile(rb"\A\s*" + _FIRST_KEY)
_LISTS = re.compile(
    rb"\"(resourceSpans|resource_spans|data|observations|traces|logs|rows|items|results|calls)\"\s*:\s*" + _FIRST_KEY
)
_SPANS = re.compile(rb"\"spans\"\s*:\s*" + _FIRST_KEY)
_OBJECT = re.compile(rb"\A\s*\{\s*(\"(?:[^\"\\]|\\.)*\")\s*:")
_DELIMITERS = ",;\t|"
_OTLP = ("resourceSpans", "resource_spans")


class Format(StrEnum):
    """What the rows of a file are."""

    REQUESTS = "requests"
    LITELLM = "litellm"
    LANGFUSE = "langfuse"
    OTEL = "otel"
    COLUMNS = "columns"


class Container(StrEnum):
    """How the rows stand in a file."""

    LINES = "one JSON object a line"
    CSV = "CSV"
    ARRAY = "a JSON array"
    DOCUMENT = "a JSON document with a list"
    OBJECTS = "JSON objects one after the other"


class Cut(NamedTuple):
    """Where a JSON document may be cut: between elements that begin with this key, at this depth; and how the parts are mended."""

    depth: int
    key: bytes
    opening: bytes
    closing: bytes


class Layout(NamedTuple):
    """How to read a file."""

    container: Container
    format: Format
    columns: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()
    delimiter: str = ","
    list_name: str = ""
    cuts: tuple[Cut, ...] = ()
    fixed: bool = False
    """Whether a person named the format: then no row is tried as another."""


def detect(head: bytes, *, complete: bool, wanted: Format | None = None, columns: Columns | None = None) -> Layout:
    """The layout of a file that begins like this; `complete` when this is all of it.

    Raises:
        Unreadable: it is empty, no text, or a table without the columns that are needed.
    """
    if not head.strip():
        raise Unreadable("the file is empty")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("the file is UTF-16", "save it as UTF-8")
    if b"\0" in head[:4096]:
        raise Unreadable("the file is binary", f"it begins with {shown(head[:8].decode('latin-1'))}")
    head = head.removeprefix(b"\xef\xbb\xbf")
    wanted = Format.COLUMNS if columns else wanted
    start = head.lstrip()[:1]
    if start == b"[":
        return _array(head, wanted, columns or {})
    if start == b"{":
        return _object(head, wanted, columns or {}, complete=complete)
    return _table(head, wanted, columns or {})


def shape(row: Mapping[str, Any]) -> Format:
    """What one row looks like."""
    if any(name in row for name in _OTLP) or (
        "attributes" in row and ("spanId" in row or "span_id" in row or "traceId" in row)
    ):
        return Format.OTEL
    if "spend" in row and ("call_type" in row or "startTime" in row or "prompt_tokens" in row):
        return Format.LITELLM
    if _is_langfuse(row):
        return Format.LANGFUSE
    bodies = ("response", "request", "body", "choices", "usage", "response_body", "result", "responseBody", "messages")
    return Format.REQUESTS if any(name in row for name in bodies) else Format.COLUMNS


def _is_langfuse(row: Mapping[str, Any]) -> bool:
    marks = (
        "usageDetails",
        "usage_details",
        "observations",
        "providedModelName",
        "provided_model_name",
        "costDetails",
        "observationId",
    )
    traced = "traceId" in row or "trace_id" in row
    return (
        any(name in row for name in marks) or (traced and "type" in row) or ("sessionId" in row and "totalCost" in row)
    )


def _array(head: bytes, wanted: Format | None, columns: Columns) -> Layout:
    found = _TOP.match(head)
    if not found:
        raise Unreadable(
            "a JSON array without objects", f"it begins with {shown(head[:20].decode('utf-8', 'replace'))}"
        )
    row = _first_object(head[head.index(b"{") :])
    wanted = _meant(row, wanted, columns)
    cut = Cut(1, found[1], b"[", b"]")
    return _rows(Layout(Container.ARRAY, wanted or shape(row), cuts=(cut,), fixed=wanted is not None), row, columns)


def _object(head: bytes, wanted: Format | None, columns: Columns, *, complete: bool) -> Layout:
    first, _, rest = head.lstrip().partition(b"\n")
    row = _parsed(first)
    second = _parsed(rest.lstrip().partition(b"\n")[0]) if row is None and rest else None
    if row is not None and (rest.strip() or not complete or shape(row) not in (Format.COLUMNS, Format.OTEL)):
        return _lines(row, wanted, columns)
    if row is None and second is not None:
        return _lines(second, wanted, columns)
    return _document(head, wanted, columns)


def _meant(row: Mapping[str, Any], wanted: Format | None, columns: Columns) -> Format | None:
    """The format that a person named; columns are not named for rows of a known format that do not have them."""
    other = columns and shape(row) is not Format.COLUMNS and not set(columns.values()) <= row.keys()
    return None if other else wanted


def _lines(row: Mapping[str, Any], wanted: Format | None, columns: Columns) -> Layout:
    wanted = _meant(row, wanted, columns)
    return _rows(Layout(Container.LINES, wanted or shape(row), fixed=wanted is not None), row, columns)


def _document(head: bytes, wanted: Format | None, columns: Columns) -> Layout:
    found = _LISTS.search(head)
    if found is None or _several(head):
        key = _OBJECT.match(head)
        row = _first_object(head)
        cut = Cut(0, key[1] if key else b"", b"", b"")
        if not row and (not key or b"\n{" in head):
            return _lines(row, wanted or Format.REQUESTS, columns)
        wanted = _meant(row, wanted, columns)
        return _rows(
            Layout(Container.OBJECTS, wanted or shape(row), cuts=(cut,), fixed=wanted is not None), row, columns
        )
    name = found[1].decode()
    outer = b'{"' + found[1] + b'":['
    cuts = [Cut(2, found[2], outer, b"]}")]
    if name in _OTLP:
        span = _SPANS.search(head)
        if span:
            cuts.append(Cut(6, span[1], outer, b"]}]}]}"))
        return Layout(Container.DOCUMENT, Format.OTEL, list_name=name, cuts=tuple(cuts), fixed=True)
    row = _first_object(head[head.index(b"{", found.end(1)) :])
    wanted = _meant(row, wanted, columns)
    layout = Layout(
        Container.DOCUMENT, wanted or shape(row), list_name=name, cuts=tuple(cuts), fixed=wanted is not None
    )
    return _rows(layout, row, columns)


def _table(head: bytes, wanted: Format | None, columns: Columns) -> Layout:
    first = head.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8", "replace").rstrip("\r")
    delimiter = max(_DELIMITERS, key=first.count)
    header = next(csv.reader([first], delimiter=delimiter))
    if len(header) < 2:  # noqa: PLR2004 - a model and its tokens
        raise Unreadable("neither JSON nor a table", f"the first line has {len(first):,} characters and no separator")
    kind = wanted or shape(dict.fromkeys(header))
    tokens = {"input_tokens", "prompt_tokens", "tokens_in"} & {one.lower() for one in header}
    if (
        wanted is None
        and kind is Format.REQUESTS
        and (tokens or not {"response", "response_body", "result"} & set(header))
    ):
        kind = Format.COLUMNS
    layout = Layout(Container.CSV, kind, header=tuple(header), delimiter=delimiter, fixed=wanted is not None)
    return _rows(layout, dict.fromkeys(header, ""), columns)


def _rows(layout: Layout, row: Mapping[str, Any], columns: Columns) -> Layout:
    if layout.format is not Format.COLUMNS:
        return layout
    return layout._replace(columns=tuple(matched(list(row), columns).items()))


def _several(head: bytes) -> bool:
    """Whether a whole object is followed by another one."""
    text = head.decode("utf-8", "replace").lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return False
    return text[end:].lstrip()[:1] == "{"


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _first_object(head: bytes) -> Mapping[str, Any]:
    """The first object, as much of it as is there: its fields are wanted, not its values."""
    try:
        found, _ = json.JSONDecoder().raw_decode(head.decode("utf-8", "replace"))
    except ValueError:
        try:
            found = from_json(head, allow_partial="trailing-strings")
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}
