"""Both real SDKs against a really served `sim`: answers, streams, faults, caches, and what was served."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import uvicorn

from tierbus import prompts
from tierbus.testing.sim.app import Sim, application
from tierbus.testing.sim.script import Book, bench_scenarios, load_scenarios, parse, tiers_by_model

EXECUTOR = prompts.load("tierbus.executor", "step.md")
HAIKU, HAIKU_BEFORE, OPUS = "claude-haiku-5-5", "claude-haiku-4-5-20251001", "claude-opus-5-5"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["city", "people"],
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
}
KIEL = """
name: kiel
about: a test
match: people live in Kiel
task: {prompt: "How many people live in Kiel?"}
answers:
  - when: {role: executor, contains: as JSON}
    json: {city: Kiel, people: 248873}
  - when: {role: executor, contains: at length}
    text: |
      Kiel had about 248,873 inhabitants at the end of 2024, which makes it the largest city of
      Schleswig-Holstein, ahead of Lübeck; the number has grown since 2012.
  - when: {role: executor, contains: cut off}
    text: Kiel had about
    stop: truncated
  - when: {role: executor, contains: kindly decline}
    text: I will not say.
    stop: refused
  - when: {role: executor, contains: slowly}
    text: "SIMULATED: soon."
    latency_s: 5
  - when: {role: executor}
    text: About 249,000.
faults:
  - {when: {contains: CASE-529}, status: 529}
  - {when: {contains: CASE-429}, status: 429, retry_after_s: 1.5}
  - {when: {contains: CASE-500}, status: 500}
  - {when: {contains: CASE-400}, status: 400}
  - {when: {contains: CASE-hang}, hang_s: 5}
  - {when: {contains: CASE-drop}, drop: true}
  - {when: {contains: CASE-broken}, malformed: true}
expect: {route: direct, tier_path: {answer: [small]}}
"""


SCENARIOS = [parse("kiel.yaml", KIEL), *load_scenarios(), *bench_scenarios()]
TIERS = tiers_by_model()


@dataclass
class Served:
    """A `sim` that is served, and both SDKs connected to it."""

    sim: Sim
    url: str
    anthropic: anthropic.AsyncAnthropic
    openai: openai.AsyncOpenAI

    async def ask(self, user: str, *, model: str = HAIKU, system: str = EXECUTOR, **more: Any) -> Any:
        return await self.anthropic.messages.create(
            model=model,
            max_tokens=1000,
            system=[{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            messages=[{"role": "user", "content": user}],
            **more,
        )

    async def complete(self, user: str, *, model: str = HAIKU, system: str = EXECUTOR, **more: Any) -> Any:
        return await self.openai.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            **more,
        )


def question(extra: str = "") -> str:
    step, task = (
        prompts.fenced("step", "", id="answer"),
        prompts.fenced("task", f"How many people live in Kiel? {extra}"),
    )
    return f"{step}\n\n{task}"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server on a free port in this process, so that its record can be looked at."""
    sim = Sim(Book(SCENARIOS), scale=0.02, tiers=TIERS)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(application(sim), log_level="critical", lifespan="off", access_log=False)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        while not server.started:
            await asyncio.sleep(0.005)
        async with (
            anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as one,
            openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as other,
        ):
            yield Served(sim, url, one, other)
        server.should_exit = True
        server.force_exit = True
        await running


async def until(condition: Any) -> None:
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.01)


