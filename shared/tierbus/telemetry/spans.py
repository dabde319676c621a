"""From what happened to the spans that tell it: pure functions, without a clock, a bus or an exporter.

One trace is one task. Steps and the work of the task itself hang on the root, what is done for a step hangs on the step:
waiting, handling, the questions asked meanwhile, the calls made for each. A span that follows from another begins after
it ended (`TICK_S`), because Jaeger's critical path leaves out what overlaps.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tierbus.contracts import (
    NANO,
    CallRecorded,
    CallStatus,
    Decision,
    Leg,
    Result,
    Role,
    TaskStatus,
    Tier,
    Usage,
    Verdict,
    VerdictKind,
    spent,
)
from tierbus.telemetry import context
from tierbus.telemetry.content import cut
from tierbus.telemetry.names import (
    CHAT,
    COST_BANDS,
    EVALUATION_EVENT,
    INVOKE_AGENT,
    PLAN,
    PROVIDERS,
    REVIEW,
    UNROUTED,
    Attr,
    SpanName,
)

TICK_S = 1e-6
Value = str | int | float | bool | Sequence[str]


class SpanKind(StrEnum):
    """Kinds as OpenTelemetry names them."""

    INTERNAL = "internal"
    CLIENT = "client"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True)
class Link:
    """A span that this one has to do with, in the same trace or in another."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something at one moment of a span."""

    name: str
    at: float
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span. Ids are hexadecimal, times Unix seconds; `error` is None unless something failed."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start: float
    end: float
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None
    service: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of a run, ended or not: the result's own form, and every call of the ledger."""

    result: Result
    status: TaskStatus | None
    calls: tuple[CallRecorded, ...] = ()
    at: float = 0.0

    @property
    def trace_id(self) -> str:
        """The trace of this run."""
        return self.result.trace_id or context.trace_of(self.result.run, None, join=False)


def present(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Attributes that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}


def of_root(story: Story) -> Span:
    """The task: what it cost by tier and role, what it would have cost, how long it waited, how often it was sent up."""
    result = story.result
    caller = context.parse(result.caller)
    parent = caller.span_id if caller and result.joined else None
    return Span(
        name=SpanName.TASK.format(route=result.decision.route if result.decision else UNROUTED),
        trace_id=story.trace_id,
        span_id=context.root_span(result.run),
        parent_id=parent,
        start=result.submitted_at,
        end=max(result.submitted_at, (result.at if story.status else story.at)) + 2 * TICK_S,
        attributes=present({**_identity(result), **_routed(result.decision), **_outcome(story), **bill(result)}),
        links=(Link(caller.trace_id, caller.span_id),) if caller and not parent else (),
        error=cut(result.reason or story.status) if story.status is TaskStatus.FAILED else None,
    )


def _identity(result: Result) -> dict[str, Value | None]:
    return {
        Attr.TASK: result.task,
        Attr.TENANT: result.tenant,
        Attr.RUN: result.run,
        Attr.CLASS: result.task_class,
    }


def _routed(decision: Decision | None) -> dict[str, Value | None]:
    if decision is None:
        return {}
    return {
        Attr.ROUTE: decision.route.value,
        Attr.ROUTE_TIER: decision.tier.value,
        Attr.ROUTE_REVIEW: decision.review.value,
        Attr.ROUTE_CAUSE: cut(decision.cause),
        Attr.ROUTE_CONFIDENCE: decision.confidence,
        Attr.ROUTE_BY: decision.decided_by,
    }


def _outcome(story: Story) -> dict[str, Value | None]:
    result = story.result
    return {
        Attr.OUTCOME: story.status.value if story.status else "running",
        Attr.REASON: cut(result.reason) if result.reason else None,
        Attr.PLAN_STEPS: len(result.steps) or None,
        Attr.PLAN_REUSED_FROM: result.plan_reused_from,
        Attr.PLAN_SAVED: None if result.plan_saved_nano_usd is None else result.plan_saved_nano_usd / NANO,
        Attr.ATTEMPTS: sum(len(step.attempts) for step in result.steps),
        Attr.ESCALATIONS: result.escalations,
        Attr.QUEUE_S: round(result.queue_s, 6),
        Attr.LLM_S: round(result.llm_s, 6),
    }


