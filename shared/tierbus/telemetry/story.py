"""A whole trace from the bus's own records: the run's state and the ledger. Pure; the ids are those that the services use."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tierbus.contracts import Attempt, CallRecorded, CallStatus, Leg, Role, StepReport, TaskStatus
from tierbus.result import result_of, so_far
from tierbus.run import Run
from tierbus.telemetry import context, spans
from tierbus.telemetry.names import PLAN_QUEUE, REVIEW_QUEUE, STEP_QUEUE, TASK_QUEUE, Attr
from tierbus.telemetry.spans import Span, Story, Value


def story_of(run: Run, calls: Iterable[CallRecorded], now: float) -> Story:
    """What is known of a run at `now`, whether it has ended or not; the ledger's calls count."""
    known = tuple(calls)
    status: TaskStatus | None = run.status
    result = result_of(run) if status else so_far(run.model_copy(update={"calls": known}), now)
    return Story(result, status, known, now)


def trace(story: Story) -> list[Span]:
    """Every span of a run that its records tell of, the root first."""
    result = story.result
    found = [_by("reviewer", spans.of_root(story))]
    root = context.root_span(result.run)
    routed = spans.route_attributes(result.decision) if result.decision else {}
    found += _handled(story, result.routed, TASK_QUEUE, "router", root, routed)
    planned = spans.plan_attributes(
        len(result.steps), result.fallback, repaired=result.repaired, reused_from=result.plan_reused_from
    )
    found += _handled(story, result.planned, PLAN_QUEUE, "planner", root, planned)
    for place, step in enumerate(result.steps):
        if step.released_at is not None or step.attempts:
            found.append(_by("reviewer", spans.of_step(story, place)))
            found += [span for attempt in step.attempts for span in _attempted(story, step, attempt)]
    return [*found, *_asked(story)]


def _attempted(story: Story, step: StepReport, attempt: Attempt) -> Iterator[Span]:
    home = context.step_span(story.result.run, step.id)
    about: dict[str, Value] = {Attr.STEP: step.id, Attr.ATTEMPT: attempt.attempt, Attr.TIER: attempt.tier.value}
    outcome = {**about, Attr.ATTEMPT_OUTCOME: attempt.outcome.value}
    yield from _handled(story, attempt.executed, f"{STEP_QUEUE}.{attempt.tier}", "executor", home, outcome)
    verdict = {**about, **spans.verdict_attributes(attempt.verdict)}
    yield from _handled(story, attempt.reviewed, REVIEW_QUEUE, "reviewer", home, verdict)


def _handled(
    story: Story, leg: Leg | None, queue: str, service: str, parent: str, attributes: dict[str, Value]
) -> Iterator[Span]:
    if leg is None:
        return
    about: dict[str, Value] = {Attr.TASK: story.result.task, Attr.TENANT: story.result.tenant}
    wait = spans.of_wait(leg, story.trace_id, parent, queue, story.result.task)
    if wait is not None:
        yield _by(service, wait)
    yield _by(service, spans.of_process(leg, story.trace_id, parent, queue, {**about, **attributes}))


def _asked(story: Story) -> Iterator[Span]:
    """The calls, and around those of one question a span for it."""
    steps = {step.id for step in story.result.steps}
    legs = dict(_legs(story))
    questions: defaultdict[str, list[Span]] = defaultdict(list)
    first: dict[str, CallRecorded] = {}
    for call in story.calls:
        span = _by(_service(call.role), spans.of_call(call, story.trace_id, steps))
        if call.status is CallStatus.STARTED and story.status is None:
            span = _until(span, story.at)
        if call.asked_in is not None:
            questions[call.asked_in].append(span)
            first.setdefault(call.asked_in, call)
        yield span
    for identity, inside in questions.items():
        call = first[identity]
        yield _by(
            _service(call.role),
            spans.of_ask(
                call.role,
                story.trace_id,
                identity,
                _home(call, identity, legs, steps),
                min(span.start for span in inside),
                max(span.end for span in inside),
                {Attr.TIER: call.tier.value, Attr.STEP: call.step, Attr.ATTEMPT: call.attempt},
            ),
        )


def _home(call: CallRecorded, identity: str, legs: dict[tuple[str, int, Role], Leg], steps: set[str]) -> str:
    """Where a question hangs: on the delivery it was asked in, if that is the one on record, else on its step or the task."""
    leg = legs.get((call.step, call.attempt, call.role))
    slot = call.call.rsplit(".", 1)[0]
    if leg is not None:
        process = context.process_span(leg.stream, leg.sequence, leg.deliveries)
        if context.span_id("ask", slot, process) == identity:
            return process
    return context.anchor(call.run, call.step, steps)


def _legs(story: Story) -> Iterator[tuple[tuple[str, int, Role], Leg]]:
    result = story.result
    if result.routed is not None:
        yield ("_route", 1, Role.ROUTER), result.routed
    if result.planned is not None:
        yield ("_plan", 1, Role.PLANNER), result.planned
    for step in result.steps:
        for attempt in step.attempts:
            if attempt.executed is not None:
                yield (step.id, attempt.attempt, Role.EXECUTOR), attempt.executed
            if attempt.reviewed is not None:
                yield (step.id, attempt.attempt, Role.REVIEWER), attempt.reviewed


def _service(role: Role) -> str:
    """Who asks in this role: the quality watch is the reviewer's work."""
    return (Role.REVIEWER if role is Role.WATCH else role).value


def _by(service: str, span: Span) -> Span:
    return replace(span, service=f"tierbus-{service}")


def _until(span: Span, end: float) -> Span:
    return replace(span, end=max(span.start, end))
