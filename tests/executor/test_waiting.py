"""Which steps the executor lets wait for a batch."""

from typing import Any

import pytest
from tests.plans import NOW
from tests.shared.ledger.test_batch_desk import LANE, RULES, Night

from tierbus.classes import Classes, ClassRules
from tierbus.contracts import BatchDue, Priority, Tier
from tierbus.tiers.catalog import Catalog


def waiting(night: Night) -> list[str]:
    return [item.run for item in night.lots.items.values()]


async def test_a_low_priority_step_with_a_far_deadline_is_put_aside_and_a_timer_set() -> None:
    night = Night()
    run = await night.add(1)

    await night.deliver()

    assert waiting(night) == [run.id]
    assert {place: timer.due_at for place, timer in night.timers.items()} == {LANE: NOW + RULES.max_wait_s}
    assert (night.executed, night.calls()) == ({}, [])


@pytest.mark.parametrize(
    "more",
    [
        {"deadline_at": NOW + RULES.min_slack_s - 1},
        {"priority": Priority.NORMAL},
        {"priority": Priority.HIGH},
        {"task_class": "other"},
    ],
    ids=["near deadline", "normal priority", "high priority", "class without the rule"],
)
async def test_any_other_step_is_done_now(more: dict[str, Any]) -> None:
    night = Night()
    object.__setattr__(night.waiting, "classes", Classes(classes={"general": ClassRules(batch=RULES)}))
    run = await night.add(1, **more)
    night.queue.clear()
    for message in _released(run):
        night.say(message)

    await night.deliver()

    assert (waiting(night), len(night.executed)) == ([], 1)


def _released(run: Any) -> list[Any]:
    from tierbus.run import pending

    return [message for message in pending(run) if message.kind == "step-released"]


async def test_a_provider_whose_batches_are_not_allowed_is_asked_now() -> None:
    night = Night()
    object.__setattr__(night.waiting, "catalog", _without_batch(night.parts.catalog))
    await night.add(1)

    await night.deliver()

    assert (waiting(night), len(night.executed)) == ([], 1)


def _without_batch(catalog: Catalog) -> Catalog:
    providers = {name: provider.model_copy(update={"batch": False}) for name, provider in catalog.providers.items()}
    return catalog.model_copy(update={"providers": providers})


async def test_a_question_that_is_too_large_for_the_tiers_first_model_is_asked_now() -> None:
    night = Night()
    small = tuple(spec.model_copy(update={"context_window": 512}) for spec in night.parts.catalog.tiers[Tier.SMALL])
    tiers = {**night.parts.catalog.tiers, Tier.SMALL: small}
    object.__setattr__(night.waiting, "catalog", night.parts.catalog.model_copy(update={"tiers": tiers}))
    await night.add(1)

    await night.deliver()

    assert (waiting(night), len(night.executed)) == ([], 1)


async def test_a_lane_that_is_full_is_collected_at_once() -> None:
    night = Night()
    rules = RULES.model_copy(update={"max_requests": 2})
    object.__setattr__(night.waiting, "classes", Classes(classes={"*": ClassRules(batch=rules)}))
    await night.add(1)
    await night.deliver()
    assert night.provider.made == {}
    await night.add(2)

    await night.deliver()

    [made] = night.provider.made.values()
    assert (len(made.requests), made.at) == (2, NOW)


async def test_a_step_that_is_said_again_keeps_its_place() -> None:
    night = Night()
    run = await night.add(1)
    await night.deliver()
    [before] = night.lots.items.values()
    night.now += 60
    for message in _released(run):
        night.say(message)

    await night.deliver()

    assert list(night.lots.items.values()) == [before]
    assert night.timers[LANE].due_at == NOW + RULES.max_wait_s


async def test_a_step_that_is_said_again_while_its_batch_runs_waits_on() -> None:
    night = Night()
    run = await night.add(1)
    await night.deliver()
    await night.ring()
    await night.deliver()
    for message in _released(run):
        night.say(message)

    await night.deliver()

    assert (waiting(night), night.executed, len(night.provider.made)) == ([], {}, 1)


async def test_an_executor_without_a_batch_lane_leaves_batches_to_others() -> None:
    night = Night()
    object.__setattr__(night.executor, "waiting", None)
    due = BatchDue(place=LANE, collect=True)

    assert await night.executor.on_batch(due, None) == []  # type: ignore[arg-type] # the delivery is not looked at
    assert await night.executor.give_up_batch(due, None, RuntimeError()) == []  # type: ignore[arg-type] # as above
