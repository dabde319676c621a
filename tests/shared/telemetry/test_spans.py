"""What each span says of what happened."""

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plans import NOW, RUN, decision, diamond, judged, new_run, planned

from tierbus.contracts import (
    NANO,
    Baseline,
    CallRecorded,
    CallStatus,
    Leg,
    Result,
    ReviewLevel,
    Role,
    Route,
    TaskStatus,
    Tier,
    TierCost,
    Usage,
    Verdict,
    VerdictKind,
)
from tierbus.result import result_of, so_far
from tierbus.run import Run, adopt, advance, begin, close, finish
from tierbus.telemetry import context, spans
from tierbus.telemetry.names import COST_BANDS, Attr
from tierbus.telemetry.spans import Link, Span, SpanKind, Story

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"
LONG = "because of this and that; " * 40
LEG = Leg(stream="WORK", sequence=9, deliveries=1, published_at=NOW + 1, began_at=NOW + 3, ended_at=NOW + 4)


def a_call(step: str = "answer", n: int = 0, **more: Any) -> CallRecorded:
    """A call that an executor made for a step, finished and priced unless told otherwise."""
    role = more.get("role", Role.EXECUTOR)
    attempt = more.get("attempt", 1)
    given_: dict[str, Any] = {
        "call": f"{RUN}.{step}.{attempt}.{role}.0.{n}",
        "run": RUN,
        "tenant": "acme",
        "step": step,
        "attempt": attempt,
        "role": role,
        "tier": Tier.SMALL,
        "provider": "anthropic",
        "model": "claude-haiku-4-5",
        "status": CallStatus.FINISHED,
        "usage": Usage(input=100, output=20),
        "cost_nano_usd": 200_000,
        "baseline_nano_usd": 1_000_000,
        "price_source": "genai-prices 0.2.3",
        "started_at": NOW + 2,
        "duration_s": 1.5,
        "request_id": "req-1",
        "stop_reason": "done",
        "asked_in": "ab" * 8,
    }
    return CallRecorded.model_validate({**given_, **more})


def ended_run(**more: object) -> Run:
    """A direct run: the small tier's answer was sent up, the mid tier's accepted."""
    run = begin(new_run(**{"queue_s": 0.5, **more}), NOW + 1).run  # type: ignore[arg-type] # fields of Run by name
    first = judged("answer", 1, VerdictKind.ESCALATE)._replace(
        calls=[
            a_call(cost_nano_usd=200_000),
            a_call(role=Role.REVIEWER, tier=Tier.MID, model="claude-sonnet-5", cost_nano_usd=3_000_000),
        ],
        queue_s=0.25,
    )
    second = judged("answer", 2, VerdictKind.ACCEPT, Tier.MID)._replace(
        calls=[
            a_call(attempt=2, tier=Tier.MID, model="claude-sonnet-5", cost_nano_usd=7_000_001, baseline_nano_usd=NANO)
        ],
        queue_s=0.25,
    )
    return advance(advance(run, first, NOW + 4).run, second, NOW + 9).run


def failed_run() -> Run:
    """A run on the highest tier, whose answer was refused for a long reason."""
    run = begin(new_run(tier=Tier.FRONTIER), NOW).run
    verdict = Verdict(kind=VerdictKind.FAIL, rung="judge", reason=LONG)
    return advance(run, judged("answer", 1, VerdictKind.FAIL, Tier.FRONTIER)._replace(verdict=verdict), NOW + 5).run


def story(run: Run, at: float = 0.0) -> Story:
    """A run as it is told at its end, or at `at`."""
    result = result_of(run) if run.status else so_far(run, at)
    return Story(result, run.status, run.calls, at)


def with_result(**more: Any) -> Span:
    """The root of the usual run whose result is changed in some fields."""
    told = story(ended_run())
    return spans.of_root(Story(told.result.model_copy(update=more), told.status))


