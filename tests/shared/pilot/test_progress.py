"""How a pilot goes on: what is counted, when it widens, when it is rolled back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shared.pilot.parts import CANARY, NOW, RAMP, counted, outcome, pilot

from tierbus.contracts import PilotArm, PilotChange, decode, encode
from tierbus.pilot.evidence import Evidence
from tierbus.pilot.progress import KEPT_CHANGES, PilotState, count, pause, reset, resume, told
from tierbus.pilot.rules import PilotRules


def kinds(state: PilotState) -> list[PilotChange]:
    return [change.change for change in state.changes]


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([True, False, None])), max_size=60))
def test_an_outcome_that_comes_again_changes_nothing(said: list[tuple[int, bool | None]]) -> None:
    once = pilot()
    for number, passed in sorted(dict(said).items()):
        once = count(once, outcome(number, passed), number)
    twice = pilot()
    for number, passed in sorted(dict(said).items()):
        for _ in range(2):
            twice = count(twice, outcome(number, passed), number)
    for number, passed in said:
        twice = count(twice, outcome(number, passed), number)

    assert once == twice


def test_it_widens_after_its_tries_and_counts_each_step_anew() -> None:
    state = counted(pilot(), [True] * 19)
    assert (state.percent, kinds(state)) == (10, [])
    state = counted(state, [True])
    assert (state.percent, state.step_tries, state.tries, kinds(state)) == (50, 0, 20, [PilotChange.WIDENED])


def test_a_fine_pilot_comes_to_every_task_and_stays_there() -> None:
    state = counted(pilot(), [True] * 200)
    assert (state.percent, state.last_step) == (100, True)
    assert kinds(state) == [PilotChange.WIDENED] * 2


def test_a_pilot_that_gets_worse_is_rolled_back_and_draws_nobody() -> None:
    state = counted(counted(pilot(), [True] * 100), [False] * 12)
    assert (state.rolled_back, state.percent, state.stage) == (True, 0, None)
    last = state.changes[-1]
    assert last.change is PilotChange.ROLLED_BACK
    assert "below 0.9 at level 0.05" in last.why
    assert (last.tries, last.percent) == (last.sequence, 0)


def test_what_comes_after_a_rollback_is_counted_and_changes_nothing() -> None:
    state = counted(pilot(), [False] * 20)
    after = counted(state, [True] * 500)
    assert after.rolled_back
    assert kinds(after) == kinds(state) == [PilotChange.ROLLED_BACK]
    assert after.tries == 520


def test_a_step_below_the_target_is_held_and_that_is_said_once() -> None:
    state = counted(pilot(), [True] * 17 + [False] * 3)
    assert (kinds(state), state.percent) == ([PilotChange.HELD], 10)
    state = counted(state, [True] * 5)
    assert kinds(state) == [PilotChange.HELD]
    state = counted(state, [True] * 10)
    assert kinds(state) == [PilotChange.HELD, PilotChange.WIDENED]


def test_a_canary_never_widens_by_itself() -> None:
    state = counted(pilot(CANARY), [True] * 300, rules=CANARY.id)
    assert (state.percent, kinds(state)) == (10, [])


@pytest.mark.parametrize("arm", [PilotArm.OUTSIDE, PilotArm.SHADOWED])
def test_the_frontiers_own_answers_are_on_the_bill_and_no_tries(arm: PilotArm) -> None:
    state = counted(pilot(), [None] * 3, arm=arm)
    assert (state.tries, state.unjudged, state.bill(arm).runs, state.bill(arm).cost_nano_usd) == (0, 0, 3, 30)


def test_an_answer_that_nobody_judged_is_no_try() -> None:
    state = counted(pilot(), [None, True, None])
    assert (state.tries, state.unjudged, state.bill(PilotArm.CANARY).runs) == (1, 2, 3)


def test_an_answer_outside_the_judged_sample_is_only_on_the_bill() -> None:
    state = counted(pilot(), [True, False], counted=False)
    assert (state.tries, state.unjudged, state.bill(PilotArm.CANARY).runs) == (0, 0, 2)


def test_a_run_without_a_price_is_in_no_sum() -> None:
    state = counted(counted(pilot(), [True]), [True], cost_nano_usd=None)
    bill = state.bill(PilotArm.CANARY)
    assert (bill.runs, bill.unpriced, bill.cost_nano_usd, bill.baseline_nano_usd) == (2, 1, 10, 100)


def test_feedback_is_one_more_try_and_no_second_bill() -> None:
    state = counted(counted(pilot(), [True]), [False], source="feedback")
    assert (state.tries, state.passes, state.bill(PilotArm.CANARY).runs) == (2, 1, 1)


def test_a_reset_begins_anew_and_runs_from_before_count_no_more() -> None:
    rolled = counted(pilot(), [False] * 20)
    state = reset(rolled, NOW)
    assert (state.generation, state.tries, state.percent, state.rolled_back, state.bills) == (2, 0, 10, False, {})
    assert kinds(state) == [PilotChange.ROLLED_BACK, PilotChange.RESET]
    state = counted(state, [False] * 20)
    assert (state.tries, state.sequence, state.bills) == (0, 40, {})
    assert counted(state, [True], generation=2).tries == 1


def test_a_pause_draws_nobody_and_still_counts_what_is_under_way() -> None:
    state = pause(counted(pilot(), [True] * 19), NOW)
    assert (state.percent, kinds(state)) == (0, [PilotChange.PAUSED])
    state = counted(state, [True] * 5)
    assert (state.tries, state.step) == (24, 0)
    state = resume(state, NOW)
    assert (state.percent, kinds(state)[-1]) == (10, PilotChange.RESUMED)
    assert kinds(counted(state, [True]))[-1] is PilotChange.WIDENED


def test_a_paused_pilot_is_rolled_back_by_what_is_under_way() -> None:
    assert counted(pause(pilot(), NOW), [False] * 20).rolled_back


def test_an_operators_word_said_twice_is_said_once() -> None:
    state = pause(pilot(), NOW)
    assert pause(state, NOW + 1) is state
    state = resume(state, NOW)
    assert resume(state, NOW + 1) is state


def test_only_the_last_changes_are_remembered_under_numbers_that_go_on() -> None:
    state = pilot()
    for number in range(KEPT_CHANGES):
        state = resume(pause(state, NOW + number), NOW + number)
    assert [change.number for change in state.changes] == list(range(KEPT_CHANGES + 1, 2 * KEPT_CHANGES + 1))


def test_a_change_is_told_in_the_same_words_however_often() -> None:
    state = counted(pilot(), [True] * 20)
    later = counted(state, [True] * 5)
    one, other = told(state, state.changes[0]), told(later, later.changes[0])
    assert one == other
    assert decode(type(one), encode(one)) == one
    assert (one.rules, one.percent, one.tries) == (RAMP.id, 50, 20)


def test_a_state_survives_being_kept() -> None:
    state = counted(pilot(), [True, False, None] * 10)
    assert PilotState.model_validate_json(encode(state)) == state


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_it_is_rolled_back_at_the_very_try_at_which_the_evidence_reaches_its_level(alpha: float) -> None:
    rules = PilotRules(target=0.9, alpha=alpha)
    state, evidence = pilot(rules), Evidence()
    while not state.rolled_back:
        passed = state.tries % 3 == 0
        evidence = evidence.after(passed=passed, target=0.9)
        state = counted(state, [passed], rules=rules.id)
        assert state.rolled_back is (evidence.value >= 1 / alpha)
    assert state.evidence == evidence
