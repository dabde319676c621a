"""What an executor's answer amounts to, before anybody judges it. Pure."""

import json
from typing import Any, NamedTuple

from tierbus.answers import parse_json, schema_errors
from tierbus.contracts import Content, Outcome
from tierbus.llm.model import StopReason
from tierbus.stores import Output


class Read(NamedTuple):
    """An outcome with its content, or with what is wrong."""

    outcome: Outcome
    content: Content | None
    errors: tuple[str, ...] = ()


def read(output: Output, schema: dict[str, Any] | None) -> Read:
    """Read an answer: a truncated one is a failed attempt, a JSON one must parse and fit its schema."""
    if output.stop == StopReason.TRUNCATED:
        return Read(Outcome.TRUNCATED, None, ("the answer was cut off at the model's output limit",))
    if output.stop == StopReason.REFUSED:
        return Read(Outcome.REFUSED, None, ("the model declined",))
    if schema is None:
        text = output.text.strip()
        return (
            Read(Outcome.ANSWERED, Content.of(text)) if text else Read(Outcome.INVALID, None, ("the answer is empty",))
        )
    try:
        value = parse_json(output.text)
    except ValueError as error:
        return Read(Outcome.INVALID, None, (f"not JSON: {error}",))
    errors = tuple(schema_errors(schema, value))
    if errors:
        return Read(Outcome.INVALID, None, errors)
    return Read(Outcome.ANSWERED, Content.of(json.dumps(value, ensure_ascii=False), "json"))