class TestRoot:
    def test_it_is_named_by_its_route_and_identified_by_its_run(self) -> None:
        root = spans.of_root(story(ended_run()))

        assert root.name == "task direct"
        assert (root.trace_id, root.span_id, root.parent_id) == (RUN, context.root_span(RUN), None)
        assert root.kind is SpanKind.INTERNAL
        assert root.attributes[Attr.TASK] == "t-1"
        assert root.attributes[Attr.TENANT] == "acme"
        assert root.attributes[Attr.RUN] == RUN

    def test_a_planned_task_and_an_unrouted_one_are_named_so(self) -> None:
        plan = advance(planned(diamond()), judged("split", 1, VerdictKind.FAIL), NOW).run
        unrouted = finish(close(new_run(decision=None), TaskStatus.CANCELLED, "not wanted", NOW).run, (), NOW).run

        assert spans.of_root(story(plan)).name == "task plan"
        assert spans.of_root(story(unrouted)).name == "task unrouted"
        assert Attr.ROUTE not in spans.of_root(story(unrouted)).attributes

    def test_it_begins_when_the_task_was_published_and_ends_after_everything_in_it(self) -> None:
        root = spans.of_root(story(ended_run()))

        assert root.start == NOW
        assert NOW + 9 < root.end < NOW + 9 + 1e-5
        assert root.end > spans.of_step(story(ended_run()), 0).end

    def test_it_never_ends_before_it_begins(self) -> None:
        root = with_result(at=NOW - 100)

        assert root.end > root.start

    def test_it_says_why_the_task_went_where_it_went(self) -> None:
        decided = decision(Route.DIRECT, Tier.MID, ReviewLevel.STRICT).model_copy(
            update={"confidence": 0.75, "decided_by": "model", "cause": LONG}
        )
        told = with_result(decision=decided).attributes

        assert told[Attr.ROUTE] == "direct"
        assert told[Attr.ROUTE_TIER] == "mid"
        assert told[Attr.ROUTE_REVIEW] == "strict"
        assert told[Attr.ROUTE_CONFIDENCE] == 0.75
        assert told[Attr.ROUTE_BY] == "model"
        assert str(told[Attr.ROUTE_CAUSE]).startswith("because of this")
        assert len(str(told[Attr.ROUTE_CAUSE])) <= 300

    def test_every_cost_of_the_result_is_an_attribute_and_no_other(self) -> None:
        result = result_of(ended_run())
        root = spans.of_root(story(ended_run()))

        assert {name: value for name, value in root.attributes.items() if name.startswith("tierbus.cost.")} == {
            "tierbus.cost.total_usd": pytest.approx(0.010200001),
            "tierbus.cost.total_nano_usd": 10_200_001,
            "tierbus.cost.small_usd": pytest.approx(0.0002),
            "tierbus.cost.mid_usd": pytest.approx(0.010000001),
            "tierbus.cost.role.executor_usd": pytest.approx(0.007200001),
            "tierbus.cost.role.reviewer_usd": pytest.approx(0.003),
            "tierbus.cost.complete": True,
            "tierbus.cost.band": "0.01-0.10",
            "tierbus.cost.baseline_usd": 1.0,
            "tierbus.cost.baseline_method": result.baseline.method if result.baseline else None,
            "tierbus.cost.saved_ratio": round(1 - 0.010200001, 6),
        }
        assert Decimal(str(root.attributes[Attr.COST_TOTAL])) == result.cost_usd

    @given(
        tiers=st.dictionaries(st.sampled_from(list(Tier)), st.integers(0, 10**13)),
        roles=st.dictionaries(st.sampled_from(list(Role)), st.integers(0, 10**13)),
    )
    def test_costs_by_tier_and_role_are_the_results(self, tiers: dict[Tier, int], roles: dict[Role, int]) -> None:
        root = with_result(
            cost_by_tier={tier: TierCost(cost_nano_usd=cost) for tier, cost in tiers.items()},
            cost_by_role={role: TierCost(cost_nano_usd=cost) for role, cost in roles.items()},
            cost_nano_usd=sum(tiers.values()),
        )

        for tier in Tier:
            assert root.attributes.get(f"tierbus.cost.{tier}_usd") == (tiers[tier] / NANO if tier in tiers else None)
        for role in Role:
            told = root.attributes.get(f"tierbus.cost.role.{role}_usd")
            assert told == (roles[role] / NANO if role in roles else None)
        assert root.attributes[Attr.COST_TOTAL_NANO] == sum(tiers.values())
        assert type(root.attributes[Attr.COST_TOTAL_NANO]) is int

    def test_without_a_baseline_nothing_is_said_to_be_saved(self) -> None:
        for baseline in (None, Baseline(cost_nano_usd=None, method="m")):
            told = with_result(baseline=baseline).attributes

            assert {Attr.COST_BASELINE, Attr.COST_BASELINE_METHOD, Attr.COST_SAVED}.isdisjoint(told)

    def test_a_baseline_of_nothing_has_no_ratio(self) -> None:
        told = with_result(baseline=Baseline(cost_nano_usd=0, method="m")).attributes

        assert (told[Attr.COST_BASELINE], told[Attr.COST_BASELINE_METHOD]) == (0, "m")
        assert Attr.COST_SAVED not in told

    def test_what_cost_more_than_the_frontier_saved_less_than_nothing(self) -> None:
        told = with_result(cost_nano_usd=300, baseline=Baseline(cost_nano_usd=200, method="m")).attributes

        assert told[Attr.COST_SAVED] == -0.5

    def test_an_unpriced_call_makes_the_cost_incomplete(self) -> None:
        told = with_result(cost_complete=False).attributes

        assert told[Attr.COST_COMPLETE] is False

    def test_it_counts_tokens_times_calls_attempts_and_escalations(self) -> None:
        told = spans.of_root(story(ended_run())).attributes

        assert told[Attr.TOKENS_INPUT] == 300
        assert told[Attr.TOKENS_OUTPUT] == 60
        assert told[Attr.TOKENS_CACHE_READ] == told[Attr.TOKENS_CACHE_WRITE] == 0
        assert told[Attr.CALLS] == 3
        assert told[Attr.INTERRUPTED] == 0
        assert told[Attr.ATTEMPTS] == 2
        assert told[Attr.ESCALATIONS] == 1
        assert told[Attr.PLAN_STEPS] == 1
        assert told[Attr.QUEUE_S] == 1.0
        assert told[Attr.LLM_S] == 4.5
        assert told[Attr.OUTCOME] == "succeeded"
        assert not [name for name in told if name.startswith("gen_ai.")], "roll-ups are not a call's"

    def test_a_caller_is_linked(self) -> None:
        root = spans.of_root(story(ended_run(caller=CALLER, trace_id=RUN)))

        assert (root.trace_id, root.parent_id) == (RUN, None)
        assert root.links == (Link(CALLER_TRACE, CALLER_SPAN),)

    def test_a_joined_caller_is_the_parent(self) -> None:
        root = spans.of_root(story(ended_run(caller=CALLER, trace_id=CALLER_TRACE, joined=True)))

        assert (root.trace_id, root.parent_id) == (CALLER_TRACE, CALLER_SPAN)
        assert root.links == ()

    def test_without_a_caller_there_is_neither(self) -> None:
        root = spans.of_root(story(ended_run()))

        assert (root.parent_id, root.links) == (None, ())

    def test_only_a_failed_task_is_an_error_with_its_reason_cut_short(self) -> None:
        root = spans.of_root(story(failed_run()))

        assert root.error is not None
        assert root.error.startswith("step 'answer' failed at tier frontier: because of this")
        assert len(root.error) <= 300
        assert root.attributes[Attr.REASON] == root.error
        assert root.attributes[Attr.OUTCOME] == "failed"

    @pytest.mark.parametrize("status", [TaskStatus.CANCELLED, TaskStatus.EXPIRED])
    def test_a_task_that_nobody_wants_any_more_is_no_error(self, status: TaskStatus) -> None:
        run = finish(close(begin(new_run(), NOW).run, status, "not wanted", NOW + 1).run, (), NOW + 2).run
        root = spans.of_root(story(run))

        assert root.error is None
        assert (root.attributes[Attr.OUTCOME], root.attributes[Attr.REASON]) == (status, "not wanted")

    def test_a_task_that_failed_for_no_reason_is_still_an_error(self) -> None:
        told = story(failed_run())

        assert spans.of_root(Story(told.result.model_copy(update={"reason": None}), told.status)).error == "failed"

    def test_a_running_task_is_drawn_until_now(self) -> None:
        root = spans.of_root(story(begin(new_run(), NOW).run, at=NOW + 7))

        assert NOW + 7 < root.end < NOW + 7.001
        assert root.attributes[Attr.OUTCOME] == "running"
        assert root.error is None
        assert Attr.COST_BASELINE not in root.attributes

    @pytest.mark.parametrize(
        ("nano", "label"),
        [
            (0, "<0.001"),
            (999_999, "<0.001"),
            (1_000_000, "0.001-0.01"),
            (9_999_999, "0.001-0.01"),
            (10_000_000, "0.01-0.10"),
            (99_999_999, "0.01-0.10"),
            (100_000_000, "0.10-1.00"),
            (999_999_999, "0.10-1.00"),
            (1_000_000_000, ">1.00"),
            (10**18, ">1.00"),
        ],
    )
    def test_a_band_begins_where_the_one_below_ends(self, nano: int, label: str) -> None:
        assert spans.band(nano) == label
        assert label in {known for _, known in COST_BANDS}


