"""What the metrics count: each thing once, when it happens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import LEG, NOW, RUN, diamond, judged, new_run, planned, plans
from tests.shared.quality.test_measure import compared
from tests.shared.telemetry.test_ends import lives
from tests.shared.telemetry.test_spans import a_call, ended_run, failed_run

from tierbus.contracts import (
    NANO,
    Baseline,
    CallStatus,
    Comparison,
    PilotArm,
    PilotMark,
    Plan,
    QualityMeasured,
    Route,
    TaskStatus,
    Tier,
    Usage,
    VerdictKind,
    WatchState,
)
from tierbus.result import result_of
from tierbus.run import Origin, Run, StepStatus, adopt, advance, begin, close, finish
from tierbus.telemetry import counts, names
from tierbus.telemetry.names import Attr, Kind, Metric

WHO = {
    Attr.TIER: "small",
    Attr.MODEL: "claude-haiku-4-5",
    Attr.PROVIDER: "anthropic",
    Attr.ROLE: "executor",
    Attr.TENANT: "acme",
}


@dataclass
class Tally:
    """Meters that remember: every sum by metric and labels, every value of a distribution."""

    sums: Counter[tuple[str, frozenset[tuple[str, str]]]] = field(default_factory=Counter)
    values: list[tuple[str, float, dict[str, str]]] = field(default_factory=list)

    def add(self, metric: Metric, amount: float, labels: Mapping[Attr, str]) -> None:
        assert metric.kind is Kind.COUNTER
        assert set(labels) == set(metric.labels), metric.name
        self.sums[metric.name, frozenset(labels.items())] += amount  # type: ignore[assignment] # it adds floats as well

    def record(self, metric: Metric, value: float, labels: Mapping[Attr, str]) -> None:
        assert metric.kind is Kind.HISTOGRAM
        assert {*labels, Attr.ERROR_TYPE} == {*metric.labels, Attr.ERROR_TYPE}, metric.name
        self.values.append((metric.name, value, {str(name): text for name, text in labels.items()}))

    def of(self, metric: Metric, **labels: Any) -> float:
        """Everything counted under a metric, where these labels hold."""
        wanted = {(getattr(Attr, name), str(value)) for name, value in labels.items()}
        return sum(count for (name, found), count in self.sums.items() if name == metric.name and wanted <= found)


def counted(*steps: tuple[Run | None, Run]) -> Tally:
    tally = Tally()
    for before, after in steps:
        counts.of_change(tally, before, after)
    return tally


def test_a_call_counts_its_dollars_its_tokens_and_its_time() -> None:
    tally = Tally()
    counts.of_call(tally, a_call(usage=Usage(input=100, output=20, cache_read=60, cache_write=30)))

    assert tally.sums[names.LLM_COST.name, frozenset(WHO.items())] == 200_000 / NANO
    for kind, tokens in {"input": 100, "output": 20, "cache_read": 60, "cache_write": 30}.items():
        labels = {**WHO, Attr.TOKEN_TYPE: kind}
        assert tally.sums[names.LLM_TOKENS.name, frozenset(labels.items())] == tokens
    assert tally.of(names.UNPRICED) == 0
    [(metric, value, told)] = tally.values
    assert (metric, value) == (names.LLM_DURATION.name, 1.5)
    assert told[Attr.OPERATION] == "chat"
    assert Attr.ERROR_TYPE not in told, "as the conventions want it where nothing failed"


def test_a_provider_is_counted_under_the_name_that_its_calls_have() -> None:
    tally = Tally()
    counts.of_call(tally, a_call(provider="google"))

    assert tally.of(names.LLM_COST, PROVIDER="gcp.gemini") == tally.of(names.LLM_COST) > 0
    assert [labels[Attr.PROVIDER] for _, _, labels in tally.values] == ["gcp.gemini"]


def test_tokens_that_were_not_used_are_not_counted() -> None:
    tally = Tally()
    counts.of_call(tally, a_call(usage=Usage(input=100)))

    assert {dict(labels)[Attr.TOKEN_TYPE] for name, labels in tally.sums if name == names.LLM_TOKENS.name} == {"input"}


def test_a_call_without_a_known_price_is_counted_apart_and_never_as_nothing() -> None:
    tally = Tally()
    counts.of_call(tally, a_call(cost_nano_usd=None))

    assert tally.of(names.UNPRICED, MODEL="claude-haiku-4-5") == 1
    assert not [name for name, _ in tally.sums if name == names.LLM_COST.name]
    assert tally.of(names.LLM_TOKENS) == 120


def test_a_failed_call_is_timed_under_its_kind_of_error() -> None:
    tally = Tally()
    counts.of_call(tally, a_call(status=CallStatus.FAILED, usage=Usage(), cost_nano_usd=0, error_type="429"))

    assert [labels[Attr.ERROR_TYPE] for _, _, labels in tally.values] == ["429"]
    assert tally.of(names.LLM_COST) == tally.of(names.LLM_TOKENS) == 0


def test_a_call_that_took_no_time_of_a_model_is_not_timed() -> None:
    tally = Tally()
    counts.of_call(tally, a_call(status=CallStatus.FAILED, duration_s=0.0, error_type="not-sent"))

    assert tally.values == []


def test_opening_a_run_counts_nothing() -> None:
    assert counted((None, begin(new_run(), NOW).run)).sums == {}
    assert counted((begin(new_run(), NOW).run, planned(diamond()))).sums == {}


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (Origin(), {}),
        (Origin("f" * 32), {}),
        (Origin("f" * 32, "first", "first", 7), {"adapted": 1}),
        (Origin("f" * 32, "first", None, -7), {"unfit": 1}),
    ],
)
def test_a_plan_that_was_used_again_or_tried_in_vain_is_counted_when_one_is_adopted(
    origin: Origin, told: dict[str, int]
) -> None:
    opened = begin(new_run(Route.PLAN), NOW).run
    adopted = adopt(opened, diamond(), (), LEG, origin=origin).run
    later = advance(adopted, judged("split", 1, VerdictKind.ACCEPT), NOW).run

    tally = counted((None, opened), (opened, adopted), (adopted, later))

    assert {
        event: tally.of(names.TEMPLATES, TEMPLATE_EVENT=event)
        for event in ("adapted", "unfit")
        if tally.of(names.TEMPLATES, TEMPLATE_EVENT=event)
    } == told


def test_an_escalation_is_a_review_and_a_way_up_but_no_end() -> None:
    before = begin(new_run(), NOW).run
    tally = counted((before, advance(before, judged("answer", 1, VerdictKind.ESCALATE), NOW).run))

    assert tally.of(names.REVIEWS, VERDICT="escalate", RUNG="judge", TIER="small", ATTEMPT=1) == 1
    assert tally.of(names.ESCALATIONS, TIER_FROM="small", TIER_TO="mid") == 1
    assert tally.of(names.STEPS) == 0


def test_an_accepted_step_ends_on_the_tier_that_answered() -> None:
    first = begin(new_run(), NOW).run
    second = advance(first, judged("answer", 1, VerdictKind.ESCALATE), NOW).run
    third = advance(second, judged("answer", 2, VerdictKind.ACCEPT, Tier.MID), NOW).run
    tally = counted((None, first), (first, second), (second, third))

    assert tally.of(names.STEPS) == tally.of(names.STEPS, STEP_STATUS="accepted", TIER="mid") == 1
    assert tally.of(names.REVIEWS) == 2
    assert tally.of(names.REVIEWS, VERDICT="accept", TIER="mid", ATTEMPT=2) == 1
    assert tally.of(names.ESCALATIONS) == 1


def test_a_failed_step_ends_too() -> None:
    before = begin(new_run(), NOW).run
    tally = counted((before, advance(before, judged("answer", 1, VerdictKind.FAIL), NOW).run))

    assert tally.of(names.STEPS) == tally.of(names.STEPS, STEP_STATUS="failed", TIER="small") == 1
    assert tally.of(names.ESCALATIONS) == 0


def test_a_change_that_judges_nothing_counts_nothing() -> None:
    before = begin(new_run(), NOW).run
    closing = close(before, TaskStatus.CANCELLED, "not wanted", NOW).run
    ended = finish(closing, (), NOW).run

    assert counted((before, closing), (closing, ended)).sums == {}


def test_an_ended_task_counts_once_with_its_cost_its_time_and_what_it_would_have_cost() -> None:
    tally = Tally()
    counts.of_end(tally, result_of(ended_run()))

    assert tally.of(names.TASKS) == tally.of(names.TASKS, OUTCOME="succeeded", ROUTE="direct", TENANT="acme") == 1
    assert tally.of(names.BASELINE, TENANT="acme") == 1.0
    assert tally.values == [
        (names.TASK_COST.name, pytest.approx(0.010200001), {Attr.OUTCOME: "succeeded"}),
        (names.TASK_DURATION.name, 9.0, {Attr.OUTCOME: "succeeded", Attr.ROUTE: "direct"}),
    ]


def test_a_task_that_failed_has_no_baseline() -> None:
    tally = Tally()
    counts.of_end(tally, result_of(failed_run()))

    assert tally.of(names.TASKS, OUTCOME="failed") == 1
    assert not [name for name, _ in tally.sums if name == names.BASELINE.name]


@pytest.mark.parametrize("baseline", [None, Baseline(cost_nano_usd=None, method="m")])
def test_an_unknown_baseline_is_not_counted_as_nothing(baseline: Baseline | None) -> None:
    tally = Tally()
    counts.of_end(tally, result_of(ended_run()).model_copy(update={"baseline": baseline}))

    assert not [name for name, _ in tally.sums if name == names.BASELINE.name]


def test_a_task_that_was_never_routed_is_counted_as_such_and_its_time_is_not_negative() -> None:
    tally = Tally()
    result = result_of(ended_run()).model_copy(update={"decision": None, "at": NOW - 5})
    counts.of_end(tally, result)

    assert tally.of(names.TASKS, ROUTE="unrouted") == 1
    assert [value for name, value, _ in tally.values if name == names.TASK_DURATION.name] == [0.0]


def test_a_shadow_is_nobodys_task() -> None:
    tally = Tally()
    result = result_of(ended_run())
    assert result.decision is not None
    mark = PilotMark(arm=PilotArm.SHADOW, rules="0123abcd", generation=1)
    counts.of_end(tally, result.model_copy(update={"decision": result.decision.model_copy(update={"pilot": mark})}))

    assert (tally.sums, tally.values) == ({}, [])


@settings(max_examples=60, deadline=None)
@given(plan=plans(), data=st.data())
def test_over_a_whole_life_everything_is_counted_once(plan: Plan, data: st.DataObject) -> None:
    states: Sequence[Run] = lives(plan, data)
    tally = counted(*zip((None, *states), states, strict=False))
    last = states[-1]

    ended = [state for state in last.steps.values() if state.ended_at is not None]
    for status in StepStatus:
        assert tally.of(names.STEPS, STEP_STATUS=status.value) == sum(state.status is status for state in ended)
    assert tally.of(names.REVIEWS) == sum(len(state.attempts) for state in last.steps.values())
    assert tally.of(names.ESCALATIONS) == result_of(last).escalations
    assert last.id == RUN


def test_a_compared_task_counts_under_the_rules_that_watched_it() -> None:
    tally = Tally()
    counts.of_quality(tally, compared(0, Comparison.WORSE, task_class="any", rules="*", own_nano_usd=3 * NANO))

    assert tally.of(names.QUALITY_COMPARISONS, CLASS="*", COMPARISON="worse") == 1
    assert tally.of(names.QUALITY_COST, CLASS="*") == 3
    assert tally.of(names.QUALITY_TASK_COST, CLASS="*") == pytest.approx(20 / NANO)
    assert tally.of(names.QUALITY_FRONTIER_COST, CLASS="*") == pytest.approx(100 / NANO)
    assert tally.of(names.QUALITY_COMPARISONS, CLASS="any") == 0


def test_feedback_is_counted_with_the_sum_of_its_scores() -> None:
    tally = Tally()
    for score in (1.0, 0.25):
        counts.of_feedback(tally, score, "letters")

    assert (tally.of(names.QUALITY_FEEDBACK, CLASS="letters"), tally.of(names.QUALITY_SCORE, CLASS="letters")) == (
        2,
        1.25,
    )


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (compared(0, None, state=WatchState.OVER_CAP), "over-cap"),
        (compared(0, None, state=WatchState.FAILED), "failed"),
        (compared(0, Comparison.TIE, frontier_nano_usd=None), "tie"),
        (compared(0, Comparison.TIE, task_nano_usd=None), "tie"),
    ],
)
def test_what_has_no_pair_of_costs_is_in_neither_sum_of_the_saving(record: QualityMeasured, shown: str) -> None:
    tally = Tally()
    counts.of_quality(tally, record)

    assert tally.of(names.QUALITY_COMPARISONS, COMPARISON=shown) == 1
    assert (tally.of(names.QUALITY_TASK_COST), tally.of(names.QUALITY_FRONTIER_COST)) == (0, 0)
