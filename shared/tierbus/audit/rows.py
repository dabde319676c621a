"""From a piece of a file to its rows, and from a row to the tally. A row that cannot be read stops nothing."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tierbus.audit.call import Call, NotACall, Unreadable
from tierbus.audit.detect import Container, Format, Layout, shape
from tierbus.audit.pieces import Piece
from tierbus.audit.readers import columns, langfuse, litellm, otel, requests
from tierbus.audit.tally import Example, Tally
from tierbus.audit.values import parsed, shown

_FIELD_BYTES = 64 << 20
_NEXT = r"\s*,\s*(?=[^\s\]])|\s*(?=\{)"
_KINDS: Mapping[type, str] = {list: "list", str: "text", int: "number", float: "number", bool: "truth value"}
_REPLACED = "\N{REPLACEMENT CHARACTER}"
Row = Mapping[str, Any]
Found = tuple[int, Row | Unreadable]
"""The place of a row (a line's number, or the place of an element in its piece) and the row, or why there is none."""


def count(piece: Piece, tally: Tally) -> None:
    """Add every call of a piece to the tally."""
    tally.file(piece.file)
    rows = 0
    for place, row in _rows(piece):
        rows += 1
        if isinstance(row, Unreadable):
            tally.unreadable(row.reason, Example(piece.file, piece.number, place, row.detail))
            continue
        try:
            _add(row, piece, place, tally)
        except NotACall as why:
            tally.skip(why.reason, piece.file)
        except Unreadable as why:
            tally.unreadable(why.reason, Example(piece.file, piece.number, place, why.detail))
        except (TypeError, AttributeError, KeyError, IndexError, ValueError, OverflowError, RecursionError) as error:
            reason = f"a row of an unexpected shape ({type(error).__name__})"
            tally.unreadable(
                reason, Example(piece.file, piece.number, place, f"fields {shown(', '.join(list(row)[:8]))}")
            )
    tally.pieces[piece.file, piece.number] = rows


def _add(row: Row, piece: Piece, place: int, tally: Tally) -> None:
    """One row may hold several calls, of which some are none: each counts for itself."""
    layout, counted = piece.layout, tally.file(piece.file)
    if layout.format is Format.OTEL:
        for span, resource in otel.spans(row):
            try:
                for call in otel.read(span, resource):
                    tally.add(call)
                    counted[0] += 1
            except NotACall as why:
                tally.skip(why.reason, piece.file)
            except Unreadable as why:
                tally.unreadable(why.reason, Example(piece.file, piece.number, place, why.detail))
        return
    for call in _calls(row, layout):
        tally.add(call)
        counted[0] += 1


def _calls(row: Row, layout: Layout) -> list[Call]:
    try:
        return list(_read(row, layout.format, layout))
    except Unreadable:
        other = shape(row)
        if layout.fixed or layout.container is Container.CSV or other in (layout.format, Format.COLUMNS):
            raise
        return list(_read(row, other, layout))


def _read(row: Row, kind: Format, layout: Layout) -> Iterator[Call]:
    match kind:
        case Format.REQUESTS:
            return requests.read(row)
        case Format.LITELLM:
            return litellm.read(row)
        case Format.LANGFUSE:
            return langfuse.read(row)
        case Format.OTEL:
            return (call for span, resource in otel.spans(row) for call in otel.read(span, resource))
        case _:
            return columns.read(row, dict(layout.columns))


def _rows(piece: Piece) -> Iterator[Found]:
    match piece.layout.container:
        case Container.LINES:
            return _lines(piece)
        case Container.CSV:
            return _table(piece)
        case _:
            return _elements(piece)


def _lines(piece: Piece) -> Iterator[Found]:
    for place, line in enumerate(piece.data.split(b"\n"), piece.line):
        if not line or line.isspace():
            continue
        try:
            row = parsed(line)
        except ValueError as error:
            yield place, Unreadable("not JSON", _without_line(str(error)))
            continue
        yield place, row if isinstance(row, dict) else Unreadable("not a JSON object", _what(row))


def _what(value: Any) -> str:
    """What stands where an object should; not its text, which may be somebody's prompt."""
    return f"it is a {_KINDS.get(type(value), 'value')}"


def _without_line(message: str) -> str:
    """A parser counts lines from its own beginning; a line of a log is one."""
    return message.replace(" at line 1 column", " at column")


def _table(piece: Piece) -> Iterator[Found]:
    header = piece.layout.header
    text = piece.data.decode("utf-8", "replace")
    csv.field_size_limit(_FIELD_BYTES)
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=piece.layout.delimiter)
    first, skip, damaged = piece.line, piece.number == 0, _REPLACED in text
    while True:
        place = first + reader.line_num
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield place, Unreadable("not a CSV row", str(error))
            continue
        if values is None:
            return
        if not values or values == [""]:
            continue
        if skip:
            skip = False
            continue
        yield place, _cells(values, header, damaged=damaged)


def _cells(values: list[str], header: tuple[str, ...], *, damaged: bool) -> Row | Unreadable:
    if len(values) != len(header):
        return Unreadable("a CSV row of another width", f"{len(values)} fields, the header has {len(header)}")
    if damaged and any(_REPLACED in value for value in values):
        return Unreadable("not UTF-8", "bytes that are no text")
    return dict(zip(header, values, strict=True))


def _elements(piece: Piece) -> Iterator[Found]:
    try:
        document = parsed(piece.data)
    except ValueError:
        yield from _one_by_one(piece)
        return
    layout = piece.layout
    if layout.format is Format.OTEL and isinstance(document, dict):
        yield 1, document
        return
    rows = document.get(layout.list_name) if isinstance(document, dict) and layout.list_name else document
    for place, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        yield place, row if isinstance(row, dict) else Unreadable("not a JSON object", _what(row))


def _one_by_one(piece: Piece) -> Iterator[Found]:
    """The elements of a piece in which something is broken: what is whole is read, what is not is named with its line."""
    layout = piece.layout
    text = piece.data.decode("utf-8", "replace")
    spans = layout.format is Format.OTEL and len(layout.cuts) > 1
    name = "spans" if spans else layout.list_name
    opening = re.compile(rf'"{name}"\s*:\s*\[\s*(?=\{{)' if name else r"\A\s*\[?\s*(?=\{)")
    key = layout.cuts[-1].key.decode() if layout.cuts else ""
    element = re.compile(rf"\{{\s*{re.escape(key)}\s*:")
    following, decoder = re.compile(_NEXT), json.JSONDecoder()
    begin = opening.search(text)
    at, place = (begin.end() if begin else len(text)), 0
    while at < len(text):
        place += 1
        try:
            row, end = decoder.raw_decode(text, at)
            yield place, row if isinstance(row, dict) else Unreadable("not a JSON object", _what(row))
        except ValueError as error:
            wrong = getattr(error, "pos", at)
            line = piece.line + text.count("\n", 0, wrong)
            why = "ends in the middle" if not text[wrong:].strip() else str(getattr(error, "msg", "broken"))
            yield place, Unreadable("not JSON", f"{why}, line {line}")
            again = element.search(text, at + 1)
            at = again.start() if again else len(text)
            continue
        next_ = following.match(text, end)
        if next_ is None and spans:
            next_ = opening.search(text, end)
        at = next_.end() if next_ else _after(text, end, element)


def _after(text: str, end: int, element: re.Pattern[str]) -> int:
    """Where the list goes on when something else than a comma follows an element: at the next one, or not at all."""
    if not text[end:].lstrip(" \t\r\n,")[:1] or text[end:].lstrip()[:1] == "]":
        return len(text)
    again = element.search(text, end)
    return again.start() if again else len(text)
