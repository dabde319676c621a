"""What a result says about a pilot."""

from typing import Any

import pytest
from tests.plans import LEG, NOW, RUN, decision, diamond, judged, new_run

from tierbus.contracts import (
    Content,
    Decision,
    Outcome,
    PilotArm,
    PilotMark,
    Result,
    Route,
    TaskStatus,
    Tier,
    VerdictKind,
)
from tierbus.pilot.outcome import first_answers_passed, outcome, outcomes
from tierbus.result import result_of
from tierbus.run import Judged, Run, adopt, advance, begin, close, finish
from tierbus.runs import said

ACCEPT, ESCALATE, FAIL = VerdictKind.ACCEPT, VerdictKind.ESCALATE, VerdictKind.FAIL


def marked(arm: PilotArm = PilotArm.CANARY, tier: Tier = Tier.SMALL, **more: Any) -> Decision:
    mark = PilotMark(arm=arm, rules="0123abcd", generation=3, **more)
    return decision(tier=tier).model_copy(update={"pilot": mark})


def ended(*verdicts: Judged, made: Decision | None = None) -> Run:
    run = begin(new_run(decision=made or marked(), task_class="sums"), NOW).run
    for verdict in verdicts:
        run = advance(run, verdict, NOW).run
    return run


def test_an_accepted_first_answer_passes() -> None:
    found = outcome(result_of(ended(judged("answer", 1, ACCEPT))))
    assert found is not None
    assert (found.passed, found.counted, found.arm) == (True, True, PilotArm.CANARY)
    assert (found.task_class, found.rules, found.generation, found.of_run) == ("sums", "0123abcd", 3, RUN)


def test_a_rejected_first_answer_fails_whatever_comes_of_the_task() -> None:
    run = ended(judged("answer", 1, ESCALATE), judged("answer", 2, ACCEPT, Tier.MID))
    assert run.status is TaskStatus.SUCCEEDED
    assert first_answers_passed(result_of(run)) is False


@pytest.mark.parametrize("why", [Outcome.TRUNCATED, Outcome.INVALID, Outcome.REFUSED])
def test_an_answer_that_is_none_fails(why: Outcome) -> None:
    run = ended(judged("answer", 1, ESCALATE, outcome=why), judged("answer", 2, ACCEPT, Tier.MID))
    assert first_answers_passed(result_of(run)) is False


@pytest.mark.parametrize("why", [Outcome.UNAVAILABLE, Outcome.OVER_BUDGET, Outcome.CANCELLED])
def test_an_answer_that_nobody_could_give_is_neither(why: Outcome) -> None:
    run = ended(judged("answer", 1, ESCALATE, outcome=why), judged("answer", 2, ACCEPT, Tier.MID))
    assert first_answers_passed(result_of(run)) is None


def test_a_review_that_failed_itself_is_neither() -> None:
    assert first_answers_passed(result_of(ended(judged("answer", 1, FAIL)))) is None


def test_a_run_that_was_cancelled_before_an_answer_is_neither() -> None:
    run = finish(close(ended(), TaskStatus.CANCELLED, "no longer wanted", NOW).run, (), NOW).run
    [result, told] = said(run)
    assert isinstance(result, Result)
    assert first_answers_passed(result) is None
    assert told == outcome(result)


def planned(*verdicts: Judged) -> Result:
    run = begin(new_run(Route.PLAN, decision=marked().model_copy(update={"route": Route.PLAN})), NOW).run
    run = adopt(run, diamond(), (), LEG).run
    for verdict in verdicts:
        run = advance(run, verdict, NOW).run
    return result_of(run)


def test_of_a_plan_every_first_answer_must_be_accepted() -> None:
    steps = ["split", "left", "right", "join"]
    assert first_answers_passed(planned(*(judged(name, 1, ACCEPT) for name in steps))) is True
    one_rejected = [
        judged("split", 1, ACCEPT),
        judged("left", 1, ESCALATE),
        judged("left", 2, ACCEPT, Tier.MID),
        judged("right", 1, ACCEPT),
        judged("join", 1, ACCEPT),
    ]
    assert first_answers_passed(planned(*one_rejected)) is False


def test_a_task_that_fell_back_to_the_frontier_tried_nothing_cheap() -> None:
    run = ended(judged("answer", 1, ACCEPT, Tier.FRONTIER), made=marked(tier=Tier.FRONTIER))
    assert first_answers_passed(result_of(run)) is None


@pytest.mark.parametrize("arm", [PilotArm.OUTSIDE, PilotArm.SHADOWED])
def test_the_frontiers_own_run_says_what_it_cost_and_passes_nothing(arm: PilotArm) -> None:
    found = outcome(result_of(ended(judged("answer", 1, ACCEPT, Tier.FRONTIER), made=marked(arm, Tier.FRONTIER))))
    assert found is not None
    assert (found.arm, found.passed) == (arm, None)


def test_a_run_outside_every_pilot_says_nothing_more_than_its_result() -> None:
    run = ended(judged("answer", 1, ACCEPT), made=decision())
    assert outcomes(result_of(run)) == []
    assert len(said(run)) == 1


def test_a_run_in_a_pilot_says_its_outcome_behind_its_result_each_time() -> None:
    run = ended(judged("answer", 1, ACCEPT))
    assert [message.kind for message in said(run)] == ["result", "pilot-outcome"]
    assert said(run) == said(run)


def test_feedback_has_a_subject_of_its_own_and_counts() -> None:
    result = result_of(ended(judged("answer", 1, ACCEPT), made=marked(counted=False)))
    review, feedback = outcome(result), outcome(result, passed=False, source="feedback")
    assert review is not None
    assert feedback is not None
    assert review.subject != feedback.subject
    assert (review.counted, feedback.counted, feedback.passed) == (False, True, False)


def test_an_incomplete_bill_is_no_bill() -> None:
    result = result_of(ended(judged("answer", 1, ACCEPT))).model_copy(update={"cost_complete": False})
    found = outcome(result)
    assert found is not None
    assert found.cost_nano_usd is None


def test_answers_that_say_the_same_are_alike_and_long_ones_are_not_compared() -> None:
    def alike(text: str, media: str = "text") -> str | None:
        result = result_of(ended(judged("answer", 1, ACCEPT)))
        told = outcome(result.model_copy(update={"answer": Content(text=text, media=media)}))
        assert told is not None
        return told.likeness

    assert alike("Paris.") == alike("  paris") != alike("Lyon")
    assert alike('{"a": 1, "b": "X"}', "json") == alike('{"b": "x", "a": 1.0}', "json")
    assert alike("long " * 50) is None
    assert alike("not JSON", "json") is None
