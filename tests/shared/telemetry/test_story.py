"""A trace from the bus's own records: one tree, under the ids that the services use."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import LEG, NOW, RUN, diamond, judged, new_run, plans
from tests.shared.telemetry.test_ends import lives
from tests.shared.telemetry.test_spans import CALLER, CALLER_SPAN, CALLER_TRACE, a_call, ended_run

from tierbus.contracts import CallRecorded, CallStatus, Leg, Plan, Role, Route, Slot, TaskStatus, Tier, VerdictKind
from tierbus.run import Origin, Run, adopt, advance, begin, close, finish
from tierbus.telemetry import context
from tierbus.telemetry.ends import ended_last
from tierbus.telemetry.names import Attr
from tierbus.telemetry.spans import Span
from tierbus.telemetry.story import story_of, trace

ROUTED = Leg(stream="TASKS", sequence=1, published_at=NOW, began_at=NOW + 1, ended_at=NOW + 2)
PLANNED = LEG.model_copy(update={"sequence": 2, "began_at": NOW + 2.5, "ended_at": NOW + 4})
EXECUTED = LEG.model_copy(update={"sequence": 3, "published_at": NOW + 4, "began_at": NOW + 5, "ended_at": NOW + 7})
REVIEWED = LEG.model_copy(update={"sequence": 4, "published_at": NOW + 7, "began_at": NOW + 8, "ended_at": NOW + 9})


def process_of(leg: Leg) -> str:
    return context.process_span(leg.stream, leg.sequence, leg.deliveries)


def ask_of(step: str, role: Role, process: str, attempt: int = 1) -> str:
    return context.ask_span(Slot(run=RUN, tenant="acme", step=step, attempt=attempt, role=role), process)


def asked(step: str, role: Role, leg: Leg, attempt: int = 1, **more: Any) -> CallRecorded:
    """A call made for a question that was asked while this delivery was handled."""
    identity = ask_of(step, role, process_of(leg), attempt)
    return a_call(
        step, role=role, attempt=attempt, asked_in=identity, started_at=leg.began_at + 0.1, duration_s=0.5, **more
    )


def whole_run(**more: Any) -> tuple[Run, list[CallRecorded]]:
    """A run with a plan whose first step is done, and everything that the ledger holds of it."""
    routing = asked("_route", Role.ROUTER, ROUTED)
    planning = asked("_plan", Role.PLANNER, PLANNED, tier=Tier.FRONTIER, model="claude-opus-4-8")
    answering = asked("split", Role.EXECUTOR, EXECUTED)
    judging = asked("split", Role.REVIEWER, REVIEWED, tier=Tier.MID, model="claude-sonnet-5")
    run = begin(new_run(Route.PLAN, calls=(routing,), routed=ROUTED, **more), NOW + 2).run
    run = adopt(run, diamond(), [planning], PLANNED).run
    verdict = judged("split", 1, VerdictKind.ACCEPT)._replace(
        calls=[answering, judging], executed=EXECUTED, reviewed=REVIEWED
    )
    return advance(run, verdict, NOW + 9).run, [routing, planning, answering, judging]


def drawn(run: Run, calls: list[CallRecorded], now: float = NOW + 20) -> list[Span]:
    return trace(story_of(run, calls, now))


def by_name(spans: list[Span], name: str) -> Span:
    [found] = [span for span in spans if span.name == name]
    return found


def assert_one_tree(spans: list[Span]) -> None:
    ids = [span.span_id for span in spans]
    assert len(ids) == len(set(ids))
    root = context.root_span(RUN)
    assert [span.span_id for span in spans if span.parent_id not in set(ids)] == [root]
    assert spans[0].span_id == root, "the root comes first"
    assert {span.trace_id for span in spans} == {spans[0].trace_id}
    assert [span.name for span in spans if span.end < span.start] == []


def test_a_run_is_one_tree_of_everything_that_its_records_tell_of() -> None:
    spans = drawn(*whole_run())

    assert_one_tree(spans)
    assert sorted(span.name for span in spans) == sorted(
        [
            "task plan",
            "wait tierbus.task",
            "process tierbus.task",
            "invoke_agent router",
            "chat claude-haiku-4-5",
            "wait tierbus.plan",
            "process tierbus.plan",
            "plan planner",
            "chat claude-opus-4-8",
            "step 1",
            "wait tierbus.step.small",
            "process tierbus.step.small",
            "invoke_agent executor",
            "chat claude-haiku-4-5",
            "wait tierbus.review",
            "process tierbus.review",
            "invoke_agent reviewer",
            "chat claude-sonnet-5",
            "step 2",
            "step 3",
        ]
    )


def test_each_span_hangs_where_its_service_hangs_it() -> None:
    spans = drawn(*whole_run())
    root, step = context.root_span(RUN), context.step_span(RUN, "split")

    for name, leg, parent in (
        ("tierbus.task", ROUTED, root),
        ("tierbus.plan", PLANNED, root),
        ("tierbus.step.small", EXECUTED, step),
        ("tierbus.review", REVIEWED, step),
    ):
        wait, process = by_name(spans, f"wait {name}"), by_name(spans, f"process {name}")
        assert (wait.span_id, wait.parent_id) == (context.wait_span(leg.stream, leg.sequence), parent)
        assert (process.span_id, process.parent_id) == (process_of(leg), parent)
        assert (process.start, process.end) == (leg.began_at, leg.ended_at)
    for name, leg, model in (
        ("plan planner", PLANNED, "claude-opus-4-8"),
        ("invoke_agent reviewer", REVIEWED, "claude-sonnet-5"),
    ):
        question, chat = by_name(spans, name), by_name(spans, f"chat {model}")
        assert (question.parent_id, chat.parent_id) == (process_of(leg), question.span_id)
        assert (question.start, question.end) == (chat.start, chat.end)


def test_each_span_is_told_by_the_service_that_tells_it_live() -> None:
    services = {span.name: span.service for span in drawn(*whole_run())}

    assert {
        "task plan": "tierbus-reviewer",
        "step 1": "tierbus-reviewer",
        "process tierbus.task": "tierbus-router",
        "wait tierbus.task": "tierbus-router",
        "invoke_agent router": "tierbus-router",
        "process tierbus.plan": "tierbus-planner",
        "chat claude-opus-4-8": "tierbus-planner",
        "process tierbus.step.small": "tierbus-executor",
        "invoke_agent executor": "tierbus-executor",
        "process tierbus.review": "tierbus-reviewer",
        "chat claude-sonnet-5": "tierbus-reviewer",
    }.items() <= services.items()


def test_a_delivery_says_what_came_of_it() -> None:
    spans = drawn(*whole_run())

    assert by_name(spans, "process tierbus.task").attributes[Attr.ROUTE] == "plan"
    assert by_name(spans, "process tierbus.plan").attributes[Attr.PLAN_STEPS] == 4
    assert by_name(spans, "process tierbus.step.small").attributes[Attr.ATTEMPT_OUTCOME] == "answered"
    judged_ = by_name(spans, "process tierbus.review").attributes
    assert (judged_[Attr.VERDICT], judged_[Attr.RUNG], judged_[Attr.STEP]) == ("accept", "judge", "split")
    assert {span.attributes[Attr.TASK] for span in spans if span.name.startswith("process")} == {"t-1"}


def test_a_running_task_is_drawn_until_now_with_its_open_calls() -> None:
    run, calls = whole_run()
    still_open = asked("left", Role.EXECUTOR, EXECUTED.model_copy(update={"sequence": 5}), status=CallStatus.STARTED)
    spans = drawn(run, [*calls, still_open], NOW + 30)
    chat = next(span for span in spans if span.attributes.get(Attr.CALL) == still_open.call)

    assert_one_tree(spans)
    assert chat.end == NOW + 30
    assert spans[0].attributes[Attr.OUTCOME] == "running"
    assert spans[0].end == pytest.approx(NOW + 30, abs=1e-5)
    assert spans[0].attributes[Attr.CALLS] == len(calls) + 1, "what the ledger holds counts, not what the state knows"


def test_an_open_call_is_never_drawn_to_before_it_began() -> None:
    run, calls = whole_run()
    ahead = asked("left", Role.EXECUTOR, EXECUTED, status=CallStatus.STARTED)
    spans = drawn(run, [*calls, ahead], NOW)

    assert [span.name for span in spans if span.end < span.start] == []


def test_a_question_whose_delivery_was_handed_back_hangs_on_its_step() -> None:
    """Of a delivery that was handed back the state keeps nothing; its calls are in the ledger all the same."""
    run, calls = whole_run()
    handed_back = EXECUTED.model_copy(update={"deliveries": 1, "sequence": 99})
    lost = asked("split", Role.EXECUTOR, handed_back, n=5, status=CallStatus.FAILED, model="gone")
    spans = drawn(run, [*calls, lost])
    chat = by_name(spans, "chat gone")
    question = next(span for span in spans if span.span_id == chat.parent_id)

    assert_one_tree(spans)
    assert question.span_id == ask_of("split", Role.EXECUTOR, process_of(handed_back))
    assert question.parent_id == context.step_span(RUN, "split")


def test_a_plan_that_was_used_again_says_whose_it_was_on_the_task_and_on_its_planning() -> None:
    run = begin(new_run(Route.PLAN, routed=ROUTED), NOW + 2).run
    run = adopt(run, diamond(), [], PLANNED, origin=Origin("f" * 32, "first", "first", 1_500_000)).run
    told = {span.name: span.attributes for span in drawn(run, [])}

    assert told["process tierbus.plan"][Attr.PLAN_REUSED_FROM] == "first"
    assert told["task plan"][Attr.PLAN_REUSED_FROM] == "first"
    assert told["task plan"][Attr.PLAN_SAVED] == 0.0015
    assert Attr.PLAN_REUSED_FROM not in told["process tierbus.task"]


def test_a_planning_question_that_was_handed_back_hangs_on_the_task() -> None:
    run, calls = whole_run()
    lost = asked("_plan", Role.PLANNER, PLANNED.model_copy(update={"sequence": 99}), n=5, model="gone")
    spans = drawn(run, [*calls, lost])
    chat = by_name(spans, "chat gone")

    assert_one_tree(spans)
    assert {span.span_id: span for span in spans}[str(chat.parent_id)].parent_id == context.root_span(RUN)


def test_a_call_of_a_worker_that_died_hangs_on_its_step() -> None:
    run, calls = whole_run()
    orphan = a_call("split", 7, asked_in=None, status=CallStatus.INTERRUPTED, model="gone")
    spans = drawn(run, [*calls, orphan])

    assert_one_tree(spans)
    assert by_name(spans, "chat gone").parent_id == context.step_span(RUN, "split")


def test_calls_of_one_question_are_under_one_span_from_the_first_to_the_last() -> None:
    run, calls = whole_run()
    again = calls[2].model_copy(update={"call": f"{calls[2].call[:-1]}1", "started_at": NOW + 6, "model": "again"})
    spans = drawn(run, [*calls, again])
    question = by_name(spans, "invoke_agent executor")

    assert_one_tree(spans)
    assert by_name(spans, "chat again").parent_id == question.span_id
    assert (question.start, question.end) == (calls[2].started_at, NOW + 6.5)


def test_a_step_that_was_never_released_is_not_drawn() -> None:
    names = {span.attributes.get(Attr.STEP) for span in drawn(*whole_run()) if span.name.startswith("step ")}

    assert names == {"split", "left", "right"}


def test_a_redelivered_message_has_no_wait() -> None:
    run, calls = whole_run()
    again = ROUTED.model_copy(update={"deliveries": 2})
    names = [span.name for span in drawn(run.model_copy(update={"routed": again}), calls)]

    assert "wait tierbus.task" not in names
    assert "process tierbus.task" in names


def test_root_and_steps_are_told_in_the_words_of_who_told_them_live() -> None:
    run, calls = whole_run()
    ended = finish(close(run, TaskStatus.CANCELLED, "not wanted", NOW + 12).run, calls, NOW + 13).run
    live = {span.span_id: span for span in ended_last(ended)}
    spans = {span.span_id: replace(span, service="") for span in drawn(ended, calls)}

    assert live
    assert {name: spans[name] for name in live} == live


def test_a_joined_trace_goes_on_under_its_caller() -> None:
    run, calls = whole_run(caller=CALLER, trace_id=CALLER_TRACE, joined=True)
    spans = drawn(run, calls)

    assert_one_tree(spans)
    assert (spans[0].trace_id, spans[0].parent_id) == (CALLER_TRACE, CALLER_SPAN)


def test_a_state_of_an_older_release_without_ways_is_still_a_tree() -> None:
    run = ended_run()
    spans = drawn(run, list(run.calls))

    assert_one_tree(spans)
    assert not [span for span in spans if span.name.startswith(("wait", "process"))]


@settings(max_examples=60, deadline=None)
@given(plan=plans(), data=st.data())
def test_at_every_moment_of_any_life_it_is_one_tree(plan: Plan, data: st.DataObject) -> None:
    states = lives(plan, data)
    run = data.draw(st.sampled_from(states))
    calls = list({call.call: call for call in run.calls}.values())

    assert_one_tree(drawn(run, calls, NOW + 10_000))


def test_what_the_quality_watch_asked_is_drawn_as_the_reviewers_and_in_no_sum_of_the_task() -> None:
    run, calls = whole_run()
    run = finish(close(run, TaskStatus.CANCELLED, "a test", NOW + 10).run, calls, NOW + 11).run
    watching = LEG.model_copy(update={"sequence": 9, "began_at": NOW + 12})
    watch = asked(
        "_watch", Role.WATCH, watching, tier=Tier.FRONTIER, model="claude-opus-4-8", call=f"{RUN}._watch.1.watch.0.0"
    )
    spans = drawn(run, [*calls, watch])
    of_watch = [span for span in spans if span.attributes.get(Attr.ROLE) == "watch"]
    rest = [span for span in spans if Attr.COST_NANO in span.attributes and span not in of_watch]

    assert_one_tree(spans)
    assert {span.service for span in of_watch} == {by_name(spans, "invoke_agent watch").service} == {"tierbus-reviewer"}
    assert sum(int(str(span.attributes[Attr.COST_NANO])) for span in rest) == run.cost_nano_usd
    assert spans[0].attributes[Attr.COST_TOTAL_NANO] == run.cost_nano_usd
