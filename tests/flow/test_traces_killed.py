"""A trace of a task whose workers die is whole all the same."""

import asyncio
from pathlib import Path

import pytest
from tests.collector import ERROR
from tests.flow.conftest import result_of
from tests.flow.test_kill import SCENARIO, SERVICES, UNSURE, kill, until
from tests.flow.test_traces import Traced, labs
from tests.traces import assert_true

from tierbus.bus.client import client
from tierbus.contracts import Result

BATCH_S = 0.5


@pytest.mark.timeout(240)
def test_an_executor_killed_in_a_step_leaves_a_gap_one_root_and_the_right_cost(tmp_path: Path) -> None:
    for lab in labs(tmp_path, [], "--latency", "2"):
        lab.stack.start_service("executor")

        async def go(lab: Traced = lab) -> Result:
            async with client(lab.stack.settings) as bus:
                body = {"id": "k", "prompt": "Translate into French: no.", "risk": "low"}
                published = await bus.publish(body, "killed", "normal", "k")
                await until(lambda: bool(lab.served(role="executor", state="open")), "the executor's call")
                await asyncio.sleep(2 * BATCH_S)
                kill(lab, "executor")
                kill(lab, "executor-2", anew=False)
                return await result_of(bus, published.subjects, 120)

        result = asyncio.run(go())
        spans = lab.collector.whole(str(result.trace_id))
        assert_true(spans, result, lab.ledger("killed"))

    chats = sorted((span for span in spans if span.name.startswith("chat ")), key=lambda span: span.start)
    assert [span.attributes["tierbus.call.status"] for span in chats] == ["interrupted", "finished"]
    assert chats[0].status == ERROR
    assert chats[0].parent == next(span.span for span in spans if span.name == "step 1"), "its question was never told"
    [again] = [span for span in spans if span.attributes.get("messaging.nats.delivery.count") == 2]
    assert again.name == "process tierbus.step.small"
    assert again.start - chats[0].start > 2_000_000_000, "the gap shows"
    assert not [span for span in spans if chats[0].end < span.start < again.start], "nothing happened meanwhile"


@pytest.mark.timeout(400)
def test_every_service_killed_in_its_call_still_leaves_one_whole_trace(tmp_path: Path) -> None:
    """Whatever a dead worker had asked is told by the one that comes after it."""
    for lab in labs(tmp_path, [SCENARIO], "--latency", "1.5"):

        async def go(lab: Traced = lab) -> Result:
            async with client(lab.stack.settings) as bus:
                published = await bus.publish(
                    {"prompt": UNSURE, "risk": "high", "id": "all"}, "killed", "normal", "all"
                )
                for service in SERVICES:
                    await until(lambda: bool(lab.served(role=service, state="open")), f"the {service}'s call")  # noqa: B023 - used at once
                    kill(lab, service)
                return await result_of(bus, published.subjects, 200)

        result = asyncio.run(go())
        spans = lab.collector.whole(str(result.trace_id))
        assert_true(spans, result, lab.ledger("killed"))
    assert result.interrupted_calls >= len(SERVICES)
