"""What the services tell about their work while they do it: the spans and the metrics of messages, calls and runs.

Nothing here waits: spans go into a queue, metrics into memory. What belongs to the message being handled is known by a
context variable, so handlers and stores need not pass it on.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Protocol

import structlog

from tierbus.contracts import (
    NANO,
    CallRecorded,
    Leg,
    Message,
    Result,
    Slot,
    Task,
    TaskRejected,
    Usage,
    run_id,
)
from tierbus.llm.model import Question, Reply
from tierbus.result import result_of, so_far
from tierbus.run import Run, StepStatus
from tierbus.service import Delivery
from tierbus.telemetry import context, names, spans
from tierbus.telemetry.content import Capture, cut, messages
from tierbus.telemetry.names import Attr, Metric, SpanName
from tierbus.telemetry.spans import Link, Span, SpanEvent, Story, Value, queue_of, tier_of

_REASONS = frozenset(
    {Attr.VERDICT_REASON, Attr.REASON, Attr.EVALUATION_WHY, Attr.PLAN_FALLBACK, Attr.CALL_ERROR, Attr.ROUTE_CAUSE}
)
_handling: ContextVar["Handling | None"] = ContextVar("tierbus_handling", default=None)
Labels = Mapping[Attr, str]


class Sink(Protocol):
    """Where finished spans go."""

    def wants(self, trace_id: str) -> bool:
        """Whether this trace is sampled."""
        ...

    def emit(self, span: Span) -> None:
        """Take a span; never waits, never raises."""
        ...

    async def exported(self) -> None:
        """Wait until what was taken so far has been sent, or cannot be; a few seconds at most."""
        ...


class Meters(Protocol):
    """Where measurements go."""

    def add(self, metric: Metric, amount: float, labels: Labels) -> None:
        """Count."""
        ...

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Add to a distribution."""
        ...


