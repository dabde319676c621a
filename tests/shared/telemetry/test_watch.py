"""What a process tells of its work while it does it."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.plans import NOW, RUN, diamond, judged, new_run, planned
from tests.shared.telemetry.test_counts import Tally
from tests.shared.telemetry.test_spans import CALLER, CALLER_SPAN, CALLER_TRACE, a_call

from tierbus.cache.choice import answered
from tierbus.contracts import (
    GIVEN_UP,
    BatchDue,
    CallStatus,
    Outcome,
    PlanJudged,
    PlanRequested,
    Priority,
    Role,
    Route,
    Slot,
    StepExecuted,
    StepReleased,
    StepReviewed,
    Task,
    TaskRejected,
    TaskStatus,
    Tier,
    Usage,
    Verdict,
    VerdictKind,
    run_id,
)
from tierbus.errors import Rejected, Unavailable
from tierbus.llm.model import Question, Reply, StopReason, Turn
from tierbus.result import result_of
from tierbus.router.app import refused
from tierbus.run import Run, advance, begin, close, finish
from tierbus.service import Delivery
from tierbus.telemetry import context, names
from tierbus.telemetry.content import Capture
from tierbus.telemetry.ends import ended_last
from tierbus.telemetry.handling import current, headers
from tierbus.telemetry.names import Attr
from tierbus.telemetry.sinks import Make
from tierbus.telemetry.spans import Link, Span
from tierbus.telemetry.watch import Watch

STEP = StepReleased(run=RUN, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.NORMAL)
EXECUTED = StepExecuted(
    run=RUN, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.NORMAL, outcome=Outcome.ANSWERED
)
SLOT = Slot(run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR)
SECRET = "the patient's name is Ada"
ROOT = context.root_span(RUN)
PRODUCER = "cd" * 8


@dataclass
class Keeping:
    """A sink that keeps what it is told; `deaf` wants no trace at all."""

    deaf: bool = False
    told: list[Span] = field(default_factory=list)

    def wants(self, trace_id: str) -> bool:
        assert len(trace_id) == 32
        return not self.deaf

    def later(self, make: Make) -> None:
        self.told += make()

    async def exported(self) -> None:
        """At once."""

    def named(self, name: str) -> Span:
        [found] = [span for span in self.told if span.name == name]
        return found

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.told]


class Bench(Watch):
    """A process's telemetry that is kept."""

    def __init__(self, *, deaf: bool = False, capture: Capture = Capture.REASONS) -> None:
        self.kept = Keeping(deaf)
        self.tally = Tally()
        super().__init__(self.kept, self.tally, service="reviewer", instance="here:1", capture=capture)


def delivery(message: Any = STEP, **more: Any) -> Delivery:
    """How a message came: published five seconds before it was taken, two before now."""
    now = time.time()
    given: dict[str, Any] = {
        "subject": message.subject,
        "stream": "WORK",
        "sequence": 7,
        "published_at": now - 7,
        "received_at": now - 2,
    }
    return Delivery(**{**given, **more})


def running() -> Run:
    return begin(new_run(), NOW).run


def verdict(kind: VerdictKind, run: Run, reason: str = "because") -> Run:
    told = judged("answer", 1, kind)._replace(verdict=Verdict(kind=kind, rung="judge", reason=reason))
    return advance(run, told, NOW + 5).run