class TestStep:
    def test_it_is_named_by_its_place_and_hangs_on_the_task(self) -> None:
        run = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 2).run
        found = [spans.of_step(story(run), place) for place in range(4)]

        assert [span.name for span in found] == ["step 1", "step 2", "step 3", "step 4"]
        assert {span.parent_id for span in found} == {context.root_span(RUN)}
        assert [span.span_id for span in found] == [
            context.step_span(RUN, name) for name in ("split", "left", "right", "join")
        ]
        assert {span.trace_id for span in found} == {RUN}

    def test_it_is_linked_to_the_steps_that_it_needed(self) -> None:
        found = [spans.of_step(story(planned(diamond())), place) for place in (0, 3)]

        assert found[0].links == ()
        assert Attr.STEP_NEEDS not in found[0].attributes
        assert found[1].links == (
            Link(RUN, context.step_span(RUN, "left")),
            Link(RUN, context.step_span(RUN, "right")),
        )
        assert found[1].attributes[Attr.STEP_NEEDS] == ["left", "right"]

    def test_it_lasts_from_its_release_to_its_last_verdict(self) -> None:
        """Not to the task's end: the verdict is what the next step waited for."""
        run = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 2).run
        for name, at in (("left", 3), ("right", 5), ("join", 6)):
            run = advance(run, judged(name, 1, VerdictKind.ACCEPT), NOW + at).run
        split, left, right, join = (spans.of_step(story(run), place) for place in range(4))

        for span, start, end in ((split, 0, 2), (left, 2, 3), (right, 2, 5), (join, 5, 6)):
            assert span.start == pytest.approx(NOW + start, abs=1e-5)
            assert span.end == pytest.approx(NOW + end, abs=1e-5)
            assert span.end > NOW + end, "it ends after its last verdict was handled"
        assert left.start > split.end, "Jaeger's critical path leaves out what overlaps"
        assert join.start > right.end

    def test_it_says_how_often_it_was_tried_on_which_tiers_and_what_it_cost(self) -> None:
        told = spans.of_step(story(ended_run()), 0)

        assert told.attributes[Attr.STEP] == "answer"
        assert told.attributes[Attr.STEP_STATUS] == "accepted"
        assert told.attributes[Attr.STEP_TIERS] == ["small", "mid"]
        assert told.attributes[Attr.ATTEMPTS] == 2
        assert told.attributes[Attr.COST_TOTAL_NANO] == 10_200_001
        assert told.attributes[Attr.COST_TOTAL] == pytest.approx(0.010200001)
        assert (told.attributes[Attr.TASK], told.attributes[Attr.TENANT]) == ("t-1", "acme")
        assert told.error is None

    def test_its_cost_is_that_of_its_own_calls(self) -> None:
        run = adopt(begin(new_run(Route.PLAN), NOW).run, diamond(), [a_call("_plan", role=Role.PLANNER)], LEG).run
        verdict = judged("split", 1, VerdictKind.ACCEPT)._replace(
            calls=[a_call("split", cost_nano_usd=5), a_call("split", 1, cost_nano_usd=None)]
        )
        run = advance(run, verdict, NOW + 5).run

        assert spans.of_step(story(run), 0).attributes[Attr.COST_TOTAL_NANO] == 5
        assert spans.of_step(story(run), 1).attributes[Attr.COST_TOTAL_NANO] == 0

    def test_a_failed_one_is_an_error_with_the_reviewers_reason_cut_short(self) -> None:
        told = spans.of_step(story(failed_run()), 0)

        assert told.attributes[Attr.STEP_STATUS] == "failed"
        assert told.error is not None
        assert told.error.startswith("because of this")
        assert len(told.error) <= 300

    def test_one_that_was_under_way_when_the_task_ended_is_unfinished_and_ends_with_it(self) -> None:
        run = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 2).run
        run = finish(close(run, TaskStatus.CANCELLED, "not wanted", NOW + 3).run, run.calls, NOW + 8).run
        told = spans.of_step(story(run), 1)

        assert told.attributes[Attr.STEP_STATUS] == "unfinished"
        assert told.end == pytest.approx(NOW + 8, abs=1e-5)
        assert told.end < spans.of_root(story(run)).end
        assert told.error is None

    def test_a_running_one_is_drawn_until_now(self) -> None:
        told = spans.of_step(story(begin(new_run(), NOW).run, at=NOW + 7), 0)

        assert told.attributes[Attr.STEP_STATUS] == "released"
        assert told.end == pytest.approx(NOW + 7, abs=1e-5)
        assert Attr.STEP_TIERS not in told.attributes

    def test_one_without_times_of_its_own_has_the_tasks(self) -> None:
        """As a state has that an older release wrote."""
        run = ended_run()
        bare = {
            name: state.model_copy(update={"released_at": None, "ended_at": None}) for name, state in run.steps.items()
        }
        told = spans.of_step(story(run.model_copy(update={"steps": bare})), 0)

        assert told.start == pytest.approx(NOW, abs=1e-5)
        assert told.end == pytest.approx(NOW + 9, abs=1e-5)


