import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.shared.llm.server import Answer, Seen, serving

from tierbus.contracts import Usage
from tierbus.llm.anthropic import AnthropicModel, fitted
from tierbus.llm.http import retry_after_s
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
from tierbus.tiers.catalog import ModelSpec

KEY = "sk-ant-very-secret"
QUESTION = Question(system="the rules", turns=(Turn("user", "how many?"),))
SHARING = replace(QUESTION, shared="the contract")
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": ["integer", "null"], "minimum": 1}}}
NOW = 1_790_000_000.0


def spec(**changed: Any) -> ModelSpec:
    given = {"id": "claude-opus-4-6", "provider": "anthropic", "context_window": 200_000, "max_output": 1000}
    return ModelSpec.model_validate({**given, "price": {"provider": "anthropic"}, **changed})


def message(**changed: Any) -> Answer:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-6",
        "content": [{"type": "text", "text": "four"}, {"type": "text", "text": "teen"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 50},
    }
    return Answer({**body, **changed}, headers={"request-id": "req_1"})


def failure(status: int, kind: str, text: str, **headers: str) -> Answer:
    body = {"type": "error", "error": {"type": kind, "message": text}}
    given = {"request-id": "req_9", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Answer(body, status, given)


async def ask(
    answer: Answer, question: Question = QUESTION, *, timeout_s: float = 20.0, **changed: Any
) -> tuple[Reply, Seen]:
    async with serving(answer) as server:
        model = AnthropicModel(spec(**changed), base_url=server.url, api_key=KEY)
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


async def test_the_text_blocks_are_the_answer() -> None:
    reply, seen = await ask(message())

    assert (reply.text, reply.stop, reply.model, reply.request_id) == (
        "fourteen",
        StopReason.DONE,
        "claude-opus-4-6",
        "req_1",
    )
    assert seen.path == "/v1/messages"
    assert seen.headers["authorization"] == f"Bearer {KEY}"


async def test_input_counts_what_the_cache_served_and_took() -> None:
    used = {
        "input_tokens": 100,
        "cache_read_input_tokens": 2000,
        "cache_creation_input_tokens": 200,
        "output_tokens": 50,
    }

    reply, _ = await ask(message(usage=used))

    assert reply.usage == Usage(input=2300, output=50, cache_read=2000, cache_write=200)


def marked(request: dict[str, Any]) -> list[bool]:
    assert all(
        block.get("cache_control", {"type": "ephemeral"}) == {"type": "ephemeral"} for block in request["system"]
    )
    return ["cache_control" in block for block in request["system"]]


async def test_the_rules_come_first_and_are_marked_then_material_that_nobody_reads_again() -> None:
    _, seen = await ask(message(), SHARING)

    assert seen.body["system"] == [
        {"type": "text", "text": "the rules", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "the contract"},
    ]
    assert seen.body["messages"] == [{"role": "user", "content": "how many?"}]


async def test_material_that_another_question_will_show_is_marked() -> None:
    _, seen = await ask(message(), replace(SHARING, shared_later=True))

    assert marked(seen.body) == [True, True]


async def test_material_is_marked_from_the_second_answer_on_that_a_model_gave_to_it() -> None:
    asked = [replace(SHARING, shared=shared) for shared in ("a", "b", "a", "a")]
    async with serving(*[message()] * len(asked)) as server:
        model = AnthropicModel(spec(), base_url=server.url, api_key=KEY)
        for question in asked:
            await model.ask(question, 20)
        await model.close()

    assert [marked(one.body)[1] for one in server.seen] == [False, False, True, True]


async def test_material_that_was_not_answered_was_not_shown() -> None:
    async with serving(failure(429, "rate_limit_error", "slow down"), message()) as server:
        model = AnthropicModel(spec(), base_url=server.url, api_key=KEY)
        with pytest.raises(ProviderBusy):
            await model.ask(SHARING, 20)
        await model.ask(SHARING, 20)
        await model.close()

    assert [marked(one.body)[1] for one in server.seen] == [False, False]


async def test_nothing_is_marked_where_the_tier_file_says_no_cache() -> None:
    _, seen = await ask(message(), cache=False)

    assert seen.body["system"] == [{"type": "text", "text": "the rules"}]


async def test_no_more_output_is_asked_for_than_the_model_may_write() -> None:
    _, seen = await ask(message())

    assert seen.body["max_tokens"] == 1000


async def test_a_schema_goes_by_the_api_in_the_form_it_takes() -> None:
    _, seen = await ask(message(), Question(system="the rules", turns=QUESTION.turns, json_schema=SCHEMA))

    sent = seen.body["output_config"]["format"]
    assert sent["type"] == "json_schema"
    assert sent["schema"]["additionalProperties"] is False
    assert [kind["type"] for kind in sent["schema"]["properties"]["n"]["anyOf"]] == ["integer", "null"]
    assert "minimum" not in sent["schema"]["properties"]["n"]["anyOf"][0]
    assert len(seen.body["system"]) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}},
        {"$ref": "#/$defs/node", "$defs": {"node": {"type": "string"}}},
        {"properties": {"a": {"type": "string"}}},
        {"type": "array", "items": True},
    ],
    ids=["open", "map", "reference", "untyped", "anything"],
)
async def test_a_schema_that_the_api_would_narrow_or_refuse_goes_in_words(schema: dict[str, Any]) -> None:
    assert fitted(schema) is None

    _, seen = await ask(message(), Question(system="the rules", turns=QUESTION.turns, json_schema=schema))

    assert "output_config" not in seen.body
    assert seen.body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert json.dumps(schema, sort_keys=True) in seen.body["system"][-1]["text"]


