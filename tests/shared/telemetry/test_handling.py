"""One delivery in hand: whose work it is, what stands in the logs meanwhile, and nothing of it afterwards."""

import asyncio

import pytest
import structlog
from tests.plans import NOW, RUN, new_run
from tests.shared.telemetry.test_spans import CALLER, CALLER_TRACE, a_call
from tests.shared.telemetry.test_watch import EXECUTED, STEP, Bench, delivery, running, verdict

from tierbus.contracts import CancelRequested, Priority, Task, TimerDue, VerdictKind, run_id
from tierbus.result import result_of
from tierbus.run import begin
from tierbus.telemetry import context
from tierbus.telemetry.handling import current, headers

HEADER = {context.TRACEPARENT: f"00-{CALLER_TRACE}-{'ef' * 8}-01"}


def bound() -> dict[str, object]:
    return structlog.contextvars.get_contextvars()


def test_outside_there_is_nothing_in_hand_and_nothing_to_carry() -> None:
    assert current() is None
    assert headers(STEP) == {}
    assert bound() == {}


def test_the_delivery_is_in_hand_and_in_the_logs_until_it_is_left() -> None:
    bench = Bench()
    with bench.handling(delivery(), "g") as handling:
        assert current() is handling
        assert bound() == {"span_id": handling.span_id}
        handling.read(STEP)
        bench.about(running())
        assert bound() == {
            "span_id": handling.span_id,
            "trace_id": RUN,
            "run": RUN,
            "task": "t-1",
            "tenant": "acme",
            "step": "answer",
            "attempt": "1",
        }

    assert current() is None
    assert bound() == {}


async def test_two_deliveries_side_by_side_do_not_see_each_other() -> None:
    bench = Bench()
    both = asyncio.Barrier(2)

    async def handle(sequence: int) -> tuple[object, object]:
        with bench.handling(delivery(sequence=sequence), "g") as handling:
            handling.read(STEP)
            await both.wait()
            return bound()["span_id"], current()

    (first, one), (second, other) = await asyncio.gather(handle(1), handle(2))

    assert first == context.process_span("WORK", 1, 1)
    assert second == context.process_span("WORK", 2, 1)
    assert one is not other
    assert bound() == {}


def test_a_task_is_its_own_trace_whatever_its_publisher_sent() -> None:
    """Its caller is linked or joined by the run, once there is one."""
    bench = Bench()
    task = Task(id="t-1", tenant="acme", prompt="x")
    with bench.handling(delivery(task, headers={context.TRACEPARENT: CALLER}), "g") as handling:
        handling.read(task)

        assert handling.trace_id == handling.run_id == run_id("acme", "t-1")
        assert handling.parent == context.root_span(run_id("acme", "t-1"))


def test_a_task_is_its_publishers_by_subject_and_not_by_its_own_word() -> None:
    bench = Bench()
    task = Task(id="t-1", tenant="other", prompt="x")
    with bench.handling(delivery(task, subject="tierbus.task.normal.acme"), "g") as handling:
        handling.read(task)

        assert handling.run_id == run_id("acme", "t-1")


def test_a_task_without_an_id_has_no_run_before_it_is_accepted() -> None:
    bench = Bench()
    task = Task(tenant="acme", prompt="x")
    with bench.handling(delivery(task), "g") as handling:
        handling.read(task)

        assert (handling.run_id, handling.trace_id, handling.parent) == (None, None, None)
        bench.about(running())
        assert (handling.run_id, handling.trace_id, handling.parent) == (RUN, RUN, context.root_span(RUN))


def test_before_the_state_was_read_the_header_says_which_trace_it_is() -> None:
    """Of a joined run only its state and what was said in it know the trace."""
    bench = Bench()
    with bench.handling(delivery(headers=HEADER), "g") as handling:
        handling.read(STEP)
        assert handling.trace_id == CALLER_TRACE
        bench.about(running().model_copy(update={"trace_id": "12" * 16}))
        assert handling.trace_id == "12" * 16


