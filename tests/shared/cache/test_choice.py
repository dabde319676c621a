from typing import Any

import pytest
from tests.plans import LEG, NOW, diamond, judged, new_run

from tierbus import limits
from tierbus.cache.choice import Choice, answered, choose, follows, leads, own_decision, take, turn, usable, work
from tierbus.cache.rules import CacheRules
from tierbus.contracts import (
    CallRecorded,
    CallStatus,
    Content,
    Priority,
    Role,
    Route,
    TaskStatus,
    Tier,
    TimerSet,
    VerdictKind,
)
from tierbus.result import result_of
from tierbus.run import Run, Shared, adopt, advance, begin, close, finish, pending, rearm
from tierbus.stores import Lead

RULES = CacheRules(ttl_s=60.0)
FIRST = "a" * 32
LEAD = Lead(run=FIRST, task="t-0", priority=Priority.NORMAL, at=NOW)
SHARED = Shared(key="k", ttl_s=60.0)


def call(cost: int = 20_000, baseline: int | None = 800_000) -> CallRecorded:
    return CallRecorded(
        call=f"{FIRST}.answer.1.executor.0.0",
        run=FIRST,
        tenant="acme",
        step="answer",
        attempt=1,
        role=Role.EXECUTOR,
        tier=Tier.SMALL,
        provider="p",
        model="m",
        status=CallStatus.FINISHED,
        cost_nano_usd=cost,
        baseline_nano_usd=baseline,
        started_at=NOW,
    )


def working() -> Run:
    return begin(leads(new_run(id=FIRST, task="t-0"), "k", 60.0), NOW).run


def succeeded() -> Run:
    done = judged("answer", 1, VerdictKind.ACCEPT)._replace(calls=(call(),))
    return advance(working(), done, NOW).run


def failed() -> Run:
    return advance(working(), judged("answer", 1, VerdictKind.FAIL), NOW).run


def waiting(**more: Any) -> Run:
    decision = new_run().decision
    assert decision is not None
    return follows(new_run(**more), SHARED, LEAD, decision, NOW)


def test_the_first_that_asks_leads() -> None:
    assert choose(new_run(), None, None, RULES, NOW) is Choice.LEAD


def test_who_leads_already_goes_on_leading() -> None:
    mine = LEAD.model_copy(update={"run": new_run().id})
    assert choose(new_run(), mine, None, RULES, NOW + 1e6) is Choice.LEAD


@pytest.mark.parametrize(("age", "choice"), [(0.0, Choice.ANSWER), (60.0, Choice.ANSWER), (60.1, Choice.LEAD)])
def test_an_answer_is_used_for_so_long(age: float, choice: Choice) -> None:
    assert choose(new_run(), LEAD, succeeded(), RULES, NOW + age) is choice


def test_a_run_that_works_is_waited_for() -> None:
    assert choose(new_run(), LEAD, working(), RULES, NOW + 1e4) is Choice.FOLLOW


def test_a_run_that_works_is_not_waited_for_where_the_class_does_not_want_it() -> None:
    rules = CacheRules(ttl_s=60.0, coalesce=False)
    assert choose(new_run(), LEAD, working(), rules, NOW) is Choice.ALONE


@pytest.mark.parametrize(
    ("priority", "choice"),
    [(Priority.HIGH, Choice.ALONE), (Priority.NORMAL, Choice.FOLLOW), (Priority.LOW, Choice.FOLLOW)],
)
def test_a_task_never_waits_for_one_of_a_lower_priority(priority: Priority, choice: Choice) -> None:
    assert choose(new_run(priority=priority), LEAD, working(), RULES, NOW) is choice
    assert choose(new_run(priority=priority), LEAD, None, RULES, NOW) is choice


@pytest.mark.parametrize(
    ("age", "choice"), [(0.0, Choice.FOLLOW), (limits.LEAD_OPENED_S, Choice.LEAD), (1e6, Choice.LEAD)]
)
def test_a_run_that_has_no_state_yet_is_waited_for_only_so_long(age: float, choice: Choice) -> None:
    assert choose(new_run(), LEAD, None, RULES, NOW + age) is choice


def test_a_run_that_failed_is_followed_by_a_new_leader() -> None:
    assert choose(new_run(), LEAD, failed(), RULES, NOW) is Choice.LEAD


@pytest.mark.parametrize("status", [TaskStatus.CANCELLED, TaskStatus.EXPIRED])
def test_a_run_that_ends_early_is_not_waited_for(status: TaskStatus) -> None:
    closing = close(working(), status, "because", NOW).run

    assert choose(new_run(), LEAD, closing, RULES, NOW) is Choice.LEAD
    assert choose(new_run(), LEAD, finish(closing, (), NOW).run, RULES, NOW) is Choice.LEAD


