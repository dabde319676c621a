"""Reading what a model wrote: JSON out of it, and whether it fits a schema. Pure.

`jsonschema` is imported when first needed: it is 7 MB in a process that may never see a schema.
"""

import hashlib
import json
import re
from typing import Any

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


def schema_errors(schema: dict[str, Any], value: Any, most: int = 5) -> list[str]:
    """Where a value does not fit a JSON schema; empty if it fits."""
    from jsonschema import Draft202012Validator

    found = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)))
    return [f"{'/'.join(map(str, error.path)) or 'document'}: {error.message[:200]}" for error in found[:most]]


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
        return _plain(text)
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


def _folded(value: object) -> object:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, dict):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_folded(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip(_EDGES).lower()
