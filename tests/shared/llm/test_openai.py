import json
from typing import Any

import pytest
from tests.shared.llm.server import Answer, Seen, serving
from tests.shared.llm.test_anthropic import traced

from tierbus.contracts import Usage
from tierbus.llm.model import (
    ProviderBusy,
    ProviderError,
    ProviderLost,
    ProviderRefused,
    Question,
    Reply,
    StopReason,
    Turn,
)
from tierbus.llm.openai import OpenAIModel, is_openai
from tierbus.tiers.catalog import ModelSpec

KEY = "sk-very-secret"
QUESTION = Question(system="the rules", turns=(Turn("user", "how many?"),))
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}}


def spec(**changed: Any) -> ModelSpec:
    given = {"id": "gpt-4o", "provider": "openai", "context_window": 128_000, "max_output": 1000}
    return ModelSpec.model_validate({**given, "price": {"provider": "openai"}, **changed})


def completion(*, finish_reason: str | None = "stop", said: dict[str, Any] | None = None, **changed: Any) -> Answer:
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": said or {"role": "assistant", "content": "fourteen", "refusal": None},
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
    }
    return Answer({**body, **changed}, headers={"x-request-id": "req_1"})


def failure(status: int, text: str, **headers: str) -> Answer:
    body = {"error": {"type": "requests", "code": "rate_limit_exceeded", "message": text, "param": None}}
    given = {"x-request-id": "req_9", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Answer(body, status, given)


async def ask(
    answer: Answer, question: Question = QUESTION, *, timeout_s: float = 20.0, **changed: Any
) -> tuple[Reply, Seen]:
    async with serving(answer) as server:
        model = OpenAIModel(spec(**changed), base_url=f"{server.url}/v1", api_key=KEY)
        try:
            return await model.ask(question, timeout_s), server.seen[0]
        finally:
            await model.close()
            assert len(server.seen) == 1, "no retries"


async def error_of(answer: Answer, timeout_s: float = 20.0) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(answer, timeout_s=timeout_s)
    assert KEY not in str(caught.value)
    assert "the rules" not in str(caught.value)
    return caught.value


async def test_the_first_choice_is_the_answer() -> None:
    reply, seen = await ask(completion())

    assert (reply.text, reply.stop, reply.model, reply.request_id) == (
        "fourteen",
        StopReason.DONE,
        "gpt-4o-2024-08-06",
        "req_1",
    )
    assert reply.usage == Usage(input=100, output=50)
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"


async def test_the_stable_part_comes_first() -> None:
    _, seen = await ask(completion(), Question(system="the rules", shared="the contract", turns=QUESTION.turns))

    assert seen.body["messages"] == [
        {"role": "system", "content": "the rules\n\nthe contract"},
        {"role": "user", "content": "how many?"},
    ]
    assert seen.body["max_tokens"] == 1000


async def test_what_the_cache_served_is_part_of_the_input() -> None:
    used = {
        "prompt_tokens": 2300,
        "completion_tokens": 50,
        "total_tokens": 2350,
        "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 200},
    }

    reply, _ = await ask(completion(usage=used))

    assert reply.usage == Usage(input=2300, output=50, cache_read=2000, cache_write=200)


async def test_thinking_that_only_the_total_counts_is_output() -> None:
    reply, _ = await ask(completion(usage={"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}))

    assert reply.usage == Usage(input=20, output=603)


async def test_a_schema_goes_by_the_api() -> None:
    _, seen = await ask(completion(), Question(system="the rules", turns=QUESTION.turns, json_schema=SCHEMA))

    assert seen.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }
    assert seen.body["messages"][0]["content"] == "the rules"


async def test_a_schema_goes_in_words_where_the_tier_file_says_so() -> None:
    asked = Question(system="the rules", turns=QUESTION.turns, json_schema=SCHEMA)

    _, seen = await ask(completion(), asked, json_schema=False)

    assert "response_format" not in seen.body
    assert json.dumps(SCHEMA, sort_keys=True) in seen.body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", StopReason.DONE),
        ("length", StopReason.TRUNCATED),
        ("content_filter", StopReason.REFUSED),
        ("tool_calls", StopReason.TRUNCATED),
        ("abort", StopReason.TRUNCATED),
        (None, StopReason.TRUNCATED),
    ],
)
async def test_only_a_finished_answer_is_done(reason: str | None, stop: StopReason) -> None:
    reply, _ = await ask(completion(finish_reason=reason))

    assert reply.stop is stop


async def test_a_refusal_is_no_answer() -> None:
    reply, _ = await ask(completion(said={"role": "assistant", "content": None, "refusal": "I will not."}))

    assert (reply.stop, reply.text) == (StopReason.REFUSED, "I will not.")


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(429, {"retry_after": "7"}, 7.0), (429, {"retry_after_ms": "20"}, 0.02), (500, {}, None), (529, {}, None)],
)
async def test_a_provider_that_is_busy_says_when_to_come_back(
    status: int, headers: dict[str, str], wait_s: float | None
) -> None:
    error = await error_of(failure(status, "later", **headers))

    assert isinstance(error, ProviderBusy)
    assert error.retry_after_s == wait_s
    assert error.request_id == "req_9"
    assert str(error) == f"HTTP {status}: requests: rate_limit_exceeded: later"


async def test_a_key_that_the_provider_repeats_is_cut_out() -> None:
    error = await error_of(failure(401, f"Incorrect API key provided: {KEY}."))

    assert isinstance(error, ProviderRefused)
    assert "Incorrect API key provided: [key]." in str(error)


async def test_gemini_wraps_its_errors_in_a_list() -> None:
    body = [{"error": {"code": 400, "message": "Please use a valid role.", "status": "INVALID_ARGUMENT"}}]

    error = await error_of(Answer(body, 400))

    assert str(error) == "HTTP 400: 400: Please use a valid role."


@pytest.mark.parametrize(
    "answer",
    [Answer(drop=True), Answer("{"), Answer({}), completion(choices=[]), completion(usage=None)],
    ids=["dropped", "half a JSON", "nothing", "no choice", "no usage"],
)
async def test_what_does_not_come_back_readable_is_lost(answer: Answer) -> None:
    assert isinstance(await error_of(answer), ProviderLost)


async def test_an_answer_that_takes_too_long_is_lost() -> None:
    assert isinstance(await error_of(Answer(hang=True), timeout_s=0.3), ProviderLost)


async def test_a_server_that_is_not_there_is_busy_because_nothing_was_sent() -> None:
    async with serving() as server:
        url = server.url
    model = OpenAIModel(spec(), base_url=f"{url}/v1", api_key=KEY)

    with pytest.raises(ProviderBusy, match="not reachable"):
        await model.ask(QUESTION, 20.0)

    await model.close()


async def test_no_trace_no_baggage_and_no_openai_account_reaches_another_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")

    with traced():
        _, seen = await ask(completion())

    unwanted = {"traceparent", "tracestate", "baggage", "openai-organization", "openai-project"}
    assert not unwanted & seen.headers.keys()
    assert "acme-corp" not in json.dumps(seen.headers)


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", False),
        ("http://api.openai.com.example.org/v1", False),
        ("http://127.0.0.1:8000/v1", False),
    ],
)
def test_only_openai_itself_takes_its_newer_name_for_the_output_size(base_url: str, *, expected: bool) -> None:
    model = OpenAIModel(spec(), base_url=base_url, api_key=KEY)

    assert is_openai(base_url) is expected
    assert ("max_completion_tokens" in model._request(QUESTION)) is expected
    assert KEY not in repr(model)
