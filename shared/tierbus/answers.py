"""Reading what a model wrote: JSON out of it, and whether it fits a schema. Pure.

`jsonschema` is imported when first needed: it is 7 MB in a process that may never see a schema.
"""

import json
import re
from typing import Any

_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


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
