"""What a result says: sums in whole nano-dollars, and no price that nobody knows."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plans import LEG, NOW, RUN, diamond, judged, new_run, planned

from tierbus.contracts import (
    NANO,
    CallRecorded,
    CallStatus,
    Content,
    Role,
    TaskStatus,
    Tier,
    Usage,
    VerdictKind,
)
from tierbus.result import result_of
from tierbus.run import Run, adopt, advance, begin, close, finish, whole


def call(
    name: str,
    *,
    step: str = "answer",
    attempt: int = 1,
    role: Role = Role.EXECUTOR,
    tier: Tier = Tier.SMALL,
    status: CallStatus = CallStatus.FINISHED,
    cost: int | None = 20_000,
    baseline: int | None = 800_000,
) -> CallRecorded:
    return CallRecorded(
        call=name,
        run=RUN,
        tenant="acme",
        step=step,
        attempt=attempt,
        role=role,
        tier=tier,
        provider="p",
        model="m",
        status=status,
        usage=Usage(input=100, output=20, cache_read=10),
        cost_nano_usd=cost,
        baseline_nano_usd=baseline,
        started_at=NOW,
        duration_s=0.5,
    )


def accepted(*calls: CallRecorded) -> Run:
    """A run of one step, accepted at once, with these calls."""
    opened = begin(new_run(metadata={"team": "blue"}), NOW).run
    return advance(opened, judged("answer", 1, VerdictKind.ACCEPT)._replace(calls=calls), NOW + 9).run


calls_of_any_kind = st.lists(
    st.builds(
        lambda number, role, tier, status, cost: call(
            f"c{number}", role=role, tier=tier, status=status, cost=cost, step=f"s{number % 3}"
        ),
        st.integers(0, 10**6),
        st.sampled_from(Role),
        st.sampled_from(Tier),
        st.sampled_from([CallStatus.FINISHED, CallStatus.FAILED, CallStatus.INTERRUPTED]),
        st.none() | st.integers(0, 10**15),
    ),
    max_size=12,
)


@given(calls=calls_of_any_kind)
def test_the_bills_by_tier_and_by_role_add_up_to_the_total(calls: list[CallRecorded]) -> None:
    result = result_of(accepted(*calls))

    for bills in (result.cost_by_tier.values(), result.cost_by_role.values()):
        assert sum(bill.cost_nano_usd for bill in bills) == result.cost_nano_usd
        assert sum(bill.calls for bill in bills) == result.calls == len(calls)
        assert Usage.total(bill.usage for bill in bills) == result.usage
    assert result.cost_nano_usd == sum(one.cost_nano_usd or 0 for one in calls)
    assert Fraction(result.cost_usd) == Fraction(result.cost_nano_usd, NANO)
    assert result.cost_complete is not any(one.cost_nano_usd is None for one in calls)


def test_costs_are_told_by_tier_and_role() -> None:
    result = result_of(
        accepted(
            call("a", role=Role.ROUTER, step="_route", cost=1),
            call("b", cost=20),
            call("c", role=Role.REVIEWER, tier=Tier.MID, cost=300),
        )
    )

    assert {tier: bill.cost_nano_usd for tier, bill in result.cost_by_tier.items()} == {Tier.SMALL: 21, Tier.MID: 300}
    assert {role: bill.cost_nano_usd for role, bill in result.cost_by_role.items()} == {
        Role.ROUTER: 1,
        Role.EXECUTOR: 20,
        Role.REVIEWER: 300,
    }
    assert (result.cost_nano_usd, result.cost_usd) == (321, Decimal("0.000000321"))


def test_the_answer_is_the_last_steps_output() -> None:
    run = planned(diamond())
    for name in ("split", "left", "right", "join"):
        run = advance(run, judged(name, 1, VerdictKind.ACCEPT), NOW).run

    result = result_of(run)

    assert (result.status, result.answer) == (TaskStatus.SUCCEEDED, Content.of("output of join"))
    assert [report.id for report in result.steps] == ["split", "left", "right", "join"]


def _climbed() -> Run:
    """One step: rejected on small, accepted on mid; an HTTP failure and a review in between."""
    run = begin(new_run(), NOW).run
    first = (
        call("a", baseline=7_000),
        call("b", role=Role.REVIEWER, tier=Tier.MID, baseline=11_000),
    )
    run = advance(run, judged("answer", 1, VerdictKind.ESCALATE)._replace(calls=first), NOW).run
    second = (
        call("c", attempt=2, tier=Tier.MID, status=CallStatus.FAILED, cost=0, baseline=13_000),
        call("d", attempt=2, tier=Tier.MID, baseline=500_000),
        call("e", attempt=2, tier=Tier.MID, role=Role.REVIEWER, baseline=17_000),
    )
    return advance(run, judged("answer", 2, VerdictKind.ACCEPT, Tier.MID)._replace(calls=second), NOW).run


def test_the_baseline_is_the_accepted_attempts_answer_alone() -> None:
    result = result_of(_climbed())

    assert result.baseline is not None
    assert result.baseline.cost_nano_usd == 500_000
    assert (result.escalations, result.steps[0].tier_path) == (1, (Tier.SMALL, Tier.MID))


def test_a_repaired_answer_counts_once_in_the_baseline() -> None:
    result = result_of(accepted(call("a", baseline=100), call("b", baseline=150)))

    assert result.baseline is not None
    assert result.baseline.cost_nano_usd == 150


def test_a_call_that_brought_no_answer_is_not_in_the_baseline() -> None:
    result = result_of(accepted(call("a", baseline=100), call("b", status=CallStatus.INTERRUPTED, baseline=999)))

    assert result.baseline is not None
    assert result.baseline.cost_nano_usd == 100


def test_a_rejected_attempt_does_not_stand_in_for_the_accepted_one() -> None:
    run = begin(new_run(), NOW).run
    run = advance(run, judged("answer", 1, VerdictKind.ESCALATE)._replace(calls=(call("a"),)), NOW).run
    run = advance(run, judged("answer", 2, VerdictKind.ACCEPT, Tier.MID), NOW).run

    baseline = result_of(run).baseline

    assert baseline is not None
    assert baseline.cost_nano_usd is None


def test_the_baseline_of_a_plan_is_of_all_its_steps() -> None:
    run = planned(diamond())
    for place, name in enumerate(("split", "left", "right", "join")):
        paid = (call(name, step=name, baseline=10**place),)
        run = advance(run, judged(name, 1, VerdictKind.ACCEPT)._replace(calls=paid), NOW).run

    baseline = result_of(run).baseline

    assert baseline is not None
    assert baseline.cost_nano_usd == 1111


def test_an_unpriced_call_makes_the_cost_incomplete_and_is_counted() -> None:
    result = result_of(accepted(call("a"), call("b", role=Role.REVIEWER, cost=None)))

    assert (result.cost_complete, result.unpriced_calls, result.cost_nano_usd) == (False, 1, 20_000)


def test_a_free_call_is_complete() -> None:
    result = result_of(accepted(call("a", cost=0)))

    assert (result.cost_complete, result.unpriced_calls, result.cost_nano_usd) == (True, 0, 0)


def test_a_baseline_that_nobody_knows_is_not_zero() -> None:
    alone = result_of(accepted(call("a", baseline=None))).baseline
    run = planned(diamond())
    for name in ("split", "left", "right", "join"):
        paid = (call(name, step=name, baseline=None if name == "left" else 100),)
        run = advance(run, judged(name, 1, VerdictKind.ACCEPT)._replace(calls=paid), NOW).run
    part = result_of(run).baseline

    assert alone is not None
    assert part is not None
    assert (alone.cost_nano_usd, part.cost_nano_usd) == (None, None)


def test_an_answer_without_a_call_of_its_own_has_no_known_baseline() -> None:
    baseline = result_of(accepted()).baseline

    assert baseline is not None
    assert baseline.cost_nano_usd is None


def test_a_run_that_did_not_succeed_has_neither_answer_nor_baseline() -> None:
    run = close(begin(new_run(), NOW).run, TaskStatus.CANCELLED, "enough", NOW).run
    lost = call("a", status=CallStatus.INTERRUPTED)

    result = result_of(finish(run, (lost,), NOW + 1).run)

    assert (result.status, result.reason, result.answer, result.baseline) == ("cancelled", "enough", None, None)
    assert (result.calls, result.interrupted_calls, result.cost_nano_usd) == (1, 1, 20_000)


def test_a_result_knows_its_task_and_its_times() -> None:
    result = result_of(accepted(call("a"), call("b")))

    assert (result.task, result.tenant, result.run, result.metadata) == ("t-1", "acme", RUN, {"team": "blue"})
    assert (result.at, result.submitted_at, result.llm_s, result.queue_s) == (NOW + 9, NOW, 1.0, 0.1)


@pytest.mark.parametrize("ended", [{}, {"status": TaskStatus.FAILED}, {"finished_at": NOW}])
def test_a_run_that_has_not_ended_has_no_result(ended: dict[str, object]) -> None:
    run = adopt(new_run(), whole(new_run(), Tier.SMALL), (), LEG).run.model_copy(update=ended)

    with pytest.raises(ValueError, match="has not ended"):
        result_of(run)