class TestWait:
    def test_it_lasts_from_publishing_to_taking(self) -> None:
        told = spans.of_wait(LEG, RUN, "ab" * 8, "tierbus.step.small", "t-1")

        assert told is not None
        assert told.name == "wait tierbus.step.small"
        assert (told.trace_id, told.parent_id) == (RUN, "ab" * 8)
        assert told.span_id == context.wait_span("WORK", 9)
        assert told.start == NOW + 1
        assert told.end == pytest.approx(NOW + 3, abs=1e-5)
        assert told.attributes == {Attr.DESTINATION: "tierbus.step.small", Attr.QUEUE_S: 2.0, Attr.TASK: "t-1"}

    def test_it_ends_before_the_work_begins(self) -> None:
        told = spans.of_wait(LEG, RUN, "ab" * 8, "q", None)

        assert told is not None
        assert told.end < spans.of_process(LEG, RUN, "ab" * 8, "q", {}).start
        assert Attr.TASK not in told.attributes

    @pytest.mark.parametrize("more", [{"deliveries": 2}, {"deliveries": 25}, {"published_at": 0.0}])
    def test_a_later_delivery_has_none_nor_one_of_which_nothing_is_known(self, more: dict[str, Any]) -> None:
        assert spans.of_wait(LEG.model_copy(update=more), RUN, "ab" * 8, "q", "t-1") is None

    @given(published=st.floats(1, 4e9), began=st.floats(1, 4e9))
    def test_it_is_never_negative_whatever_the_clocks_say(self, published: float, began: float) -> None:
        leg = LEG.model_copy(update={"published_at": published, "began_at": began})
        told = spans.of_wait(leg, RUN, "ab" * 8, "q", "t-1")

        assert told is not None
        assert told.start <= told.end <= began
        assert float(str(told.attributes[Attr.QUEUE_S])) >= 0


