"""What the services tell about their work while they do it: the spans and the metrics of messages, calls and runs.

Nothing here waits: spans go into a queue, metrics into memory. What belongs to the message being handled is known by a
context variable, so handlers and stores need not pass it on.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from tierbus.contracts import GIVEN_UP, CallRecorded, Leg, Message, QualityMeasured, Slot, TaskRejected
from tierbus.llm.model import Question, Reply
from tierbus.result import result_of
from tierbus.run import Run
from tierbus.service import Delivery
from tierbus.telemetry import context, counts, names, spans
from tierbus.telemetry.content import Capture, bare, bare_reasons, cut, messages
from tierbus.telemetry.ends import anything_ended, ended
from tierbus.telemetry.handling import Handling, current, enter
from tierbus.telemetry.names import Attr, SpanName
from tierbus.telemetry.sinks import Make, Meters, Nowhere, Sink
from tierbus.telemetry.spans import Link, Span, SpanEvent, Value

_REASONS = frozenset({Attr.VERDICT_REASON, Attr.REASON, Attr.EVALUATION_WHY, Attr.PLAN_FALLBACK, Attr.ROUTE_CAUSE})
TOLD_CALLS = 10_000
"""Calls whose spans this process remembers to have told: a message may come again though it was handled."""


class Watch:
    """The telemetry of one process."""

    def __init__(
        self,
        sink: Sink | None = None,
        meters: Meters | None = None,
        *,
        service: str = "",
        instance: str = "",
        capture: Capture = Capture.REASONS,
    ) -> None:
        self.sink: Sink = sink or Nowhere()
        self.meters: Meters = meters or Nowhere()
        self._service = service
        self._instance = instance
        self._capture = capture
        self._told = Recent(TOLD_CALLS)

    @contextmanager
    def handling(self, delivery: Delivery, group: str) -> Iterator[Handling]:
        """Watch one delivery being handled by a consumer; it ends here if it did not before."""
        handling = Handling(self.sink, self._handled, delivery, group)
        leave = enter(handling)
        try:
            yield handling
        except BaseException:
            handling.hand_back()
            raise
        finally:
            handling.end()
            leave()

    def _handled(self, handling: Handling, leg: Leg) -> None:
        """A delivery was handled: its wait, its work, and what ended with it."""
        queue = {Attr.QUEUE: handling.queue}
        self.meters.add(names.HANDLING, max(0.0, leg.ended_at - leg.began_at), queue)
        if leg.deliveries == 1:
            self.meters.record(names.QUEUE_WAIT, max(0.0, leg.began_at - leg.published_at), queue)
        else:
            self.meters.add(names.REDELIVERIES, 1, queue)
        if handling.trace_id is not None and handling.parent is not None and handling.traced:
            self._told.add(handling.calls)
            told = (*handling.asked, *handling.closed)
            self._later(partial(handling.spans, leg, self._instance, told))

    def template(self, event: str) -> None:
        """A plan was kept for reuse, or dropped."""
        self.meters.add(names.TEMPLATES, 1, {Attr.TEMPLATE_EVENT: event})

    def settled(self, fate: str) -> None:
        """What became of the delivery in hand."""
        handling = current()
        if handling is not None:
            self.meters.add(names.MESSAGES, 1, {Attr.QUEUE: handling.queue, Attr.FATE: fate})

    def failed(self, fate: str, error: Exception, *, foreseen: bool) -> None:
        """The delivery in hand is handed back, or goes to the dead letters; only what nobody foresaw is an error then.

        What was asked in one that is handed back is told by the next, which finds it in the ledger: a worker that dies and
        one that hands back leave the same.
        """
        handling = current()
        if handling is None:
            return
        handling.attributes |= {Attr.FATE: fate, Attr.ERROR_TYPE: type(error).__name__}
        if fate == names.DEAD or not foreseen:
            handling.error = cut(bare(error))
        if fate != names.ACK:
            handling.hand_back()
        if fate != names.DEAD:
            handling.end()

    def dead(self, reason: str, said: Sequence[Message]) -> None:
        """The delivery in hand went to the dead letters; a task that was refused gets a trace of its own."""
        self.meters.add(names.DEAD_LETTERS, 1, {Attr.SERVICE: self._service, Attr.DEAD_REASON: reason})
        for message in said:
            if isinstance(message, TaskRejected):
                labels = {
                    Attr.OUTCOME: names.REJECTED,
                    Attr.ROUTE: names.UNROUTED,
                    Attr.TENANT: message.tenant,
                }
                self.meters.add(names.TASKS, 1, labels)
                self._reject(message)
        handling = current()
        if handling is not None:
            handling.end(said)

    def _reject(self, message: TaskRejected) -> None:
        """The trace of a refused task is its message's own: the same id may come again, mended."""
        handling = current()
        if handling is None or handling.run is not None:
            return
        handling.refused = message.subject
        why = cut("; ".join(bare_reasons(message.reasons)))
        told: dict[str, Value | None] = {
            Attr.TASK: message.task,
            Attr.TENANT: message.tenant,
            Attr.OUTCOME: names.REJECTED,
            Attr.REASON: why,
        }
        caller = handling.caller
        delivery = handling.delivery
        root = Span(
            name=SpanName.REJECTED,
            trace_id=handling.trace_id or "",
            span_id=handling.parent or "",
            parent_id=None,
            start=min(delivery.published_at or delivery.received_at, delivery.received_at),
            end=message.at,
            attributes=spans.present(told),
            links=(Link(caller.trace_id, caller.span_id),) if caller else (),
            error=why,
        )
        handling.closed.append(lambda: (root,))

    def about(self, run: Run) -> None:
        """The delivery in hand is about this run."""
        handling = current()
        if handling is not None and not handling.ended:
            handling.about(run)

    @contextmanager
    def question(self, slot: Slot, tier: str) -> Iterator[str | None]:
        """Watch one question being asked; yields the id of its span for its calls, None where nothing is being handled."""
        handling = current()
        if handling is None or handling.trace_id is None:
            yield None
            return
        identity = context.ask_span(slot, handling.span_id)
        start = time.time()
        try:
            yield identity
        finally:
            if handling.traced and not handling.ended:
                self._asked(handling, slot, tier, identity, start)

    def _asked(self, handling: Handling, slot: Slot, tier: str, identity: str, start: float) -> None:
        about: dict[str, Value] = {Attr.TIER: tier, Attr.STEP: slot.step, Attr.ATTEMPT: slot.attempt}
        trace_id, end = handling.trace_id or "", time.time()

        def made() -> tuple[Span, ...]:
            whose = {**handling.whose(), **about}
            return (spans.of_ask(slot.role, trace_id, identity, handling.span_id, start, end, whose),)

        handling.asked.append(made)

    def closed(self, call: CallRecorded, question: Question | None = None, reply: Reply | None = None) -> None:
        """A call has its last record in the ledger: whoever writes that counts it and tells of it, once."""
        counts.of_call(self.meters, call)
        told = messages(question, reply) if question is not None and self._capture is Capture.CONTENT else {}
        self._tell(call, told)

    def found(self, call: CallRecorded) -> None:
        """A call that was closed in an earlier delivery of the message in hand, whose worker died or handed it back."""
        if call.error_type != GIVEN_UP and call.call not in self._told:
            self._tell(call.model_copy(update={"asked_in": None}), {})

    def _tell(self, call: CallRecorded, content: Mapping[str, Value]) -> None:
        handling = current()
        run = handling.run if handling else None
        trace_id = (handling.trace_id if handling else None) or context.trace_of(call.run, None, join=False)
        if not (handling.traced if handling else self.sink.wants(trace_id)):
            return
        given_up = call.error_type == GIVEN_UP
        if handling is not None and handling.handed_back and handling.ended and not given_up:
            return
        steps = run.steps if run else {}

        def made() -> tuple[Span, ...]:
            return (spans.of_call(call, trace_id, steps, content),)

        if handling is None or handling.ended or given_up:
            self._later(made)
        else:
            handling.asked.append(made)
            handling.calls.append(call.call)

    def collected(self, call: CallRecorded, run: Run, *, again: bool = False) -> None:
        """A call that was made in a batch has its last record: it is told in its own run's trace, whatever is in hand.

        `again` says that the worker that wrote the record died while it read the batch, perhaps before it told.
        """
        if not again:
            counts.of_call(self.meters, call)
        elif call.call in self._told:
            return
        trace_id = run.trace_id or context.trace_of(call.run, None, join=False)
        if not run.traced or not self.sink.wants(trace_id):
            return
        self._told.add([call.call])
        self._later(lambda: (spans.of_call(call, trace_id, run.steps),))
        handling = current()
        if handling is not None:
            handling.owed = True

    def changed(self, before: Run | None, after: Run, now: float) -> None:
        """A run's state was written over an older one at `now`; the writer that won tells of it, so it is told once."""
        counts.of_change(self.meters, before, after)
        result = result_of(after) if after.status is not None else None
        if result is not None:
            counts.of_end(self.meters, result)
        handling = current()
        if handling is not None:
            handling.changed(before, after, now)
        trace_id = after.trace_id or context.trace_of(after.id, None, join=False)
        if not after.traced or not self.sink.wants(trace_id):
            return
        if not anything_ended(before, after):
            return
        made = partial(ended, before, after, result)
        if handling is not None:
            handling.closed.append(made)
        if handling is None or handling.ended:
            self._later(made)

    def measured(self, record: QualityMeasured) -> None:
        """The quality watch is done with a task; whoever wrote that counts it."""
        counts.of_quality(self.meters, record)

    def rated(self, score: float, rules: str) -> None:
        """Somebody said what a result of a class with rules of this name is worth: 0 is bad, 1 good."""
        counts.of_feedback(self.meters, score, rules)

    def _later(self, make: Make) -> None:
        self.sink.later((lambda: map(_bare, make())) if self._capture is Capture.NONE else make)


class Recent:
    """The last so many texts."""

    def __init__(self, most: int) -> None:
        self._kept: dict[object, None] = {}
        self._most = most

    def add(self, texts: Iterable[object]) -> None:
        """Remember these, and forget the oldest where there are too many."""
        self._kept.update(dict.fromkeys(texts))
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

    def __contains__(self, text: object) -> bool:
        return text in self._kept


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
