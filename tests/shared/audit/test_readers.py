"""Rows as the systems write them, and the calls that they mean."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tierbus.audit.call import Call, NotACall, Unreadable
from tierbus.audit.readers import columns, langfuse, litellm, otel, requests
from tierbus.audit.values import meanings, tokens, told

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1+1?"}]
OPENAI = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-2024-08-06",
    "created": 1_793_500_000,
    "choices": [{"message": {"role": "assistant", "content": "2"}}],
    "usage": {"prompt_tokens": 2000, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1024}},
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-opus-4-6",
    "content": [{"type": "text", "text": "2"}],
    "usage": {
        "input_tokens": 12,
        "output_tokens": 5,
        "cache_read_input_tokens": 3000,
        "cache_creation_input_tokens": 500,
    },
}


def one(found: Iterator[Call]) -> Call:
    [call] = found
    return call


def counts(call: Call) -> tuple[int, int, int, int]:
    return call.input, call.output, call.cache_read, call.cache_write


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"model": "gpt-4o", "messages": CHAT}, "response": OPENAI},
        {"request": {"body": {"messages": CHAT}}, "response": {"status": 200, "body": OPENAI}},
        {"body": {"model": "gpt-4o", "messages": CHAT}, "response": {"body": OPENAI}},
        {"request": json.dumps({"messages": CHAT}), "response": json.dumps(OPENAI)},
        {"custom_id": "a", "response": {"status_code": 200, "request_id": "r", "body": OPENAI}, "error": None},
        {"req": {"messages": CHAT}, "res": OPENAI},
        OPENAI,
    ],
)
def test_an_openai_answer_is_read_in_every_wrapping(row: dict[str, Any]) -> None:
    call = one(requests.read(row))

    assert (call.model, counts(call)) == ("gpt-4o-2024-08-06", (2000, 5, 1024, 0))
    assert call.batch is ("custom_id" in row)
    assert call.at == (0 if "created" in row and "usage" not in row else 1_793_500_000)
    assert call.prompt in ("What is 1+1?", "")


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"system": "Be brief.", "messages": CHAT[1:]}, "response": ANTHROPIC},
        {"custom_id": "a", "result": {"type": "succeeded", "message": ANTHROPIC}},
        ANTHROPIC,
        {
            "request": {},
            "response": [
                {"type": "message_start", "message": ANTHROPIC},
                {"type": "message_delta", "usage": {"output_tokens": 5}},
            ],
        },
    ],
)
def test_anthropic_cached_tokens_stand_beside_the_input_and_are_added_to_it(row: dict[str, Any]) -> None:
    call = one(requests.read(row))

    assert (call.model, counts(call)) == ("claude-opus-4-6", (3512, 5, 3000, 500))


def test_the_responses_api_counts_cached_tokens_inside_the_input() -> None:
    usage = {"input_tokens": 900, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 512}}

    call = one(
        requests.read(
            {"request": {"instructions": "Be brief.", "input": "Hi"}, "response": {"model": "gpt-4o", "usage": usage}}
        )
    )

    assert counts(call) == (900, 7, 512, 0)
    assert (call.system, call.prompt, call.whole) == ("Be brief.", "Hi", "Be brief.\nHi")


def test_who_asked_and_for_what_is_found_where_teams_write_it() -> None:
    body = {"messages": CHAT, "user": "u1", "metadata": {"team": "support", "feature": "triage"}}

    call = one(
        requests.read({"timestamp": "2026-11-01T00:00:00Z", "request": body, "response": OPENAI, "cost_usd": 0.25})
    )

    assert (call.user, call.tenant, call.label) == ("u1", "support", "triage")
    assert (call.at, call.cost_nano_usd) == (1_793_491_200, 250_000_000)


def test_a_call_without_usage_is_estimated_from_its_text_and_says_so() -> None:
    call = one(requests.read({"request": {"model": "m", "prompt": "x" * 400}, "response": {"content": "y" * 40}}))

    assert (counts(call), call.estimated) == ((101, 10, 0, 0), True)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"request": {"model": "m"}, "response": {"error": {"type": "overloaded"}}}, "the request failed"),
        ({"custom_id": "a", "response": {"status_code": 429, "body": {"error": {}}}}, "the request failed"),
        (
            {"custom_id": "a", "method": "POST", "url": "/v1", "body": {"model": "m", "messages": CHAT}},
            "without a response",
        ),
    ],
)
def test_a_request_without_an_answer_is_no_call_and_no_error(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotACall, match=reason):
        list(requests.read(row))


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"response": {"usage": {"input_tokens": 1, "output_tokens": 1}}}, "no model name"),
        ({"response": {"model": "m", "usage": {"input_tokens": "many", "output_tokens": 1}}}, "input tokens 'many'"),
        ({"response": {"model": "m", "usage": {"input_tokens": -4, "output_tokens": 1}}}, "input tokens '-4'"),
        ({"response": {"model": "m", "usage": {"total": 4}}}, "usage without token counts: fields 'total'"),
        ({"response": {"model": "m", "id": "x"}}, "no token counts, and no text"),
        ({"response": OPENAI, "cost": "cheap"}, "cost 'cheap'"),
        ({"response": OPENAI, "timestamp": "yesterday"}, "time is not readable: 'yesterday'"),
    ],
)
def test_a_wrong_value_is_named(row: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable) as wrong:
        list(requests.read(row))

    assert not isinstance(wrong.value, NotACall)
    assert named in str(wrong.value)


@pytest.mark.parametrize("row", [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"b": "", "c": 3, "a": 1}, {"x": 9, "a": 1}])
def test_the_first_name_of_a_field_wins_wherever_it_stands(row: dict[str, Any]) -> None:
    assert told(row, meanings({"one": ("a", "b", "c"), "two": ("d",)})) == {"one": 1}


@pytest.mark.parametrize(("row", "found"), [({"a": None, "b": 0}, {"one": 0}), ({"a": ""}, {}), ({"b": [], "d": 4}, {"one": [], "two": 4})])  # fmt: skip
def test_a_field_with_nothing_in_it_is_not_there(row: dict[str, Any], found: dict[str, Any]) -> None:
    assert told(row, meanings({"one": ("a", "b"), "two": ("d",)})) == found


@pytest.mark.parametrize(
    ("text", "count"), [("7", 7), ("0000000000012", 12), ("999999999", 999_999_999), ("12.0", 12), ("٣", 3), (" 5 ", 5)]
)
def test_a_count_written_as_text_is_a_number(text: str, count: int) -> None:
    assert tokens(text, "input") == count


@pytest.mark.parametrize("text", ["²", "1000000001", "1.5", "-1", "nan", "1e400"])
def test_a_text_that_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="token count"):
        tokens(text, "input")


def test_a_secret_in_a_wrong_value_is_not_repeated() -> None:
    with pytest.raises(Unreadable) as wrong:
        list(requests.read({"response": OPENAI, "cost": "api_key=hunter2hunter2"}))

    assert "hunter2" not in str(wrong.value)


SPEND = {
    "request_id": "r1", "call_type": "acompletion", "api_key": "88dc28", "spend": 0.0123, "prompt_tokens": 2000, "completion_tokens": 30,
    "startTime": "2026-11-01 00:00:00.000", "model": "gpt-4o", "custom_llm_provider": "openai", "cache_key": "k1", "cache_hit": "False",
    "metadata": {"user_api_key_alias": "ci", "user_api_key_team_alias": "core", "usage_object": {"prompt_tokens_details": {"cached_tokens": 1024}}},
    "request_tags": '["triage", "x"]', "end_user": "u9", "messages": {}, "team_id": "t1",
}  # fmt: skip


def test_a_litellm_row_gives_its_spend_its_names_and_its_cache_key() -> None:
    call = one(litellm.read(SPEND))

    assert (counts(call), call.cost_nano_usd) == ((2000, 30, 1024, 0), 12_300_000)
    assert (call.tenant, call.user, call.key, call.label) == ("core", "u9", "ci", "triage")
    assert (call.fingerprint, call.whole, call.at) == ("k1", "", 1_793_491_200)


def test_a_litellm_row_of_a_csv_export_has_json_in_its_cells() -> None:
    flat = {key: json.dumps(value) if isinstance(value, dict) else str(value) for key, value in SPEND.items()}

    call = one(litellm.read({**flat, "messages": json.dumps(CHAT)}))

    assert (counts(call), call.prompt, call.system) == ((2000, 30, 1024, 0), "What is 1+1?", "Be brief.")


def test_a_spend_of_nothing_is_no_price() -> None:
    assert one(litellm.read({**SPEND, "spend": 0.0})).cost_nano_usd is None


@pytest.mark.parametrize("change", [{"status": "failure"}, {"cache_hit": "True"}])
def test_failures_and_the_gateways_own_cache_hits_are_no_calls(change: dict[str, str]) -> None:
    with pytest.raises(NotACall):
        list(litellm.read({**SPEND, **change}))


def test_a_langfuse_observation_adds_its_disjoint_counts() -> None:
    row = {
        "id": "o1", "traceId": "t1", "type": "GENERATION", "name": "answer", "model": "claude-opus-4-6", "startTime": "2026-11-01T00:00:00Z",
        "usageDetails": {"input": 10, "output": 20, "cache_read_input_tokens": 100, "input_cache_creation": 40, "total": 170},
        "costDetails": {"total": 0.5}, "input": {"messages": CHAT}, "userId": "u1", "metadata": {"tenant": "acme"}, "tags": ["triage"],
    }  # fmt: skip

    call = one(langfuse.read(row))

    assert (counts(call), call.cost_nano_usd) == ((150, 20, 100, 40), 500_000_000)
    assert (call.user, call.tenant, call.label, call.prompt) == ("u1", "acme", "triage", "What is 1+1?")


def test_langfuse_counts_whose_total_says_so_include_the_cached_ones() -> None:
    row = {
        "type": "GENERATION",
        "model": "m",
        "usageDetails": {"input": 100, "output": 20, "input_cached_tokens": 60, "total": 120},
    }

    assert counts(one(langfuse.read(row))) == (100, 20, 60, 0)


@pytest.mark.parametrize(
    "row",
    [
        {
            "type": "GENERATION",
            "provided_model_name": "m",
            "usage_details": '{"input": 3, "output": 4}',
            "total_cost": "0.001",
        },
        {
            "type": "GENERATION",
            "model": "m",
            "usage": {"input": 3, "output": 4, "unit": "TOKENS"},
            "calculatedTotalCost": 0.001,
        },
        {"model": "m", "promptTokens": 3, "completionTokens": 4, "totalCost": 0.001},
    ],
)
def test_langfuse_rows_of_other_versions_and_of_csv_are_read(row: dict[str, Any]) -> None:
    call = one(langfuse.read(row))

    assert (call.model, counts(call), call.cost_nano_usd) == ("m", (3, 4, 0, 0), 1_000_000)


def test_a_trace_gives_the_generations_in_it() -> None:
    spans = [{"type": "SPAN"}, {"type": "GENERATION", "model": "m", "usageDetails": {"input": 1, "output": 2}}]

    call = one(langfuse.read({"id": "t", "userId": "u1", "tags": ["a"], "observations": spans}))

    assert (call.user, call.label) == ("u1", "a")


@pytest.mark.parametrize("row", [{"type": "SPAN", "id": "s"}, {"id": "t", "observations": ["o1", "o2"]}])
def test_other_observations_are_no_calls(row: dict[str, Any]) -> None:
    with pytest.raises(NotACall):
        list(langfuse.read(row))


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


@pytest.mark.parametrize(
    "names",
    [
        ("gen_ai.provider.name", "gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens"),
        ("gen_ai.system", "gen_ai.response.model", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens", "gen_ai.usage.cache_read_input_tokens"),
        ("llm.provider", "llm.model_name", "llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.prompt_details.cache_read"),
    ],
)  # fmt: skip
def test_a_span_is_read_with_present_and_earlier_names(names: tuple[str, ...]) -> None:
    values = ("openai", "gpt-4o", 500, 20, 128)
    span = {
        "spanId": "s",
        "startTimeUnixNano": "1793491200000000000",
        "attributes": [attribute(*pair) for pair in zip(names, values, strict=True)],
    }

    call = one(otel.read(span, {"service.name": "gateway"}))

    assert (call.provider, call.model, counts(call)) == ("openai", "gpt-4o", (500, 20, 128, 0))
    assert (call.at, call.tenant) == (1_793_491_200, "gateway")


@pytest.mark.parametrize(
    "content",
    [
        {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}])},
        {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Hello"},
        {"input.value": "Hello"},
    ],
)
def test_the_prompt_of_a_span_is_found(content: dict[str, str]) -> None:
    given = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1, **content}

    assert one(otel.read({"attributes": given}, {})).prompt == "Hello"


def test_the_prompt_in_an_event_of_a_span_is_found_too() -> None:
    event = {"name": "gen_ai.content.prompt", "attributes": [attribute("gen_ai.prompt", "Hello")]}
    given = [attribute("gen_ai.request.model", "m"), attribute("gen_ai.usage.input_tokens", 1)]

    assert one(otel.read({"attributes": given, "events": [event]}, {})).prompt == "Hello"


@pytest.mark.parametrize(
    "given",
    [
        {"http.method": "GET"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 5},
        {"openinference.span.kind": "CHAIN", "llm.model_name": "m", "llm.token_count.prompt": 5},
    ],
)
def test_spans_of_other_things_and_of_agents_are_no_calls(given: dict[str, Any]) -> None:
    with pytest.raises(NotACall):
        list(otel.read({"attributes": given}, {}))


def test_every_span_of_a_document_comes_with_its_resource() -> None:
    document = {
        "resourceSpans": [
            {
                "resource": {"attributes": [attribute("service.name", "a")]},
                "scopeSpans": [{"spans": [{"spanId": "1"}, {"spanId": "2"}]}],
            }
        ]
    }

    found = list(otel.spans(document))

    assert [(span["spanId"], resource["service.name"]) for span, resource in found] == [("1", "a"), ("2", "a")]


def test_columns_are_matched_by_what_is_given_and_by_their_headers() -> None:
    found = columns.matched(
        ["Mdl", "Prompt Tokens", "out", "Team", "cost"], columns.parse("model=Mdl,output_tokens=out")
    )

    assert found == {
        "model": "Mdl",
        "output_tokens": "out",
        "input_tokens": "Prompt Tokens",
        "tenant": "Team",
        "cost_usd": "cost",
    }


def test_a_row_of_a_table_is_read() -> None:
    named = columns.matched(["model", "input_tokens", "output_tokens", "cost", "task_class"], {})

    call = one(
        columns.read(
            {"model": "m", "input_tokens": "10", "output_tokens": "2.0", "cost": "0.5", "task_class": "triage"}, named
        )
    )

    assert (counts(call), call.cost_nano_usd, call.label) == ((10, 2, 0, 0), 500_000_000, "triage")


@pytest.mark.parametrize(
    ("text", "named"),
    [("model", "'model' is not of the form"), ("colour=x", "unknown field 'colour'"), ("model=", "'model='")],
)
def test_a_wrong_column_map_names_its_wrong_part(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        columns.parse(text)


def test_a_table_without_the_needed_columns_says_which_and_what_there_is() -> None:
    with pytest.raises(Unreadable, match="output_tokens; there are model, input_tokens, colour"):
        columns.matched(["model", "input_tokens", "colour"], {})
    with pytest.raises(Unreadable, match="a column of --columns is not there: mdl"):
        columns.matched(["model"], {"model": "mdl"})
