"""HTML in which every text is escaped unless it is HTML already."""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_BREAKING = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element; children and attribute values that are plain text are escaped. A trailing `_` of a name is dropped."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(parts: Iterable[object]) -> Html:
    """Parts one after the other; plain text is escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in parts))


@dataclass(frozen=True)
class Column:
    """A table's column; numbers stand on the right."""

    name: str
    number: bool = False

    @property
    def css(self) -> str | None:
        """The class of its cells."""
        return "number" if self.number else None


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[object]], *feet: Sequence[object]) -> Html:
    """A table whose first column names the row; `feet` are sums."""
    head = tag("tr", *(tag("th", column.name, scope="col", class_=column.css) for column in columns))
    parts = [tag("caption", caption), tag("thead", head), tag("tbody", *(_row(columns, row) for row in rows))]
    if feet:
        parts.append(tag("tfoot", *(_row(columns, row) for row in feet)))
    return tag("div", tag("table", *parts), class_="scroll")


def _row(columns: Sequence[Column], cells: Sequence[object]) -> Html:
    first, *others = cells
    return tag(
        "tr",
        tag("th", first, scope="row"),
        *(tag("td", cell, class_=column.css) for column, cell in zip(columns[1:], others, strict=True)),
    )


def data(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can close the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_BREAKING)
