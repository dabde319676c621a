"""One delivered message while it is being handled, and whose work it is."""

import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import structlog

from tierbus.contracts import Leg, Message, Model, PlanJudged, Result, StepExecuted, Task, run_id
from tierbus.run import Run
from tierbus.service import Delivery
from tierbus.telemetry import context, spans
from tierbus.telemetry.counts import new_attempts
from tierbus.telemetry.ends import ended_last, ended_step
from tierbus.telemetry.names import TASK_QUEUE, Attr
from tierbus.telemetry.sinks import Make, Sink
from tierbus.telemetry.spans import Link, Span, SpanEvent, Value, queue_of, tier_of

_OF_MESSAGE = ("tenant", "run", "task", "step", "attempt")
_LOGGED = (*_OF_MESSAGE, "trace_id", "span_id")
_current: ContextVar["Handling | None"] = ContextVar("tierbus_handling", default=None)


def current() -> "Handling | None":
    """The delivery being handled."""
    return _current.get()


def enter(handling: "Handling") -> Callable[[], None]:
    """Make it the current one, in logs too; returns what ends that."""
    token = _current.set(handling)
    structlog.contextvars.bind_contextvars(span_id=handling.span_id)

    def leave() -> None:
        _current.reset(token)
        structlog.contextvars.unbind_contextvars(*_LOGGED)

    return leave


def headers(message: Message) -> dict[str, str]:
    """The trace headers of a message that is said now."""
    handling = current()
    return handling.headers(message) if handling is not None else {}


def _field(message: Model | None, name: str) -> Any:
    """A field, or None where this kind of message has none; `getattr` takes ten times as long to find that out."""
    return vars(message).get(name) if message is not None else None


