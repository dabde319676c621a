"""Cutting a log of any size into pieces that can be read alone, without reading its values.

Lines are cut at their ends, tables at line ends outside of quotes, JSON documents between two elements. An element is found
by its first key: `}, {"key":` cannot stand inside a text, where quotes are escaped; how deep it stands is counted between
two such places with the texts taken out.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from tierbus.audit.call import Unreadable
from tierbus.audit.detect import HEAD_BYTES, Container, Cut, Layout

PIECE_BYTES = 1 << 20
MOST_HEAD_BYTES = 16 << 20
"""A first line longer than this is taken for a document."""
FORCED_BYTES = 48 << 20
"""Past this the count of depth is taken for wrong (a brace or a quote is missing) and the next element is the cut."""
MOST_BYTES = 256 << 20
"""A single row or element larger than this is not read."""
_RESOURCE = re.compile(rb'"resource"\s*:\s*')
_RESOURCE_BYTES = 1 << 16
_ESCAPED = re.compile(rb'\\[\\"]')
_NO_SIGNS = bytes(byte for byte in range(256) if byte not in b'"{}[]')
"""All that says nothing about depth, once escaped quotes are gone."""


class Piece(NamedTuple):
    """Part of a file: whole rows. `line` is the number of its first line, from 1."""

    file: int
    number: int
    layout: Layout
    data: bytes
    line: int


class Source:
    """An opened log, unpacked where it is gzip; `position` is in bytes on disk."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        magic = self._raw.read(2)
        self._raw.seek(0)
        opened = gzip.GzipFile(fileobj=self._raw, mode="rb") if magic == b"\x1f\x8b" else self._raw
        self._stream = cast("io.BufferedReader", opened)  # all that is used of it: `read1`
        self._broken = ""
        self._head = b""
        self.complete = False

    def begin(self) -> bytes:
        """The first bytes, a whole line where it is not too long; `read` gives them again. `complete` when this is all."""
        while not self.complete and len(self._head) < MOST_HEAD_BYTES and (not self._head or b"\n" not in self._head):
            more = self._fetch(HEAD_BYTES)
            self.complete = len(more) < HEAD_BYTES
            self._head += more
        head, self._head = self._head, self._head.removeprefix(b"\xef\xbb\xbf")
        return head

    def read(self) -> bytes:
        """The next bytes, empty at the end."""
        if not self._head:
            return self._fetch(PIECE_BYTES)
        block, self._head = self._head[:PIECE_BYTES], self._head[PIECE_BYTES:]
        return block

    def _fetch(self, size: int) -> bytes:
        """The next bytes, fewer only at the end. Raises `Unreadable` where the gzip data are broken and nothing is left before that."""
        parts, left = [], size
        try:
            while not self._broken and left and (part := self._stream.read1(left)):
                parts.append(part)
                left -= len(part)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self._broken = str(error)
        if self._broken and not parts:
            raise Unreadable("gzip data are broken", self._broken)
        return b"".join(parts)

    @property
    def position(self) -> int:
        """How far the file on disk was read."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def pieces(file: int, source: Source, layout: Layout) -> Iterator[Piece]:
    """Cut a file.

    Raises:
        Unreadable: a row beyond `MOST_BYTES`, or broken gzip data; what came before was handed out.
    """
    if layout.container is Container.LINES:
        parts = _at_lines(source, quoted=False)
    elif layout.container is Container.CSV:
        parts = _at_lines(source, quoted=True)
    else:
        parts = _Elements(layout.cuts).of(source)
    line = 1
    for number, data in enumerate(parts):
        yield Piece(file, number, layout, data, line)
        line += data.count(b"\n")


def _at_lines(source: Source, *, quoted: bool) -> Iterator[bytes]:
    """Pieces that end with a line; with `quoted`, never inside of quotes (RFC 4180: a quote in quotes is doubled)."""
    rest: list[bytes] = []
    size = odd = 0
    while block := source.read():
        end = _line_end(block, odd) if quoted else block.rfind(b"\n") + 1
        odd = (odd + block.count(b'"')) % 2 if quoted else 0
        if end:
            yield b"".join([*rest, block[:end]])
            rest, size = [], 0
        rest.append(block[end:])
        size += len(block) - end
        if size > MOST_BYTES:
            raise Unreadable("a row is too long", f"more than {MOST_BYTES >> 20} MB without an end")
    if size:
        yield b"".join(rest)


def _line_end(block: bytes, odd: int) -> int:
    """The place after the last line end outside of quotes, 0 where there is none."""
    quotes, end = odd + block.count(b'"'), len(block)
    while (at := block.rfind(b"\n", 0, end)) >= 0:
        quotes -= block.count(b'"', at, end)
        if quotes % 2 == 0:
            return at + 1
        end = at
    return 0


class _Elements:
    """Cuts a JSON document between elements of its lists."""

    def __init__(self, cuts: tuple[Cut, ...]) -> None:
        self._cuts = {(cut.depth, cut.key): cut for cut in cuts}
        self._outermost = cuts[0]
        keys = b"|".join(re.escape(cut.key) for cut in cuts)
        self._between = re.compile(rb"\}\s*,?\s*(?=\{\s*(" + keys + rb")\s*:)")
        self._resource = b"{}"
        self._opening = b""
        self._depth = self._counted = 0

    def of(self, source: Source) -> Iterator[bytes]:
        """The pieces, each mended to a document of its own."""
        buffer = b""
        while block := source.read():
            buffer += block
            while len(buffer) > PIECE_BYTES and (found := self._find(buffer)):
                end, start, cut = found
                yield self._opening + buffer[:end] + cut.closing
                self._begin(buffer[:end], cut)
                buffer = buffer[start:]
            if len(buffer) > MOST_BYTES:
                raise Unreadable("an element is too long", f"more than {MOST_BYTES >> 20} MB without an end")
        if buffer.strip():
            yield self._opening + buffer

    def _find(self, buffer: bytes) -> tuple[int, int, Cut] | None:
        """End of an element, beginning of the next, and which cut it is."""
        for found in self._between.finditer(buffer, max(PIECE_BYTES // 2, self._counted)):
            end = found.start() + 1
            self._depth += _deeper(buffer[self._counted : end])
            self._counted = end
            cut = self._cuts.get((self._depth, found[1]))
            if cut is None and end > FORCED_BYTES and found[1] == self._outermost.key:
                cut = self._outermost
            if cut is not None:
                return end, found.end(), cut
        return None

    def _begin(self, done: bytes, cut: Cut) -> None:
        self._depth, self._counted = cut.depth, 0
        if cut is self._outermost:
            self._opening = cut.opening
            return
        self._resource = _last_resource(done) or self._resource
        self._opening = cut.opening + b'{"resource":' + self._resource + b',"scopeSpans":[{"spans":['


def _deeper(part: bytes) -> int:
    """By how many levels JSON is deeper after this part, which begins outside of a text: brackets in texts do not count.

    Two quotes side by side go too: what stands around them is in a text or outside of it as before.
    """
    signs = _ESCAPED.sub(b"", part).translate(None, _NO_SIGNS).replace(b'""', b"")
    bare = b"".join(signs.split(b'"')[::2])
    return bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")


def _last_resource(done: bytes) -> bytes | None:
    """The resource that the spans at the end of this belong to."""
    at, begun = len(done), None
    while begun is None and (at := done.rfind(b'"resource"', 0, at)) >= 0:
        begun = _RESOURCE.match(done, at)
    if begun is None:
        return None
    text = done[begun.end() : begun.end() + _RESOURCE_BYTES].decode("utf-8", "replace")
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    return json.dumps(found).encode()
