"""Anthropic's models through its own SDK."""

import json
from functools import cached_property
from typing import Any

from tierbus.contracts import Usage
from tierbus.llm.http import guarded
from tierbus.llm.model import ProviderLost, Question, Reply, StopReason
from tierbus.tiers.catalog import ModelSpec

_TRUNCATED = {"max_tokens", "model_context_window_exceeded"}
_REFUSED = {"refusal"}


class AnthropicModel:
    """One model behind `/v1/messages`. SDK retries and SDK telemetry are off: ours are visible, and nothing leaks."""

    def __init__(self, spec: ModelSpec, *, base_url: str | None, api_key: str | None) -> None:
        self.spec = spec
        self._base_url = base_url
        self._api_key = api_key

    @cached_property
    def _client(self) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(
            api_key=self._api_key or "none",
            auth_token=None,
            base_url=self._base_url,
            max_retries=0,
            open_telemetry=False,
        )

    async def ask(self, question: Question, timeout_s: float) -> Reply:
        """Ask once. See `Model.ask` for what it raises."""
        import anthropic

        message = await guarded(anthropic, self._client.messages.create(**self._request(question), timeout=timeout_s))
        return _reply(message, self.spec)

    def _request(self, question: Question) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.spec.id,
            "max_tokens": min(question.max_output, self.spec.max_output),
            "system": self._system(question),
            "messages": [{"role": turn.role, "content": turn.text} for turn in question.turns],
        }
        if question.json_schema is not None and self.spec.json_schema:
            request["output_config"] = {"format": {"type": "json_schema", "schema": question.json_schema}}
        if question.temperature is not None:
            request["temperature"] = question.temperature
        return request

    def _system(self, question: Question) -> list[dict[str, Any]]:
        """The stable part: rules, schema where the API cannot take it, shared material; the last block is cache-marked."""
        texts = [question.system]
        if question.json_schema is not None and not self.spec.json_schema:
            texts.append(in_words(question.json_schema))
        if question.shared:
            texts.append(question.shared)
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
        if self.spec.cache:
            blocks[-1]["cache_control"] = {"type": "ephemeral"}
        return blocks

    async def close(self) -> None:
        """Close the connections, if any were opened."""
        if "_client" in self.__dict__:
            await self._client.close()


def in_words(schema: dict[str, Any]) -> str:
    """A JSON schema as an instruction, for a model whose API does not take one."""
    return "Answer with one JSON document that fits this JSON schema: " + json.dumps(schema, sort_keys=True)


def _reply(message: Any, spec: ModelSpec) -> Reply:
    if message.stop_reason in {"tool_use", "pause_turn"}:
        raise ProviderLost(f"{spec.id} stopped for {message.stop_reason!r}, which was not offered")
    used = message.usage
    read, written = used.cache_read_input_tokens or 0, used.cache_creation_input_tokens or 0
    stop = StopReason.DONE
    if message.stop_reason in _TRUNCATED:
        stop = StopReason.TRUNCATED
    elif message.stop_reason in _REFUSED:
        stop = StopReason.REFUSED
    return Reply(
        text="".join(block.text for block in message.content if block.type == "text"),
        usage=Usage(
            input=used.input_tokens + read + written,
            output=used.output_tokens,
            cache_read=read,
            cache_write=written,
        ),
        stop=stop,
        model=message.model,
        request_id=message._request_id,  # noqa: SLF001 - the SDK's documented way to the request id
    )