class TestDelivery:
    def test_it_is_a_wait_and_a_process_on_its_step(self) -> None:
        bench = Bench()
        came = delivery()
        with bench.handling(came, "executor-step-small-normal") as handling:
            handling.read(STEP)
            bench.about(running())
        wait, process = bench.kept.told

        assert (wait.name, process.name) == ("wait tierbus.step.small", "process tierbus.step.small")
        assert wait.parent_id == process.parent_id == context.step_span(RUN, "answer")
        assert wait.trace_id == process.trace_id == RUN
        assert wait.start == came.published_at
        assert wait.end < process.start == came.received_at
        assert process.end >= came.received_at + 2
        assert process.error is None
        assert (
            process.attributes.items()
            >= {
                "messaging.consumer.group.name": "executor-step-small-normal",
                "service.instance.id": "here:1",
                "tierbus.task.id": "t-1",
                "tierbus.tenant.id": "acme",
                "tierbus.step.id": "answer",
                "tierbus.step.attempt": 1,
                "tierbus.tier": "small",
            }.items()
        )

    def test_what_is_a_tasks_own_work_hangs_on_the_task(self) -> None:
        bench = Bench()
        request = PlanRequested(run=RUN, priority=Priority.NORMAL)
        with bench.handling(delivery(request), "planner-plan-normal") as handling:
            handling.read(request)
            bench.about(begin(new_run(Route.PLAN), NOW).run)

        assert {span.parent_id for span in bench.kept.told} == {ROOT}

    def test_counting_a_plan_is_measured_and_not_told_in_the_trace_of_a_task_that_has_ended(self) -> None:
        bench = Bench()
        ended = PlanJudged(run=RUN)
        with bench.handling(delivery(ended), "planner-judged") as handling:
            handling.read(ended)
            bench.about(planned(diamond()))

        assert bench.kept.told == []
        assert bench.tally.of(names.HANDLING, QUEUE="tierbus.judged") >= 2.0

    def test_it_is_measured(self) -> None:
        bench = Bench()
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)

        [(metric, waited, labels)] = bench.tally.values
        assert (metric, labels) == (names.QUEUE_WAIT.name, {"tierbus.queue": "tierbus.step.small"})
        assert waited == pytest.approx(5.0)
        assert bench.tally.of(names.HANDLING, QUEUE="tierbus.step.small") >= 2.0
        assert bench.tally.of(names.REDELIVERIES) == 0

    def test_a_later_delivery_has_no_wait_and_counts_as_one(self) -> None:
        bench = Bench()
        with bench.handling(delivery(deliveries=2), "g") as handling:
            handling.read(STEP)
            bench.about(running())

        assert bench.kept.names == ["process tierbus.step.small"]
        assert bench.kept.told[0].attributes[Attr.DELIVERIES] == 2
        assert bench.tally.of(names.REDELIVERIES, QUEUE="tierbus.step.small") == 1
        assert bench.tally.values == []

    def test_it_is_linked_to_where_its_message_was_said(self) -> None:
        bench = Bench()
        with bench.handling(delivery(headers={context.PRODUCER: PRODUCER}), "g") as handling:
            handling.read(STEP)
            bench.about(running())

        assert bench.kept.named("process tierbus.step.small").links == (Link(RUN, PRODUCER),)

    @pytest.mark.parametrize("producer", ["", "abc", "cd" * 9])
    def test_a_producer_that_is_no_span_is_no_link(self, producer: str) -> None:
        bench = Bench()
        with bench.handling(delivery(headers={context.PRODUCER: producer}), "g") as handling:
            handling.read(STEP)
            bench.about(running())

        assert bench.kept.named("process tierbus.step.small").links == ()

    def test_it_ends_when_it_changed_the_run_though_more_is_done_after(self) -> None:
        """What follows is said after the change, and begins after this ended."""
        bench = Bench()
        came = delivery(EXECUTED)
        before = running()
        changed_at = came.received_at + 0.5
        with bench.handling(came, "g") as handling:
            handling.read(EXECUTED)
            bench.changed(before, verdict(VerdictKind.ESCALATE, before), changed_at)

        assert bench.kept.named("process tierbus.review").end == changed_at

    def test_it_is_told_once_however_often_it_ends(self) -> None:
        bench = Bench()
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            handling.end()
            handling.end()

        assert bench.kept.names == ["wait tierbus.step.small", "process tierbus.step.small"]

    def test_it_is_told_even_if_its_handler_breaks(self) -> None:
        bench = Bench()

        def handle() -> None:
            with bench.handling(delivery(), "g") as handling:
                handling.read(STEP)
                bench.about(running())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            handle()

        assert "process tierbus.step.small" in bench.kept.names
        assert current() is None

    def test_of_what_nobody_could_read_nothing_is_told_but_it_is_measured(self) -> None:
        bench = Bench()
        with bench.handling(delivery(), "g"):
            pass

        assert bench.kept.told == []
        assert bench.tally.of(names.HANDLING) > 0


