"""What a pilot's counts say, and what they cannot say yet."""

import pytest
from tests.shared.pilot.parts import CANARY, NOW, counted, outcome, pilot

from tierbus.contracts import PilotArm
from tierbus.pilot.advice import advise, agreement, overhead_nano_usd, saved
from tierbus.pilot.progress import pause
from tierbus.pilot.rules import Mode, PilotRules

SHADOW = PilotRules(mode=Mode.SHADOW, percent=50, target=0.9)


def test_before_the_first_try_it_holds() -> None:
    assert advise(pilot(CANARY)).do == "hold"


def test_a_few_good_tries_prove_nothing_and_it_says_how_many_would() -> None:
    advice = advise(counted(pilot(CANARY), [True] * 30))
    assert advice.do == "hold"
    assert "not known yet" in advice.why
    assert "to tell the rate to one point takes about 2435 tries, there are 30" in advice.why


def test_many_good_tries_say_widen() -> None:
    advice = advise(counted(pilot(CANARY), [True] * 300))
    assert advice.do == "widen"
    assert "the target is 90.0%" in advice.why


def test_at_every_task_there_is_nothing_to_widen() -> None:
    assert advise(counted(pilot(PilotRules(target=0.9, percent=100)), [True] * 300)).do == "hold"


def test_a_ramp_says_when_it_widens_by_itself() -> None:
    assert "widens by itself after 5 more tries" in advise(counted(pilot(), [True] * 15)).why
    held = advise(counted(pilot(), [True] * 17 + [False] * 3))
    assert held.why.startswith("17 of 20 passed in this step, below 90.0%")


def test_a_pilot_that_was_rolled_back_says_why_and_what_to_do() -> None:
    advice = advise(counted(pilot(), [False] * 20))
    assert advice.do == "roll back"
    assert "`reset`" in advice.why
    assert "passed" in advice.why


def test_a_paused_one_says_so() -> None:
    assert "paused" in advise(pause(pilot(), NOW)).why


def test_the_saving_of_a_canary_is_what_its_runs_cost_against_their_baseline() -> None:
    state = counted(pilot(), [True] * 3)
    assert saved(state) == pytest.approx(0.9)
    assert saved(counted(state, [False], cost_nano_usd=270, baseline_nano_usd=None)) == pytest.approx(0.0)
    assert saved(pilot()) is None


def test_the_saving_of_a_shadow_is_reckoned_with_the_frontiers_price_for_each_failure() -> None:
    state = counted(pilot(SHADOW), [True, True, True, False], arm=PilotArm.SHADOW, cost_nano_usd=10)
    state = counted(state, [None] * 4, arm=PilotArm.SHADOWED, cost_nano_usd=100)
    assert saved(state) == pytest.approx(1 - (10 + 0.25 * 100) / 100)
    assert overhead_nano_usd(state) == 40


def test_a_shadow_without_the_frontiers_bill_saves_nothing_known() -> None:
    assert saved(counted(pilot(SHADOW), [True], arm=PilotArm.SHADOW)) is None


def test_agreement_is_counted_over_pairs_that_can_be_compared() -> None:
    def said(number: int, arm: PilotArm, likeness: str | None, generation: int = 1) -> object:
        return outcome(number, None, pair=f"pair-{number % 10}", arm=arm, likeness=likeness, generation=generation)

    found = [
        said(1, PilotArm.SHADOWED, "a"),
        said(11, PilotArm.SHADOW, "a"),
        said(2, PilotArm.SHADOWED, "a"),
        said(12, PilotArm.SHADOW, "b"),
        said(3, PilotArm.SHADOWED, "a"),
        said(13, PilotArm.SHADOW, None),
        said(4, PilotArm.SHADOWED, "a"),
        said(5, PilotArm.SHADOWED, "a", 2),
        said(15, PilotArm.SHADOW, "a", 2),
    ]
    assert agreement(found, 1) == (1, 2)  # type: ignore[arg-type] # outcomes, all of them