def bill(result: Result) -> dict[str, Value | None]:
    """What a task cost, by tier and role, beside what it would have cost."""
    baseline = result.baseline.cost_nano_usd if result.baseline else None
    return {
        Attr.COST_TOTAL: result.cost_nano_usd / NANO,
        Attr.COST_TOTAL_NANO: result.cost_nano_usd,
        **{f"tierbus.cost.{tier}_usd": cost.cost_nano_usd / NANO for tier, cost in result.cost_by_tier.items()},
        **{f"tierbus.cost.role.{role}_usd": cost.cost_nano_usd / NANO for role, cost in result.cost_by_role.items()},
        Attr.COST_COMPLETE: result.cost_complete,
        Attr.COST_BAND: band(result.cost_nano_usd),
        Attr.COST_BASELINE: baseline / NANO if baseline is not None else None,
        Attr.COST_BASELINE_METHOD: result.baseline.method if result.baseline and baseline is not None else None,
        Attr.COST_SAVED: round(1 - result.cost_nano_usd / baseline, 6) if baseline else None,
        **_tokens(result.usage),
        Attr.CALLS: result.calls,
        Attr.INTERRUPTED: result.interrupted_calls,
    }


def _tokens(usage: Usage) -> dict[str, Value | None]:
    return {
        Attr.TOKENS_INPUT: usage.input,
        Attr.TOKENS_OUTPUT: usage.output,
        Attr.TOKENS_CACHE_READ: usage.cache_read,
        Attr.TOKENS_CACHE_WRITE: usage.cache_write,
    }


def band(nano_usd: int) -> str:
    """The cost as one of a few words, because Jaeger finds tags by equality only."""
    return next(label for end, label in COST_BANDS if nano_usd / NANO < end)


def of_step(story: Story, place: int) -> Span:
    """The step at this place of the plan, from its release to its last verdict, linked to the steps it needed."""
    result, step = story.result, story.result.steps[place]
    last = result.at if story.status else story.at
    start = (step.released_at or result.submitted_at) + 2 * TICK_S
    accepted = step.status == "accepted"
    failed = step.status == "failed"
    cost = spent(call for call in story.calls if call.step == step.id)
    return Span(
        name=SpanName.STEP.format(place=place + 1),
        trace_id=story.trace_id,
        span_id=context.step_span(result.run, step.id),
        parent_id=context.root_span(result.run),
        start=start,
        end=max(start, (step.ended_at or last) + TICK_S),
        attributes=present(
            {
                Attr.TASK: result.task,
                Attr.TENANT: result.tenant,
                Attr.STEP: step.id,
                Attr.STEP_STATUS: step.status if accepted or failed or not story.status else "unfinished",
                Attr.STEP_NEEDS: list(step.needs) or None,
                Attr.STEP_TIERS: [tier.value for tier in step.tier_path] or None,
                Attr.ATTEMPTS: len(step.attempts),
                Attr.COST_TOTAL: cost / NANO,
                Attr.COST_TOTAL_NANO: cost,
            }
        ),
        links=tuple(Link(story.trace_id, context.step_span(result.run, need)) for need in step.needs),
        error=cut(step.attempts[-1].verdict.reason) if failed and step.attempts else None,
    )


def of_wait(leg: Leg, trace_id: str, parent: str, queue: str, task: str | None) -> Span | None:
    """The time a message waited for a worker; a later delivery has none, the gap before it speaks."""
    if leg.deliveries != 1 or not leg.published_at:
        return None
    return Span(
        name=SpanName.WAIT.format(queue=queue),
        trace_id=trace_id,
        span_id=context.wait_span(leg.stream, leg.sequence),
        parent_id=parent,
        start=min(leg.published_at, leg.began_at),
        end=leg.began_at - TICK_S if leg.began_at - TICK_S > leg.published_at else leg.began_at,
        attributes=present({Attr.DESTINATION: queue, Attr.QUEUE_S: _waited(leg), Attr.TASK: task}),
    )


def _waited(leg: Leg) -> float:
    return round(max(0.0, leg.began_at - leg.published_at), 6)


def of_process(
    leg: Leg, trace_id: str, parent: str, queue: str, attributes: Mapping[str, Value], **more: object
) -> Span:
    """One delivery being handled; `more` are further fields of the span."""
    return Span(
        name=SpanName.PROCESS.format(queue=queue),
        trace_id=trace_id,
        span_id=context.process_span(leg.stream, leg.sequence, leg.deliveries),
        parent_id=parent,
        start=leg.began_at,
        end=max(leg.began_at, leg.ended_at),
        kind=SpanKind.CONSUMER,
        attributes={
            Attr.MESSAGING: "nats",
            Attr.MESSAGING_OPERATION: "process",
            Attr.MESSAGING_TYPE: "process",
            Attr.DESTINATION: queue,
            Attr.DELIVERIES: leg.deliveries,
            Attr.SEQUENCE: leg.sequence,
            **attributes,
        },
        **more,  # type: ignore[arg-type] # fields of Span by name
    )


def route_attributes(decision: Decision) -> dict[str, Value]:
    """Why a task went where it went."""
    return present(_routed(decision))


