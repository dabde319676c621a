"""How the two provider APIs put a request, an answer, a stream and an error. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tierbus.contracts import Tier
from tierbus.testing.sim.cache import CHARS_PER_TOKEN, Cache, Hit, tokens
from tierbus.testing.sim.fallback import MARK
from tierbus.testing.sim.script import Request, Said, understand

_PART_CHARS = 40


class Refused(Exception):
    """The server does not take this request; `model` is what it asked for."""

    def __init__(self, status: int, what: str, model: str) -> None:
        super().__init__(what)
        self.status = status
        self.model = model


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as one of the APIs put it: its meaning, its text in blocks, and which are cache-marked."""

    request: Request
    blocks: tuple[str, ...]
    marks: tuple[int, ...] = ()
    stream: bool = False
    stream_usage: bool = True
    max_output: int | None = None

    def in_batch(self) -> "Asked":
        """The same, asked in a batch."""
        return replace(self, request=replace(self.request, batch=True))

    def cut(self, said: Said) -> Said:
        """What fits into the output that was asked for."""
        if self.max_output is None or tokens(said.text) <= self.max_output:
            return said
        return Said(said.text[: self.max_output * CHARS_PER_TOKEN], said.latency_s, "truncated")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer with its bill, before an API gives it a form."""

    id: str
    model: str
    at: float
    text: str
    stop: str
    input_tokens: int
    output_tokens: int
    cache: Hit


class Api(Protocol):
    """One of the two APIs."""

    name: str
    id_header: str

    def read(self, body: Any, tiers: Mapping[str, Tier]) -> Asked:
        """Understand a request.

        Raises:
            Refused: no such model, or not a request of this API.
        """
        ...

    def cached(self, cache: Cache, asked: Asked) -> Hit:
        """What of the request was sent before."""
        ...

    def body(self, reply: Reply) -> dict[str, Any]:
        """The answer as one document."""
        ...

    def events(self, reply: Reply, *, usage: bool) -> Iterator[bytes]:
        """The answer as a stream of server-sent events."""
        ...

    def error(self, status: int, what: str, request_id: str) -> dict[str, Any]:
        """An error as this API words it."""
        ...


class Anthropic:
    """`/v1/messages`."""

    name = "anthropic"
    id_header = "request-id"
    _kinds = {  # noqa: RUF012 - a table
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
    _stops = {"done": "end_turn", "truncated": "max_tokens", "refused": "refusal"}  # noqa: RUF012 - a table

    def read(self, body: Any, tiers: Mapping[str, Tier]) -> Asked:
        """Understand a request."""
        model, messages = _basics(body, tiers)
        system = _blocks(body.get("system") or ())
        turns = [_blocks(message.get("content") or ()) for message in messages]
        blocks = [*system, *(block for turn in turns for block in turn)]
        config = body.get("output_config") or {}
        output = config.get("format") or body.get("output_format") or {}
        return Asked(
            request=understand(
                model, tiers[model], _joined(system), [_joined(turn) for turn in turns], output.get("schema")
            ),
            blocks=tuple(text for text, _ in blocks),
            marks=tuple(place for place, (_, marked) in enumerate(blocks) if marked),
            stream=bool(body.get("stream")),
            max_output=body.get("max_tokens"),
        )

    def cached(self, cache: Cache, asked: Asked) -> Hit:
        """What of the marked blocks was sent before."""
        return cache.marked(asked.request.model, asked.blocks, asked.marks)

    def body(self, reply: Reply) -> dict[str, Any]:
        """The answer as one document."""
        return {
            "id": f"msg_{reply.id}",
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": [{"type": "text", "text": reply.text}],
            "stop_reason": self._stops[reply.stop],
            "stop_sequence": None,
            "usage": {
                "input_tokens": max(0, reply.input_tokens - reply.cache.read - reply.cache.written),
                "output_tokens": reply.output_tokens,
                "cache_read_input_tokens": reply.cache.read,
                "cache_creation_input_tokens": reply.cache.written,
            },
        }

    def events(self, reply: Reply, *, usage: bool) -> Iterator[bytes]:
        """The answer as a stream; its usage is always told."""
        whole = self.body(reply)
        begun = {
            **whole,
            "content": [],
            "stop_reason": None,
            "usage": {**whole["usage"], "output_tokens": 1 if usage else 0},
        }
        yield self._event("message_start", message=begun)
        yield self._event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield self._event("ping")
        for part in _parts(reply.text):
            yield self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": part})
        yield self._event("content_block_stop", index=0)
        yield self._event(
            "message_delta",
            delta={"stop_reason": whole["stop_reason"], "stop_sequence": None},
            usage=whole["usage"],
        )
        yield self._event("message_stop")

    def _event(self, kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    def error(self, status: int, what: str, request_id: str) -> dict[str, Any]:
        """An error as this API words it."""
        error = {"type": self._kinds.get(status, "api_error"), "message": f"{MARK}: {what}"}
        return {"type": "error", "error": error, "request_id": request_id}


class OpenAI:
    """`/v1/chat/completions`."""

    name = "openai"
    id_header = "x-request-id"
    _kinds = {  # noqa: RUF012 - a table
        400: ("invalid_request_error", None),
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
    }
    _stops = {"done": "stop", "truncated": "length", "refused": "content_filter"}  # noqa: RUF012 - a table

    def read(self, body: Any, tiers: Mapping[str, Tier]) -> Asked:
        """Understand a request."""
        model, messages = _basics(body, tiers)
        texts = [(message.get("role"), _joined(_blocks(message.get("content") or ()))) for message in messages]
        system = "\n\n".join(text for role, text in texts if role in ("system", "developer"))
        turns = [text for role, text in texts if role in ("user", "assistant")]
        schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
        return Asked(
            request=understand(model, tiers[model], system, turns, schema),
            blocks=tuple(text for _, text in texts),
            stream=bool(body.get("stream")),
            stream_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            max_output=body.get("max_completion_tokens") or body.get("max_tokens"),
        )

    def cached(self, cache: Cache, asked: Asked) -> Hit:
        """The longest beginning of the request that was sent before."""
        return cache.longest(asked.request.model, asked.request.text)

    def body(self, reply: Reply) -> dict[str, Any]:
        """The answer as one document."""
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        return {
            **self._common(reply, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": self._stops[reply.stop], "logprobs": None}],
            "usage": self._usage(reply),
        }

    def events(self, reply: Reply, *, usage: bool) -> Iterator[bytes]:
        """The answer as a stream; its usage is told where it was asked for."""
        common = self._common(reply, "chat.completion.chunk")
        deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": part}, None) for part in _parts(reply.text)]
        deltas += [({}, self._stops[reply.stop])]
        for delta, reason in deltas:
            yield _data({**common, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        if usage:
            yield _data({**common, "choices": [], "usage": self._usage(reply)})
        yield b"data: [DONE]\n\n"

    def _common(self, reply: Reply, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{reply.id}",
            "object": kind,
            "created": int(reply.at),
            "model": reply.model,
            "system_fingerprint": f"fp_{MARK}",
        }

    def _usage(self, reply: Reply) -> dict[str, Any]:
        return {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
            "prompt_tokens_details": {"cached_tokens": reply.cache.read},
        }

    def error(self, status: int, what: str, request_id: str) -> dict[str, Any]:
        """An error as this API words it."""
        kind, code = self._kinds.get(status, ("server_error", None))
        message = f"{MARK}: {what} (request {request_id})"
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _basics(body: Any, tiers: Mapping[str, Tier]) -> tuple[str, Sequence[dict[str, Any]]]:
    """The model and the messages of a request."""
    if not isinstance(body, dict):
        raise Refused(400, "the body is not a JSON object", "")
    model, messages = str(body.get("model") or ""), body.get("messages")
    if model not in tiers:
        raise Refused(404, f"model {model!r} is in no tier file", model)
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: a list of at least one is expected", model)
    if not all(isinstance(message, dict) for message in messages):
        raise Refused(400, "messages: every one must be an object", model)
    return model, messages


def _blocks(content: Any) -> list[tuple[str, bool]]:
    """Texts of a content, which may be a string or a list of blocks, and whether each is cache-marked."""
    if isinstance(content, str):
        return [(content, False)]
    return [(block.get("text") or "", bool(block.get("cache_control"))) for block in content]


def _joined(blocks: list[tuple[str, bool]]) -> str:
    return "\n\n".join(text for text, _ in blocks)


def _parts(text: str) -> list[str]:
    return [text[start : start + _PART_CHARS] for start in range(0, len(text), _PART_CHARS)]


def _data(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