class TestNobodyWantsIt:
    def test_nothing_is_told_and_everything_is_counted(self) -> None:
        bench = Bench(deaf=True)
        before = running()
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            with bench.question(SLOT, "small") as asked_in:
                bench.closed(a_call())
            bench.changed(before, verdict(VerdictKind.ACCEPT, before), NOW)
            said = headers(STEP)
        bench.dead("rejected", [rejection()])

        assert bench.kept.told == []
        assert asked_in == context.ask_span(SLOT, handling.span_id), "the ledger says the same, whoever is listening"
        assert said == {}
        assert not handling.owes
        assert bench.tally.of(names.TASKS, OUTCOME="succeeded") == 1
        assert bench.tally.of(names.REVIEWS) == 1
        assert bench.tally.of(names.LLM_COST) > 0

    def test_a_run_whose_joined_caller_is_not_sampled_is_not_told(self) -> None:
        bench = Bench()
        before = running().model_copy(update={"traced": False})
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            bench.about(before)
            bench.closed(a_call())
            bench.changed(before, verdict(VerdictKind.ACCEPT, before), NOW)
            said = headers(STEP)

        assert bench.kept.told == []
        assert said == {}
        assert bench.tally.of(names.TASKS) == 1

    def test_without_sink_and_meters_nothing_breaks(self) -> None:
        watch = Watch()
        before = running()
        with watch.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            with watch.question(SLOT, "small"):
                watch.closed(a_call())
            watch.changed(before, verdict(VerdictKind.ACCEPT, before), NOW)
            watch.settled("ack")

        assert not handling.owes


def rejection(**more: Any) -> TaskRejected:
    given: dict[str, Any] = {"tenant": "acme", "sequence": 7, "task": "t-1", "reasons": ("budget_usd: -1",), "at": NOW}
    return TaskRejected.model_validate({**given, **more})