class TestProcess:
    def test_it_is_a_consumer_that_says_what_it_took_and_how_often_that_came(self) -> None:
        leg = LEG.model_copy(update={"deliveries": 3})
        told = spans.of_process(leg, RUN, "ab" * 8, "tierbus.review", {Attr.STEP: "answer"}, error="away")

        assert told.name == "process tierbus.review"
        assert told.kind is SpanKind.CONSUMER
        assert told.span_id == context.process_span("WORK", 9, 3)
        assert (told.trace_id, told.parent_id) == (RUN, "ab" * 8)
        assert (told.start, told.end) == (NOW + 3, NOW + 4)
        assert told.error == "away"
        assert told.attributes == {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "tierbus.review",
            "messaging.nats.delivery.count": 3,
            "messaging.nats.stream.sequence": 9,
            "tierbus.step.id": "answer",
        }

    def test_it_never_ends_before_it_begins(self) -> None:
        told = spans.of_process(LEG.model_copy(update={"ended_at": NOW}), RUN, "ab" * 8, "q", {})

        assert told.end == told.start


class TestAsk:
    @pytest.mark.parametrize(
        ("role", "name", "operation"),
        [
            (Role.PLANNER, "plan planner", "plan"),
            (Role.ROUTER, "invoke_agent router", "invoke_agent"),
            (Role.EXECUTOR, "invoke_agent executor", "invoke_agent"),
            (Role.REVIEWER, "invoke_agent reviewer", "invoke_agent"),
        ],
    )
    def test_it_is_named_by_what_is_asked_of_whom(self, role: Role, name: str, operation: str) -> None:
        told = spans.of_ask(role, RUN, "cd" * 8, "ab" * 8, NOW, NOW + 2, {Attr.TIER: "small"})

        assert told.name == name
        assert (told.trace_id, told.span_id, told.parent_id) == (RUN, "cd" * 8, "ab" * 8)
        assert (told.start, told.end) == (NOW, NOW + 2)
        assert told.attributes == {
            "gen_ai.operation.name": operation,
            "gen_ai.agent.name": role.value,
            "tierbus.tier": "small",
        }

    def test_it_never_ends_before_it_begins(self) -> None:
        assert spans.of_ask(Role.ROUTER, RUN, "cd" * 8, "ab" * 8, NOW, NOW - 2, {}).end == NOW


