"""Who is drawn, and what becomes of the router's decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plans import decision
from tests.shared.pilot.parts import CANARY, RAMP, pilot

from tierbus.contracts import Decision, PilotArm, ReviewLevel, Route, Tier
from tierbus.pilot.assign import Who, concerned, place, reach, route
from tierbus.pilot.rules import Mode, PilotRules, RampStep

tasks = st.builds(Who, st.just("sums"), st.sampled_from(["acme", "blue"]), st.text(min_size=1), st.just("run"))


def who(number: int, tenant: str = "acme") -> Who:
    return Who("sums", tenant, f"t-{number}", f"run-{number}")


def cheap(complexity: float = 0.2, **more: object) -> Decision:
    return decision().model_copy(update={"scores": {"complexity": complexity}, **more})


def arm(task: Who, rules: PilotRules, made: Decision | None = None, **state: object) -> PilotArm:
    found = route(made or cheap(), task, pilot(rules, **state)).decision.pilot
    assert found is not None
    return found.arm


@given(tasks)
def test_a_place_is_always_the_same_and_between_0_and_1(task: Who) -> None:
    assert 0 <= place(task) < 1
    assert place(task) == place(Who(*task))


@given(tasks, st.floats(0, 100), st.floats(0, 100))
def test_who_is_drawn_at_a_share_is_drawn_at_every_larger_one(task: Who, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if arm(task, PilotRules(percent=small)) is PilotArm.CANARY:
        assert arm(task, PilotRules(percent=large)) is PilotArm.CANARY


@given(tasks)
def test_at_100_percent_everybody_is_drawn_and_at_0_nobody(task: Who) -> None:
    assert arm(task, PilotRules(percent=100)) is PilotArm.CANARY
    assert arm(task, PilotRules(percent=0)) is PilotArm.OUTSIDE


def test_about_as_many_are_drawn_as_the_share_says() -> None:
    drawn = sum(arm(who(number), PilotRules(percent=10)) is PilotArm.CANARY for number in range(5000))
    assert 400 < drawn < 600


def test_classes_and_tenants_draw_independently() -> None:
    assert len({place(Who(kind, tenant, "t", "r")) for kind in ("a", "b") for tenant in ("x", "y")}) == 4


def test_a_tenants_own_share_stands_for_the_classes() -> None:
    rules = PilotRules(percent=10, tenants={"acme": 100, "blue": 0})
    assert {arm(who(number), rules) for number in range(50)} == {PilotArm.CANARY}
    assert {arm(who(number, "blue"), rules) for number in range(50)} == {PilotArm.OUTSIDE}


def test_in_a_ramp_a_tenants_share_is_the_most_that_it_reaches() -> None:
    rules = PilotRules(mode=Mode.RAMP, tenants={"acme": 30})
    assert [reach(rules, percent, "acme") for percent in (5, 50, 100)] == [5, 30, 30]
    assert reach(rules, 50, "blue") == 50


def test_simplest_first_draws_only_tasks_below_the_score() -> None:
    rules = PilotRules(percent=100, complexity_below=0.3)
    assert arm(who(1), rules, cheap(0.29)) is PilotArm.CANARY
    assert arm(who(1), rules, cheap(0.3)) is PilotArm.OUTSIDE
    assert "simplest first: below 0.3" in route(cheap(0.5), who(1), pilot(rules)).decision.cause


def test_each_step_of_a_ramp_has_its_own_score() -> None:
    steps = (RampStep(percent=100, tries=1, complexity_below=0.3), RampStep(percent=100, tries=1))
    rules = PilotRules(mode=Mode.RAMP, steps=steps)
    assert arm(who(1), rules, cheap(0.5), step=0) is PilotArm.OUTSIDE
    assert arm(who(1), rules, cheap(0.5), step=1) is PilotArm.CANARY


def test_who_is_outside_goes_direct_to_the_frontier_and_the_cause_says_why() -> None:
    made = cheap(cause="complexity 0.20 < 0.55", route=Route.PLAN, review=ReviewLevel.LIGHT)
    number = next(number for number in range(100) if arm(who(number), CANARY) is PilotArm.OUTSIDE)
    found = route(made, who(number), pilot(CANARY))
    assert found.shadow is None
    assert (found.decision.route, found.decision.tier) == (Route.DIRECT, Tier.FRONTIER)
    assert (found.decision.decided_by, found.decision.review) == ("pilot", ReviewLevel.LIGHT)
    assert found.decision.cause == (
        "pilot of class sums: outside the 10 %; else plan from tier small: complexity 0.20 < 0.55"
    )


def test_who_is_drawn_goes_the_cheap_way_as_it_was_decided() -> None:
    made = cheap()
    found = route(made, who(1), pilot(PilotRules(percent=100))).decision
    assert (found.route, found.tier, found.decided_by) == (made.route, made.tier, made.decided_by)
    assert found.cause.startswith("pilot of class sums: inside the 100 %; ")
    assert found.pilot is not None
    assert (found.pilot.arm, found.pilot.counted) == (PilotArm.CANARY, True)


def test_a_shadowed_task_is_the_frontiers_and_its_shadow_the_cheap_way() -> None:
    rules = PilotRules(mode=Mode.SHADOW, percent=100)
    found = route(cheap(), who(1), pilot(rules))
    assert found.shadow is not None
    assert found.shadow.pilot is not None
    assert found.decision.pilot is not None
    assert (found.decision.tier, found.decision.pilot.arm) == (Tier.FRONTIER, PilotArm.SHADOWED)
    assert (found.shadow.tier, found.shadow.pilot.arm) == (Tier.SMALL, PilotArm.SHADOW)
    assert found.shadow.pilot.beside == "run-1"
    assert (found.decision.pilot.counted, found.shadow.pilot.counted) == (False, True)


@pytest.mark.parametrize(
    ("state", "why"), [({"rolled_back": True}, "rolled back"), ({"paused": True}, "paused")], ids=["rolled", "paused"]
)
@pytest.mark.parametrize("mode", list(Mode))
def test_a_pilot_that_stands_still_draws_nobody(mode: Mode, state: dict[str, object], why: str) -> None:
    rules = RAMP if mode is Mode.RAMP else PilotRules(mode=mode, percent=100, tenants={"acme": 100})
    found = route(cheap(), who(1), pilot(rules, **state))
    assert found.shadow is None
    assert found.decision.tier is Tier.FRONTIER
    assert why in found.decision.cause


def test_only_the_judged_sample_gets_the_strict_review_and_counts() -> None:
    rules = PilotRules(percent=100, judge_percent=30)
    made = [route(cheap(review=ReviewLevel.LIGHT), who(number), pilot(rules)).decision for number in range(1000)]
    strict = [one for one in made if one.review is ReviewLevel.STRICT]
    assert 220 < len(strict) < 380
    assert [one for one in made if one.pilot and one.pilot.counted] == strict


@pytest.mark.parametrize(
    ("made", "hinted", "fits", "expected"),
    [
        (decision(), False, True, True),
        (decision(), True, True, False),
        (decision(), False, False, False),
        (decision(tier=Tier.FRONTIER), False, True, False),
        (decision(Route.PLAN, Tier.FRONTIER), False, True, True),
    ],
)
def test_a_pilot_has_a_say_only_where_there_are_two_ways(
    made: Decision, hinted: bool, fits: bool, expected: bool
) -> None:
    assert concerned(made, hinted=hinted, frontier_fits=fits) is expected