class Nowhere:
    """Takes everything and keeps nothing: tests, and services without a collector."""

    def wants(self, trace_id: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def emit(self, span: Span) -> None:
        """Nothing."""

    async def exported(self) -> None:
        """Nothing."""

    def add(self, metric: Metric, amount: float, labels: Labels) -> None:
        """Nothing."""

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Nothing."""


class Handling:
    """One delivery while it is being handled: it ends as a span for the wait and a span for the work."""

    def __init__(self, watch: "Watch", delivery: Delivery, group: str) -> None:
        self._watch = watch
        self._group = group
        self.delivery = delivery
        self.queue = queue_of(delivery.subject)
        self.leg = Leg(
            stream=delivery.stream,
            sequence=delivery.sequence,
            deliveries=delivery.deliveries,
            published_at=delivery.published_at,
            began_at=delivery.received_at,
        )
        self.span_id = context.process_span(delivery.stream, delivery.sequence, delivery.deliveries)
        self.attributes: dict[str, Value] = {}
        self.events: list[SpanEvent] = []
        self.error: str | None = None
        self.closed: list[Span] = []
        self.run: Run | None = None
        self.message: Message | None = None
        self.ended = False
        self._ended_at: float | None = None

    @property
    def trace_id(self) -> str | None:
        """The trace it belongs to, as far as is known by now."""
        if self.run is not None:
            return self.run.trace_id or context.trace_of(self.run.id, None, join=False)
        carried = (
            None if isinstance(self.message, Task) else context.parse(self.delivery.headers.get(context.TRACEPARENT))
        )
        identity = self._identity()
        return carried.trace_id if carried else context.trace_of(identity, None, join=False) if identity else None

    def _identity(self) -> str | None:
        """The run that the message says it is about."""
        if isinstance(self.message, Task):
            tenant = self.delivery.subject.rsplit(".", 1)[-1]
            return run_id(tenant, self.message.id) if self.message.id else None
        return getattr(self.message, "run", None)

    @property
    def parent(self) -> str | None:
        """The task's or the step's span."""
        if self.run is not None:
            return context.anchor(self.run, getattr(self.message, "step", None))
        identity = self._identity()
        return context.root_span(identity) if identity else None

    def read(self, message: Message) -> None:
        """The message could be read."""
        self.message = message

    def about(self, run: Run) -> None:
        """The message is about this run."""
        self.run = run
        structlog.contextvars.bind_contextvars(task=run.task, tenant=run.tenant, trace=self.trace_id, span=self.span_id)

    def mark(self, at: float) -> None:
        """Its work ends here: a state was written, what follows is said after it."""
        self._ended_at = at

    def headers(self, message: Message) -> dict[str, str]:
        """What a message said in it carries, so that who hears it knows where it hangs: on its step, or on the task."""
        if self.run is None or self.trace_id is None or not self._watch.sink.wants(self.trace_id):
            return {}
        step = getattr(message, "step", None)
        parent = context.step_span(self.run.id, step) if step else context.root_span(self.run.id)
        return {
            context.TRACEPARENT: context.traceparent(self.trace_id, parent),
            context.PRODUCER: self.span_id,
        }

    def end(self, said: Sequence[Message] = ()) -> None:
        """The work is done; what it `said` is published after this."""
        if self.ended:
            return
        self.ended = True
        self._retell(said)
        leg = self.leg.model_copy(update={"ended_at": self._ended_at or self._watch.clock()})
        self._watch.handled(self, leg)

    def _retell(self, said: Sequence[Message]) -> None:
        """A worker before us ended the run and died: tell of the end for it, in the same words."""
        again = self.delivery.again and self.run is not None and self.run.status is not None and not self.closed
        if again and self.run is not None and any(isinstance(message, Result) for message in said):
            self.closed += _closing(self.run, None)

    @property
    def told_end(self) -> bool:
        """Whether it told of a task's end: its message is settled only once that was sent."""
        return any(span.name.startswith("task ") for span in self.closed)


class Watch:
    """The telemetry of one process."""

    def __init__(
        self,
        sink: Sink | None = None,
        meters: Meters | None = None,
        *,
        service: str = "",
        capture: Capture = Capture.REASONS,
    ) -> None:
        self.sink: Sink = sink or Nowhere()
        self.meters: Meters = meters or Nowhere()
        self.service = service
        self.capture = capture
        self.clock = time.time

    @contextmanager
    def handling(self, delivery: Delivery, group: str) -> Iterator[Handling]:
        """Watch one delivery being handled."""
        handling = Handling(self, delivery, group)
        token = _handling.set(handling)
        structlog.contextvars.bind_contextvars(span=handling.span_id)
        try:
            yield handling
        finally:
            handling.end()
            _handling.reset(token)
            structlog.contextvars.unbind_contextvars("task", "tenant", "trace", "span")

    def handled(self, handling: Handling, leg: Leg) -> None:
        """A delivery was handled: its wait, its work, and what ended with it."""
        queue = {Attr.QUEUE: handling.queue}
        self.meters.record(names.HANDLING, max(0.0, leg.ended_at - leg.began_at), queue)
        if leg.deliveries == 1:
            self.meters.record(names.QUEUE_WAIT, max(0.0, leg.began_at - leg.published_at), queue)
        else:
            self.meters.add(names.REDELIVERIES, 1, queue)
        trace_id, parent = handling.trace_id, handling.parent
        if trace_id is None or parent is None or not self.sink.wants(trace_id):
            return
        about = _about(handling)
        wait = spans.of_wait(leg, trace_id, parent, handling.queue, about)
        producer = handling.delivery.headers.get(context.PRODUCER)
        links = (Link(trace_id, producer),) if producer and len(producer) == 16 else ()  # noqa: PLR2004 - a span id
        attributes = {Attr.GROUP: handling._group, **about, **handling.attributes}  # noqa: SLF001 - made here
        work = spans.of_process(
            leg,
            trace_id,
            parent,
            handling.queue,
            attributes,
            links=links,
            events=tuple(handling.events),
            error=handling.error,
        )
        for span in (wait, work, *handling.closed):
            if span is not None:
                self._emit(span)

    def settled(self, handling: Handling | None, fate: str) -> None:
        """What became of a delivery."""
        if handling is not None:
            self.meters.add(names.MESSAGES, 1, {Attr.QUEUE: handling.queue, Attr.FATE: fate})

    def failed(self, handling: Handling, fate: str, error: Exception, *, known: bool) -> None:
        """A delivery was not handled: handed back (no error of its own unless nobody foresaw it), or a dead letter."""
        handling.attributes[Attr.FATE] = fate
        handling.attributes[Attr.ERROR_TYPE] = type(error).__name__
        if fate == "dead" or not known:
            handling.error = cut(str(error))
        handling.end()

    def dead(self, handling: Handling | None, reason: str, said: Sequence[Message]) -> None:
        """A message went to the dead letters; a task that was refused gets a trace of its own."""
        self.meters.add(names.DEAD_LETTERS, 1, {Attr.SERVICE: self.service, Attr.DEAD_REASON: reason})
        for message in said:
            if isinstance(message, TaskRejected) and handling is not None:
                self.meters.add(
                    names.TASKS, 1, {Attr.OUTCOME: "rejected", Attr.ROUTE: "unrouted", Attr.TENANT: message.tenant}
                )
                self._rejected(message, handling)

    def _rejected(self, message: TaskRejected, handling: Handling) -> None:
        if handling.run is not None:
            return
        leg = handling.leg
        identity = handling._identity()  # noqa: SLF001 - made here
        trace_id = handling.trace_id or context.trace_of(message.subject, None, join=False)
        self._emit_wanted(
            Span(
                name=SpanName.REJECTED,
                trace_id=trace_id,
                span_id=context.root_span(identity or message.subject),
                parent_id=None,
                start=min(leg.published_at or leg.began_at, leg.began_at),
                end=message.at,
                attributes=spans.present(
                    {
                        Attr.TASK: message.task,
                        Attr.TENANT: message.tenant,
                        Attr.OUTCOME: "rejected",
                        Attr.REASON: cut("; ".join(message.reasons)),
                    }
                ),
                error=cut("; ".join(message.reasons)),
            )
        )

    def about(self, run: Run) -> None:
        """The message being handled is about this run."""
        handling = _handling.get()
        if handling is not None and not handling.ended:
            handling.about(run)

    @contextmanager
    def question(self, slot: Slot, tier: str) -> Iterator[str | None]:
        """Watch one question being asked; yields the id of its span for its calls, None where nothing is being handled."""
        handling = _handling.get()
        if handling is None or handling.trace_id is None:
            yield None
            return
        identity = context.ask_span(slot, handling.span_id)
        start = self.clock()
        try:
            yield identity
        finally:
            about: dict[str, Value] = {
                Attr.TASK: handling.run.task if handling.run else "",
                Attr.TIER: tier,
                Attr.STEP: slot.step,
                Attr.ATTEMPT: slot.attempt,
            }
            ask = spans.of_ask(slot.role, handling.trace_id, identity, handling.span_id, start, self.clock(), about)
            self._emit_wanted(ask)

    def closed(self, call: CallRecorded, question: Question | None = None, reply: Reply | None = None) -> None:
        """A call has its last record in the ledger: whoever writes that tells of it, once."""
        self._meter(call)
        handling = _handling.get()
        run = handling.run if handling else None
        trace_id = handling.trace_id if handling else context.trace_of(call.run, None, join=False)
        if trace_id is None or not self.sink.wants(trace_id):
            return
        told = messages(question, reply) if question is not None and self.capture is Capture.CONTENT else {}
        self._emit(spans.of_call(call, trace_id, run.steps if run else (), told))

    def _meter(self, call: CallRecorded) -> None:
        model = {
            Attr.TIER: call.tier.value,
            Attr.MODEL: call.model,
            Attr.PROVIDER: call.provider,
            Attr.ROLE: call.role.value,
        }
        who = {**model, Attr.TENANT: call.tenant}
        if call.cost_nano_usd is None:
            self.meters.add(names.UNPRICED, 1, {Attr.MODEL: call.model})
        else:
            self.meters.add(names.LLM_COST, call.cost_nano_usd / NANO, who)
        for kind, count in _tokens(call.usage):
            self.meters.add(names.LLM_TOKENS, count, {**who, Attr.TOKEN_TYPE: kind})
        self.meters.record(names.LLM_DURATION, call.duration_s, {**model, Attr.ERROR_TYPE: call.error_type or ""})

    def changed(self, before: Run | None, after: Run, now: float) -> None:
        """A run's state was written over an older one at `now`; the writer that won tells of it, so it is told once."""
        handling = _handling.get()
        if handling is not None:
            handling.about(after)
            handling.mark(now)
            _describe(handling, before, after, now)
        self._meter_steps(before, after)
        ended = after.status is not None and (before is None or before.status is None)
        if ended:
            self._meter_end(after)
        closing = _closing(after, before, whole=ended)
        if handling is not None:
            handling.closed += closing
        else:
            for span in closing:
                self._emit_wanted(span)

    def _meter_steps(self, before: Run | None, after: Run) -> None:
        for name, state in after.steps.items():
            old = before.steps.get(name) if before else None
            for attempt in state.attempts[len(old.attempts) if old else 0 :]:
                labels = {
                    Attr.VERDICT: attempt.verdict.kind.value,
                    Attr.RUNG: attempt.verdict.rung,
                    Attr.TIER: attempt.tier.value,
                    Attr.ATTEMPT: str(attempt.attempt),
                }
                self.meters.add(names.REVIEWS, 1, labels)
            if old is not None and state.tier is not old.tier:
                self.meters.add(names.ESCALATIONS, 1, {Attr.TIER_FROM: old.tier.value, Attr.TIER_TO: state.tier.value})
            if state.ended_at is not None and (old is None or old.ended_at is None):
                self.meters.add(names.STEPS, 1, {Attr.STEP_STATUS: state.status.value, Attr.TIER: state.tier.value})

    def _meter_end(self, run: Run) -> None:
        result = result_of(run)
        outcome = {Attr.OUTCOME: result.status.value}
        route = {Attr.ROUTE: run.decision.route.value if run.decision else "unrouted"}
        self.meters.add(names.TASKS, 1, {**outcome, **route, Attr.TENANT: run.tenant})
        self.meters.record(names.TASK_COST, result.cost_nano_usd / NANO, outcome)
        self.meters.record(names.TASK_DURATION, max(0.0, result.at - result.submitted_at), {**outcome, **route})
        if result.baseline and result.baseline.cost_nano_usd is not None:
            self.meters.add(names.BASELINE, result.baseline.cost_nano_usd / NANO, {Attr.TENANT: run.tenant})

    def _emit_wanted(self, span: Span) -> None:
        if self.sink.wants(span.trace_id):
            self._emit(span)

    def _emit(self, span: Span) -> None:
        self.sink.emit(_bare(span) if self.capture is Capture.NONE else span)


def headers(message: Message) -> dict[str, str]:
    """The trace headers of what is said now."""
    handling = _handling.get()
    return handling.headers(message) if handling is not None else {}


def current() -> Handling | None:
    """The delivery being handled."""
    return _handling.get()


def _tokens(usage: Usage) -> Iterator[tuple[str, int]]:
    counts = (
        ("input", usage.input),
        ("output", usage.output),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
    )
    return ((kind, count) for kind, count in counts if count)


def _about(handling: Handling) -> dict[str, Value]:
    """Whose work a message is."""
    message, run = handling.message, handling.run
    tier = tier_of(handling.delivery.subject)
    return spans.present(
        {
            Attr.TASK: run.task if run else getattr(message, "task", None) or None,
            Attr.TENANT: run.tenant if run else getattr(message, "tenant", None),
            Attr.STEP: getattr(message, "step", None),
            Attr.ATTEMPT: getattr(message, "attempt", None),
            Attr.TIER: tier.value if tier else None,
        }
    )


def _describe(handling: Handling, before: Run | None, after: Run, now: float) -> None:
    """What a change of state says about the message that brought it: the route, the plan, the verdict."""
    if before is None and after.decision is not None:
        handling.attributes |= spans.route_attributes(after.decision)
    if before is not None and before.planning and after.planned is not None:
        handling.attributes |= spans.plan_attributes(len(after.steps), after.fallback, repaired=after.repaired)
    for name, state in after.steps.items():
        old = before.steps.get(name) if before else None
        for attempt in state.attempts[len(old.attempts) if old else 0 :]:
            handling.attributes |= spans.verdict_attributes(attempt.verdict)
            handling.attributes[Attr.ATTEMPT_OUTCOME] = attempt.outcome.value
            handling.events.append(spans.evaluation(attempt.verdict, now))


def _closing(run: Run, before: Run | None, *, whole: bool = True) -> list[Span]:
    """The spans that end with this change: steps with their last verdict, and the task with all that is still open."""
    if not whole and all(state.ended_at is None for state in run.steps.values()):
        return []
    if whole:
        result = result_of(run)
        story = Story(result, run.status, run.calls, result.at)
    else:
        story = Story(so_far(run), None, run.calls)
    found = []
    for place, (name, state) in enumerate(run.steps.items()):
        known = before is not None and name in before.steps and before.steps[name].ended_at is not None
        open_still = whole and state.status is StepStatus.RELEASED
        newly = state.ended_at is not None and not known
        if open_still or (newly and (before is not None or state.ended_at == run.finished_at)):
            found.append(spans.of_step(story, place))
    return [*found, spans.of_root(story)] if whole else found


def _bare(span: Span) -> Span:
    """The span without a word that a task or a model said."""
    kept = {name: value for name, value in span.attributes.items() if name not in _REASONS}
    events = tuple(
        SpanEvent(
            event.name, event.at, {name: value for name, value in event.attributes.items() if name not in _REASONS}
        )
        for event in span.events
    )
    return replace(span, attributes=kept, events=events, error="failed" if span.error is not None else None)
