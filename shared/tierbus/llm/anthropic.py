"""Anthropic's models through its own SDK."""

from functools import partial
from typing import Any

from tierbus.contracts import Usage
from tierbus.llm.http import Client, Line, in_words
from tierbus.llm.model import Question, Reply, StopReason
from tierbus.llm.prefixes import Prefixes
from tierbus.tiers.catalog import ModelSpec

BASE_URL = "https://api.anthropic.com"
_STOPS = {
    "end_turn": StopReason.DONE,
    "stop_sequence": StopReason.DONE,
    "refusal": StopReason.REFUSED,
    "max_tokens": StopReason.TRUNCATED,
    "model_context_window_exceeded": StopReason.TRUNCATED,
}


class AnthropicModel:
    """One model behind `/v1/messages`. SDK retries and SDK telemetry are off: ours are visible, and nothing leaks."""

    def __init__(self, spec: ModelSpec, *, base_url: str | None, api_key: str | None) -> None:
        self.spec = spec
        self._answered = Prefixes()
        self._line = Line(partial(_connect, base_url or BASE_URL, api_key or "none"), secret=api_key)

    async def ask(self, question: Question, timeout_s: float) -> Reply:
        """Ask once. See `Model.ask` for what it raises."""
        reply = await self._line.ask(self.request(question), reply_of, timeout_s)
        self._answered.add(_beginning(question))
        return reply

    async def ready(self) -> None:
        """Load the SDK and make its client now rather than at the first question."""
        await self._line.ready()

    async def close(self) -> None:
        """Close the connections, if any were opened."""
        await self._line.close()

    @property
    def line(self) -> Line:
        """The connection, which the batch endpoint shares."""
        return self._line

    def request(self, question: Question) -> dict[str, Any]:
        """The question in this API's form."""
        request: dict[str, Any] = {
            "model": self.spec.id,
            "max_tokens": min(question.max_output, self.spec.max_output),
            "system": self._stable(question),
            "messages": [{"role": turn.role, "content": turn.text} for turn in question.turns],
        }
        if question.json_schema is not None:
            schema = fitted(question.json_schema) if self.spec.json_schema else None
            if schema is None:
                request["system"].append({"type": "text", "text": in_words(question.json_schema)})
            else:
                request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if question.temperature is not None:
            request["temperature"] = question.temperature
        return request

    def _stable(self, question: Question) -> list[dict[str, Any]]:
        """The role's rules, cache-marked, then the task's material, marked where it is read again: see `prefixes`."""
        again = question.shared_later or _beginning(question) in self._answered
        parts = [(question.system, True), (question.shared, again)]
        return [_block(text, marked=marked and self.spec.cache) for text, marked in parts if text]


def _block(text: str, *, marked: bool) -> dict[str, Any]:
    block = {"type": "text", "text": text}
    return {**block, "cache_control": {"type": "ephemeral"}} if marked else block


def _beginning(question: Question) -> str:
    return f"{question.system}\n{question.shared}"


def fitted(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in the form that the API takes, or None if that would change what it means.

    The API answers 400 to keywords such as `minimum`, to lists of types and to open objects. The SDK turns the first
    into descriptions; it cannot do the second, and closes the third so that only an empty object would fit.
    """
    from anthropic import transform_schema

    try:
        return transform_schema(_plain(schema))
    except (AssertionError, AttributeError, TypeError, ValueError):
        return None


def _plain(schema: Any) -> Any:
    """The schema with one type per place.

    Raises:
        ValueError: it has references, which may be circular, or objects whose properties are not all named.
    """
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    types = schema.get("type")
    if isinstance(types, list):
        described = {key: schema[key] for key in ("description", "title") if key in schema}
        rest = {key: value for key, value in schema.items() if key not in described and key != "enum"}
        kinds = [{"enum": schema["enum"]}] if "enum" in schema else [{**rest, "type": kind} for kind in types]
        return _plain({**described, "anyOf": kinds})
    _closable(schema)
    nested = {key: _plain(schema[key]) for key in ("items", "anyOf", "oneOf", "allOf") if key in schema}
    if "properties" in schema:
        nested["properties"] = {name: _plain(part) for name, part in schema["properties"].items()}
    return {**schema, **nested}


def _closable(schema: dict[str, Any]) -> None:
    if "$ref" in schema:
        raise ValueError("references")
    is_open = not schema.get("properties") or isinstance(schema.get("additionalProperties"), dict)
    if schema.get("type") == "object" and (is_open or "patternProperties" in schema):
        raise ValueError("an open object")


def _connect(base_url: str, api_key: str) -> Client:
    import anthropic

    client = anthropic.AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        open_telemetry={"traces": False, "propagation": False},
    )
    return Client(anthropic, client.messages.create, client.close, client.messages.batches)


def reply_of(message: Any) -> Reply:
    """The SDK's message as ours."""
    used = message.usage
    read, written = used.cache_read_input_tokens or 0, used.cache_creation_input_tokens or 0
    return Reply(
        text="".join(block.text for block in message.content if block.type == "text"),
        usage=Usage(
            input=used.input_tokens + read + written,
            output=used.output_tokens,
            cache_read=read,
            cache_write=written,
        ),
        stop=_STOPS.get(message.stop_reason, StopReason.TRUNCATED),
        model=message.model,
        request_id=getattr(message, "_request_id", None)
        or message.id,  # a message of a batch came with no response of its own
        extra={"stop_reason": message.stop_reason},
    )