def plan_attributes(
    steps: int, fallback: str | None, *, repaired: bool, reused_from: str | None = None
) -> dict[str, Value]:
    """What became of planning."""
    return present(
        {
            Attr.PLAN_STEPS: steps,
            Attr.PLAN_REPAIRED: repaired,
            Attr.PLAN_FALLBACK: cut(fallback) if fallback else None,
            Attr.PLAN_REUSED_FROM: reused_from,
        }
    )


def verdict_attributes(verdict: Verdict) -> dict[str, Value]:
    """How an attempt was judged, and why."""
    return present(
        {
            Attr.VERDICT: verdict.kind.value,
            Attr.RUNG: verdict.rung,
            Attr.VERDICT_REASON: cut(verdict.reason) or None,
        }
    )


def evaluation(verdict: Verdict, at: float) -> SpanEvent:
    """The verdict in the form of the GenAI conventions."""
    told: dict[str, Value | None] = {
        Attr.EVALUATION: REVIEW,
        Attr.EVALUATION_LABEL: "pass" if verdict.kind is VerdictKind.ACCEPT else "fail",
        Attr.EVALUATION_WHY: cut(verdict.reason) or None,
    }
    return SpanEvent(EVALUATION_EVENT, at, present(told))


def of_ask(
    role: Role, trace_id: str, identity: str, parent: str, start: float, end: float, about: Mapping[str, Value]
) -> Span:
    """One question to a tier, from the wait for a free place to the answer, retries and fallbacks included."""
    operation = PLAN if role is Role.PLANNER else INVOKE_AGENT
    return Span(
        name=SpanName.ASK.format(operation=operation, role=role.value),
        trace_id=trace_id,
        span_id=identity,
        parent_id=parent,
        start=start,
        end=max(start, end),
        attributes={Attr.OPERATION: operation, Attr.AGENT: role.value, **about},
    )


def of_call(call: CallRecorded, trace_id: str, steps: Container[str], content: Mapping[str, Value] = {}) -> Span:
    """One HTTP call to a model with its tokens and its price; `content` is what was said, where that may be told."""
    failed = call.status in (CallStatus.FAILED, CallStatus.INTERRUPTED)
    return Span(
        name=SpanName.CHAT.format(model=call.model),
        trace_id=trace_id,
        span_id=context.call_span(call.call),
        parent_id=call.asked_in or context.anchor(call.run, call.step, steps),
        start=call.started_at,
        end=call.started_at + call.duration_s,
        kind=SpanKind.CLIENT,
        attributes=present({**_asked(call), **_answered(call), **_priced(call), **content}),
        error=cut(call.error or call.status) if failed else None,
    )


def _asked(call: CallRecorded) -> dict[str, Value | None]:
    return {
        Attr.OPERATION: CHAT,
        Attr.PROVIDER: PROVIDERS.get(call.provider, call.provider),
        Attr.MODEL: call.model,
        Attr.TIER: call.tier.value,
        Attr.ROLE: call.role.value,
        Attr.CALL: call.call,
        Attr.STEP: call.step,
        Attr.ATTEMPT: call.attempt,
        Attr.BATCH: call.batch_id if call.batch else None,
    }


def _answered(call: CallRecorded) -> dict[str, Value | None]:
    return {
        Attr.CALL_STATUS: call.status.value,
        Attr.RESPONSE_ID: call.request_id,
        Attr.FINISH: [call.stop_reason] if call.stop_reason else None,
        Attr.USAGE_INPUT: call.usage.input,
        Attr.USAGE_OUTPUT: call.usage.output,
        Attr.USAGE_CACHE_READ: call.usage.cache_read or None,
        Attr.USAGE_CACHE_WRITE: call.usage.cache_write or None,
        Attr.ERROR_TYPE: call.error_type,
    }


def _priced(call: CallRecorded) -> dict[str, Value | None]:
    known = call.cost_nano_usd is not None
    return {
        Attr.COST: (call.cost_nano_usd or 0) / NANO if known else None,
        Attr.COST_NANO: call.cost_nano_usd,
        Attr.COST_ESTIMATED: call.estimated or None,
        Attr.PRICE_SOURCE: call.price_source or None,
        Attr.PRICE_KNOWN: known,
    }


def tier_of(subject: str) -> Tier | None:
    """The tier in a step's subject."""
    parts = subject.split(".")
    return Tier(parts[2]) if parts[1] == "step" else None


def queue_of(subject: str) -> str:
    """A subject without its ids: `tierbus.step.small`, `tierbus.review`."""
    parts = subject.split(".")
    return ".".join(parts[: 3 if parts[1] == "step" else 2])
