"""Reading what a model wrote: JSON out of it, and whether it fits a schema. Pure.

`jsonschema` is imported when first needed: it is 7 MB in a process that may never see a schema.
"""

import contextlib
import hashlib
import json
import re
from decimal import Decimal
from typing import Any

_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?\s*```", re.DOTALL)
_NUMBER = re.compile(r"\$?\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,6})?)")
_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)

SHORT_CHARS = 200
"""Answers up to this length can be compared word for word."""
_SPACE = re.compile(r"\s+")
_EDGES = " .!?\"'`*“”"


def parse_json(text: str) -> Any:
    """The JSON document in an answer, with or without a code fence around it.

    Raises:
        ValueError: there is none; the text says where it breaks off.
    """
    fenced = _FENCE.match(text)
    return json.loads(fenced.group(1) if fenced else text)


def find_json(text: str) -> Any:
    """The last JSON object in an answer that may talk around it; line breaks inside its texts are forgiven.

    Raises:
        ValueError: there is none.
    """
    reader = json.JSONDecoder(strict=False)
    fenced = _FENCE.match(text)
    candidates = [fenced.group(1) if fenced else text, *reversed(_FENCED.findall(text))]
    for candidate in candidates:
        with contextlib.suppress(ValueError):
            return reader.decode(candidate.strip())
    start = text.find("{")
    while start >= 0:
        with contextlib.suppress(ValueError):
            return reader.raw_decode(text, start)[0]
        start = text.find("{", start + 1)
    raise ValueError("there is no JSON object in the answer")


def deciding(text: str, pointer: str | None) -> str | None:
    """The part of an answer that counts, in a form that can be compared; None where it cannot be found.

    Without a pointer (RFC 6901) that is the whole answer.
    """
    if pointer is None:
        return comparable(text)
    try:
        value = find_json(text)
    except (ValueError, RecursionError):
        return None
    for token in pointer.split("/")[1:]:
        value = _inside(value, token.replace("~1", "/").replace("~0", "~"))
        if value is None:
            return None
    if isinstance(value, str | int | float):
        return comparable(value if isinstance(value, str) else json.dumps(value))
    return json.dumps(_folded(value), sort_keys=True)


def _inside(value: Any, token: str) -> Any:
    if isinstance(value, dict):
        return value.get(token)
    if isinstance(value, list) and token.isdecimal() and int(token) < len(value):
        return value[int(token)]
    return None


def comparable(text: str) -> str:
    """A text without what is only form: case, white space, quotes at its ends; an amount or a number as that number."""
    plain = _SPACE.sub(" ", text).strip(_EDGES).lower()
    number = _NUMBER.fullmatch(plain)
    return format(Decimal(number.group(1).replace(",", "")).normalize(), "f") if number else plain


def same(first: str, second: str, pointer: str | None = None) -> bool:
    """Whether two answers say the same: JSON part by part, texts apart from their form."""
    if pointer is not None:
        one = deciding(first, pointer)
        return one is not None and one == deciding(second, pointer)
    return comparable(first) == comparable(second)


def same_json(first: str, second: str) -> bool:
    """Whether two JSON answers have the same values, apart from the form of their texts."""
    one = folded(first, "json")
    return one is not None and one == folded(second, "json")


def _folded(value: object) -> object:
    if isinstance(value, str):
        return _SPACE.sub(" ", value).strip(_EDGES).lower()
    if isinstance(value, dict):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_folded(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def schema_errors(schema: dict[str, Any], value: Any, most: int = 5) -> list[str]:
    """Where a value does not fit a JSON schema; empty if it fits."""
    from jsonschema import Draft202012Validator

    found = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)))
    return [f"{'/'.join(map(str, error.path)) or 'document'}: {error.message[:200]}" for error in found[:most]]


def fitting(text: str, schema: dict[str, Any]) -> Any | None:
    """The JSON document in an answer where there is one and it fits the schema, else None."""
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return None if schema_errors(schema, value) else value


def broken_schema(schema: dict[str, Any]) -> str | None:
    """Why this is no JSON schema, or None."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{'/'.join(map(str, error.path)) or 'schema'}: {error.message[:200]}"
    return None


def folded(text: str, media: str) -> str | None:
    """An answer without what is only form; None for JSON that is none."""
    if media != "json":
        return comparable(text)
    try:
        return json.dumps(_folded(parse_json(text)), sort_keys=True)
    except ValueError:
        return None


def likeness(text: str, media: str) -> str | None:
    """The same short word for answers that say the same; None for answers that only a reader can compare."""
    if media != "json" and len(text.encode()) > SHORT_CHARS:
        return None
    plain = folded(text, media)
    return hashlib.sha256(plain.encode()).hexdigest()[:16] if plain is not None else None