class TestCall:
    def test_it_is_a_client_with_the_conventions_names(self) -> None:
        call = a_call(usage=Usage(input=100, output=20, cache_read=60, cache_write=30))
        told = spans.of_call(call, RUN, ["answer"])

        assert told.name == "chat claude-haiku-4-5"
        assert told.kind is SpanKind.CLIENT
        assert told.span_id == context.call_span(call.call)
        assert (told.start, told.end) == (NOW + 2, NOW + 3.5)
        assert told.error is None
        assert told.attributes == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": "claude-haiku-4-5",
            "gen_ai.response.id": "req-1",
            "gen_ai.response.finish_reasons": ["done"],
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.cache_read.input_tokens": 60,
            "gen_ai.usage.cache_write.input_tokens": 30,
            "tierbus.tier": "small",
            "tierbus.role": "executor",
            "tierbus.call.id": call.call,
            "tierbus.call.status": "finished",
            "tierbus.step.id": "answer",
            "tierbus.step.attempt": 1,
            "tierbus.cost.usd": 0.0002,
            "tierbus.cost.nano_usd": 200_000,
            "tierbus.price.source": "genai-prices 0.2.3",
            "tierbus.price.known": True,
        }

    @pytest.mark.parametrize(("provider", "told"), [("google", "gcp.gemini"), ("openai", "openai"), ("mine", "mine")])
    def test_a_provider_is_called_as_the_conventions_call_it(self, provider: str, told: str) -> None:
        assert spans.of_call(a_call(provider=provider), RUN, []).attributes[Attr.PROVIDER] == told

    @given(cost=st.integers(0, 10**15))
    def test_its_cost_is_the_ledgers_to_the_nano_dollar(self, cost: int) -> None:
        told = spans.of_call(a_call(cost_nano_usd=cost), RUN, ["answer"]).attributes

        assert told[Attr.COST_NANO] == cost
        assert type(told[Attr.COST_NANO]) is int
        assert told[Attr.COST] == cost / NANO

    def test_one_without_a_known_price_has_no_cost_and_never_nothing(self) -> None:
        told = spans.of_call(a_call(cost_nano_usd=None, price_source=""), RUN, ["answer"]).attributes

        assert told[Attr.PRICE_KNOWN] is False
        assert not [name for name in told if name.startswith("tierbus.cost.")]
        assert Attr.PRICE_SOURCE not in told

    def test_one_that_is_free_costs_nothing_and_says_so(self) -> None:
        told = spans.of_call(a_call(cost_nano_usd=0), RUN, ["answer"]).attributes

        assert (told[Attr.COST], told[Attr.COST_NANO], told[Attr.PRICE_KNOWN]) == (0, 0, True)

    def test_an_interrupted_one_is_an_error_charged_by_estimate(self) -> None:
        call = a_call(
            status=CallStatus.INTERRUPTED, estimated=True, error="connection lost", error_type="lost", stop_reason=None
        )
        told = spans.of_call(call, RUN, ["answer"])

        assert told.error == "connection lost"
        assert told.attributes[Attr.COST_ESTIMATED] is True
        assert told.attributes[Attr.COST_NANO] == 200_000
        assert told.attributes[Attr.ERROR_TYPE] == "lost"
        assert told.attributes[Attr.CALL_STATUS] == "interrupted"
        assert Attr.FINISH not in told.attributes

    def test_a_failed_one_is_an_error_even_if_nobody_said_why(self) -> None:
        assert spans.of_call(a_call(status=CallStatus.FAILED, error=LONG), RUN, []).error == f"{LONG[:299]}…"
        assert spans.of_call(a_call(status=CallStatus.FAILED), RUN, []).error == "failed"

    @pytest.mark.parametrize("status", [CallStatus.FINISHED, CallStatus.STARTED])
    def test_a_confirmed_cost_is_not_called_an_estimate(self, status: CallStatus) -> None:
        told = spans.of_call(a_call(status=status), RUN, [])

        assert Attr.COST_ESTIMATED not in told.attributes
        assert told.error is None

    def test_it_hangs_on_its_question_else_on_its_step_else_on_the_task(self) -> None:
        asked = a_call(asked_in="cd" * 8)
        orphan = a_call(asked_in=None)
        routing = a_call("_route", role=Role.ROUTER, asked_in=None)

        assert spans.of_call(asked, RUN, ["answer"]).parent_id == "cd" * 8
        assert spans.of_call(orphan, RUN, ["answer"]).parent_id == context.step_span(RUN, "answer")
        assert spans.of_call(orphan, RUN, []).parent_id == context.root_span(RUN)
        assert spans.of_call(routing, RUN, ["answer"]).parent_id == context.root_span(RUN)

    def test_it_is_in_the_trace_it_is_told_to_be_in(self) -> None:
        assert spans.of_call(a_call(), CALLER_TRACE, []).trace_id == CALLER_TRACE

    def test_what_was_said_is_told_only_where_it_is_given(self) -> None:
        told = spans.of_call(a_call(), RUN, [], {Attr.INPUT_MESSAGES: "[]"}).attributes

        assert told[Attr.INPUT_MESSAGES] == "[]"
        assert Attr.INPUT_MESSAGES not in spans.of_call(a_call(), RUN, []).attributes


