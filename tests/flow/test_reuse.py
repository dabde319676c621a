"""Plans used again in a whole Tierbus: planned by the frontier, then adapted by a small model, then dropped. SIMULATED models."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from tests.flow.conftest import Lab

from tierbus.bus.publish import Publisher
from tierbus.bus.shelves import JetShelves
from tierbus.bus.topology import SHELVES, WORK
from tierbus.cli.stack import Stack
from tierbus.contracts import CallStatus, Expects, PlanJudged, Result, Role, Tier, encode, run_id
from tierbus.plans.shape import shape_of
from tierbus.plans.shelf import Shelf

TENANT = "fleet"
CLASSES = """classes:
  leasing:
    plans: {reuse: true, min_accepted: 3, keep_rate: 0.8, min_tries: 3}
  rush:
    plans: {reuse: true, min_accepted: 1}
"""
LETTER = """Rank the two leasing offers for the registry of {town}. {one} asks {rate} EUR a month for each of {cars} cars, and
{fee} EUR for delivery; the notice period is six months. {two} asks {other} EUR a month for each car and a fee for
every kilometre above the limit. The term is {months} months. Write a recommendation of half a page for the council.
"""
TOWNS = ("Aldea", "Brenna", "Corvo", "Dalsand", "Eskilby", "Fjordby", "Granholt", "Havna")
FRONTIER, GOOD, MUDDLED = 3, 5, 2
"""Tasks that are planned anew, adapted well, and adapted badly, in this order; then one more."""


def letter(town: str, place: int) -> str:
    return LETTER.format(
        town=town,
        one=f"Lease{town}",
        two=f"Mobil{town} Norte",
        rate=412 + place,
        other=389 + 2 * place,
        fee=f"2,{900 + place}",
        cars=14 + place,
        months=36 + 12 * (place % 2),
    )


class Fleet(Lab):
    """A stack whose class `leasing` may use plans again; one task after the other."""

    def shelf(self, task_class: str = "leasing") -> Shelf | None:
        """What is kept for the tasks' shape."""
        shape = shape_of(TENANT, task_class, letter("Aldea", 0), (), Expects())

        async def work() -> Shelf | None:
            nc = await nats.connect(self.stack.nats_url)
            try:
                found = await JetShelves(Publisher(nc)).read(TENANT, str(shape))
                return found[0] if found else None
            finally:
                await nc.close()

        return asyncio.run(work())

    def done(self, name: str, prompt: str) -> Result:
        """The result of a task, once its end was counted."""
        result = self.result(body(name, prompt), TENANT)
        self.until(lambda: self.counts(result.run), "its plan was counted")
        return result

    def counts(self, run: str, task_class: str = "leasing") -> bool:
        """Whether the end of a run was counted."""
        shelf = self.shelf(task_class)
        return shelf is not None and any(one.run == run for one in shelf.counted)

    def until(self, true: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait for it."""
        end = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < end, f"never: {what}"
            time.sleep(0.02)

    def stop_planner(self) -> None:
        """SIGKILL the planner."""
        [victim] = [process for process in self.stack.processes if process.name.startswith("planner")]
        victim.popen.kill()
        victim.popen.wait()
        self.stack.processes.remove(victim)


def body(name: str, prompt: str, task_class: str = "leasing") -> dict[str, Any]:
    return {"id": name, "prompt": prompt, "task_class": task_class, "risk": "low", "hints": {"route": "plan"}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    classes = folder / "classes.yaml"
    classes.write_text(CLASSES, encoding="utf-8")
    with (
        (folder / "services.log").open("w", encoding="utf-8") as log,
        Stack(
            data=folder,
            logs=log,
            sim_options=("--scenarios", str(Path(__file__).parent / "reuse")),
            env={"TIERBUS_CLASSES": str(classes), "TIERBUS_LOG_FORMAT": "json"},
        ) as stack,
    ):
        yield Fleet(stack)


@pytest.fixture(scope="module")
def results(fleet: Fleet) -> list[Result]:
    """All tasks in turn: planned, adapted, adapted badly, planned again."""
    good = [fleet.done(f"t{place}", letter(town, place)) for place, town in enumerate(TOWNS)]
    bad = [fleet.done(f"m{place}", letter("Muddle", 20 + place)) for place in range(MUDDLED)]
    return [*good, *bad, fleet.done("last", letter("Zalma", 40))]


def test_the_first_tasks_are_planned_by_the_frontier_and_the_rest_adapted_by_a_small_model(
    fleet: Fleet, results: list[Result]
) -> None:
    first = results[0].run
    asked = [call.tier for result in results for call in fleet.ledger(TENANT) if _planned(call.run, call.role, result)]

    assert len(results) == FRONTIER + GOOD + MUDDLED + 1
    assert asked == [Tier.FRONTIER] * FRONTIER + [Tier.SMALL] * (GOOD + MUDDLED) + [Tier.FRONTIER]
    assert [result.plan_reused_from for result in results] == ([None] * FRONTIER + [first] * (GOOD + MUDDLED) + [None])
    assert {result.status for result in results} == {"succeeded"}


def _planned(run: str, role: Role, result: Result) -> bool:
    return run == result.run and role is Role.PLANNER


def test_adapted_plans_that_turn_bad_lose_their_place_and_the_frontier_plans_anew(
    fleet: Fleet, results: list[Result]
) -> None:
    """Four of five and five of six accepted keep the plan; five of seven are below 0.8."""
    muddled = results[FRONTIER + GOOD : -1]
    shelf = fleet.shelf()

    assert [step.tier_path[-1] for result in muddled for step in result.steps if step.id == "costs"] == [
        Tier.FRONTIER
    ] * MUDDLED
    assert shelf is not None
    assert shelf.template is not None
    assert (shelf.template.id, shelf.template.earned, shelf.template.tried) == (results[-1].run, 1, 0)
    log = (fleet.stack.data / "services.log").read_text(encoding="utf-8")
    [dropped] = [line for line in log.splitlines() if "plans.template_dropped" in line]
    assert results[0].run in dropped
    assert "Aldea" not in log, "no task's words are in the log"


def test_what_reuse_saved_is_told_and_agrees_with_the_ledger(results: list[Result]) -> None:
    made, adapted = results[0], results[FRONTIER]
    before, now = (result.cost_by_role[Role.PLANNER].cost_nano_usd for result in (made, adapted))

    assert made.plan_saved_nano_usd is None
    assert adapted.plan_saved_nano_usd == before - now > 0


def test_a_planned_task_costs_less_with_a_kept_plan(results: list[Result]) -> None:
    """Tells the mean cost of a planned task before and after, SIMULATED: see it with `pytest -s`."""

    def mean(some: list[Result]) -> float:
        return sum(result.cost_nano_usd for result in some) / len(some) / 1e9

    made, adapted = results[:FRONTIER], results[FRONTIER : FRONTIER + GOOD]
    planning = [
        sum(result.cost_by_role[Role.PLANNER].cost_nano_usd for result in some) / len(some) / 1e9
        for some in (made, adapted)
    ]
    sys.stdout.write(
        f"SIMULATED: a planned task ${mean(made):.6f} by the frontier, ${mean(adapted):.6f} with a kept plan "
        f"({1 - mean(adapted) / mean(made):.1%} less); planning alone ${planning[0]:.6f} and ${planning[1]:.6f}; "
        f"time {_time(made):.2f} s and {_time(adapted):.2f} s\n"
    )

    assert mean(adapted) < mean(made)


def _time(some: list[Result]) -> float:
    return sum(result.at - result.submitted_at for result in some) / len(some)


def test_every_kept_plan_is_the_tenants_own(fleet: Fleet, results: list[Result]) -> None:
    other = fleet.result(body("x", letter("Aldea", 0)), "umbrella")

    assert results
    assert other.plan_reused_from is None
    assert other.cost_by_tier[Tier.FRONTIER].calls == 1


async def test_the_shelves_of_the_flow_are_one_message_a_shape(fleet: Fleet, results: list[Result]) -> None:
    assert results
    nc = await nats.connect(fleet.stack.nats_url)
    try:
        info = await nc.jetstream().stream_info(SHELVES, subjects_filter=">")
    finally:
        await nc.close()

    assert info.state.subjects is not None
    assert set(info.state.subjects.values()) == {1}


async def test_an_end_that_is_told_again_and_again_is_counted_once(fleet: Fleet, results: list[Result]) -> None:
    """Said without the id by which the server drops what it knows, so that every one reaches the planner."""
    before = await asyncio.to_thread(fleet.shelf)
    nc = await nats.connect(fleet.stack.nats_url)
    try:
        for result in (*results, *results):
            judged = PlanJudged(run=result.run)
            await nc.jetstream().publish(judged.subject, encode(judged))
        async with asyncio.timeout(20):
            while (await nc.jetstream().consumer_info(WORK, "planner-judged")).num_pending or await _in_flight(nc):
                await asyncio.sleep(0.05)
    finally:
        await nc.close()

    assert before is not None
    assert await asyncio.to_thread(fleet.shelf) == before


async def _in_flight(nc: Client) -> int:
    return (await nc.jetstream().consumer_info(WORK, "planner-judged")).num_ack_pending or 0


def test_a_planner_that_is_killed_while_a_small_model_adapts_leaves_a_true_bill(fleet: Fleet) -> None:
    """Its open call is settled by the next one, which adapts anew: two calls are paid, and both are in the result."""
    with ThreadPoolExecutor() as beside:
        beside.submit(fleet.result, body("rush-0", letter("Aldea", 0), "rush"), TENANT).result()
        fleet.until(lambda: fleet.counts(run_id(TENANT, "rush-0"), "rush"), "the first plan was kept")
        waiting = beside.submit(fleet.result, body("rush-1", letter("Kilda", 1), "rush"), TENANT)
        fleet.until(lambda: bool(fleet.served(role="planner", tier="small", state="open")), "a small model adapts")
        fleet.stop_planner()
        fleet.stack.start_service("planner")
        result = waiting.result()

    ledger = [call for call in fleet.ledger(TENANT) if call.run == result.run]
    assert (result.status, result.plan_reused_from) == ("succeeded", run_id(TENANT, "rush-0"))
    assert [call.status for call in ledger if call.role is Role.PLANNER] == [
        CallStatus.INTERRUPTED,
        CallStatus.FINISHED,
    ]
    assert sum(call.cost_nano_usd or 0 for call in ledger) == result.cost_nano_usd


def test_an_end_that_no_planner_was_there_to_hear_is_counted_when_one_is_back(fleet: Fleet) -> None:
    run = run_id(TENANT, "rush-2")
    with ThreadPoolExecutor() as beside:
        waiting = beside.submit(fleet.result, body("rush-2", letter("Corvo", 2), "rush"), TENANT)
        fleet.until(lambda: bool(fleet.stack_events(f"tierbus.event.{TENANT}.{run}.planned")), "it was planned")
        fleet.stop_planner()
        result = waiting.result()
    assert result.status == "succeeded"
    assert not fleet.counts(run, "rush")

    fleet.stack.start_service("planner")

    fleet.until(lambda: fleet.counts(run, "rush"), "it was counted")