async def test_anthropic_gets_the_scripted_text(served: Served) -> None:
    message = await served.ask(question())

    assert message.content[0].text == "About 249,000.\n\n[SIMULATED]"
    assert (message.stop_reason, message.model, message.type) == ("end_turn", HAIKU, "message")
    assert message.usage.output_tokens == -(-len(message.content[0].text) // 4)


async def test_openai_gets_the_scripted_text(served: Served) -> None:
    completion = await served.complete(question())

    assert completion.choices[0].message.content == "About 249,000.\n\n[SIMULATED]"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


async def test_both_count_the_same_input(served: Served) -> None:
    message, completion = await served.ask(question()), await served.complete(question())

    assert message.usage.input_tokens == completion.usage.prompt_tokens


async def test_json_fits_the_schema_that_was_asked_for(served: Served) -> None:
    asked = question("Answer as JSON.")
    message = await served.ask(asked, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    completion = await served.complete(
        asked, response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    )

    for text in (message.content[0].text, completion.choices[0].message.content):
        assert json.loads(text) == {"city": "Kiel", "people": 248873}


async def test_a_schema_that_nobody_scripted_for_gets_an_instance(served: Served) -> None:
    message = await served.ask("Something.", output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    completion = await served.complete(
        "Something.",
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    )

    for text in (message.content[0].text, completion.choices[0].message.content):
        assert json.loads(text) == {"city": "SIMULATED", "people": 0}


async def test_anthropic_streams_the_same_answer(served: Served) -> None:
    whole = await served.ask(question("Tell it at length."))

    async with served.anthropic.messages.stream(
        model=HAIKU,
        max_tokens=1000,
        system=EXECUTOR,
        messages=[{"role": "user", "content": question("Tell it at length.")}],
    ) as stream:
        parts = [part async for part in stream.text_stream]
        final = await stream.get_final_message()

    assert len(parts) > 2
    assert "".join(parts) == final.content[0].text == whole.content[0].text  # type: ignore[union-attr] # a text block
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens


async def test_anthropic_streams_raw_events(served: Served) -> None:
    stream = await served.ask(question(), stream=True)

    kinds = [event.type async for event in stream]

    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_openai_streams_the_same_answer_and_usage_where_it_is_asked_for(served: Served) -> None:
    whole = await served.complete(question("Tell it at length."))
    stream = await served.complete(question("Tell it at length."), stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"

    bare = [chunk async for chunk in await served.complete(question(), stream=True)]
    assert all(chunk.usage is None for chunk in bare)


async def test_truncation_and_refusal_are_told(served: Served) -> None:
    assert (await served.ask(question("Be cut off."))).stop_reason == "max_tokens"
    assert (await served.complete(question("Be cut off."))).choices[0].finish_reason == "length"
    assert (await served.ask(question("Please kindly decline."))).stop_reason == "refusal"
    assert (await served.complete(question("Please kindly decline."))).choices[0].finish_reason == "content_filter"


async def test_an_answer_longer_than_was_asked_for_is_cut_off(served: Served) -> None:
    message = await served.anthropic.messages.create(
        model=HAIKU,
        max_tokens=10,
        system=EXECUTOR,
        messages=[{"role": "user", "content": question("Tell it at length.")}],
    )
    completion = await served.complete(question("Tell it at length."), max_completion_tokens=10)

    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 10)
    assert (completion.choices[0].finish_reason, completion.usage.completion_tokens) == ("length", 10)


@pytest.mark.parametrize(
    ("case", "status", "kind"),
    [
        ("CASE-529", 529, "overloaded_error"),
        ("CASE-429", 429, "rate_limit_error"),
        ("CASE-500", 500, "api_error"),
        ("CASE-400", 400, "invalid_request_error"),
    ],
)
async def test_a_status_fault_strikes_both_apis_and_then_lets_one_pass(
    served: Served, case: str, status: int, kind: str
) -> None:
    with pytest.raises(anthropic.APIStatusError) as first:
        await served.ask(question(case))
    assert (first.value.status_code, first.value.body["error"]["type"]) == (status, kind)  # type: ignore[index] # JSON
    assert "SIMULATED" in str(first.value)
    assert (await served.ask(question(case))).stop_reason == "end_turn"

    with pytest.raises(openai.APIStatusError) as second:
        await served.complete(question(case))
    assert second.value.status_code == status
    assert "SIMULATED" in str(second.value)
    assert (await served.complete(question(case))).choices[0].finish_reason == "stop"


async def test_a_busy_provider_says_when_to_come_back(served: Served) -> None:
    with pytest.raises(anthropic.RateLimitError) as first:
        await served.ask(question("CASE-429"))
    await served.ask(question("CASE-429"))
    with pytest.raises(openai.RateLimitError) as second:
        await served.complete(question("CASE-429"))

    assert first.value.response.headers["retry-after"] == "1.5"
    assert second.value.response.headers["retry-after"] == "1.5"


async def test_a_hanging_answer_ends_in_the_clients_timeout(served: Served) -> None:
    with pytest.raises(anthropic.APITimeoutError):
        await served.ask(question("CASE-hang"), timeout=0.2)
    await until(lambda: served.sim.served[-1].state == "aborted")
    await served.ask(question("CASE-hang"))
    with pytest.raises(openai.APITimeoutError):
        await served.complete(question("CASE-hang"), timeout=0.2)
    await until(lambda: served.sim.served[-1].state == "aborted")


async def test_a_dropped_connection_is_an_error_of_the_connection(served: Served) -> None:
    with pytest.raises(anthropic.APIConnectionError):
        await served.ask(question("CASE-drop"))
    assert served.sim.served[-1].state == "dropped"
    await served.ask(question("CASE-drop"))
    with pytest.raises(openai.APIConnectionError):
        await served.complete(question("CASE-drop"))

    assert [one.state for one in served.sim.served] == ["dropped", "done", "dropped"]


async def test_a_stream_can_be_dropped_in_its_middle(served: Served) -> None:
    stream = await served.ask(question("Tell it at length. CASE-drop"), stream=True)

    with pytest.raises(httpx2.RemoteProtocolError):
        [event async for event in stream]
    assert served.sim.served[-1].state == "dropped"


async def test_broken_json_is_half_of_the_answer(served: Served) -> None:
    message = await served.ask(question("Answer as JSON. CASE-broken"))

    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(message.content[0].text)
    assert message.stop_reason == "end_turn"


async def test_a_client_that_goes_away_is_recorded(served: Served) -> None:
    served.sim.scale = 1.0
    asking = asyncio.create_task(served.ask(question("Answer slowly.")))
    await until(lambda: served.sim.served)
    assert served.sim.served[-1].state == "open"

    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await until(lambda: served.sim.served[-1].state == "aborted")

    assert served.sim.served[-1].status == 499
    assert served.sim.served[-1].input_tokens > 0
    assert served.sim.served[-1].output_tokens == 0


async def test_a_client_that_leaves_a_stream_is_recorded(served: Served) -> None:
    served.sim.scale = 1.0
    stream = await served.ask(question("Tell it at length, slowly."), stream=True)
    async for _event in stream:
        break
    await stream.close()

    await until(lambda: served.sim.served[-1].state == "aborted")


@pytest.mark.parametrize("api", ["anthropic", "openai"])
async def test_an_unknown_model_is_not_found(served: Served, api: str) -> None:
    ask, error = {
        "anthropic": (served.ask, anthropic.NotFoundError),
        "openai": (served.complete, openai.NotFoundError),
    }[api]

    with pytest.raises(error, match="gpt-99"):
        await ask("x", model="gpt-99")

    [one] = served.sim.served
    assert (one.api, one.model, one.status, one.tier) == (api, "gpt-99", 404, None)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"model": "claude-haiku-5-5"}', b'{"model": "claude-haiku-5-5", "messages": [1]}']
)
async def test_what_is_no_request_is_refused(served: Served, body: bytes) -> None:
    async with httpx2.AsyncClient(base_url=served.url) as client:
        for path in ("/v1/messages", "/v1/chat/completions"):
            answered = await client.post(path, content=body)

            assert answered.status_code in {400, 404}
            assert "SIMULATED" in answered.text


async def test_anthropics_marked_beginning_is_written_then_read(served: Served) -> None:
    system = f"{EXECUTOR}\n\n{'material ' * 800}"
    first = await served.ask(question(), system=system)
    second = await served.ask(question("Really?"), system=system)
    other = await served.ask(question(), system=system, model=HAIKU_BEFORE)

    size = -(-len(system) // 4)
    assert (first.usage.cache_creation_input_tokens, first.usage.cache_read_input_tokens) == (size, 0)
    assert (second.usage.cache_creation_input_tokens, second.usage.cache_read_input_tokens) == (0, size)
    assert other.usage.cache_creation_input_tokens == size
    assert [one.cache_read for one in served.sim.served] == [0, size, 0]
    assert first.usage.input_tokens + size == served.sim.served[0].input_tokens


async def test_a_short_beginning_is_not_cached(served: Served) -> None:
    for _ in range(2):
        message = await served.ask(question())
        assert message.usage.cache_creation_input_tokens == message.usage.cache_read_input_tokens == 0


async def test_openais_repeated_beginning_is_read(served: Served) -> None:
    system = f"{EXECUTOR}\n\n{'material ' * 800}"
    first = await served.complete(question(), system=system)
    second = await served.complete(question("Really?"), system=system)

    assert first.usage.prompt_tokens_details.cached_tokens == 0
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert 1024 <= cached <= second.usage.prompt_tokens
    assert cached % 128 == 0
    assert served.sim.served[-1].cache_read == cached


async def test_the_list_of_what_was_served_agrees_with_the_answers(served: Served) -> None:
    message = await served.ask(question())
    completion = await served.complete(question(), model=OPUS)
    async with httpx2.AsyncClient(base_url=served.url) as client:
        listed = (await client.get("/sim/served")).json()
        counted = (await client.get("/sim/stats")).json()
        await client.post("/sim/reset")
        after = (await client.get("/sim/stats")).json()

    assert listed[0] == {
        "id": message._request_id,
        "api": "anthropic",
        "model": HAIKU,
        "tier": "small",
        "role": "executor",
        "scenario": "kiel",
        "step": "answer",
        "state": "done",
        "status": 200,
        "input_tokens": message.usage.input_tokens,
        "output_tokens": message.usage.output_tokens,
        "cache_read": 0,
        "cache_write": 0,
        "batch": None,
        "at": listed[0]["at"],
    }
    assert (listed[1]["id"], listed[1]["tier"]) == (completion._request_id, "frontier")
    assert (counted["requests"], counted["done"], counted["by"]["tier"]) == (
        2,
        2,
        {"small": 1, "frontier": 1},
    )
    assert after["requests"] == 0


async def test_errors_carry_the_request_id_too(served: Served) -> None:
    with pytest.raises(anthropic.APIStatusError) as first:
        await served.ask(question("CASE-529"))
    await served.ask(question("CASE-529"))
    with pytest.raises(openai.APIStatusError) as second:
        await served.complete(question("CASE-529"))

    assert first.value.request_id == served.sim.served[0].id
    assert second.value.request_id == served.sim.served[2].id
    assert [one.status for one in served.sim.served] == [529, 200, 529]


async def test_models_are_listed_for_both_sdks(served: Served) -> None:
    ours = [model.id async for model in served.anthropic.models.list()]
    theirs = [model.id async for model in served.openai.models.list()]

    assert ours == theirs == sorted(served.sim.tiers)
    assert all("SIMULATED" in model.display_name for model in (await served.anthropic.models.list()).data)


async def test_tokens_are_counted_without_a_call(served: Served) -> None:
    messages: Any = [{"role": "user", "content": "x" * 9}]
    counted = await served.anthropic.messages.count_tokens(model=HAIKU, messages=messages)

    assert counted.input_tokens == 3
    assert served.sim.served == []
    with pytest.raises(anthropic.NotFoundError):
        await served.anthropic.messages.count_tokens(model="gpt-99", messages=messages)


async def test_it_says_that_it_is_simulated(served: Served) -> None:
    async with httpx2.AsyncClient(base_url=served.url) as client:
        health = await client.get("/healthz")
    raw = await served.anthropic.messages.with_raw_response.create(
        model=HAIKU, max_tokens=10, messages=[{"role": "user", "content": "x"}]
    )

    assert health.json()["simulated"] is True
    assert raw.headers["x-simulated"] == "true"


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[str]:
    """A `sim` of its own process, as the demo starts it: its address. It must end by SIGTERM with code 0."""
    command = [sys.executable, "-m", "tierbus.testing.sim.serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield json.loads(running.stdout.readline())["url"]
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) == 0


def health(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answered:
        return json.loads(answered.read())


@pytest.mark.parametrize(
    ("arguments", "scenarios"),
    [((), len(load_scenarios())), (("--bench",), 2), (("--zero",), 2), (("--scenarios", "none"), 0)],
)
def test_the_process_prints_its_address_when_it_can_be_asked(arguments: tuple[str, ...], scenarios: int) -> None:
    with process(*arguments) as url:
        assert health(url)["scenarios"] == scenarios


def test_a_folder_of_ones_own_is_served(tmp_path: Any) -> None:
    (tmp_path / "kiel.yaml").write_text(KIEL, encoding="utf-8")

    with process("--scenarios", str(tmp_path)) as url:
        assert health(url)["scenarios"] == 1


def test_a_folder_that_does_not_exist_ends_it_with_one_line() -> None:
    command = [sys.executable, "-m", "tierbus.testing.sim.serve", "--scenarios", "/no/such"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 6
    assert ended.stderr == "error: there is no scenario folder '/no/such'\n"
