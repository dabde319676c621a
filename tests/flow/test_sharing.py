"""Tasks that ask the same share one answer: in several processes, on a real nats-server, with processes that die."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.flow.conftest import Lab
from tests.flow.test_kill import kill
from tests.scenarios import write

from tierbus.bus.client import Client, client
from tierbus.cli.explained import Material, explained, material
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, TaskRouted, run_id
from tierbus.pricing.explain import Saving
from tierbus.tiers.catalog import load

CLASSES = """
classes:
  shared: {cache: {ttl_s: 3600}}
  brief: {cache: {ttl_s: 4}}
"""
HERD = 12
REFUSED = "Translate the refused note into French."
REFUSED_CALLS = 6
"""Both models of each of the three tiers: the first leader fails, the next one passes."""
SCENARIO = {
    "name": "refused",
    "about": "the first task that asks this fails on every tier, the next one succeeds",
    "match": REFUSED,
    "task": {"prompt": REFUSED},
    "faults": [{"when": {"role": "executor"}, "status": 400, "times": REFUSED_CALLS}],
    "answers": [{"when": {"role": "executor"}, "text": "La note. [SIMULATED]"}],
    "expect": {"route": "direct", "tier_path": {}},
}


def task(name: str, prompt: str, **more: object) -> dict[str, Any]:
    return {"id": name, "prompt": prompt, "task_class": "shared", "risk": "low", **more}


def _stack(folder: Path, executors: int) -> Stack:
    (folder / "classes.yaml").write_text(CLASSES, encoding="utf-8")
    scenarios = write(folder / "scenarios", [SCENARIO])
    return Stack(
        data=folder,
        sim_options=("--scenarios", str(scenarios)),
        counts={"router": 2, "reviewer": 2, "executor": executors},
        env={"TIERBUS_CLASSES": str(folder / "classes.yaml")},
        logs=(folder / "log").open("w", encoding="utf-8"),
    )


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with _stack(tmp_path_factory.mktemp("sharing"), 1) as stack:
        yield Lab(stack)
    assert stack.logs is not None
    stack.logs.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Lab]:
    """Nobody executes yet, so that whoever comes second waits."""
    with _stack(tmp_path, 0) as stack:
        yield Lab(stack)
    assert stack.logs is not None
    stack.logs.close()


async def publish(bus: Client, tenant: str, body: dict[str, Any]) -> None:
    await bus.publish(body, tenant, str(body.get("priority", "normal")), str(body["id"]))


async def results(bus: Client, tenant: str, names: list[str]) -> dict[str, Result]:
    """The results of these tasks."""
    wanted = {run_id(tenant, name): name for name in names}
    found: dict[str, Result] = {}
    async for event in bus.follow([f"tierbus.event.{tenant}.*.result"], 90.0):
        if isinstance(event, Result) and event.run in wanted:
            found[wanted[event.run]] = event
        if len(found) == len(names):
            break
    return found


async def routed(bus: Client, tenant: str, count: int) -> dict[str, TaskRouted]:
    """How the first so many tasks were routed."""
    found: dict[str, TaskRouted] = {}
    async for event in bus.follow([f"tierbus.event.{tenant}.*.routed"], 60.0):
        if isinstance(event, TaskRouted):
            found[event.task] = event
        if len(found) == count:
            break
    return found


def test_the_same_task_again_has_the_answer_without_a_call(sharing: Lab) -> None:
    first = sharing.result(task("one", "Translate: again."), "hit")
    second = sharing.result(task("two", "Translate: again.", metadata={"n": "2"}), "hit")

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert (second.cached_from, second.answer) == (first.run, first.answer)
    assert (second.cost_nano_usd, second.calls, len(sharing.ledger("hit"))) == (0, 0, first.calls)
    assert second.baseline == first.baseline
    assert second.decision is not None
    assert second.decision.decided_by == "cache"
    assert "the answer of task 'one' from" in second.decision.cause


def test_the_bill_says_what_the_shared_answers_saved(sharing: Lab) -> None:
    first, *others = (sharing.result(task(f"t-{n}", "Translate: explained."), "explained") for n in range(3))

    async def work() -> Material:
        async with client(sharing.stack.settings) as bus:
            return await material(bus, "explained", 0.0)

    found = explained(asyncio.run(work()), load("default"))

    assert first.baseline is not None
    assert [result.cached_from for result in others] == [first.run] * 2
    assert found.savings[Saving.RESULT_CACHE] == 2 * (first.baseline.cost_nano_usd or 0) > 0
    assert found.baseline_nano_usd == 3 * (first.baseline.cost_nano_usd or 0)
    assert (found.spent_nano_usd, found.rest_nano_usd) == (first.cost_nano_usd, 0)


def test_another_tenant_and_a_wish_for_a_new_answer_pay_for_themselves(sharing: Lab) -> None:
    first = sharing.result(task("one", "Translate: mine."), "mine")
    theirs = sharing.result(task("one", "Translate: mine."), "theirs")
    fresh = sharing.result(task("two", "Translate: mine.", hints={"fresh": True}), "mine")
    later = sharing.result(task("three", "Translate: mine."), "mine")

    assert [result.cached_from for result in (first, theirs, fresh)] == [None] * 3
    assert later.cached_from == fresh.run
    assert len(sharing.ledger("theirs")) == theirs.calls > 0


def test_an_answer_past_its_time_is_not_used(sharing: Lab) -> None:
    first = sharing.result(task("one", "Translate: brief.", task_class="brief"), "brief")
    soon = sharing.result(task("two", "Translate: brief.", task_class="brief"), "brief")
    time.sleep(max(0.0, first.at + 4.5 - time.time()))
    late = sharing.result(task("three", "Translate: brief.", task_class="brief"), "brief")

    assert (soon.cached_from, late.cached_from) == (first.run, None)
    assert late.cost_nano_usd == first.cost_nano_usd


def test_many_that_ask_the_same_at_once_are_paid_once(sharing: Lab) -> None:
    names = [f"t-{n}" for n in range(HERD)]

    async def work() -> dict[str, Result]:
        async with client(sharing.stack.settings) as bus:
            await asyncio.gather(*(publish(bus, "herd", task(name, "Translate: herd.")) for name in names))
            return await results(bus, "herd", names)

    found = asyncio.run(work())
    paid = [result for result in found.values() if result.cached_from is None]

    assert set(names) == set(found)
    assert {"succeeded"} == {result.status for result in found.values()}
    assert len(paid) == 1
    assert {result.cached_from for result in found.values()} == {None, paid[0].run}
    assert len(sharing.ledger("herd")) == paid[0].calls


def test_followers_outlive_their_leader_and_every_process_that_knew_of_them(waiting: Lab) -> None:
    names = [f"t-{n}" for n in range(6)]

    async def work() -> dict[str, Result]:
        async with client(waiting.stack.settings) as bus:
            for name in names:
                await publish(bus, "refused", task(name, REFUSED))
                await routed(bus, "refused", names.index(name) + 1)
            for service in ("router", "router-2", "reviewer", "reviewer-2"):
                kill(waiting, service, anew=False)
            for service in ("router", "reviewer", "executor"):
                waiting.stack.start_service(service)
            return await results(bus, "refused", names)

    found = asyncio.run(work())
    failed = [name for name, result in found.items() if result.status == "failed"]
    paid = [name for name, result in found.items() if result.status == "succeeded" and result.cached_from is None]

    assert set(names) == set(found)
    assert failed == ["t-0"]
    assert len(paid) == 1, "of those that waited one worked, not all of them"
    rest = [result for name, result in found.items() if name not in (*failed, *paid)]
    assert {result.cached_from for result in rest} == {found[paid[0]].run}
    assert len(waiting.ledger("refused")) == REFUSED_CALLS + found[paid[0]].calls


def test_the_followers_of_a_cancelled_task_get_their_answer(waiting: Lab) -> None:
    names = ["one", "two", "three"]

    async def work() -> dict[str, Result]:
        async with client(waiting.stack.settings) as bus:
            for name in names:
                await publish(bus, "cancelled", task(name, "Translate: cancelled."))
                await routed(bus, "cancelled", names.index(name) + 1)
            await bus.cancel("cancelled", run_id("cancelled", "one"), "because")
            waiting.stack.start_service("executor")
            return await results(bus, "cancelled", names)

    found = asyncio.run(work())

    assert [found[name].status for name in names] == ["cancelled", "succeeded", "succeeded"]
    assert {found["two"].cached_from, found["three"].cached_from} in (
        {None, found["two"].run},
        {None, found["three"].run},
    )
    assert len(waiting.ledger("cancelled")) == 1