class TestChange:
    def test_the_end_of_a_task_is_told_after_the_work_that_ended_it(self) -> None:
        bench = Bench()
        before = running()
        after = verdict(VerdictKind.ACCEPT, before)
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            bench.changed(before, after, NOW + 5)
            assert bench.kept.told == [], "not before the work ends"

        assert bench.kept.names == ["wait tierbus.review", "process tierbus.review", "step 1", "task direct"]
        assert bench.kept.told[2:] == ended_last(after)
        assert handling.owes
        assert bench.tally.of(names.TASKS, OUTCOME="succeeded") == 1

    def test_a_verdict_is_in_its_delivery_as_attributes_and_as_an_event(self) -> None:
        bench = Bench()
        before = running()
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            bench.changed(before, verdict(VerdictKind.ESCALATE, before), NOW + 5)
        process = bench.kept.named("process tierbus.review")

        assert (
            process.attributes.items()
            >= {
                "tierbus.review.verdict": "escalate",
                "tierbus.review.rung": "judge",
                "tierbus.review.reason": "because",
                "tierbus.step.outcome": "answered",
            }.items()
        )
        assert [(event.name, event.at) for event in process.events] == [("gen_ai.evaluation.result", NOW + 5)]
        assert process.error is None, "an escalation is no error"
        assert not handling.owes

    def test_routing_and_planning_are_in_their_deliveries(self) -> None:
        bench = Bench()
        task = Task(id="t-1", tenant="acme", prompt="x")
        request = PlanRequested(run=RUN, priority=Priority.NORMAL)
        opened = begin(new_run(Route.PLAN), NOW).run
        with bench.handling(delivery(task), "g") as handling:
            handling.read(task)
            bench.changed(None, opened, NOW)
        with bench.handling(delivery(request, sequence=8), "g") as handling:
            handling.read(request)
            bench.changed(opened, planned(diamond()), NOW)

        assert bench.kept.named("process tierbus.task").attributes[Attr.ROUTE] == "plan"
        assert bench.kept.named("process tierbus.plan").attributes[Attr.PLAN_STEPS] == 4

    def test_outside_of_a_delivery_it_is_told_at_once(self) -> None:
        bench = Bench()
        before = running()
        bench.changed(before, verdict(VerdictKind.ACCEPT, before), NOW + 5)

        assert bench.kept.names == ["step 1", "task direct"]

    def test_a_task_that_ends_by_last_words_is_told(self) -> None:
        """A reviewer that gives up closes the run, after its delivery was told as failed."""
        bench = Bench()
        before = running()
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            bench.about(before)
            bench.failed("dead", KeyError("unforeseen"), foreseen=False)
            closing = close(before, TaskStatus.FAILED, "step 'answer' could not be reviewed", NOW).run
            bench.changed(before, closing, NOW)
            bench.changed(closing, finish(closing, (), NOW).run, NOW)

        assert "task direct" in bench.kept.names

    def test_who_comes_again_after_the_end_tells_it_again_in_the_same_words(self) -> None:
        bench, again = Bench(), Bench()
        before = running()
        after = verdict(VerdictKind.ACCEPT, before)
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            bench.changed(before, after, NOW + 5)
        with again.handling(delivery(EXECUTED, deliveries=2), "g") as later:
            later.read(EXECUTED)
            again.about(after)
            later.end([result_of(after)])

        assert again.kept.told[1:] == bench.kept.told[2:]
        assert [span.name for span in again.kept.told[1:]] == ["step 1", "task direct"]
        assert later.owes
        assert again.tally.of(names.TASKS) == 0, "it is not counted again"

    def test_a_task_that_had_its_answer_at_once_is_told_again_by_the_router_that_comes_again(self) -> None:
        bench, again = Bench(), Bench()
        task = Task(id="t-1", tenant="acme", prompt="Translate this.")
        taken = answered(new_run(), verdict(VerdictKind.ACCEPT, begin(new_run(id="a" * 32), NOW).run), NOW)
        with bench.handling(delivery(task, stream="TASKS"), "g") as handling:
            handling.read(task)
            bench.changed(None, taken, NOW)
        with again.handling(delivery(task, stream="TASKS", deliveries=2), "g") as later:
            later.read(task)
            again.about(taken)
            later.end([result_of(taken)])

        assert "task direct" in bench.kept.names
        assert again.kept.named("task direct") == bench.kept.named("task direct")

    @pytest.mark.parametrize("capture", list(Capture))
    def test_the_words_are_the_same_however_little_may_be_told(self, capture: Capture) -> None:
        bench, again = Bench(capture=capture), Bench(capture=capture)
        before = running()
        after = verdict(VerdictKind.FAIL, before)
        with bench.handling(delivery(EXECUTED), "g") as handling:
            handling.read(EXECUTED)
            bench.changed(before, after, NOW + 5)
        with again.handling(delivery(EXECUTED, deliveries=2), "g") as later:
            later.read(EXECUTED)
            again.about(after)
            later.end([result_of(after)])

        assert again.kept.told[1:] == bench.kept.told[2:]

    @pytest.mark.parametrize(("deliveries", "says_result"), [(1, True), (2, False)])
    def test_an_end_is_not_told_again_by_a_first_delivery_or_without_the_result(
        self, deliveries: int, says_result: bool
    ) -> None:
        bench = Bench()
        after = verdict(VerdictKind.ACCEPT, running())
        with bench.handling(delivery(EXECUTED, deliveries=deliveries), "g") as handling:
            handling.read(EXECUTED)
            bench.about(after)
            handling.end([result_of(after)] if says_result else [])

        assert "task direct" not in bench.kept.names
        assert not handling.owes


class TestStepsAgain:
    def test_who_judged_a_step_and_comes_again_tells_its_end_again_in_the_same_words(self) -> None:
        bench, again = Bench(), Bench()
        executed = EXECUTED.model_copy(update={"step": "split"})
        before = planned(diamond())
        after = advance(before, judged("split", 1, VerdictKind.ACCEPT), NOW + 5).run
        with bench.handling(delivery(executed), "g") as handling:
            handling.read(executed)
            bench.changed(before, after, NOW + 5)
        with again.handling(delivery(executed, deliveries=2), "g") as later:
            later.read(executed)
            again.about(after)
            later.end([])

        assert again.kept.told[1:] == bench.kept.told[2:] == [bench.kept.named("step 1")]

    def test_who_did_a_step_and_comes_again_leaves_its_end_to_who_judged_it(self) -> None:
        bench = Bench()
        step = STEP.model_copy(update={"step": "split"})
        after = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 5).run
        with bench.handling(delivery(step, deliveries=2), "g") as handling:
            handling.read(step)
            bench.about(after)
            handling.end([])

        assert bench.kept.names == ["process tierbus.step.small"]


