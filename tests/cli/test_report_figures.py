"""The numbers of a report: every part of the bill adds up, and what is not known is not 0."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.records import DAY, HOUR, NOW, call, rejection, result, step, world
from tests.growth import lines
from tests.plans import decision

from tierbus.cli.report import beginning
from tierbus.cli.reporting.figures import REASON_CHARS, Bucket, Figures, Period, Share, figures, merged
from tierbus.cli.reporting.findings import coverage, headline, warnings
from tierbus.cli.reporting.text import cost, length, places, share, usd
from tierbus.contracts import (
    NANO,
    CallRecorded,
    CallStatus,
    Outcome,
    PilotArm,
    PilotMark,
    Role,
    TaskStatus,
    Tier,
    run_id,
    spent,
)

DAY_BACK = Period.of(NOW - DAY, NOW)
WEEK_BACK = Period.of(NOW - 7 * DAY, NOW)
LETTERS = st.sampled_from("abcdefghijklmnop")


@st.composite
def ledgers(draw: st.DrawFn) -> list[CallRecorded]:
    rows = st.tuples(
        LETTERS,
        LETTERS,
        st.sampled_from(Role),
        st.sampled_from(Tier),
        LETTERS,
        st.sampled_from(CallStatus),
        st.none() | st.integers(0, 10**13),
        st.floats(-1, 9 * DAY),
    )
    return [
        call(task, tenant=tenant, n=n, role=role, tier=tier, model=model, status=status, cost=cost, at=NOW - age)
        for n, (task, tenant, role, tier, model, status, cost, age) in enumerate(draw(st.lists(rows, max_size=40)))
    ]


def parts(found: Figures) -> dict[str, int]:
    """The bill's sum by every way of splitting it."""
    groups: dict[str, tuple[Bucket | Share, ...]] = {
        "time": found.over_time,
        "tier": found.by_tier,
        "role": found.by_role,
        "model": found.by_model,
        "tenant": found.by_tenant,
        "merged tenants": merged(found.by_tenant, 3),
    }
    sums = {name: sum(one.cost_nano_usd for one in group) for name, group in groups.items()}
    tiers = {f"{name} by tier": sum(sum(one.by_tier.values()) for one in group) for name, group in groups.items()}
    return sums | tiers


@given(ledgers(), st.floats(60, 8 * DAY))
def test_every_split_of_the_bill_adds_up_to_the_nano_dollar(calls: list[CallRecorded], age: float) -> None:
    period = Period.of(NOW - age, NOW)

    found = figures(calls, [], [], period)

    expected = spent(one for one in calls if period.since <= one.started_at <= NOW)
    assert found.spent_nano_usd == expected
    assert set(parts(found).values()) == {expected}
    assert sum(one.calls for one in found.by_tenant) == found.calls == sum(one.calls for one in found.over_time)


@given(ledgers(), st.sets(st.tuples(LETTERS, LETTERS), max_size=20), st.data())
def test_the_comparison_counts_all_spend_of_ended_and_open_tasks_once(
    calls: list[CallRecorded], ended: set[tuple[str, str]], data: st.DataObject
) -> None:
    statuses = {one: data.draw(st.sampled_from(TaskStatus)) for one in sorted(ended)}
    results = [result(task, tenant=tenant, status=status) for (task, tenant), status in statuses.items()]

    numbers = figures(calls, results, [], WEEK_BACK).compared

    runs = {one.run for one in results}
    past = [one for one in calls if one.started_at <= NOW and one.role is not Role.WATCH]
    of_ended = spent(one for one in past if one.run in runs)
    others = spent(one for one in past if one.run not in runs and one.started_at >= WEEK_BACK.results_from)
    assert (numbers.ended_nano_usd, numbers.open_nano_usd) == (of_ended, others)
    assert numbers.spent_nano_usd == of_ended + others + numbers.watch_nano_usd == sum(numbers.by_tier.values())
    if results:
        assert numbers.baseline_nano_usd == 9_000 * numbers.succeeded
        assert numbers.saving_nano_usd == numbers.baseline_nano_usd - numbers.spent_nano_usd


def test_a_failed_task_counts_against_the_saving_and_a_loss_is_negative() -> None:
    calls = [call("good", cost=4_000), call("bad", cost=7_000)]
    results = [result("good", baseline=9_000), result("bad", status=TaskStatus.FAILED, reason="no")]

    numbers = figures(calls, results, [], DAY_BACK).compared

    assert (numbers.baseline_nano_usd, numbers.spent_nano_usd, numbers.saving_nano_usd) == (9_000, 11_000, -2_000)
    assert numbers.per_accepted_nano_usd == 11_000


