"""OpenAI's models, and everything else that speaks its API: Gemini, vLLM, Ollama, llama.cpp."""

from functools import cached_property
from typing import Any

from tierbus.contracts import Usage
from tierbus.llm.anthropic import in_words
from tierbus.llm.http import guarded
from tierbus.llm.model import ProviderLost, Question, Reply, StopReason
from tierbus.tiers.catalog import ModelSpec

_STOPS = {"length": StopReason.TRUNCATED, "content_filter": StopReason.REFUSED}


class OpenAIModel:
    """One model behind `/v1/chat/completions`. SDK retries are off: ours are visible."""

    def __init__(self, spec: ModelSpec, *, base_url: str | None, api_key: str | None) -> None:
        self.spec = spec
        self._base_url = base_url
        self._api_key = api_key

    @cached_property
    def _client(self) -> Any:
        import openai

        return openai.AsyncOpenAI(api_key=self._api_key or "none", base_url=self._base_url, max_retries=0)

    async def ask(self, question: Question, timeout_s: float) -> Reply:
        """Ask once. See `Model.ask` for what it raises."""
        import openai

        call = self._client.chat.completions.create(**self._request(question), timeout=timeout_s)
        return _reply(await guarded(openai, call), self.spec)

    def _request(self, question: Question) -> dict[str, Any]:
        size = "max_completion_tokens" if self._base_url is None else "max_tokens"
        request: dict[str, Any] = {
            "model": self.spec.id,
            size: min(question.max_output, self.spec.max_output),
            "messages": [{"role": "system", "content": self._system(question)}, *_turns(question)],
        }
        if question.json_schema is not None and self.spec.json_schema:
            schema = {"name": "answer", "schema": question.json_schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        if question.temperature is not None:
            request["temperature"] = question.temperature
        return request

    def _system(self, question: Question) -> str:
        """The stable part first: these providers cache the longest common beginning by themselves."""
        texts = [question.system]
        if question.json_schema is not None and not self.spec.json_schema:
            texts.append(in_words(question.json_schema))
        if question.shared:
            texts.append(question.shared)
        return "\n\n".join(texts)

    async def close(self) -> None:
        """Close the connections, if any were opened."""
        if "_client" in self.__dict__:
            await self._client.close()


def _turns(question: Question) -> list[dict[str, Any]]:
    return [{"role": turn.role, "content": turn.text} for turn in question.turns]


def _reply(completion: Any, spec: ModelSpec) -> Reply:
    if not completion.choices:
        raise ProviderLost(f"{spec.id} answered without a choice")
    choice, used = completion.choices[0], completion.usage
    refusal = getattr(choice.message, "refusal", None)
    cached = getattr(used.prompt_tokens_details, "cached_tokens", None) if used else None
    usage = Usage(
        input=used.prompt_tokens if used else 0,
        output=used.completion_tokens if used else 0,
        cache_read=cached or 0,
    )
    return Reply(
        text=choice.message.content or refusal or "",
        usage=usage,
        stop=StopReason.REFUSED if refusal else _STOPS.get(choice.finish_reason, StopReason.DONE),
        model=completion.model,
        request_id=completion._request_id or completion.id,  # noqa: SLF001 - the SDK's documented way to the request id
    )