class TestHandedBack:
    def test_what_was_asked_is_told_by_the_next_delivery_and_counted_once(self) -> None:
        bench, again = Bench(), Bench()
        call = a_call(asked_in="ab" * 8)
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            with bench.question(SLOT, "small"):
                bench.closed(call)
            bench.failed("nak", Unavailable("away"), foreseen=True)
        with again.handling(delivery(deliveries=2), "g") as later:
            later.read(STEP)
            again.about(running())
            again.found(call)

        assert bench.kept.names == ["wait tierbus.step.small", "process tierbus.step.small"]
        assert again.kept.names == ["process tierbus.step.small", "chat claude-haiku-4-5"]
        assert again.kept.told[1].parent_id == context.step_span(RUN, "answer"), "its question was never told"
        assert bench.tally.of(names.LLM_COST) > 0
        assert again.tally.of(names.LLM_COST) == 0

    def test_what_this_process_told_it_does_not_tell_again(self) -> None:
        bench = Bench()
        call = a_call()
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            bench.closed(call)
        with bench.handling(delivery(deliveries=2), "g") as later:
            later.read(STEP)
            bench.about(running())
            bench.found(call)

        assert bench.kept.names.count("chat claude-haiku-4-5") == 1

    def test_a_call_that_was_given_up_with_its_run_is_told_by_who_gave_it_up_alone(self) -> None:
        bench = Bench()
        call = a_call(status=CallStatus.INTERRUPTED, error_type=GIVEN_UP, asked_in=None)
        with bench.handling(delivery(deliveries=2), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            bench.found(call)
            assert bench.kept.told == []
            bench.closed(call)

        assert bench.kept.names == ["chat claude-haiku-4-5", "process tierbus.step.small"]

    def test_a_handler_that_breaks_leaves_its_questions_to_the_next(self) -> None:
        bench = Bench()

        def handle() -> None:
            with bench.handling(delivery(), "g") as handling:
                handling.read(STEP)
                bench.about(running())
                bench.closed(a_call())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            handle()

        assert "chat claude-haiku-4-5" not in bench.kept.names


class TestQuestion:
    def test_a_question_hangs_on_its_delivery_and_its_calls_on_it(self) -> None:
        bench = Bench()
        came = delivery()
        with bench.handling(came, "g") as handling:
            handling.read(STEP)
            bench.about(running())
            with bench.question(SLOT, "small") as asked_in:
                bench.closed(a_call(asked_in=asked_in))
        chat, ask = bench.kept.told[2:]
        process = bench.kept.named("process tierbus.step.small")

        assert ask.name == "invoke_agent executor"
        assert ask.span_id == asked_in == context.ask_span(SLOT, process.span_id)
        assert (chat.parent_id, ask.parent_id) == (ask.span_id, process.span_id)
        assert process.start <= ask.start <= ask.end <= process.end
        assert (
            ask.attributes.items()
            >= {
                "tierbus.tier": "small",
                "tierbus.step.id": "answer",
                "tierbus.step.attempt": 1,
                "tierbus.tenant.id": "acme",
                "tierbus.task.id": "t-1",
            }.items()
        )

    def test_a_question_that_fails_is_told_too(self) -> None:
        bench = Bench()
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            with pytest.raises(Unavailable), bench.question(SLOT, "small"):
                raise Unavailable("away")

        assert "invoke_agent executor" in bench.kept.names

    def test_outside_of_a_delivery_there_is_no_question_to_hang_on(self) -> None:
        bench = Bench()
        with bench.question(SLOT, "small") as asked_in:
            assert asked_in is None

        assert bench.kept.told == []

    def test_a_call_closed_outside_of_a_delivery_is_in_its_runs_trace(self) -> None:
        bench = Bench()
        bench.closed(a_call(asked_in=None))

        assert (bench.kept.told[0].trace_id, bench.kept.told[0].parent_id) == (RUN, ROOT)

    def test_a_call_is_in_its_runs_own_trace_where_that_was_joined(self) -> None:
        bench = Bench()
        joined = running().model_copy(update={"trace_id": CALLER.split("-")[1], "joined": True, "caller": CALLER})
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(joined)
            bench.closed(a_call(asked_in=None))

        assert {span.trace_id for span in bench.kept.told} == {CALLER.split("-")[1]}
        assert bench.kept.named("chat claude-haiku-4-5").parent_id == context.step_span(RUN, "answer")


class TestSettling:
    def test_what_became_of_a_delivery_is_counted(self) -> None:
        bench = Bench()
        for fate in ("ack", "ack", "nak"):
            with bench.handling(delivery(), "g"):
                bench.settled(fate)

        assert bench.tally.of(names.MESSAGES, QUEUE="tierbus.step.small", FATE="ack") == 2
        assert bench.tally.of(names.MESSAGES, QUEUE="tierbus.step.small", FATE="nak") == 1

    @pytest.mark.parametrize(
        ("fate", "error", "foreseen", "told"),
        [
            ("nak", Unavailable("the provider is away"), True, None),
            ("nak", KeyError("nobody thought of this"), False, "'nobody thought of this'"),
            ("dead", Rejected("step 3 needs itself"), True, "step 3 needs itself"),
            ("dead", Unavailable("the provider is away"), True, "the provider is away"),
        ],
    )
    def test_only_what_nobody_foresaw_and_what_is_dead_is_an_error(
        self, fate: str, error: Exception, foreseen: bool, told: str | None
    ) -> None:
        bench = Bench()
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            bench.failed(fate, error, foreseen=foreseen)
        process = bench.kept.named("process tierbus.step.small")

        assert process.error == told
        assert process.attributes[Attr.FATE] == fate
        assert process.attributes[Attr.ERROR_TYPE] == type(error).__name__

    def test_settling_outside_of_a_delivery_is_nothing(self) -> None:
        bench = Bench()
        bench.settled("ack")
        bench.failed("dead", KeyError("k"), foreseen=False)

        assert bench.tally.sums == {}
        assert bench.kept.told == []


class TestRejected:
    def refuse(self, bench: Bench, data: bytes, task: Task | None, **more: Any) -> Delivery:
        error = Rejected("budget_usd: -1 is less than nothing")
        came = delivery(task or Task(tenant="acme", prompt=""), **{"stream": "TASKS", **more})
        with bench.handling(came, "router-task-normal") as handling:
            if task is not None:
                handling.read(task)
            bench.failed("dead", error, foreseen=True)
            bench.dead("rejected", refused(came, data, error))
        return came

    def test_a_refused_task_gets_a_trace_that_says_why(self) -> None:
        bench = Bench()
        task = Task(id="t-1", tenant="acme", prompt="x")
        came = self.refuse(bench, b'{"id": "t-1"}', task)
        root = bench.kept.named("task rejected")
        identity = "tierbus.event.acme.rejected-7.rejected"
        trace_id = context.trace_of(identity, None, join=False)

        assert (root.trace_id, root.span_id, root.parent_id) == (trace_id, context.root_span(identity), None)
        assert root.error == root.attributes[Attr.REASON] == "budget_usd: -1 is less than nothing"
        assert root.attributes.items() >= {"tierbus.task.outcome": "rejected", "tierbus.task.id": "t-1"}.items()
        assert root.start == came.published_at
        assert root.end >= came.received_at
        assert bench.kept.named("process tierbus.task").parent_id == root.span_id
        assert bench.kept.named("wait tierbus.task").parent_id == root.span_id
        assert {span.trace_id for span in bench.kept.told} == {trace_id} != {run_id("acme", "t-1")}

    def test_it_is_counted_as_a_task_and_as_a_dead_letter(self) -> None:
        bench = Bench()
        self.refuse(bench, b'{"id": "t-1"}', Task(id="t-1", tenant="acme", prompt="x"))

        assert bench.tally.of(names.TASKS, OUTCOME="rejected", ROUTE="unrouted", TENANT="acme") == 1
        assert bench.tally.of(names.DEAD_LETTERS, SERVICE="reviewer", DEAD_REASON="rejected") == 1

    def test_one_that_nobody_could_read_has_a_root_of_its_own(self) -> None:
        one, other = Bench(), Bench()
        self.refuse(one, b"not JSON", None)
        self.refuse(other, b"not JSON", None, sequence=8)

        assert one.kept.names == other.kept.names == ["wait tierbus.task", "process tierbus.task", "task rejected"]
        assert one.kept.told[-1].span_id != other.kept.told[-1].span_id
        assert one.kept.told[-1].trace_id != other.kept.told[-1].trace_id
        assert {span.trace_id for span in one.kept.told} == {one.kept.told[-1].trace_id}

    def test_one_that_nobody_could_read_does_not_go_on_in_its_callers_trace(self) -> None:
        bench = Bench()
        self.refuse(bench, b"not JSON", None, headers={context.TRACEPARENT: CALLER})

        root = bench.kept.named("task rejected")
        assert (root.trace_id == CALLER_TRACE, root.parent_id) == (False, None)
        assert root.links == (Link(CALLER_TRACE, CALLER_SPAN),), "it is linked"

    def test_its_delivery_names_the_same_tenant_as_its_root(self) -> None:
        bench = Bench()
        task = Task(id="t-1", prompt="x")
        self.refuse(bench, b'{"id": "t-1"}', task, subject="tierbus.task.normal.acme")

        assert {span.attributes.get(Attr.TENANT) for span in bench.kept.told if Attr.TENANT in span.attributes} == {
            "acme"
        }

    def test_other_dead_letters_have_no_task_to_tell_of(self) -> None:
        bench = Bench()
        with bench.handling(delivery(), "g") as handling:
            handling.read(STEP)
            bench.about(running())
            bench.failed("dead", KeyError("k"), foreseen=False)
            bench.dead("error", [EXECUTED])

        assert "task rejected" not in bench.kept.names
        assert bench.tally.of(names.TASKS) == 0
        assert bench.tally.of(names.DEAD_LETTERS, DEAD_REASON="error") == 1


def tell_everything(bench: Bench) -> None:
    """All spans that may carry a word of a task or a model, each with the secret in it."""
    decided = new_run().decision
    assert decided is not None
    run = begin(new_run(decision=decided.model_copy(update={"cause": SECRET})), NOW).run
    task = Task(id="t-1", tenant="acme", prompt=SECRET)
    with bench.handling(delivery(task), "g") as handling:
        handling.read(task)
        bench.changed(None, run, NOW)
    with bench.handling(delivery(EXECUTED, sequence=8), "g") as handling:
        handling.read(EXECUTED)
        call = a_call(status=CallStatus.FAILED, error=SECRET)
        question = Question(system=SECRET, turns=(Turn("user", SECRET),), shared=SECRET)
        bench.closed(call, question, Reply(SECRET, Usage(), StopReason.DONE, "m"))
        bench.changed(run, verdict(VerdictKind.FAIL, run, SECRET), NOW + 5)
    with bench.handling(delivery(sequence=9), "g") as handling:
        handling.read(STEP)
        bench.about(run)
        bench.failed("nak", KeyError(SECRET), foreseen=False)
    request = PlanRequested(run=RUN, priority=Priority.NORMAL)
    asked = begin(new_run(Route.PLAN), NOW).run
    with bench.handling(delivery(request, sequence=10), "g") as handling:
        handling.read(request)
        bench.changed(asked, planned(diamond()).model_copy(update={"fallback": SECRET}), NOW)
    came = delivery(task, sequence=11)
    with bench.handling(came, "g") as handling:
        handling.read(task)
        bench.failed("dead", Rejected(SECRET), foreseen=True)
        bench.dead("rejected", refused(came, b"", Rejected(SECRET)))


class TestCapture:
    def test_nothing_that_was_said_leaves_where_nothing_may(self) -> None:
        bench = Bench(capture=Capture.NONE)
        tell_everything(bench)

        assert "Ada" not in repr(bench.kept.told)
        assert len(bench.kept.told) == 14
        failed = [span for span in bench.kept.told if span.error is not None]
        assert {span.error for span in failed} == {"failed"}, "that it failed is told, not why"
        assert len(failed) == 6
        assert [event.name for span in bench.kept.told for event in span.events] == ["gen_ai.evaluation.result"]

    def test_reasons_leave_where_they_may_and_messages_do_not(self) -> None:
        bench = Bench()
        tell_everything(bench)
        told = {name for span in bench.kept.told for name, value in span.attributes.items() if SECRET in str(value)}

        assert told == {Attr.ROUTE_CAUSE, Attr.VERDICT_REASON, Attr.REASON, Attr.PLAN_FALLBACK}
        assert not [span for span in bench.kept.told if Attr.INPUT_MESSAGES in span.attributes]

    def test_messages_leave_where_they_may_with_their_calls_only(self) -> None:
        bench = Bench(capture=Capture.CONTENT)
        tell_everything(bench)
        [chat] = [span for span in bench.kept.told if Attr.INPUT_MESSAGES in span.attributes]

        assert chat.name == "chat claude-haiku-4-5"
        for name in (Attr.INPUT_MESSAGES, Attr.OUTPUT_MESSAGES, Attr.SYSTEM):
            assert SECRET in str(chat.attributes[name])

    @pytest.mark.parametrize("capture", [Capture.NONE, Capture.REASONS])
    def test_a_call_without_its_words_is_otherwise_the_same(self, capture: Capture) -> None:
        bench = Bench(capture=capture)
        bench.closed(a_call(), Question(system=SECRET, turns=()), None)

        assert SECRET not in repr(bench.kept.told)
        assert bench.kept.told[0].attributes[Attr.COST_NANO] == 200_000


def test_what_is_said_hangs_on_its_step_and_names_who_said_it() -> None:
    bench = Bench()
    reviewed = StepReviewed(
        run=RUN, tenant="acme", at=NOW, step="other", attempt=1, tier=Tier.SMALL, model="m",
        verdict=Verdict(kind=VerdictKind.ACCEPT, rung="judge", reason=""), cost_nano_usd=0,
    )  # fmt: skip
    with bench.handling(delivery(), "g") as handling:
        handling.read(STEP)
        bench.about(running())
        handling.end()
        said = {
            message.kind: headers(message)
            for message in (EXECUTED, reviewed, result_of(verdict(VerdictKind.ACCEPT, running())))
        }
    process = bench.kept.named("process tierbus.step.small")

    assert {found[context.PRODUCER] for found in said.values()} == {process.span_id}
    assert {kind: context.parse(found[context.TRACEPARENT]) for kind, found in said.items()} == {
        "step-executed": (RUN, context.step_span(RUN, "answer"), True),
        "reviewed": (RUN, context.step_span(RUN, "other"), True),
        "result": (RUN, ROOT, True),
    }


class TestBatches:
    BATCHED = a_call(batch=True, batch_id="msgbatch_1", asked_in=None, duration_s=3600.0)
    DUE = BatchDue(place="b1", collect=False)

    def test_a_call_of_a_batch_is_told_in_its_own_runs_trace_whatever_is_in_hand(self) -> None:
        bench = Bench()
        run = running().model_copy(update={"trace_id": CALLER_TRACE})
        with bench.handling(delivery(self.DUE), "executor-batch") as handling:
            handling.read(self.DUE)
            bench.collected(self.BATCHED, run)

        [span] = bench.kept.told
        assert (span.trace_id, span.parent_id) == (CALLER_TRACE, context.step_span(RUN, "answer"))
        assert (span.attributes[Attr.BATCH], span.end - span.start) == ("msgbatch_1", 3600.0)
        assert handling.owes

    def test_it_is_counted_once_and_told_again_only_by_another_process(self) -> None:
        bench, other = Bench(), Bench()
        bench.collected(self.BATCHED, running())
        counted = dict(bench.tally.sums)
        bench.collected(self.BATCHED, running(), again=True)
        other.collected(self.BATCHED, running(), again=True)

        assert (len(bench.kept.told), counted) == (1, dict(bench.tally.sums))
        assert (len(other.kept.told), dict(other.tally.sums)) == (1, {})

    def test_a_run_that_nobody_traces_is_not_told_of(self) -> None:
        bench = Bench()
        bench.collected(self.BATCHED, running().model_copy(update={"traced": False}))

        assert bench.kept.told == []
        assert bench.tally.sums