def test_cost_per_accepted_task_is_rounded_half_up_in_whole_nano_dollars() -> None:
    calls = [call("a", cost=1), call("b", cost=2)]

    found = figures(calls, [result("a"), result("b")], [], DAY_BACK)

    assert found.compared.per_accepted_nano_usd == 2


def test_a_task_that_ended_in_the_span_counts_with_what_it_spent_before_it() -> None:
    calls = [call("t", n=0, cost=5_000, at=NOW - 2 * DAY), call("t", n=1, cost=1_000)]

    found = figures(calls, [result("t")], [], DAY_BACK)

    assert found.spent_nano_usd == 1_000
    assert (found.compared.spent_nano_usd, found.compared.earlier_nano_usd) == (6_000, 5_000)


def test_without_a_result_nothing_is_said_about_saving_and_quality() -> None:
    found = figures([call()], [], [], DAY_BACK)

    numbers = found.compared
    assert numbers.baseline_nano_usd is numbers.saving_nano_usd is numbers.per_accepted_nano_usd is found.climbs is None
    assert (found.open_tasks, found.unkept_tasks) == (1, 0)


def test_a_baseline_that_nobody_knows_is_no_zero() -> None:
    found = figures([call()], [result(baseline=None)], [], DAY_BACK)

    assert (found.compared.baseline_nano_usd, found.compared.without_baseline) == (None, 1)


def test_what_is_older_than_results_are_kept_is_told_apart() -> None:
    calls = [call("old", at=NOW - 5 * DAY), call("new"), call("running")]
    results = [result("old", at=NOW - 5 * DAY), result("new")]

    found = figures(calls, results, [rejection("x", at=NOW - 5 * DAY)], WEEK_BACK)

    assert (found.tasks, found.compared.ended, found.open_tasks, found.unkept_tasks) == (3, 1, 1, 1)
    assert (found.spent_nano_usd, found.compared.spent_nano_usd, found.rejected) == (3_000, 2_000, 0)
    assert any("72 hours" in line for line in coverage(found))
    assert {one.task: one.status for one in found.dearest if one.task} == {"new": "succeeded"}
    assert sorted(str(one.status) for one in found.dearest) == ["None", "running", "succeeded"]


@pytest.mark.parametrize(
    ("age", "bucket_s", "complete"),
    [
        (HOUR, 3600, True),
        (2 * DAY, 3600, True),
        (2 * DAY + 1, 86400, True),
        (3 * DAY, 86400, True),
        (3.1 * DAY, 86400, False),
    ],
)
def test_a_period_has_hours_up_to_two_days_and_results_for_72_hours(age: float, bucket_s: int, complete: bool) -> None:
    period = Period.of(NOW - age, NOW)

    assert (period.bucket_s, period.results_complete) == (bucket_s, complete)


def test_time_before_the_first_call_on_record_has_no_bucket_and_later_gaps_are_0() -> None:
    calls = [call("a", at=NOW - 5 * HOUR, cost=3), call("b", at=NOW - HOUR, cost=4)]

    found = figures(calls, [], [], DAY_BACK)

    assert [bucket.cost_nano_usd for bucket in found.over_time] == [3, 0, 0, 0, 4, 0]
    assert found.over_time[0].at == DAY_BACK.bucket(NOW - 5 * HOUR)
    assert any("first call on record" in line for line in coverage(found))


def test_overhead_is_what_router_planner_reviewer_and_quality_watch_cost() -> None:
    calls = [call(n=n, role=role, cost=10**n) for n, role in enumerate(Role)]

    found = figures(calls, [], [], DAY_BACK)

    executor = next(one.cost_nano_usd for one in found.by_role if one.name == "executor")
    assert found.overhead_nano_usd == found.spent_nano_usd - executor == 11011


def test_first_pass_counts_first_attempts_that_were_answered_by_their_tier() -> None:
    steps = (
        step(Tier.SMALL),
        step(Tier.SMALL, Tier.MID, name="up"),
        step(Tier.MID, accepted=False, name="bad"),
        step(Tier.FRONTIER, accepted=False, outcome=Outcome.UNAVAILABLE, name="away"),
    )

    found = figures([], [result(steps=steps)], [], DAY_BACK)

    told = {one.tier: (one.accepted, one.answered, one.unanswered) for one in found.first_pass}
    assert told == {Tier.SMALL: (1, 2, 0), Tier.MID: (0, 1, 0), Tier.FRONTIER: (0, 0, 1)}
    assert (found.first_accepted, found.first_answered) == (1, 3)
    [bucket] = found.first_pass_over_time
    assert bucket.tiers[Tier.SMALL].answered == 2


