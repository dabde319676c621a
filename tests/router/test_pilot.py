"""What the router does with a task of a class that is piloted."""

import pytest
from tests.parts import Parts

from tierbus.classes import Classes, ClassRules
from tierbus.contracts import (
    CancelRequested,
    Decision,
    Hints,
    Message,
    PilotArm,
    Result,
    Route,
    StepReleased,
    Task,
    TaskStatus,
    Tier,
    run_id,
)
from tierbus.errors import Conflict
from tierbus.pilot.pilots import Pilots
from tierbus.pilot.rules import Mode, PilotRules
from tierbus.router.app import Router
from tierbus.run import Run
from tierbus.service import Delivery
from tierbus.testing.pilots import MemoryPilots

RUN = run_id("acme", "t-1")
SHADOW = run_id("acme", "t-1~shadow")
FIRST = Delivery("tierbus.task.normal.acme", "TASKS", 7, 1, 1_800_000_000.0)
AGAIN = Delivery("tierbus.task.normal.acme", "TASKS", 7, 2, 1_800_000_000.0)
NOBODY = PilotRules(percent=0)
EVERYBODY = PilotRules(percent=100)
SHADOWED = PilotRules(mode=Mode.SHADOW, percent=100)


class Desk:
    """A router whose class `sums` has these rules."""

    def __init__(self, rules: PilotRules | None) -> None:
        self.parts = Parts([])
        self.kept = MemoryPilots()
        self.use(rules)

    def use(self, rules: PilotRules | None) -> None:
        """As a process that was started with these rules."""
        parts = self.parts
        pilots = Pilots(self.kept, Classes(classes={"sums": ClassRules(pilot=rules)}))
        self.router = Router(parts.runs, parts.texts, parts.desk, parts.catalog, pilots=pilots)

    async def task(self, delivery: Delivery = FIRST, **more: object) -> list[Message]:
        body = {"id": "t-1", "prompt": "Translate this.", "task_class": "sums", **more}
        return await self.router.on_task(Task.model_validate(body), delivery)

    def run(self, identity: str = RUN) -> Run:
        return self.parts.store.states[identity][0]

    def decision(self, identity: str = RUN) -> Decision:
        made = self.run(identity).decision
        assert made is not None
        return made


def released(messages: list[Message]) -> set[tuple[str, Tier]]:
    return {(message.run, message.tier) for message in messages if isinstance(message, StepReleased)}


async def test_without_rules_nothing_is_different() -> None:
    desk = Desk(None)
    await desk.task()
    assert (desk.decision().tier, desk.decision().pilot, desk.kept.states) == (Tier.SMALL, None, {})


async def test_a_task_of_another_class_is_in_no_pilot() -> None:
    desk = Desk(NOBODY)
    await desk.task(task_class="translate")
    assert desk.decision().pilot is None


async def test_a_task_that_is_not_drawn_goes_direct_to_the_frontier() -> None:
    desk = Desk(NOBODY)
    said = await desk.task()
    assert released(said) == {(RUN, Tier.FRONTIER)}
    assert (desk.decision().decided_by, desk.decision().route) == ("pilot", Route.DIRECT)
    assert desk.decision().cause.startswith("pilot of class sums: at 0 %; else direct from tier small: ")


async def test_a_task_that_is_drawn_goes_the_cheap_way() -> None:
    desk = Desk(EVERYBODY)
    assert released(await desk.task()) == {(RUN, Tier.SMALL)}
    mark = desk.decision().pilot
    assert mark is not None
    assert mark.arm is PilotArm.CANARY


@pytest.mark.parametrize("hints", [Hints(tier=Tier.SMALL), Hints(route=Route.PLAN)], ids=["tier", "route"])
async def test_where_the_publisher_decided_a_pilot_has_no_say(hints: Hints) -> None:
    desk = Desk(NOBODY)
    await desk.task(hints=hints)
    assert desk.decision().pilot is None


async def test_a_shadowed_task_opens_two_runs_and_only_the_frontiers_is_the_tasks() -> None:
    desk = Desk(SHADOWED)
    said = await desk.task()
    assert released(said) == {(RUN, Tier.FRONTIER), (SHADOW, Tier.SMALL)}
    assert (desk.run(SHADOW).task, desk.run(SHADOW).metadata) == ("t-1~shadow", {"tierbus-shadow-of": "t-1"})
    mark = desk.decision(SHADOW).pilot
    assert mark is not None
    assert (mark.arm, mark.beside) == (PilotArm.SHADOW, RUN)


async def test_a_second_delivery_opens_no_second_shadow_and_says_the_same() -> None:
    desk = Desk(SHADOWED)
    first = await desk.task()
    before = dict(desk.parts.store.states)
    again = await desk.task(AGAIN)
    assert desk.parts.store.states == before
    assert {message.key for message in again} <= {message.key for message in first}
    assert released(again) == released(first)


@pytest.mark.parametrize("now", [SHADOWED, NOBODY, EVERYBODY, None], ids=["same", "nobody", "everybody", "none"])
async def test_a_router_that_died_between_both_runs_is_made_good_whatever_the_rules_are_then(
    now: PilotRules | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(SHADOWED)
    write = desk.parts.store.write

    async def dies(run: Run, revision: int) -> int:
        if run.id == SHADOW:
            raise ConnectionError("killed")
        return await write(run, revision)

    monkeypatch.setattr(desk.parts.store, "write", dies)
    with pytest.raises(ConnectionError):
        await desk.task()
    monkeypatch.setattr(desk.parts.store, "write", write)
    desk.use(now)
    said = await desk.task(AGAIN)
    assert released(said) == {(RUN, Tier.FRONTIER), (SHADOW, Tier.SMALL)}


async def test_a_task_whose_pilot_has_changed_since_keeps_the_decision_that_it_has() -> None:
    desk = Desk(EVERYBODY)
    await desk.task()
    before = desk.decision()
    desk.use(NOBODY)
    assert released(await desk.task(AGAIN)) == {(RUN, Tier.SMALL)}
    assert desk.decision() == before


async def test_a_cancelled_task_takes_its_shadow_with_it() -> None:
    desk = Desk(SHADOWED)
    await desk.task()
    said = await desk.router.on_cancel(CancelRequested(tenant="acme", run=RUN), FIRST)
    ended = {message.run: message.status for message in said if isinstance(message, Result)}
    assert ended == {RUN: TaskStatus.CANCELLED, SHADOW: TaskStatus.CANCELLED}


async def test_a_cancelled_task_whose_shadow_was_never_opened_is_only_cancelled() -> None:
    desk = Desk(SHADOWED)
    await desk.task()
    del desk.parts.store.states[SHADOW]
    said = await desk.router.on_cancel(CancelRequested(tenant="acme", run=RUN), FIRST)
    assert [message.run for message in said if isinstance(message, Result)] == [RUN]


async def test_a_shadow_that_another_replica_opened_at_the_same_time_is_spoken_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(SHADOWED)
    await desk.task()
    write = desk.parts.store.write

    async def late(run: Run, revision: int) -> int:
        if run.id == SHADOW and revision == 0:
            raise Conflict("somebody was faster")
        return await write(run, revision)

    monkeypatch.setattr(desk.parts.store, "write", late)
    assert (SHADOW, Tier.SMALL) in released(await desk.task(AGAIN))
