"""OpenAI's models, and everything else that speaks its API: Gemini, vLLM, Ollama, llama.cpp."""

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from tierbus.contracts import Usage
from tierbus.llm.http import Client, Line, in_words
from tierbus.llm.model import Question, Reply, StopReason
from tierbus.tiers.catalog import ModelSpec

BASE_URL = "https://api.openai.com/v1"
_STOPS = {
    "stop": StopReason.DONE,
    "content_filter": StopReason.REFUSED,
    "length": StopReason.TRUNCATED,
}


class OpenAIModel:
    """One model behind `/v1/chat/completions`. SDK retries are off: ours are visible."""

    def __init__(self, spec: ModelSpec, *, base_url: str | None, api_key: str | None) -> None:
        self.spec = spec
        address = base_url or BASE_URL
        self._is_openai = is_openai(address)
        self._line = Line(partial(_connect, address, api_key or "none"), secret=api_key)

    async def ask(self, question: Question, timeout_s: float) -> Reply:
        """Ask once. See `Model.ask` for what it raises."""
        return await self._line.ask(self._request(question), _reply, timeout_s)

    async def ready(self) -> None:
        """Load the SDK and make its client now rather than at the first question."""
        await self._line.ready()

    async def close(self) -> None:
        """Close the connections, if any were opened."""
        await self._line.close()

    def _request(self, question: Question) -> dict[str, Any]:
        size = "max_completion_tokens" if self._is_openai else "max_tokens"
        request: dict[str, Any] = {
            "model": self.spec.id,
            size: min(question.max_output, self.spec.max_output),
            "messages": [
                {"role": "system", "content": self._system(question)},
                *({"role": turn.role, "content": turn.text} for turn in question.turns),
            ],
        }
        if question.json_schema is not None and self.spec.json_schema:
            schema = {"name": "answer", "schema": question.json_schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        if question.temperature is not None:
            request["temperature"] = question.temperature
        return request

    def _system(self, question: Question) -> str:
        """The stable part first: these providers cache the longest common beginning by themselves."""
        texts = [question.system, question.shared]
        if question.json_schema is not None and not self.spec.json_schema:
            texts.append(in_words(question.json_schema))
        return "\n\n".join(text for text in texts if text)


def is_openai(base_url: str) -> bool:
    """Whether this is OpenAI itself, in any region, and not another server that speaks its API."""
    host = urlsplit(base_url).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _connect(base_url: str, api_key: str) -> Client:
    import openai

    elsewhere = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
    given: dict[str, Any] = {} if is_openai(base_url) else {"default_headers": elsewhere}
    client = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, **given)
    return Client(openai, client.chat.completions.create, client.close)


def _reply(completion: Any) -> Reply:
    choice = completion.choices[0]
    refusal = getattr(choice.message, "refusal", None)
    stop = StopReason.REFUSED if refusal else _STOPS.get(choice.finish_reason, StopReason.TRUNCATED)
    return Reply(
        text=choice.message.content or refusal or "",
        usage=_usage(completion.usage),
        stop=stop,
        model=completion.model,
        request_id=completion._request_id or completion.id,  # noqa: SLF001 - the SDK's documented way to the request id
        extra={"stop_reason": choice.finish_reason},
    )


def _usage(used: Any) -> Usage:
    """Gemini counts its thinking in the total only, so the output is what the total has beyond the prompt."""
    details = getattr(used, "prompt_tokens_details", None)
    read = getattr(details, "cached_tokens", None) or 0
    written = getattr(details, "cache_write_tokens", None) or 0
    total = getattr(used, "total_tokens", None) or 0
    return Usage(
        input=used.prompt_tokens,
        output=max(used.completion_tokens, total - used.prompt_tokens),
        cache_read=read,
        cache_write=min(written, max(0, used.prompt_tokens - read)),
    )
