"""Values of logs as they are found: numbers in text, JSON in text, moments in five notations. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic_core import from_json

from tierbus.audit.call import Unreadable
from tierbus.contracts import NANO
from tierbus.telemetry.content import cut

_SHOWN_CHARS = 40
_MOST_TOKENS = 10**9
_SURE_DIGITS = 10
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
"""Fewer digits are a number within the limit."""
_MILLI_FROM, _NANO_FROM = 1e11, 1e17
"""Unix seconds reach 1e11 in the year 5138; a larger moment is in milliseconds or nanoseconds."""


parsed = partial(from_json, cache_strings="keys")
"""The value of JSON; remembering keys alone is quicker, for the values of logs seldom come again."""


def shown(value: Any) -> str:
    """A wrong value as an error may name it: short, and without what looks like a secret."""
    return repr(cut(str(value), _SHOWN_CHARS))


def tokens(value: Any, name: str) -> int:
    """A token count; nothing is 0.

    Raises:
        Unreadable: it is not a whole number from 0 to a milliard.
    """
    if type(value) is int and 0 <= value <= _MOST_TOKENS:
        return value
    if type(value) is str and value.isdecimal() and len(value) < _SURE_DIGITS:
        return int(value)
    if value is None or value == "":
        return 0
    if type(value) is str and _THOUSANDS.fullmatch(value.strip()):
        raise Unreadable("token count with a point: thousands or a fraction?", f"{name} {shown(value)}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Unreadable("token count is not a number", f"{name} {shown(value)}") from None
    if not 0 <= number <= _MOST_TOKENS or number != int(number):
        raise Unreadable("token count is out of range", f"{name} {shown(value)}")
    return int(number)


def dollars(value: Any, name: str) -> int | None:
    """Nano-dollars of a logged cost in dollars. Nothing and 0 are None: logs write 0 where they know no price.

    Raises:
        Unreadable: it is not an amount.
    """
    if value is None or value == "":
        return None
    try:
        amount = float(value)
    except (TypeError, ValueError):
        raise Unreadable("cost is not a number", f"{name} {shown(value)}") from None
    if not 0 <= amount < 1e6:  # noqa: PLR2004 - no call costs a million dollars; NaN fails too
        raise Unreadable("cost is out of range", f"{name} {shown(value)}")
    return round(amount * NANO) or None


def moment(value: Any) -> float:
    """Unix seconds of an ISO text or of a number of seconds, milliseconds or nanoseconds; nothing is 0.

    Raises:
        Unreadable: it is none of these.
    """
    if not value:
        return 0.0
    if isinstance(value, str) and not value.isdigit():
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return _seconds(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return _seconds(value)


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Unreadable("time is not readable", shown(value)) from None
    if not 0 <= number < 1e20:  # noqa: PLR2004 - beyond any notation; NaN fails too
        raise Unreadable("time is not readable", shown(value))
    return number / 1e9 if number >= _NANO_FROM else number / 1e3 if number >= _MILLI_FROM else number


def inner(value: Any) -> Any:
    """A value that may be JSON inside a text: what it says, or the text itself where it is none."""
    if isinstance(value, str) and value[:1] in "{[" and value:
        try:
            return parsed(value)
        except ValueError:
            return value
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an object written as JSON text, or nothing."""
    found = value if isinstance(value, dict) else inner(value)
    return found if isinstance(found, dict) else {}


def first(row: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that is there and not empty."""
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return value
    return None


Meanings = Mapping[str, tuple[str, int]]
"""For each name in a log the field that it means, and its place among the field's names."""


def meanings(fields: Mapping[str, Sequence[str]]) -> Meanings:
    """The same by name as these names by field."""
    return {name: (field, place) for field, names in fields.items() for place, name in enumerate(names)}


def told(row: Mapping[str, Any], means: Meanings) -> dict[str, Any]:
    """Each field that is there and not empty, by the first of its names: one look at each value, however many names there are."""
    found: dict[str, Any] = {}
    places: dict[str, int] = {}
    for name, value in row.items():
        hit = means.get(name)
        if hit is None or value is None or value == "":
            continue
        field, place = hit
        if field not in places or place < places[field]:
            found[field], places[field] = value, place
    return found


def word(value: Any) -> str:
    """A name: text as it is, a number as text, the first of a list; anything else is nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return word(value[0]) if value else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