def test_a_verdict_is_an_evaluation_in_the_form_of_the_conventions() -> None:
    for kind, label in ((VerdictKind.ACCEPT, "pass"), (VerdictKind.ESCALATE, "fail"), (VerdictKind.FAIL, "fail")):
        told = spans.evaluation(Verdict(kind=kind, rung="judge", reason=LONG), NOW)

        assert (told.name, told.at) == ("gen_ai.evaluation.result", NOW)
        assert told.attributes == {
            "gen_ai.evaluation.name": "tierbus.review",
            "gen_ai.evaluation.score.label": label,
            "gen_ai.evaluation.explanation": f"{LONG[:299]}…",
        }


def test_a_verdict_without_a_reason_has_none() -> None:
    verdict = Verdict(kind=VerdictKind.ACCEPT, rung="checks", reason="")

    assert spans.verdict_attributes(verdict) == {Attr.VERDICT: "accept", Attr.RUNG: "checks"}
    assert Attr.EVALUATION_WHY not in spans.evaluation(verdict, NOW).attributes


def test_a_plan_says_how_long_it_is_and_why_there_is_none() -> None:
    assert spans.plan_attributes(4, None, repaired=True) == {Attr.PLAN_STEPS: 4, Attr.PLAN_REPAIRED: True}
    assert spans.plan_attributes(1, LONG, repaired=False)[Attr.PLAN_FALLBACK] == f"{LONG[:299]}…"
    assert spans.plan_attributes(4, None, repaired=False, reused_from=RUN)[Attr.PLAN_REUSED_FROM] == RUN


