"""The batch endpoint through the real SDK: against a really served `sim`, and against a server that answers what it is told."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import uvicorn
from tests.shared.llm.server import Answer as Told
from tests.shared.llm.server import serving

from tierbus.errors import Misconfigured
from tierbus.llm.batches import Answer, Batches, Request
from tierbus.llm.model import ProviderBusy, ProviderLost, ProviderRefused, Question, StopReason, Turn
from tierbus.llm.registry import connect
from tierbus.testing.sim.app import Sim, application
from tierbus.testing.sim.script import Book, parse
from tierbus.tiers.catalog import load

LETTERS = """
name: letters
about: a test
match: Translate letter
task: {prompt: Translate letter 0.}
answers:
  - when: {batch: true}
    text: Sehr geehrte Damen und Herren.
  - text: By itself.
faults:
  - {when: {batch: true, contains: letter 2}, expired: true, times: always}
  - {when: {batch: true, contains: letter 3}, status: 529, times: always}
expect: {route: direct, tier_path: {answer: [small]}}
"""
CATALOG = load("default")
SPEC = CATALOG.tiers["small"][0]  # type: ignore[index] # a tier is a string


def request(number: int) -> Request:
    turns = (Turn("user", f"Translate letter {number}."),)
    return Request(f"tierbus-{number}", Question(system="You are an executor of Tierbus.", turns=turns))


@dataclass
class Endpoint:
    sim: Sim
    batches: Batches


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    sim = Sim(Book([parse("letters.yaml", LETTERS)]), latency_s=0.0)
    sim.batches.timing.takes_s = 0.3
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(application(sim), log_level="critical", lifespan="off", access_log=False)
        )
        running = asyncio.create_task(server._serve([listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        models = connect(CATALOG, sim_url=f"http://127.0.0.1:{listening.getsockname()[1]}", environ={})
        yield Endpoint(sim, models.batches(SPEC))
        await models.close()
        server.should_exit = server.force_exit = True
        await running


async def ended(batches: Batches, batch: str) -> float:
    while (at := (await batches.progress(batch)).ended_at) is None:
        await asyncio.sleep(0.05)
    return at


async def test_every_request_of_a_batch_has_an_answer_by_its_custom_id(endpoint: Endpoint) -> None:
    batch = await endpoint.batches.create([request(n) for n in (1, 2, 3)])
    await ended(endpoint.batches, batch)

    answers = {answer.custom_id: answer async for answer in endpoint.batches.answers(batch)}

    assert set(answers) == {"tierbus-1", "tierbus-2", "tierbus-3"}
    reply = answers["tierbus-1"].reply
    assert reply is not None
    assert (reply.text, reply.stop) == ("Sehr geehrte Damen und Herren.\n\n[SIMULATED]", StopReason.DONE)
    [served] = [one for one in endpoint.sim.served if one.status == 200]
    assert (reply.request_id, reply.usage.input, reply.usage.output) == (
        f"msg_{served.id}",
        served.input_tokens,
        served.output_tokens,
    )
    assert (answers["tierbus-2"].reply, answers["tierbus-2"].error_type) == (None, "expired")
    assert answers["tierbus-3"].error_type == "overloaded_error"
    assert not any(answer.lost for answer in answers.values())


async def test_a_batch_is_found_by_its_time_and_size(endpoint: Endpoint) -> None:
    small = await endpoint.batches.create([request(1)])
    large = await endpoint.batches.create([request(1), request(4)])
    at = endpoint.sim.batches.made[small].created_at

    assert await endpoint.batches.made_since(at - 1, 2, ()) == [large]
    assert await endpoint.batches.made_since(at - 1, 1, ()) == [small]
    assert await endpoint.batches.made_since(at - 1, 1, (small,)) == []
    assert await endpoint.batches.made_since(at + 60, 1, ()) == []


async def test_a_batch_is_found_behind_more_than_a_page_of_others(endpoint: Endpoint) -> None:
    wanted = await endpoint.batches.create([request(1), request(4)])
    for _ in range(120):
        endpoint.sim.batches.make(endpoint.sim, [("x", {})], endpoint.sim.batches.made[wanted].created_at)

    assert await endpoint.batches.made_since(0, 2, ()) == [wanted]
    assert endpoint.sim.batches.asked["list"] == 2


async def test_a_cancelled_batch_has_ended_without_answers(endpoint: Endpoint) -> None:
    batch = await endpoint.batches.create([request(1)])
    await endpoint.batches.cancel(batch)
    await ended(endpoint.batches, batch)

    assert [answer.error_type async for answer in endpoint.batches.answers(batch)] == ["canceled"]
    assert endpoint.sim.stats()["tokens"]["output_tokens"] == 0


async def test_results_of_a_batch_that_runs_are_refused(endpoint: Endpoint) -> None:
    endpoint.sim.batches.timing.takes_s = 60
    batch = await endpoint.batches.create([request(1)])

    with pytest.raises(ProviderRefused, match=f"batch {batch} has no results"):
        [answer async for answer in endpoint.batches.answers(batch)]


async def test_a_batch_that_is_not_known_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(ProviderRefused, match="HTTP 404"):
        await endpoint.batches.progress("msgbatch_none")


async def test_a_custom_id_that_is_used_twice_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(ProviderRefused, match=re.escape("'tierbus-1' is used twice")):
        await endpoint.batches.create([request(1), request(1)])


BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-24T10:00:00Z",
    "expires_at": "2026-11-25T10:00:00Z",
    "ended_at": "2026-11-24T10:30:00Z",
}


async def told(*answers: Told) -> list[Answer]:
    """What the adapter makes of results that a server gives."""
    async with serving(*answers) as server:
        for answer in answers:
            if isinstance(answer.body, dict):
                answer.body["results_url"] = f"{server.url}/v1/messages/batches/msgbatch_1/results"
        models = connect(CATALOG, sim_url=server.url, environ={})
        try:
            return [one async for one in models.batches(SPEC).answers("msgbatch_1")]
        finally:
            await models.close()


async def test_an_answer_that_cannot_be_read_was_carried_out_all_the_same() -> None:
    line = '{"custom_id": "a", "result": {"type": "succeeded", "message": {"id": "msg_1"}}}\n'

    [answer] = await told(Told(dict(BATCH)), Told(line))

    assert (answer.custom_id, answer.lost, answer.error_type) == ("a", True, "unreadable")


async def test_results_that_are_not_json_lines_are_a_lost_answer() -> None:
    with pytest.raises(ProviderLost, match="not JSON"):
        await told(Told(dict(BATCH)), Told("<html>\n"))


async def test_results_that_break_off_are_a_lost_answer() -> None:
    line = '{"custom_id": "a", "result": {"type": "expired"}}\n'

    with pytest.raises(ProviderLost, match="broke off"):
        await told(Told(dict(BATCH)), Told(line, headers={"content-length": "1000"}, cut=True))


async def test_a_provider_that_is_busy_says_so() -> None:
    async with serving(Told({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529)) as server:
        models = connect(CATALOG, sim_url=server.url, environ={})
        with pytest.raises(ProviderBusy, match="HTTP 529"):
            await models.batches(SPEC).create([request(1)])
        await models.close()


def test_a_provider_of_another_api_has_no_batches_here() -> None:
    catalog = load("openai")

    with pytest.raises(Misconfigured, match="provider 'openai' of model 'gpt-4o-mini' has no batch endpoint"):
        connect(catalog, sim_url="http://127.0.0.1:1", environ={}).batches(catalog.tiers["small"][0])  # type: ignore[index] # as above