def test_escalations_are_counted_from_tier_to_tier() -> None:
    steps = (step(Tier.SMALL, Tier.MID, Tier.FRONTIER), step(Tier.SMALL, Tier.MID, name="b"), step(Tier.MID, name="c"))

    found = figures([], [result(steps=steps)], [], DAY_BACK)

    told = [(one.source, one.target, one.count) for one in found.escalations]
    assert told == [(Tier.SMALL, Tier.MID, 2), (Tier.MID, Tier.FRONTIER, 1)]
    assert found.climbs == 3 == result(steps=steps).escalations


def test_failures_are_grouped_by_reason_cut_short_and_ten_at_most() -> None:
    long = "x" * 500
    results = [result(f"t{n}", status=TaskStatus.FAILED, reason=f"{n % 12} {long}") for n in range(25)]
    results.append(result("gone", status=TaskStatus.EXPIRED, reason=None))

    found = figures([call("t0", cost=7)], results, [], DAY_BACK)

    assert len(found.failures) == 10
    assert [(one.count, one.cost_nano_usd) for one in found.failures][:2] == [(3, 7), (2, 0)]
    assert all(len(one.reason) == REASON_CHARS for one in found.failures)
    assert found.ended == {TaskStatus.FAILED: 25, TaskStatus.EXPIRED: 1}


def test_rejected_tasks_are_counted_by_reason() -> None:
    refused = [rejection("prompt is empty", task=None), rejection("prompt is empty"), rejection("risk: no")]

    found = figures([], [], refused, DAY_BACK)

    assert found.rejected == 3
    assert [(one.reason, one.count) for one in found.rejections] == [("prompt is empty", 2), ("risk: no", 1)]


def test_a_secret_in_a_reason_is_not_on_the_page() -> None:
    refused = [rejection("metadata: not allowed (got {'password': 'hunter2'})")]
    failed = [result("t", status=TaskStatus.FAILED, reason="HTTP 401 for sk-ant-abcDEF1234567890")]

    found = figures([], failed, refused, DAY_BACK)

    told = " ".join(one.reason for one in (*found.failures, *found.rejections))
    assert "hunter2" not in told
    assert "abcDEF" not in told
    assert told.count("[redacted]") == 2


def test_the_dearest_tasks_are_the_twenty_with_the_highest_ledger_sum() -> None:
    calls = [call(f"t{n}", n=k, cost=n, tier=tier) for n in range(40) for k, tier in enumerate(Tier)]
    results = [result(f"t{n}", steps=[step(Tier.SMALL, Tier.MID)], cost=3 * n, baseline=None) for n in range(40)]

    found = figures(calls, results, [], DAY_BACK)

    assert [one.task for one in found.dearest] == [f"t{n}" for n in range(39, 19, -1)]
    first = found.dearest[0]
    assert (first.cost_nano_usd, first.escalations, first.attempts, first.baseline_nano_usd) == (117, 1, 2, None)
    assert set(first.by_tier.values()) == {39}


def test_calls_in_doubt_are_called_out() -> None:
    calls = [
        call("a", cost=None, model="mystery"),
        call("b", status=CallStatus.INTERRUPTED, cost=5_000_000),
        call("c", status=CallStatus.STARTED, cost=3_000_000),
    ]
    found = figures(calls, [result("a", cost=0), result("b", cost=1)], [], DAY_BACK)

    assert found.doubts.unpriced_models == ("mystery",)
    assert (found.doubts.interrupted_nano_usd, found.doubts.open_nano_usd) == (5_000_000, 3_000_000)
    assert found.doubts.differing_tasks == 1
    told = " ".join(warnings(found))
    assert all(word in told for word in ("no known price (mystery)", "1 call was interrupted", "still open", "ledger"))
    assert headline(found).startswith("At least ")