class Handling:
    """Collects what is learned about a delivery until its work ends."""

    def __init__(self, sink: Sink, end: Callable[["Handling", Leg], None], delivery: Delivery, group: str) -> None:
        self._sink = sink
        self._end = end
        self.delivery = delivery
        self.group = group
        self.queue = queue_of(delivery.subject)
        self.span_id = context.process_span(delivery.stream, delivery.sequence, delivery.deliveries)
        self.message: Message | None = None
        self.run: Run | None = None
        self.attributes: dict[str, Value] = {}
        self.error: str | None = None
        self.refused: str | None = None
        self.asked: list[Make] = []
        self.calls: list[str] = []
        self.closed: list[Make] = []
        self._changes: list[tuple[Run | None, Run, float]] = []
        self.handed_back = False
        self.owed = False
        self.ended = False
        self._wanted: bool | None = None
        self._ended_at: float | None = None

    @property
    def traced(self) -> bool:
        """Whether anybody wants its spans. Counting a plan is no work of its task, whose trace has been told by then."""
        if isinstance(self.message, PlanJudged):
            return False
        if self._wanted is not None:
            return self._wanted
        trace_id = self.trace_id
        return trace_id is not None and self._sink.wants(trace_id)

    @property
    def run_id(self) -> str | None:
        """The run it is about, as far as is known by now; a task without an id has one only when it is accepted."""
        if self.run is not None:
            return self.run.id
        if isinstance(self.message, Task):
            return run_id(self.tenant or "", self.message.id) if self.message.id else None
        run: str | None = _field(self.message, "run")
        return run

    @property
    def trace_id(self) -> str | None:
        """The trace it belongs to: the run's own word, else what its sender's header says, else what follows from the run's id."""
        if self.refused is not None:
            return context.trace_of(self.refused, None, join=False)
        if self.run is not None and self.run.trace_id is not None:
            return self.run.trace_id
        carried = None if self.is_task else self.caller
        if carried is not None:
            return carried.trace_id
        run = self.run_id
        return context.trace_of(run, None, join=False) if run else None

    @property
    def is_task(self) -> bool:
        """Whether a publisher sent it: then its `traceparent` is the caller's, not ours."""
        return self.queue == TASK_QUEUE

    @cached_property
    def caller(self) -> context.Caller | None:
        """The span that the message was sent in."""
        return context.parse(context.header(self.delivery.headers, context.TRACEPARENT))

    @property
    def parent(self) -> str | None:
        """The step's span, or the task's."""
        if self.refused is not None:
            return context.root_span(self.refused)
        if self.run is not None:
            return context.anchor(self.run.id, self._step, self.run.steps)
        run = self.run_id
        return context.root_span(run) if run else None

    def read(self, message: Message) -> None:
        """The message could be read: what it names stands in every log line from here on."""
        self.message = message
        found = {name: _field(message, name) for name in _OF_MESSAGE}
        if self.is_task:
            found |= {"tenant": self.tenant, "task": _field(message, "id")}
        named = {name: str(value) for name, value in found.items() if value is not None}
        structlog.contextvars.bind_contextvars(**{"trace_id": self.trace_id} if self.trace_id else {}, **named)

    def about(self, run: Run) -> None:
        """It is about this run."""
        self.run = run
        self._wanted = run.traced and self._sink.wants(self.trace_id or "")
        structlog.contextvars.bind_contextvars(task=run.task, tenant=run.tenant, run=run.id, trace_id=self.trace_id)

    def changed(self, before: Run | None, after: Run, now: float) -> None:
        """It changed a run's state at `now`: its work ends there, what follows is said after it."""
        self.about(after)
        self._ended_at = now
        if self.traced:
            self._changes.append((before, after, now))

    def hand_back(self) -> None:
        """It goes back to the queue: what was asked in it is told by the next delivery, which finds it in the ledger."""
        self.handed_back = True
        self.asked.clear()
        self.calls.clear()

    def headers(self, message: Message) -> dict[str, str]:
        """What a message said in it carries, so that who hears it knows where it hangs: on its step, or on the task."""
        if self.run is None or self.trace_id is None or not self.traced:
            return {}
        if _field(message, "run") not in (None, self.run.id):
            return {}  # of a run beside it, which has a trace of its own
        step = _field(message, "step")
        parent = context.step_span(self.run.id, step) if step else context.root_span(self.run.id)
        return {
            context.TRACEPARENT: context.traceparent(self.trace_id, parent),
            context.PRODUCER: self.span_id,
        }

    @property
    def task(self) -> str | None:
        """The task it is about."""
        if self.run is None and isinstance(self.message, Task):
            return self.message.id
        return _field(self.run or self.message, "task") or None

    @property
    def tenant(self) -> str | None:
        """Whose task it is about; for a task that is the subject's word."""
        if self.run is None and self.is_task:
            return self.delivery.subject.rsplit(".", 1)[-1]
        tenant: str | None = _field(self.run or self.message, "tenant")
        return tenant

    def spans(self, leg: Leg, instance: str, told: Sequence[Make]) -> list[Span]:
        """All there is to tell of it, once it has ended: its wait, its work, and what was asked in it or ended with it."""
        trace_id, parent = self.trace_id or "", self.parent or ""
        wait = spans.of_wait(leg, trace_id, parent, self.queue, self.task)
        attributes, events = self._described()
        producer = self.delivery.headers.get(context.PRODUCER, "")
        work = spans.of_process(
            leg,
            trace_id,
            parent,
            self.queue,
            {Attr.GROUP: self.group, Attr.INSTANCE: instance, **self.whose(), **attributes, **self.attributes},
            links=(Link(trace_id, producer),) if len(producer) == len(self.span_id) else (),
            events=tuple(events),
            error=self.error,
        )
        made = [span for make in told for span in make()]
        return [wait, work, *made] if wait is not None else [work, *made]

    def _described(self) -> tuple[dict[str, Value], list[SpanEvent]]:
        """What its changes of state say about it: the route, the plan, the verdict."""
        attributes: dict[str, Value] = {}
        events: list[SpanEvent] = []
        for before, after, now in self._changes:
            if before is None and after.decision is not None:
                attributes |= spans.route_attributes(after.decision)
            if before is not None and before.planning and after.planned is not None:
                attributes |= spans.plan_attributes(
                    len(after.steps),
                    after.fallback,
                    repaired=after.repaired,
                    reused_from=after.plan_reused_from,
                )
            for _name, attempt in new_attempts(before, after):
                attributes |= spans.verdict_attributes(attempt.verdict)
                attributes[Attr.ATTEMPT_OUTCOME] = attempt.outcome.value
                events.append(spans.evaluation(attempt.verdict, now))
        return attributes, events

    def whose(self) -> dict[str, Value]:
        """Whose work it is, as attributes."""
        tier = tier_of(self.delivery.subject)
        return spans.present(
            {
                Attr.TASK: self.task,
                Attr.TENANT: self.tenant,
                Attr.STEP: self._step,
                Attr.ATTEMPT: _field(self.message, "attempt"),
                Attr.TIER: tier.value if tier else None,
            }
        )

    def end(self, said: Sequence[Message] = ()) -> None:
        """The work is done; what it `said` is published after this.

        If a worker before us ended the step or the run and died before that was told, it is told now, in the same words.
        """
        if self.ended:
            return
        self.ended = True
        run = self.run
        ours = run is not None and (not self.is_task or run.ended_at_once)
        if self.delivery.again and not self.closed and run is not None and ours:
            again = self._told_again(run, said)
            self.closed = [lambda: again] if again else []
        self._end(self, self.delivery.leg(self._ended_at or time.time()))

    def _told_again(self, run: Run, said: Sequence[Message]) -> list[Span]:
        """The same words need the same service: a step's end is the reviewer's, a task's end who says the result's."""
        if run.status is not None and any(isinstance(message, Result) for message in said):
            return ended_last(run)
        return ended_step(run, self._step) if isinstance(self.message, StepExecuted) else []

    @property
    def _step(self) -> str | None:
        step: str | None = _field(self.message, "step")
        return step

    @property
    def owes(self) -> bool:
        """Whether it told what nobody else will tell: then it is acknowledged only when that has been sent."""
        return bool(self.asked or self.closed or self.owed)
