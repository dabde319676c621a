"""What is said where no scenario has an answer: something plausible for the role, and SIMULATED. Pure."""

import json
import math
import re
from typing import Any

from tierbus.contracts import Role

MARK = "SIMULATED"
ABOUT_CHARS = 80
_INSTRUCTION = re.compile(r"<instruction>\n(.*?)\n</instruction>", re.DOTALL)
_TASK = re.compile(r"<task>\n(.*?)\n</task>", re.DOTALL)
_ATTACHMENT = re.compile(r'<attachment name="([^"\u2039]+)">')
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def unscripted(role: Role | None, asked: str, json_schema: dict[str, Any] | None) -> str:
    """The answer to a question that nobody wrote one for; `asked` is all that the client said."""
    match role:
        case Role.PLANNER:
            return json.dumps(plan(_ATTACHMENT.findall(asked)))
        case Role.REVIEWER:
            accepted = {"verdict": "accept", "reason": f"{MARK}: nothing speaks against it", "critique": ""}
            return json.dumps(accepted)
        case Role.WATCH:
            return json.dumps({"reason": f"{MARK}: nothing tells them apart", "verdict": "tie"})
        case Role.ROUTER:
            scores = {"complexity": 0.4, "domain": 0.2, "context": 0.2, "risk": 0.2, "needs_plan": False}
            return json.dumps({**scores, "reason": f"{MARK}: one piece of work"})
        case _ if json_schema is not None:
            return json.dumps(instance(json_schema))
        case _:
            return f"{MARK} answer to: {about(asked)}"


def about(asked: str) -> str:
    """The beginning of what is asked: of the step's instruction, else of the task, else of the text."""
    found = _INSTRUCTION.search(asked) or _TASK.search(asked)
    return " ".join((found.group(1) if found else asked).split())[:ABOUT_CHARS]


def plan(attachments: list[str]) -> dict[str, Any]:
    """Three steps for any task: two side by side that read everything, one that composes the answer."""
    return {
        "steps": [
            _step("facts", "List the facts that the task and its attachments give.", attachments),
            _step("questions", "List what the task and its attachments leave open.", attachments),
            _step("answer", "Do the task, from the facts and the open questions.", [], "facts", "questions"),
        ]
    }


def _step(name: str, instruction: str, attachments: list[str], *needs: str) -> dict[str, Any]:
    return {
        "id": name,
        "instruction": instruction,
        "needs": list(needs),
        "inputs": {"outputs": list(needs), "attachments": attachments, "prompt": True},
        "tools": [],
        "expects": {"json_schema": None, "must_mention": [], "criteria": []},
        "edge_cases": [],
        "tier": "small",
    }


def instance(schema: dict[str, Any]) -> Any:
    """The smallest value that fits a plain JSON schema. `$ref`, `pattern` and `not` are not understood."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return instance({**_without(schema, union), **schema[union][0]})
    if schema.get("allOf"):
        return instance(_merged([_without(schema, "allOf"), *schema["allOf"]]))
    kind = schema.get("type") or _implied(schema)
    return _BY_TYPE.get(kind[0] if isinstance(kind, list) else kind, _string)(schema)


def _without(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _merged(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for schema in schemas:
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        required = [*merged.get("required", ()), *schema.get("required", ())]
        merged = {**merged, **schema, "properties": properties, "required": required}
    return merged


def _implied(schema: dict[str, Any]) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "minItems" in schema else "string"


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {name: instance(properties.get(name, {})) for name in schema.get("required", ())}


def _array(schema: dict[str, Any]) -> list[Any]:
    first = [instance(item) for item in schema.get("prefixItems", ())]
    items = schema.get("items") or {}
    left = range(len(first), schema.get("minItems", 0))
    if not schema.get("uniqueItems"):
        return [*first, *(instance(items) for _ in left)]
    return [*first, *(_distinct(items, place) for place in left)]


def _distinct(schema: dict[str, Any], place: int) -> Any:
    if schema.get("enum"):
        return schema["enum"][place % len(schema["enum"])]
    value = instance(schema)
    if isinstance(value, str):
        return f"{value} {place + 1}"
    return value + place if isinstance(value, int | float) and not isinstance(value, bool) else value


def _number(schema: dict[str, Any]) -> int | float:
    """Zero, or the number nearest to it that the limits allow."""
    step: int | float = schema.get("multipleOf", 1)
    low: int | float = schema.get("minimum", -math.inf)
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + step)
    high: int | float = schema.get("maximum", math.inf)
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - step)
    value: int | float = low if low > 0 else min(0, high)
    if schema.get("type") == "integer" or "multipleOf" in schema:
        value = math.ceil(value / step) * step if value >= 0 else math.floor(value / step) * step
    return value


def _string(schema: dict[str, Any]) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = MARK.ljust(schema.get("minLength", 0), ".")
    return text[: schema["maxLength"]] if "maxLength" in schema else text


_BY_TYPE = {
    "object": _object,
    "array": _array,
    "integer": _number,
    "number": _number,
    "boolean": lambda _schema: False,
    "null": lambda _schema: None,
    "string": _string,
}
