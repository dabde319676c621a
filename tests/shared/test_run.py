"""The state machine of a run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import NOW, RUN, ancestors, diamond, judged, new_run, planned, plans

from tierbus import limits
from tierbus.contracts import (
    CallRecorded,
    CallStatus,
    Message,
    Plan,
    PlanRequested,
    Role,
    Route,
    StepReleased,
    TaskStatus,
    Tier,
    TimerSet,
    VerdictKind,
)
from tierbus.run import Run, StepStatus, advance, begin, close, finish, pending, rearm


def released(messages: list[Message]) -> list[tuple[str, int, Tier]]:
    return [(one.step, one.attempt, one.tier) for one in messages if isinstance(one, StepReleased)]


def test_a_direct_run_releases_its_only_step_on_the_decided_tier() -> None:
    change = begin(new_run(tier=Tier.MID), NOW)

    assert released(change.messages) == [("answer", 1, Tier.MID)]


def test_a_planned_run_asks_for_a_plan_and_releases_nothing() -> None:
    change = begin(new_run(Route.PLAN), NOW)

    assert released(change.messages) == []
    assert any(isinstance(message, PlanRequested) for message in change.messages)


def test_a_run_without_a_decision_cannot_begin() -> None:
    with pytest.raises(ValueError, match="no decision"):
        begin(new_run(decision=None), NOW)


def test_the_timer_rings_at_the_deadline_if_that_comes_first() -> None:
    change = begin(new_run(deadline_at=NOW + 5), NOW)

    assert TimerSet(run=RUN, due_at=NOW + 5) in change.messages


def test_both_branches_of_a_diamond_are_released_together() -> None:
    run = planned(diamond())

    change = advance(run, judged("split", 1, VerdictKind.ACCEPT), NOW)

    assert released(change.messages) == [("left", 1, Tier.SMALL), ("right", 1, Tier.SMALL)]


def test_the_join_waits_for_both_branches() -> None:
    run = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW).run

    one = advance(run, judged("left", 1, VerdictKind.ACCEPT), NOW)
    both = advance(one.run, judged("right", 1, VerdictKind.ACCEPT), NOW)

    assert released(one.messages) == []
    assert released(both.messages) == [("join", 1, Tier.SMALL)]


def test_a_rejected_attempt_climbs_one_tier_with_the_critique() -> None:
    change = advance(begin(new_run(), NOW).run, judged("answer", 1, VerdictKind.ESCALATE), NOW)

    assert released(change.messages) == [("answer", 2, Tier.MID)]
    assert change.run.steps["answer"].critique == "mend it"


def test_a_rejection_on_the_highest_tier_fails_the_task_with_the_reason() -> None:
    run = begin(new_run(tier=Tier.FRONTIER), NOW).run

    ended = advance(run, judged("answer", 1, VerdictKind.ESCALATE, Tier.FRONTIER), NOW).run

    assert ended.status is TaskStatus.FAILED
    assert ended.reason is not None
    assert "because" in ended.reason


def test_a_failed_branch_closes_the_run_while_the_other_is_in_flight() -> None:
    run = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW).run

    change = advance(run, judged("left", 1, VerdictKind.FAIL), NOW)

    assert change.run.status is None
    assert change.run.closing is not None
    assert [TimerSet(run=RUN, due_at=NOW + limits.CLOSE_GRACE_S)] == [
        message for message in change.messages if isinstance(message, TimerSet)
    ]


def test_a_closing_run_releases_nothing_and_ends_with_the_ledgers_calls() -> None:
    run = close(begin(new_run(), NOW).run, TaskStatus.CANCELLED, "not wanted", NOW).run
    call = CallRecorded(
        call="c", run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR, tier=Tier.SMALL,
        provider="p", model="m", status=CallStatus.INTERRUPTED, cost_nano_usd=7, started_at=NOW,
    )  # fmt: skip

    ended = finish(run, [call], NOW + 1).run

    assert released(pending(run)) == []
    assert (ended.status, ended.reason, ended.cost_nano_usd) == (TaskStatus.CANCELLED, "not wanted", 7)


def test_closing_twice_keeps_the_first_reason() -> None:
    once = close(begin(new_run(), NOW).run, TaskStatus.CANCELLED, "first", NOW).run

    twice = close(once, TaskStatus.EXPIRED, "second", NOW).run

    assert once is twice


def test_a_stale_verdict_changes_nothing_and_says_what_is_pending() -> None:
    run = advance(begin(new_run(), NOW).run, judged("answer", 1, VerdictKind.ESCALATE), NOW).run

    change = advance(run, judged("answer", 1, VerdictKind.ACCEPT), NOW)

    assert change.run is run
    assert pending(run) == change.messages


def test_the_timer_is_not_set_again_before_it_rang() -> None:
    run = begin(new_run(), NOW).run

    assert rearm(run, NOW).run is run
    assert rearm(run, run.timer_at).run.timer_at > run.timer_at


@settings(max_examples=150, deadline=None)
@given(plan=plans(), data=st.data())
def test_any_valid_plan_runs_every_step_once_in_order_whatever_the_interleaving(
    plan: Plan, data: st.DataObject
) -> None:
    """Completions in any order, rejections on lower tiers, and every message possibly delivered again."""
    run = planned(plan)
    before = ancestors(plan)
    accepted: list[str] = []
    delivered: list[tuple[str, int, Tier]] = []
    queue = released(pending(run))
    while queue:
        place = data.draw(st.integers(0, len(queue) - 1))
        name, attempt, tier = queue.pop(place)
        reject = tier is not Tier.FRONTIER and data.draw(st.booleans())
        verdict = VerdictKind.ESCALATE if reject else VerdictKind.ACCEPT
        change = advance(run, judged(name, attempt, verdict, tier), NOW)
        assert before[name] <= set(accepted)
        if not reject:
            accepted.append(name)
        delivered.append((name, attempt, tier))
        queue += released(change.messages)
        run = change.run
        if data.draw(st.booleans()):
            run = _deliver_again(run, data.draw(st.sampled_from(delivered)))

    assert TaskStatus.SUCCEEDED is run.status
    assert sorted(step.id for step in plan.steps) == sorted(accepted)
    assert len(set(delivered)) == len(delivered)


def _deliver_again(run: Run, old: tuple[str, int, Tier]) -> Run:
    name, attempt, tier = old
    again = advance(run, judged(name, attempt, VerdictKind.ACCEPT, tier), NOW)
    assert again.run is run
    assert {message.key for message in again.messages} == {message.key for message in pending(run)}
    return again.run


@settings(max_examples=100, deadline=None)
@given(plan=plans(), data=st.data())
def test_whatever_fails_the_run_ends_and_nothing_more_is_released(plan: Plan, data: st.DataObject) -> None:
    run = planned(plan)
    queue = released(pending(run))
    while queue and run.live:
        name, attempt, tier = queue.pop(data.draw(st.integers(0, len(queue) - 1)))
        kind = data.draw(st.sampled_from(list(VerdictKind)))
        change = advance(run, judged(name, attempt, kind, tier), NOW)
        queue += released(change.messages)
        run = change.run
    if run.closing:
        assert released(pending(run)) == []
        run = finish(run, run.calls, NOW).run

    assert run.status in (TaskStatus.SUCCEEDED, TaskStatus.FAILED)
    if run.status is TaskStatus.FAILED:
        assert any(state.status is StepStatus.FAILED for state in run.steps.values())