@pytest.mark.parametrize("header", [{}, {context.TRACEPARENT: "garbage"}])
def test_without_a_header_the_trace_follows_from_the_run(header: dict[str, str]) -> None:
    bench = Bench()
    with bench.handling(delivery(headers=header), "g") as handling:
        handling.read(STEP)

        assert handling.trace_id == RUN


def test_a_step_that_the_run_does_not_know_hangs_on_the_task() -> None:
    bench = Bench()
    stray = STEP.model_copy(update={"step": "stray"})
    with bench.handling(delivery(stray), "g") as handling:
        handling.read(stray)
        bench.about(running())

        assert handling.parent == context.root_span(RUN)


@pytest.mark.parametrize("message", [CancelRequested(tenant="acme", run=RUN), TimerDue(run=RUN)])
def test_a_cancel_and_a_timer_are_the_tasks_work(message: CancelRequested | TimerDue) -> None:
    bench = Bench()
    with bench.handling(delivery(message), "g") as handling:
        handling.read(message)

        assert (handling.trace_id, handling.parent) == (RUN, context.root_span(RUN))


def test_nothing_is_carried_before_it_is_known_which_run_it_is() -> None:
    bench = Bench()
    with bench.handling(delivery(), "g") as handling:
        handling.read(STEP)
        assert headers(EXECUTED) == {}
        bench.about(running())
        assert set(headers(EXECUTED)) == {context.TRACEPARENT, context.PRODUCER}


def test_a_message_of_a_run_beside_it_does_not_carry_its_trace() -> None:
    bench = Bench()
    beside = STEP.model_copy(update={"run": "f" * 32})
    with bench.handling(delivery(), "g") as handling:
        handling.read(STEP)
        bench.about(running())
        assert headers(beside) == {}


def test_what_is_learned_after_it_was_told_changes_nothing() -> None:
    bench = Bench()
    with bench.handling(delivery(), "g") as handling:
        handling.read(STEP)
        bench.about(running())
        handling.end()
        bench.about(begin(new_run(task="another"), NOW).run)

    assert handling.task == "t-1"


def test_a_delivery_owes_what_ended_with_it() -> None:
    bench = Bench()
    before = running()
    with bench.handling(delivery(EXECUTED), "g") as handling:
        handling.read(EXECUTED)
        assert not handling.owes
        bench.changed(before, verdict(VerdictKind.ESCALATE, before), NOW + 5)
        assert not handling.owes
        bench.changed(before, verdict(VerdictKind.ACCEPT, before), NOW + 5)
        assert handling.owes


def test_a_delivery_owes_what_was_asked_in_it_until_it_is_handed_back() -> None:
    bench = Bench()
    with bench.handling(delivery(), "g") as handling:
        handling.read(STEP)
        bench.about(running())
        bench.closed(a_call())
        assert handling.owes
        handling.hand_back()
        assert not handling.owes


def test_the_logs_of_a_task_name_it_as_its_subject_does() -> None:
    bench = Bench()
    task = Task(id="t-1", tenant="other", prompt="x")
    with bench.handling(delivery(task, subject="tierbus.task.normal.acme"), "g") as handling:
        handling.read(task)

        assert bound().items() >= {"tenant": "acme", "task": "t-1", "trace_id": run_id("acme", "t-1")}.items()


def test_whose_work_it_is_says_nothing_that_is_not_known() -> None:
    bench = Bench()
    due = TimerDue(run=RUN)
    with bench.handling(delivery(due), "g") as handling:
        handling.read(due)
        assert handling.whose() == {}
        bench.about(running())
        assert handling.whose() == {"tierbus.task.id": "t-1", "tierbus.tenant.id": "acme"}


def test_an_end_that_was_told_by_its_change_is_not_told_twice() -> None:
    bench = Bench()
    before = running()
    after = verdict(VerdictKind.ACCEPT, before)
    with bench.handling(delivery(EXECUTED, deliveries=2), "g") as handling:
        handling.read(EXECUTED)
        bench.changed(before, after, NOW + 5)
        handling.end([result_of(after)])

    assert bench.kept.names.count("task direct") == 1
    assert EXECUTED.priority is Priority.NORMAL
