"""Each service is killed once while it works on one task: one result, and the ledger knows every call."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from tests.flow.conftest import Lab
from tests.scenarios import write

from tierbus.cli.stack import Stack
from tierbus.contracts import CallStatus

SERVICES = ("router", "planner", "executor", "reviewer")
UNSURE = "What do you think of the proposal as a whole?"
"""No rule fires on it, so the router asks a small model: it can be killed in the middle of that."""


SCENARIO = {
    "name": "killed",
    "about": "a task that the router has to ask about and that is then planned",
    "match": UNSURE,
    "task": {"prompt": UNSURE},
    "answers": [
        {
            "when": {"role": "router"},
            "json": {
                **dict.fromkeys(("complexity", "domain", "context", "risk"), 0.7),
                "needs_plan": True,
                "reason": "several parts",
            },
        }
    ],
    "expect": {"route": "plan", "steps": 3, "tier_path": {}},
}


@pytest.fixture
def slow_lab(tmp_path: Path) -> Iterator[Lab]:
    """Models that take a second and a half, so that a kill falls into a call."""
    scenarios = write(tmp_path / "scenarios", [SCENARIO])
    options = ("--scenarios", str(scenarios), "--latency", "1.5")
    with (tmp_path / "log").open("w") as log, Stack(data=tmp_path, sim_options=options, logs=log) as stack:
        yield Lab(stack)


async def until(true: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"never: {what}"
        await asyncio.sleep(0.05)


def kill(lab: Lab, service: str, *, anew: bool = True) -> None:
    """SIGKILL the service and start it anew, as a supervisor does."""
    victim = next(process for process in lab.stack.processes if process.name == service and process.alive)
    victim.popen.kill()
    victim.popen.wait()
    lab.stack.processes.remove(victim)
    if anew:
        lab.stack.start_service(service)


def _open(lab: Lab, role: str) -> bool:
    return bool(lab.served(role=role, state="open"))


async def _publish(lab: Lab, body: Mapping[str, object]) -> tuple[Client, Callable[[], Awaitable[dict[str, object]]]]:
    nc = await nats.connect(lab.stack.nats_url)
    run = hashlib.sha256(f"killed/{body['id']}".encode()).hexdigest()[:32]
    told = await nc.subscribe(f"tierbus.event.killed.{run}.result")
    await nc.jetstream().publish("tierbus.task.normal.killed", json.dumps(body).encode())

    async def result() -> dict[str, object]:
        first: dict[str, object] = json.loads((await told.next_msg(timeout=150)).data)
        await asyncio.sleep(2)
        info = await nc.jetstream().stream_info("EVENTS", subjects_filter=f"tierbus.event.killed.{run}.result")
        assert {f"tierbus.event.killed.{run}.result": 1} == info.state.subjects
        return first

    return nc, result


@pytest.mark.timeout(400)
async def test_each_service_killed_in_its_call_leaves_one_result_and_a_true_ledger(slow_lab: Lab) -> None:
    """One task: asked about by the router, planned, executed and judged; each service dies in the middle of a call."""
    nc, result = await _publish(slow_lab, {"id": "one", "prompt": UNSURE, "risk": "high"})
    for service in SERVICES:
        await until(lambda service=service: _open(slow_lab, service), f"the {service}'s call")  # type: ignore[misc] # a default is a known value
        kill(slow_lab, service)
    told = await result()
    await nc.close()

    assert told["status"] == "succeeded"
    ledger = await asyncio.to_thread(slow_lab.ledger, "killed")
    served = slow_lab.served()
    interrupted = [call for call in ledger if call.status is CallStatus.INTERRUPTED]
    finished = {call.request_id: call for call in ledger if call.status is CallStatus.FINISHED}
    assert len(served) == len(ledger), (served, ledger)
    assert {*SERVICES} <= {call.role.value for call in interrupted}
    assert all(call.estimated and (call.cost_nano_usd or 0) > 0 for call in interrupted)
    assert all(not call.estimated for call in finished.values())
    tokens = {one["id"]: (one["input_tokens"], one["output_tokens"]) for one in served}
    assert {name: (call.usage.input, call.usage.output) for name, call in finished.items()} == {
        name: tokens[str(name)] for name in finished
    }
    spent = sum(call.cost_nano_usd or 0 for call in ledger)
    assert spent == told["cost_nano_usd"]


async def test_a_task_published_while_a_service_is_down_is_done_when_it_is_back(slow_lab: Lab) -> None:
    victim = next(process for process in slow_lab.stack.processes if process.name == "reviewer")
    victim.popen.kill()
    victim.popen.wait()
    slow_lab.stack.processes.remove(victim)
    nc, result = await _publish(slow_lab, {"id": "late", "prompt": "Translate: late.", "risk": "low"})
    await until(lambda: any(one["state"] == "done" for one in slow_lab.served(role="executor")), "the executor's call")
    slow_lab.stack.start_service("reviewer")
    told = await result()
    await nc.close()

    assert (told["status"], told["calls"]) == ("succeeded", 1)