async def test_a_schema_goes_in_words_where_the_tier_file_says_so() -> None:
    asked = Question(system="the rules", turns=QUESTION.turns, json_schema=SCHEMA)

    _, seen = await ask(message(), asked, json_schema=False)

    assert "output_config" not in seen.body
    assert "JSON schema" in seen.body["system"][-1]["text"]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", StopReason.DONE),
        ("stop_sequence", StopReason.DONE),
        ("max_tokens", StopReason.TRUNCATED),
        ("model_context_window_exceeded", StopReason.TRUNCATED),
        ("refusal", StopReason.REFUSED),
        ("pause_turn", StopReason.TRUNCATED),
        ("tool_use", StopReason.TRUNCATED),
        ("not_invented_yet", StopReason.TRUNCATED),
        (None, StopReason.TRUNCATED),
    ],
)
async def test_only_a_finished_answer_is_done(reason: str | None, stop: StopReason) -> None:
    reply, _ = await ask(message(stop_reason=reason))

    assert reply.stop is stop
    assert reply.extra == {"stop_reason": reason}
    assert reply.usage == Usage(input=100, output=50)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"retry_after": "7"}, 7.0),
        (429, {"retry_after_ms": "1500", "retry_after": "2"}, 1.5),
        (429, {}, None),
        (500, {}, None),
        (503, {"retry_after": "0"}, 0.0),
        (529, {"retry_after": "soon"}, None),
    ],
)
async def test_a_provider_that_is_busy_says_when_to_come_back(
    status: int, headers: dict[str, str], wait_s: float | None
) -> None:
    error = await error_of(failure(status, "overloaded_error", "later", **headers))

    assert isinstance(error, ProviderBusy)
    assert error.retry_after_s == wait_s
    assert error.request_id == "req_9"
    assert str(error) == f"HTTP {status}: overloaded_error: later"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_a_request_that_is_wrong_is_refused(status: int) -> None:
    error = await error_of(failure(status, "invalid_request_error", "x" * 1000))

    assert isinstance(error, ProviderRefused)
    assert error.request_id == "req_9"
    assert len(str(error)) == len("HTTP 400: ") + 300


async def test_a_key_that_the_provider_repeats_is_cut_out() -> None:
    error = await error_of(failure(401, "authentication_error", f"invalid x-api-key {KEY}"))

    assert str(error) == "HTTP 401: authentication_error: invalid x-api-key [key]"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(drop=True),
        Answer("{", headers={"content-type": "application/json"}),
        Answer("<html>hello</html>", headers={"content-type": "text/html"}),
        Answer({}),
        message(usage=None),
        message(content=None),
    ],
    ids=["dropped", "half a JSON", "a page", "nothing", "no usage", "no content"],
)
async def test_what_does_not_come_back_readable_is_lost(answer: Answer) -> None:
    assert isinstance(await error_of(answer), ProviderLost)


async def test_an_answer_that_takes_too_long_is_lost() -> None:
    error = await error_of(Answer(hang=True), timeout_s=0.3)

    assert isinstance(error, ProviderLost)
    assert str(error) == "no answer within 0.3 s"


async def test_a_server_that_is_not_there_is_busy_because_nothing_was_sent() -> None:
    async with serving() as server:
        url = server.url
    model = AnthropicModel(spec(), base_url=url, api_key=KEY)

    with pytest.raises(ProviderBusy, match="not reachable"):
        await model.ask(QUESTION, 20.0)

    await model.close()


async def test_an_address_that_is_none_is_refused() -> None:
    model = AnthropicModel(spec(), base_url="localhost", api_key=KEY)

    with pytest.raises(ProviderRefused, match="check the provider's address"):
        await model.ask(QUESTION, 20.0)

    await model.close()


@contextmanager
def traced() -> Iterator[None]:
    parent = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = context.attach(baggage.set_baggage("tenant", "acme-corp"))
    try:
        with trace.use_span(NonRecordingSpan(parent)):
            yield
    finally:
        context.detach(token)


async def test_no_trace_and_no_baggage_reaches_the_provider() -> None:
    with traced():
        _, seen = await ask(message())

    assert not {"traceparent", "tracestate", "baggage"} & seen.headers.keys()
    assert "acme-corp" not in json.dumps(seen.headers)


async def test_a_model_that_was_never_asked_can_be_closed() -> None:
    model = AnthropicModel(spec(), base_url=None, api_key=KEY)

    await model.close()

    assert KEY not in repr(model)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:30 GMT"}, 10.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:00 GMT"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
    ],
)
def test_a_wait_is_read_in_every_form(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, now=NOW) == wait_s