@pytest.mark.parametrize(
    ("subject", "queue", "tier"),
    [
        ("tierbus.task.normal.acme", "tierbus.task", None),
        ("tierbus.cancel.acme.0123", "tierbus.cancel", None),
        ("tierbus.plan.high.0123", "tierbus.plan", None),
        ("tierbus.step.small.normal.0123.answer.1", "tierbus.step.small", Tier.SMALL),
        ("tierbus.step.frontier.low.0123.answer.3", "tierbus.step.frontier", Tier.FRONTIER),
        ("tierbus.review.normal.0123.answer.1", "tierbus.review", None),
        ("tierbus.due.0123", "tierbus.due", None),
    ],
)
def test_a_queue_is_a_subject_without_ids(subject: str, queue: str, tier: Tier | None) -> None:
    assert spans.queue_of(subject) == queue
    assert spans.tier_of(subject) is tier


def test_a_span_can_be_told_anew_with_another_field() -> None:
    one = spans.of_call(a_call(), RUN, [])
    other = replace(one, service="tierbus-x")

    assert (one.service, other.service) == ("", "tierbus-x")
    assert all(getattr(one, f.name) == getattr(other, f.name) for f in fields(Span) if f.name != "service")


def test_a_run_without_a_trace_of_its_own_is_in_the_one_that_follows_from_its_id() -> None:
    bare = Result(run="short", tenant="acme", at=NOW, task="t", status=TaskStatus.SUCCEEDED)

    assert Story(bare, TaskStatus.SUCCEEDED).trace_id == context.trace_of("short", None, join=False)


def test_a_call_in_a_batch_says_which() -> None:
    batched = spans.of_call(a_call(batch=True, batch_id="msgbatch_1"), RUN, ["answer"])

    assert batched.attributes[Attr.BATCH] == "msgbatch_1"
    assert Attr.BATCH not in spans.of_call(a_call(), RUN, ["answer"]).attributes
