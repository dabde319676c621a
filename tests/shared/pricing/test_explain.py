"""The parts of a bill add up, whatever is in the ledger."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus.contracts import (
    Attempt,
    Baseline,
    CallRecorded,
    CallStatus,
    Decision,
    Outcome,
    PilotArm,
    PilotMark,
    Result,
    ReviewLevel,
    Role,
    Route,
    StepReport,
    TaskStatus,
    Tier,
    Usage,
    Verdict,
    VerdictKind,
    spent,
)
from tierbus.pricing.explain import Explained, Overhead, Saving, Told, explain, plan_costs
from tierbus.pricing.quotes import Quote, Quotes
from tierbus.tiers.catalog import load

AT = 1_795_000_000.0
DEFAULT = load("default")
SPECS = [(tier, spec) for tier in Tier for spec in DEFAULT.tiers[tier]]


class Reused(Result):
    """A result as a release that uses plans again writes it."""

    plan_reused_from: str | None = None


def call(run: str = "r", n: int = 0, **more: Any) -> CallRecorded:
    given: dict[str, Any] = {
        "call": f"{run}.{n}",
        "run": run,
        "tenant": "acme",
        "step": "answer",
        "attempt": 1,
        "role": Role.EXECUTOR,
        "tier": Tier.SMALL,
        "provider": "p",
        "model": "m",
        "status": CallStatus.FINISHED,
        "cost_nano_usd": 100,
        "baseline_nano_usd": 1_000,
        "started_at": AT + n,
    }
    return CallRecorded.model_validate({**given, **more})


def report(name: str = "answer", attempts: int = 1, status: str = "accepted") -> StepReport:
    tries = tuple(
        Attempt(
            attempt=n,
            tier=Tier.SMALL,
            model="m",
            outcome=Outcome.ANSWERED,
            verdict=Verdict(kind=VerdictKind.ACCEPT, rung="checks", reason="a test"),
            queue_s=0,
            llm_s=0,
            cost_nano_usd=0,
        )
        for n in range(1, attempts + 1)
    )
    return StepReport(id=name, instruction="Do it.", needs=(), status=status, tier_path=(), attempts=tries)


def result(run: str = "r", *steps: StepReport, route: Route = Route.DIRECT, **more: Any) -> Result:
    given: dict[str, Any] = {
        "run": run,
        "tenant": "acme",
        "at": AT,
        "task": run,
        "status": TaskStatus.SUCCEEDED,
        "steps": steps or (report(),),
        "decision": Decision(route=route, tier=Tier.SMALL, review=ReviewLevel.LIGHT, confidence=1, cause="a test"),
    }
    return Reused.model_validate({**given, **more})


def plain(one: CallRecorded, **more: Any) -> tuple[CallRecorded, Quote]:
    cost, baseline = one.cost_nano_usd, one.baseline_nano_usd
    return one, Quote(cost, cost, cost, baseline, baseline)._replace(**more)


def parts(found: Explained) -> dict[str, int]:
    """Every part that is not 0, by its word."""
    assert found.rest_nano_usd == 0
    named = [*found.savings.items(), *found.overheads.items(), *found.told.items()]
    return {"baseline": found.baseline_nano_usd, **{name.value: amount for name, amount in named if amount}}


def test_nothing_costs_nothing() -> None:
    assert parts(explain([], [])) == {"baseline": 0}


def test_a_cheap_answer_of_a_direct_task_is_saved_by_routing() -> None:
    assert parts(explain([plain(call())], [result()])) == {"baseline": 1_000, "routing": 900}


def test_a_cheap_answer_of_a_planned_step_is_saved_by_planning() -> None:
    found = explain([plain(call())], [result(route=Route.PLAN)])
    assert parts(found) == {"baseline": 1_000, "planning": 900}


def test_a_plan_that_was_given_up_saves_nothing_by_planning() -> None:
    found = explain([plain(call())], [result(route=Route.PLAN, fallback="broken")])
    assert parts(found) == {"baseline": 1_000, "routing": 900}


def test_cache_reads_of_an_answer_are_a_saving_of_their_own_less_what_the_frontier_would_save_too() -> None:
    one = plain(call(), uncached=130, baseline_uncached=1_500)

    assert parts(explain([one], [result()])) == {
        "baseline": 1_000,
        "routing": 1_370,
        "prompt_cache": 30,
        "baseline_prompt_cache": -500,
    }


def test_a_batch_is_a_saving_of_its_own_also_for_an_overhead() -> None:
    answer = plain(call(), listed=200, uncached=200)
    judge = plain(call(n=1, role=Role.REVIEWER, cost_nano_usd=50), listed=100, uncached=140)

    assert parts(explain([answer, judge], [result()])) == {
        "baseline": 1_000,
        "routing": 800,
        "batch": 150,
        "reviewer": 140,
        "prompt_cache": 40,
    }


OVERHEADS: dict[Overhead, dict[str, Any]] = {
    Overhead.ROUTER: {"role": Role.ROUTER, "step": "_route"},
    Overhead.PLANNER: {"role": Role.PLANNER, "step": "_plan"},
    Overhead.REVIEWER: {"role": Role.REVIEWER},
    Overhead.ESCALATIONS: {"attempt": 0},
    Overhead.WATCH: {"step": "_shadow"},
    Overhead.UNFINISHED: {"status": CallStatus.INTERRUPTED},
}


@pytest.mark.parametrize("overhead", OVERHEADS)
def test_what_is_no_accepted_answer_is_an_overhead(overhead: Overhead) -> None:
    more = plain(call(n=1, cost_nano_usd=7, **OVERHEADS[overhead]))

    assert parts(explain([plain(call()), more], [result()])) == {"baseline": 1_000, "routing": 900, overhead.value: 7}


def test_a_judgement_about_a_shadow_is_part_of_the_watch() -> None:
    more = plain(call(n=1, cost_nano_usd=7, role=Role.REVIEWER, step="_shadow"))

    assert parts(explain([plain(call()), more], [result()]))["watch"] == 7


def test_a_run_beside_a_task_has_no_baseline_and_all_its_calls_are_the_shadows() -> None:
    mark = PilotMark(arm=PilotArm.SHADOW, rules="sums", generation=1, beside="r")
    decision = Decision(
        route=Route.DIRECT, tier=Tier.SMALL, review=ReviewLevel.LIGHT, confidence=1, cause="a test", pilot=mark
    )
    beside = result("s", decision=decision, plan_reused_from="p", cached_from="c")
    calls = [call(), call("s"), call("s", n=1, role=Role.REVIEWER, cost_nano_usd=7), call("s", n=2, attempt=0)]

    found = explain([plain(one) for one in calls], [result(), beside], {"p": 500})

    assert parts(found) == {"baseline": 1_000, "routing": 900, "shadow": 207}


def test_of_several_answers_of_an_accepted_attempt_the_last_counts() -> None:
    found = explain([plain(call(n=1, cost_nano_usd=60)), plain(call(n=0, cost_nano_usd=40))], [result()])

    assert parts(found) == {"baseline": 1_000, "routing": 940, "escalations": 40}


def test_everything_of_a_task_that_did_not_succeed_is_an_overhead_without_a_baseline() -> None:
    failed = result(status=TaskStatus.FAILED)
    found = explain([plain(call()), plain(call(n=1, role=Role.PLANNER))], [failed])

    assert parts(found) == {"baseline": 0, "not_succeeded": 200}


def test_what_has_no_result_yet_is_told() -> None:
    assert parts(explain([plain(call())], [])) == {"baseline": 0, "no_result": 100, "tasks_without_result": 1}


def test_an_answer_that_was_taken_over_saves_its_whole_baseline() -> None:
    taken = result("s", steps=(), cached_from="r", baseline=Baseline(cost_nano_usd=1_000, method="m"))

    assert parts(explain([plain(call())], [result(), taken])) == {
        "baseline": 2_000,
        "routing": 900,
        "result_cache": 1_000,
    }


@pytest.mark.parametrize("baseline", [None, Baseline(cost_nano_usd=None, method="m")])
def test_an_answer_that_was_taken_over_without_a_baseline_is_told_and_not_0(baseline: Baseline | None) -> None:
    taken = result("s", steps=(), cached_from="r", baseline=baseline)

    assert parts(explain([], [taken])) == {"baseline": 0, "answers_without_baseline": 1}


def test_an_answer_without_a_baseline_is_told_and_saves_nothing() -> None:
    found = explain([plain(call(baseline_nano_usd=None))], [result()])

    assert parts(found) == {"baseline": 0, "no_baseline": 100, "answers_without_baseline": 1}


def test_an_answer_without_a_price_is_told_and_saves_nothing() -> None:
    found = explain([plain(call(cost_nano_usd=None))], [result()])

    assert parts(found) == {"baseline": 0, "unpriced_calls": 1}


def test_a_plan_that_is_used_again_is_saved_and_counted_as_if_it_had_been_made() -> None:
    calls = [call("p", role=Role.PLANNER, step="_plan", cost_nano_usd=70), call("s")]
    reused = result("s", route=Route.PLAN, plan_reused_from="p")
    found = explain([plain(one) for one in calls], [result("p"), reused], plan_costs(calls))

    assert parts(found) == {"baseline": 1_000, "planning": 900, "plan_reuse": 70, "planner": 140}


@pytest.mark.parametrize("known", [None, {"p": None}])
def test_a_plan_of_unknown_cost_is_told(known: dict[str, int | None] | None) -> None:
    reused = result("s", route=Route.PLAN, plan_reused_from="p")

    assert parts(explain([plain(call("s"))], [reused], known))["plans_of_unknown_cost"] == 1


def test_the_cost_of_a_plan_is_that_of_all_calls_for_it_and_unknown_where_one_has_no_price() -> None:
    planner = {"role": Role.PLANNER, "step": "_plan"}
    calls = [call("a", 0, **planner), call("a", 1, **planner), call("b", 0, **planner), call("c")]
    unpriced = [call("b", 1, **planner, cost_nano_usd=None), call("b", 2, **planner)]

    assert plan_costs([*calls, *unpriced]) == {"a": 200, "b": None}


RUNS = [f"run-{n}" for n in range(5)]
STEPS = ("answer", "left", "right", "_shadow", "_route")


@st.composite
def ledgers(draw: st.DrawFn) -> list[CallRecorded]:
    """Any calls: with prices of the tier file or with others, of known and unknown models, cached, written, in a batch."""

    class Maybe(CallRecorded):
        batch: bool = False

    calls: list[CallRecorded] = []
    for n in range(draw(st.integers(0, 25))):
        tier, spec = draw(st.sampled_from(SPECS))
        read, written, rest = (draw(st.integers(0, 50_000)) for _ in range(3))
        usage = Usage(
            input=read + written + rest, output=draw(st.integers(0, 5_000)), cache_read=read, cache_write=written
        )
        told = call(
            draw(st.sampled_from(RUNS)),
            n,
            step=draw(st.sampled_from(STEPS)),
            attempt=draw(st.integers(1, 3)),
            role=draw(st.sampled_from(list(Role))),
            tier=tier,
            provider=spec.provider,
            model=draw(st.sampled_from([spec.id, spec.id, "unheard-of"])),
            status=draw(st.sampled_from(list(CallStatus))),
            usage=usage,
        )
        costs = _costs(
            told, draw(st.sampled_from(["list", "list", "half", "any", "none"])), draw(st.integers(0, 10**9))
        )
        calls.append(Maybe.model_validate({**told.model_dump(), **costs, "batch": draw(st.booleans())}))
    return calls


def _costs(told: CallRecorded, kind: str, amount: int) -> dict[str, int | None]:
    from tierbus.pricing.cost import price

    if kind in ("list", "half"):
        specs = {spec.id: spec for _, spec in SPECS}
        spec = specs.get(told.model, SPECS[0][1])
        cost = price(spec, told.usage, AT).nano_usd or 0
        frontier = price(DEFAULT.tiers[Tier.FRONTIER][0], told.usage, AT).nano_usd
        return {"cost_nano_usd": cost // 2 if kind == "half" else cost, "baseline_nano_usd": frontier}
    return {"cost_nano_usd": amount if kind == "any" else None, "baseline_nano_usd": amount if amount % 7 else None}


@st.composite
def endings(draw: st.DrawFn) -> list[Result]:
    """Results of some of the runs, and some answers that were taken over."""
    found: list[Result] = []
    for run in [*RUNS, "taken-1", "taken-2"]:
        if draw(st.booleans()):
            steps = [
                report(name, draw(st.integers(1, 3)), draw(st.sampled_from(["accepted", "accepted", "failed"])))
                for name in STEPS[: draw(st.integers(0, 3))]
            ]
            taken = run.startswith("taken") or draw(st.integers(0, 9)) == 0
            amount = draw(st.none() | st.integers(0, 10**9))
            found.append(
                result(
                    run,
                    *(steps or (report(),)),
                    route=draw(st.sampled_from(list(Route))),
                    status=draw(st.sampled_from([TaskStatus.SUCCEEDED, TaskStatus.SUCCEEDED, *TaskStatus])),
                    cached_from="x" if taken else None,
                    baseline=draw(st.none() | st.just(Baseline(cost_nano_usd=amount, method="m"))),
                    plan_reused_from=draw(st.none() | st.sampled_from(RUNS)),
                )
            )
    return found


@given(ledgers(), endings())
def test_the_parts_of_any_bill_add_up_to_what_was_spent(calls: list[CallRecorded], results: list[Result]) -> None:
    quotes = Quotes(DEFAULT)
    found = explain([(one, quotes.of(one)) for one in calls], results, plan_costs(calls))

    assert found.rest_nano_usd == 0
    assert found.spent_nano_usd == spent(calls)
    assert found.told[Told.UNPRICED_CALLS] == sum(one.cost_nano_usd is None for one in calls)
    assert all(amount >= 0 for amount in found.overheads.values())
    assert found.savings[Saving.RESULT_CACHE] >= 0
