"""The policy's word in routing."""

import pytest
from tests.parts import Parts
from tests.policies import LADDER, TwoAgree

from tierbus.contracts import Decision, Hints, Message, Risk, Route, StepReleased, Task, TaskRouted, Tier
from tierbus.errors import Misconfigured
from tierbus.policy.advisor import Advisor
from tierbus.policy.moves import Take
from tierbus.router.advice import advised, start
from tierbus.router.app import Router
from tierbus.service import Delivery
from tierbus.tiers.catalog import load


def task(prompt: str = "Translate this.", **more: object) -> Task:
    return Task.model_validate({"id": "t-1", "prompt": prompt, "task_class": "sums", **more})


async def route(given: Task) -> tuple[Decision, list[Message]]:
    parts = Parts([])
    advisor = Advisor.of(TwoAgree(), parts.catalog)
    router = Router(parts.runs, parts.texts, parts.desk, parts.catalog, advisor=advisor)
    said = list(await router.on_task(given, Delivery("tierbus.task.normal.acme", "TASKS", 7, 1, 0.0)))
    return next(one.decision for one in said if isinstance(one, TaskRouted)), said


async def test_a_task_of_a_learned_class_starts_where_the_policy_says() -> None:
    decision, said = await route(task())

    assert (decision.decided_by, decision.tier, decision.model) == ("policy", Tier.SMALL, LADDER[0])
    assert [one.tier for one in said if isinstance(one, StepReleased)] == [Tier.SMALL]


async def test_the_cheap_tier_is_skipped_where_the_policy_says_so() -> None:
    decision, said = await route(task("A hard sum."))

    assert (decision.tier, decision.model) == (Tier.FRONTIER, LADDER[-1])
    assert "it is hard" in decision.cause
    assert [one.tier for one in said if isinstance(one, StepReleased)] == [Tier.FRONTIER]


@pytest.mark.parametrize(
    "given",
    [
        task(task_class="letters"),
        task(risk=Risk.HIGH),
        task(hints=Hints(tier=Tier.MID)),
        task(hints=Hints(route=Route.PLAN)),
    ],
    ids=["another class", "high risk", "a tier is asked for", "a plan is asked for"],
)
async def test_what_is_not_the_policys_business_is_routed_as_ever(given: Task) -> None:
    decision, _ = await route(given)

    assert decision.decided_by != "policy"
    assert decision.model is None


def test_a_task_too_long_for_a_model_of_the_ladder_is_not_the_policys() -> None:
    advisor = Advisor.of(TwoAgree(), load("default"))

    assert advised(task(), advisor.window, advisor)
    assert not advised(task(), advisor.window + 1, advisor)


async def test_a_policy_that_takes_what_nobody_said_is_an_error() -> None:
    decision, _ = await route(task())
    advisor = Advisor.of(TwoAgree(), load("default"))

    with pytest.raises(Misconfigured, match="place 0"):
        start(decision, advisor, Take(0, "no"))
