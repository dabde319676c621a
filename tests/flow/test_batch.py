"""Low-priority tasks that can wait go through the batch endpoint: half the price, one ledger, whatever dies meanwhile."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.collector import Collector, collecting
from tests.flow.conftest import Lab
from tests.flow.test_kill import kill, until
from tests.scenarios import write
from tests.traces import assert_true

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import CallRecorded, CallStatus, Result, Tier, run_id
from tierbus.pricing.cost import price
from tierbus.tiers.catalog import load

TENANT = "night"
FAR_S = 8 * 3600.0
SCENARIO = {
    "name": "letters",
    "about": "many small tasks that nobody waits for",
    "match": "Translate letter",
    "task": {"prompt": "Translate letter 0 into German."},
    "answers": [{"text": "Sehr geehrte Damen und Herren, wir schreiben Ihnen in der Sache, die Sie kennen."}],
    "faults": [{"when": {"contains": "letter 7 ", "batch": True}, "expired": True, "times": "always"}],
    "expect": {"route": "direct", "tier_path": {"answer": ["small"]}},
}


def rules(**more: float) -> dict[str, Any]:
    return {"classes": {"letters": {"batch": {"max_wait_s": 1.5, "max_requests": 100, **more}}}}


class Night:
    """A stack whose class `letters` may wait for batches."""

    def __init__(self, lab: Lab, collector: Collector) -> None:
        self.lab = lab
        self.collector = collector

    def pace(self, **timing: float) -> None:
        """How long the simulated batch endpoint takes, from now on."""
        request = urllib.request.Request(f"{self.lab.stack.model_url}/sim/batches", json.dumps(timing).encode())
        urllib.request.urlopen(request, timeout=5).close()

    @property
    def batches(self) -> list[dict[str, Any]]:
        """Every batch that the provider has made."""
        made: list[dict[str, Any]] = self.lab.get("/sim/batches")["batches"]
        return made

    def asked(self, what: str) -> int:
        """How often an endpoint was asked."""
        return int(self.lab.get("/sim/batches")["asked"].get(what, 0))

    async def publish(self, numbers: range, **more: object) -> None:
        async with client(self.lab.stack.settings) as bus:
            for n in numbers:
                body = {
                    "id": f"letter-{n}",
                    "task_class": "letters",
                    "prompt": f"Translate letter {n} into German.",
                    "risk": "low",
                    "hints": {"tier": "small", "route": "direct"},
                    "deadline_at": time.time() + FAR_S,
                    **more,
                }
                await bus.publish(body, TENANT, "low", str(body["id"]))

    async def results(self, numbers: range, timeout_s: float = 120.0) -> dict[int, Result]:
        """The tasks' results, as they come in."""
        found: dict[int, Result] = {}
        end = time.monotonic() + timeout_s
        async with client(self.lab.stack.settings) as bus:
            while len(found) < len(numbers):
                assert time.monotonic() < end, f"no result of {sorted(set(numbers) - set(found))}"
                for n in set(numbers) - set(found):
                    result = await bus.result(TENANT, run_id(TENANT, f"letter-{n}"))
                    if result is not None:
                        found[n] = result
                await asyncio.sleep(0.2)
        return found

    async def ledger(self) -> list[CallRecorded]:
        async with client(self.lab.stack.settings) as bus:
            return [call async for call in bus.ledger(f"tierbus.ledger.{TENANT}.>")]

    async def queued(self, numbers: range) -> None:
        """Wait until the executor has put the tasks' steps aside, or has sent them already."""
        runs = {run_id(TENANT, f"letter-{n}") for n in numbers}
        async with client(self.lab.stack.settings) as bus:
            while True:
                info = await bus.nc.jetstream().stream_info("WORK", subjects_filter="tierbus.batch.item.>")
                waiting = {subject.split(".")[4] for subject in info.state.subjects or {}}
                sent = {call.run for call in await self.ledger()}
                if runs <= waiting | sent:
                    return
                await asyncio.sleep(0.05)

    async def routed(self, n: int) -> None:
        """Wait until the task has a run."""
        async with client(self.lab.stack.settings) as bus:
            while await bus.run(run_id(TENANT, f"letter-{n}")) is None:
                await asyncio.sleep(0.02)


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    classes = tmp_path / "classes.yaml"
    classes.write_text(yaml.safe_dump(rules()), encoding="utf-8")
    options = ("--scenarios", str(write(tmp_path / "scenarios", [SCENARIO])), "--latency", "0", "--batch", "2")
    with collecting() as collector, (tmp_path / "log").open("w") as log:
        env = {"TIERBUS_CLASSES": str(classes), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with Stack(data=tmp_path, sim_options=options, logs=log, env=env) as stack:
            yield Night(Lab(stack), collector)


def full_price(call: CallRecorded) -> int:
    """What the same tokens cost in a call by itself."""
    spec = next(spec for spec in load("default").tiers[Tier.SMALL] if spec.id == call.model)
    return price(spec, call.usage, call.started_at).nano_usd or 0


async def check_sums(night: Night, results: dict[int, Result]) -> list[CallRecorded]:
    """The ledger, the results and the server tell the same; returns the ledger."""
    ledger = await night.ledger()
    spent = {
        result.run: sum(call.cost_nano_usd or 0 for call in ledger if call.run == result.run)
        for result in results.values()
    }
    assert spent == {result.run: result.cost_nano_usd for result in results.values()}
    assert [call for call in ledger if call.status is CallStatus.STARTED] == []
    served = {f"msg_{one['id']}": one for one in night.lab.served(state="done", status=200) if one["batch"]}
    answered = {call.request_id: call for call in ledger if call.batch and call.status is CallStatus.FINISHED}
    assert {name: (one["input_tokens"], one["output_tokens"]) for name, one in served.items()} == {
        name: (call.usage.input, call.usage.output) for name, call in answered.items()
    }
    for result in results.values():
        spans = await asyncio.to_thread(night.collector.whole, str(result.trace_id))
        assert_true(spans, result, ledger)
    return ledger


async def test_low_priority_tasks_end_with_calls_at_half_the_price(night: Night) -> None:
    await night.publish(range(6))
    results = await night.results(range(6))

    assert {result.status for result in results.values()} == {"succeeded"}
    ledger = await check_sums(night, results)
    assert len(ledger) == 6
    assert all(call.batch and not call.estimated for call in ledger)
    assert {call.price_source for call in ledger} == {f"{ledger[0].price_source.split(' x')[0]} x0.5 batch"}
    assert [Decimal(call.cost_nano_usd or 0) for call in ledger] == [
        (Decimal(full_price(call)) / 2).to_integral_value() for call in ledger
    ]
    assert sum(len(batch["custom_ids"]) for batch in night.batches) == 6
    assert {call.batch_id for call in ledger} == {batch["id"] for batch in night.batches}
    chats = [span for span in night.collector.taken if span.name.startswith("chat ")]
    assert {span.attributes["tierbus.batch.id"] for span in chats} == {batch["id"] for batch in night.batches}
    assert all(span.end - span.start >= 1_900_000_000 for span in chats), "the wait in the batch is in the span"


async def test_an_expired_request_is_asked_the_normal_way(night: Night) -> None:
    await night.publish(range(6, 9))
    results = await night.results(range(6, 9))

    ledger = await check_sums(night, results)
    calls = {n: [call for call in ledger if call.run == result.run] for n, result in results.items()}
    assert [(call.batch, call.status, call.error_type) for call in calls[7]] == [
        (True, CallStatus.FAILED, "expired"),
        (False, CallStatus.FINISHED, None),
    ]
    assert [call.cost_nano_usd for call in calls[7]] == [0, full_price(calls[7][1])]
    assert calls[7][1].model == calls[7][0].model
    assert [len(calls[n]) for n in (6, 8)] == [1, 1]


async def test_a_near_deadline_is_not_batched(night: Night) -> None:
    await night.publish(range(1, 2), deadline_at=time.time() + 3600)
    results = await night.results(range(1, 2))

    [call] = await check_sums(night, results)
    assert (call.batch, night.batches) == (False, [])


async def test_a_task_cancelled_before_its_batch_is_sent_is_left_out(night: Night) -> None:
    await night.publish(range(2))
    await night.routed(0)
    async with client(night.lab.stack.settings) as bus:
        await bus.cancel(TENANT, run_id(TENANT, "letter-0"), "changed my mind")
    results = await night.results(range(2))

    assert [results[n].status for n in (0, 1)] == ["cancelled", "succeeded"]
    assert [call.run for call in await check_sums(night, results)] == [results[1].run]


async def test_a_task_cancelled_while_its_batch_runs_is_charged_by_estimate_and_nothing_is_awaited(
    night: Night,
) -> None:
    night.pace(takes_s=60)
    await night.publish(range(1))
    await until(lambda: len(night.batches) == 1, "a batch")
    async with client(night.lab.stack.settings) as bus:
        await bus.cancel(TENANT, run_id(TENANT, "letter-0"), "changed my mind")
    results = await night.results(range(1))

    [call] = await check_sums(night, results)
    assert (call.status, call.batch, call.estimated) == (CallStatus.INTERRUPTED, True, True)
    await until(lambda: night.asked("cancel") == 1, "the batch is cancelled too", timeout_s=60)


async def _collecting(night: Night) -> None:
    """Steps wait in their lane; no batch has been made."""
    before = len(night.batches)
    await asyncio.sleep(0.5)
    assert len(night.batches) == before


async def _creating(night: Night) -> None:
    """The provider has made the batch, and has not told us so."""
    await until(lambda: night.asked("create") == 2, "the second batch is asked for")


async def _polling(night: Night) -> None:
    """The batch is sent and looked at."""
    before = night.asked("retrieve")
    await until(lambda: night.asked("create") == 3 and night.asked("retrieve") > before, "a look at the batch")


async def _reading(night: Night) -> None:
    """Some of the results are read, some are not."""
    before = night.asked("results")
    await until(lambda: night.asked("results") > before, "results are read")
    await asyncio.sleep(1.5)


STAGES: tuple[tuple[Callable[[Night], Awaitable[None]], dict[str, float]], ...] = (
    (_collecting, {}),
    (_creating, {"create_pause_s": 6}),
    (_polling, {"takes_s": 6}),
    (_reading, {"takes_s": 2, "line_pause_s": 1}),
)


@pytest.mark.timeout(500)
async def test_an_executor_killed_at_each_stage_of_a_batch_pays_once(night: Night) -> None:
    """Four batches of three tasks; the executor dies in another stage of each."""
    for place, (stage, timing) in enumerate(STAGES):
        night.pace(**{"takes_s": 2, "create_pause_s": 0, "line_pause_s": 0, **timing})
        numbers = range(10 + 3 * place, 13 + 3 * place)
        await night.publish(numbers)
        await night.queued(numbers)
        await stage(night)
        kill(night.lab, "executor")
        results = await night.results(numbers)
        assert {result.status for result in results.values()} == {"succeeded"}

    ledger = await check_sums(night, await night.results(range(10, 22)))
    assert [(call.batch, call.status) for call in ledger] == [(True, CallStatus.FINISHED)] * 12
    assert night.asked("create") == len(night.batches) == len(STAGES)