def test_another_tenants_answer_is_never_used_even_under_the_same_key() -> None:
    theirs = succeeded().model_copy(update={"tenant": "other"})
    assert choose(new_run(), LEAD, theirs, RULES, NOW) is Choice.LEAD


def test_only_a_run_whose_every_step_was_accepted_has_an_answer_for_others() -> None:
    assert usable(succeeded())
    assert not usable(working())
    assert not usable(failed())


def test_an_answer_taken_over_is_not_handed_on_so_that_it_does_not_live_for_ever() -> None:
    taken = answered(new_run(), succeeded(), NOW + 50)

    assert not usable(taken)
    assert choose(new_run(id="f" * 32), LEAD, taken, RULES, NOW + 70) is Choice.LEAD


def test_a_run_that_takes_an_answer_ends_at_no_cost_and_says_whose_it_is() -> None:
    run = answered(new_run(), succeeded(), NOW + 42)
    result = result_of(run)

    assert (result.status, result.cost_nano_usd, result.calls, result.steps) == ("succeeded", 0, 0, ())
    assert result.answer == Content.of("output of answer")
    assert result.cached_from == FIRST
    assert result.decision is not None
    assert (result.decision.decided_by, result.decision.cause) == ("cache", "the answer of task 't-0' from 42 s ago")
    assert result.baseline == result_of(succeeded()).baseline
    assert result.baseline is not None
    assert result.baseline.cost_nano_usd == 800_000


@pytest.mark.parametrize(("age", "told"), [(0, "0 s"), (90, "2 min"), (7200, "2 h"), (200_000, "2 d")])
def test_an_age_is_told_as_a_person_says_it(age: float, told: str) -> None:
    decision = answered(new_run(), succeeded(), NOW + age).decision
    assert decision is not None
    assert decision.cause.endswith(f"from {told} ago")


def test_nothing_is_taken_from_a_run_without_an_answer() -> None:
    with pytest.raises(ValueError, match=FIRST):
        answered(new_run(), failed(), NOW)


def test_a_run_that_waits_waits_only_for_its_timer() -> None:
    run = waiting()

    assert run.following
    assert pending(run) == [TimerSet(run=run.id, due_at=NOW + limits.FOLLOW_S)]
    assert run.decision is not None
    assert run.decision.decided_by == "cache"
    assert own_decision(run) == new_run().decision


def test_a_run_that_waits_looks_again_and_no_later_than_its_deadline() -> None:
    soon = waiting(deadline_at=NOW + 7)
    late = rearm(waiting(), NOW + limits.FOLLOW_S).run

    assert soon.timer_at == NOW + 7
    assert late.timer_at == NOW + 2 * limits.FOLLOW_S


def test_a_run_that_waits_ends_with_the_answer() -> None:
    run = take(waiting(), succeeded(), NOW + 1).run

    assert (run.status, run.finished_at) == ("succeeded", NOW + 1)
    assert result_of(run).cached_from == FIRST


def test_a_run_that_has_ended_takes_no_answer() -> None:
    over = finish(close(waiting(), TaskStatus.CANCELLED, "because", NOW).run, (), NOW).run

    assert take(over, succeeded(), NOW).run is over
    assert turn(over, LEAD, NOW).run is over
    assert work(over, NOW).run is over


def test_a_run_that_waits_can_turn_to_another() -> None:
    second = Lead(run="b" * 32, task="t-9", priority=Priority.NORMAL, at=NOW)
    run = turn(waiting(), second, NOW + 5).run

    assert run.shared is not None
    assert (run.shared.follows, run.shared.otherwise) == ("b" * 32, new_run().decision)
    assert run.decision is not None
    assert "'t-9'" in run.decision.cause


def test_a_run_that_waited_in_vain_works_as_was_decided_for_it() -> None:
    run, messages = work(waiting(), NOW + 5)

    assert not run.following
    assert run.decision == new_run().decision
    assert [message.kind for message in messages] == ["timer-set", "step-released"]
    assert work(run, NOW + 6).run is run


def test_a_planned_run_that_waited_in_vain_asks_for_its_plan() -> None:
    planned = new_run(Route.PLAN)
    assert planned.decision is not None
    run, messages = work(follows(planned, SHARED, LEAD, planned.decision, NOW), NOW + 5)

    assert run.planning
    assert [message.kind for message in messages] == ["timer-set", "plan-requested"]
    assert adopt(run, diamond(), (), LEG).run.steps