def test_a_shadow_is_no_task_and_its_calls_are_its_tasks() -> None:
    task, shadow = result("t", cost=7, baseline=9), result("t~shadow", cost=2, status=TaskStatus.FAILED, reason="no")
    mark = PilotMark(arm=PilotArm.SHADOW, rules="0123abcd", generation=1, beside=task.run)
    shadow = shadow.model_copy(update={"decision": decision().model_copy(update={"pilot": mark})})
    found = figures([call("t", cost=7), call("t~shadow", cost=2)], [task, shadow], [], DAY_BACK)

    assert (found.tasks, dict(found.ended), found.open_tasks, found.failures) == (1, {TaskStatus.SUCCEEDED: 1}, 0, ())
    assert (found.spent_nano_usd, found.compared.spent_nano_usd, found.compared.open_nano_usd) == (9, 9, 0)
    assert found.compared.saving_nano_usd == 0
    assert [(dear.task, dear.cost_nano_usd) for dear in found.dearest] == [("t", 9)]
    assert found.doubts.differing_tasks == 0


def test_a_result_heard_twice_counts_once() -> None:
    found = figures([call()], [result(), result()], [], DAY_BACK)

    assert (found.tasks, found.compared.ended, found.compared.baseline_nano_usd) == (1, 1, 9_000)


def test_the_figures_survive_json_with_whole_numbers() -> None:
    found = figures(*world(50), WEEK_BACK, "acme")

    told = json.loads(found.model_dump_json())
    assert Figures.model_validate(told) == found
    assert type(told["spent_nano_usd"]) is int
    assert told["compared"]["method"].startswith("the accepted answer of every step")


def test_nothing_gives_empty_figures() -> None:
    found = figures([], [], [], WEEK_BACK)

    assert (found.tasks, found.spent_nano_usd, found.over_time, found.dearest) == (0, 0, (), ())
    assert headline(found) == "Nothing was done in this period"


def test_ten_times_the_tasks_are_about_ten_times_the_work() -> None:
    few, many = (lines(partial(figures, *world(count), WEEK_BACK)) for count in (200, 2_000))

    assert 5 < many / few < 20, "a hundred is quadratic"


def test_merged_shares_keep_the_sum_and_say_how_many_they_are() -> None:
    shares = [Share(name=str(n), by_tier={**dict.fromkeys(Tier, 0), Tier.MID: n}, cost_nano_usd=n) for n in range(9)]

    few = merged(shares, 4)

    assert [one.name for one in few] == ["0", "1", "2", "6 others"]
    assert sum(one.cost_nano_usd for one in few) == sum(range(9))


@pytest.mark.parametrize(
    ("nano", "digits", "text"),
    [
        (None, None, "–"),
        (0, None, "$0"),
        (0, 6, "$0.000000"),
        (1_344_000, None, "$0.001344"),
        (14_600_000, None, "$0.0146"),
        (-2_500_000_000, None, "−$2.50"),
        (1_234_567 * NANO, 2, "$1,234,567.00"),
    ],
)
def test_dollars_are_worded_short_and_the_unknown_is_a_dash(nano: int | None, digits: int | None, text: str) -> None:
    assert usd(nano, digits) == text


def test_numbers_are_worded_honestly() -> None:
    assert (share(1, 0), share(None, 5), share(1, 100_000), share(-1, 8)) == ("–", "–", "< 0.1 %", "−12.5 %")
    assert cost(0, 3, 3) == "unpriced"
    assert cost(2 * NANO, 3, 1).replace("\N{NO-BREAK SPACE}", " ") == "≥ $2.00"
    assert [length(seconds) for seconds in (60, 5400, DAY, 2.5 * DAY)] == ["1 minute", "1.5 hours", "1 day", "2.5 days"]
    assert [places([amount]) for amount in (5, NANO, 100 * NANO)] == [6, 4, 2]


@pytest.mark.parametrize(
    ("since", "at"),
    [
        ("30m", NOW - 1800),
        ("12h", NOW - 12 * HOUR),
        ("1.5d", NOW - 1.5 * DAY),
        ("2026-03-01", 1_772_323_200.0),
        ("2026-03-01T10:30", 1_772_361_000.0),
        ("2026-03-01T10:30+02:00", 1_772_353_800.0),
    ],
)
def test_since_is_a_duration_or_an_iso_date(since: str, at: float) -> None:
    assert beginning(since, NOW) == at


@pytest.mark.parametrize(
    "since", ["", "yesterday", "7", "7w", "-1d", "0d", "1e3d", "٣d", "2026-02-30", "2999-01-01", "9" * 400 + "d"]
)
def test_a_since_that_is_none_is_refused_with_the_value(since: str) -> None:
    with pytest.raises(ValueError, match=r"^--since '") as refused:
        beginning(since, NOW)

    assert repr(since) in str(refused.value)


def test_the_run_of_a_record_is_that_of_its_task() -> None:
    assert call("x", tenant="y").run == result("x", tenant="y").run == run_id("y", "x")
