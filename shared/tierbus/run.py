"""The state machine of a run: pure functions from a state and a fact to the next state and the messages it releases.

Router, planner and reviewer share it. Nothing here reads a clock, a bus or a model. Saying a fact twice changes
nothing: the second time every function returns the same state, and `pending` the same messages with the same keys.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from tierbus import limits
from tierbus.contracts import (
    GENERAL,
    SCHEMA_VERSION,
    Attachment,
    Attempt,
    Baseline,
    CallRecorded,
    Content,
    Decision,
    Expects,
    Inputs,
    Leg,
    Message,
    Model,
    Outcome,
    PilotArm,
    Plan,
    PlanRequested,
    Priority,
    Risk,
    Step,
    StepReleased,
    StepReviewed,
    TaskStatus,
    Tier,
    TimerSet,
    Verdict,
    VerdictKind,
    spent,
)


class StepStatus(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    RELEASED = "released"
    ACCEPTED = "accepted"
    FAILED = "failed"


class StepState(Model):
    """A step of a run: what it is, where it stands, what was tried."""

    spec: Step
    status: StepStatus = StepStatus.WAITING
    attempt: int = 0
    tier: Tier
    critique: str = ""
    output: Content | None = None
    attempts: tuple[Attempt, ...] = ()
    released_at: float | None = None
    ended_at: float | None = None


class Closing(Model):
    """A run that ends early waits until `by` for calls in flight to report."""

    status: TaskStatus
    reason: str
    by: float


class Shared(Model):
    """How a run stands to others of its tenant that ask the same, known by `key`; an answer is used for `ttl_s`.

    `follows` is the run that it waits for, `otherwise` what it does if that one has no answer. Both are None for a run that
    works: others may wait for it.
    """

    key: str
    ttl_s: float
    follows: str | None = None
    otherwise: Decision | None = None


class Cached(Model):
    """The answer of another run, and what that one would have cost on the frontier."""

    run: str
    answer: Content
    baseline: Baseline | None = None


class Run(Model):
    """All that is known of one task. `status` is None while it runs; `prompt` is None where only a cancel was seen.

    `plan_shape` is the shape of a task whose plan may be kept, `plan_tried` the run whose plan was tried for it, and
    `plan_reused_from` the same where that did; what it saved is an estimate. `shadow` is the decision of a run that is to go on beside it, only to be judged (see `pilot`). `caller` is the `traceparent` that the task came with; `joined` says whether its trace goes on under that one, and
    `traced` is False where that one is not sampled.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    tenant: str
    task: str
    task_class: str = GENERAL
    priority: Priority = Priority.NORMAL
    risk: Risk = Risk.NORMAL
    prompt: Content | None = None
    attachments: tuple[Attachment, ...] = ()
    expects: Expects = Expects()
    budget_nano_usd: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    decision: Decision | None = None
    shadow: Decision | None = None
    planning: bool = False
    repaired: bool = False
    fallback: str | None = None
    plan_shape: str | None = None
    plan_tried: str | None = None
    plan_reused_from: str | None = None
    plan_saved_nano_usd: int | None = None
    steps: dict[str, StepState] = Field(default_factory=dict)
    calls: tuple[CallRecorded, ...] = ()
    queue_s: float = 0.0
    submitted_at: float
    accepted_at: float
    deadline_at: float
    timer_at: float
    closing: Closing | None = None
    shared: Shared | None = None
    cached: Cached | None = None
    status: TaskStatus | None = None
    reason: str | None = None
    finished_at: float | None = None
    routed: Leg | None = None
    planned: Leg | None = None
    trace_id: str | None = None
    caller: str | None = None
    joined: bool = False
    traced: bool = True

    @property
    def last_step(self) -> StepState | None:
        """The step nobody waits for: its output is the answer."""
        needed = {need for state in self.steps.values() for need in state.spec.needs}
        return next((state for name, state in self.steps.items() if name not in needed), None)

    @property
    def is_shadow(self) -> bool:
        """Whether nobody waits for its answer: it is done only to be judged."""
        mark = self.decision.pilot if self.decision else None
        return mark is not None and mark.arm is PilotArm.SHADOW

    @property
    def cost_nano_usd(self) -> int:
        """What the run has cost so far; unpriced calls count nothing here and are told apart in the result."""
        return spent(self.calls)

    @property
    def live(self) -> bool:
        """Whether work may still be started for it."""
        return self.status is None and self.closing is None

    @property
    def following(self) -> bool:
        """Whether it waits for another run's answer."""
        return self.live and self.shared is not None and self.shared.follows is not None

    @property
    def ended_at_once(self) -> bool:
        """Whether it had another run's answer when it was opened, so that the router ended it."""
        return self.cached is not None and self.shared is None

    def awaits(self, step: str, attempt: int) -> bool:
        """Whether this attempt is the one the run waits for."""
        state = self.steps.get(step)
        return self.live and state is not None and state.status is StepStatus.RELEASED and state.attempt == attempt


class Change(NamedTuple):
    """The state after a fact, and what it released."""

    run: Run
    messages: list[Message]


class Origin(NamedTuple):
    """Where a plan comes from: the task's shape, the run whose plan was tried and, where it did, used, and what that saved."""

    shape: str | None = None
    tried: str | None = None
    reused_from: str | None = None
    saved_nano_usd: int | None = None


NEW = Origin()
"""A plan that was made for its own task, and that nobody will keep."""


class Judged(NamedTuple):
    """An attempt with its verdict, and every call that either of them made."""

    step: str
    attempt: int
    tier: Tier
    model: str
    outcome: Outcome
    output: Content | None
    verdict: Verdict
    calls: Sequence[CallRecorded]
    queue_s: float
    executed: Leg | None = None
    reviewed: Leg | None = None


def begin(run: Run, now: float) -> Change:
    """Open a routed run: ask for a plan, or release its only step. `run.decision` must be set.

    Raises:
        ValueError: the run carries no decision.
    """
    if run.decision is None:
        raise ValueError(f"run {run.id!r} has no decision")
    tier = run.decision.tier
    run = run.model_copy(update={"timer_at": _watch(run, now)})
    return Change(run, pending(run)) if run.planning else _adopt(run, whole(run, tier), now)


def whole(run: Run, tier: Tier) -> Plan:
    """The plan of a task that is done in one step: everything is shown, the task's own expectations hold."""
    inputs = Inputs(prompt=True, attachments=tuple(item.name for item in run.attachments))
    step = Step(id="answer", instruction="Do the task.", inputs=inputs, expects=run.expects, tier=tier)
    return Plan(steps=(step,))


def adopt(
    run: Run,
    plan: Plan,
    calls: Sequence[CallRecorded],
    leg: Leg,
    *,
    repaired: bool = False,
    fallback: str | None = None,
    origin: Origin = NEW,
) -> Change:
    """Take a validated plan for a run that waits for one; a second plan is ignored. `leg` is the plan request's way."""
    if not (run.live and run.planning):
        return Change(run, pending(run))
    update = {
        "planning": False,
        "repaired": repaired,
        "fallback": fallback,
        "plan_shape": origin.shape,
        "plan_tried": origin.tried,
        "plan_reused_from": origin.reused_from,
        "plan_saved_nano_usd": origin.saved_nano_usd,
        "queue_s": run.queue_s + max(0.0, leg.began_at - leg.published_at),
        "calls": (*run.calls, *calls),
        "planned": leg,
    }
    return _adopt(run.model_copy(update=update), plan, leg.ended_at)


def _adopt(run: Run, plan: Plan, now: float) -> Change:
    steps = {step.id: StepState(spec=step, tier=step.tier) for step in plan.steps}
    run = _release(run.model_copy(update={"steps": steps}), now)
    return Change(run, pending(run))


def advance(run: Run, judged: Judged, now: float) -> Change:
    """Apply a verdict: record the attempt, then release what it unlocks, climb a tier, or end the run."""
    if not run.awaits(judged.step, judged.attempt):
        return Change(run, pending(run))
    before = pending(run)
    state = run.steps[judged.step]
    attempt = _attempt(judged)
    state = state.model_copy(update={"attempts": (*state.attempts, attempt)})
    run = run.model_copy(update={"calls": (*run.calls, *judged.calls)})
    reviewed = StepReviewed(
        run=run.id,
        tenant=run.tenant,
        at=now,
        step=judged.step,
        attempt=judged.attempt,
        tier=judged.tier,
        model=judged.model,
        verdict=judged.verdict,
        cost_nano_usd=attempt.cost_nano_usd,
    )
    run = _apply(run, state, judged, now)
    released = [message for message in pending(run) if message not in before]
    return Change(run, [*released, reviewed])


def _apply(run: Run, state: StepState, judged: Judged, now: float) -> Run:
    match judged.verdict.kind:
        case VerdictKind.ACCEPT:
            done = state.model_copy(update={"status": StepStatus.ACCEPTED, "output": judged.output, "ended_at": now})
            return _end_if_answered(_release(_with(run, done), now), now)
        case VerdictKind.ESCALATE if state.tier.above and state.attempt < limits.ATTEMPTS and not run.is_shadow:
            climbed = {
                "attempt": state.attempt + 1,
                "tier": _higher(state.tier.above, judged.verdict.to),
                "critique": judged.verdict.critique or judged.verdict.reason,
            }
            return _with(run, state.model_copy(update=climbed))
        case _:
            failed = _with(run, state.model_copy(update={"status": StepStatus.FAILED, "ended_at": now}))
            reason = f"step {judged.step!r} failed at tier {judged.tier}: {judged.verdict.reason}"
            return _fail(failed, reason, now)


def _higher(above: Tier, to: Tier | None) -> Tier:
    """Where an escalation goes: never down, never the same tier again."""
    order = list(Tier)
    return to if to is not None and order.index(to) > order.index(above) else above


def _attempt(judged: Judged) -> Attempt:
    return Attempt(
        attempt=judged.attempt,
        tier=judged.tier,
        model=judged.model,
        outcome=judged.outcome,
        verdict=judged.verdict,
        queue_s=judged.queue_s,
        llm_s=sum(call.duration_s for call in judged.calls),
        cost_nano_usd=spent(judged.calls),
        executed=judged.executed,
        reviewed=judged.reviewed,
    )


def _with(run: Run, state: StepState) -> Run:
    return run.model_copy(update={"steps": {**run.steps, state.spec.id: state}})


def _release(run: Run, now: float) -> Run:
    accepted = {name for name, state in run.steps.items() if state.status is StepStatus.ACCEPTED}
    steps = {
        name: state.model_copy(update={"status": StepStatus.RELEASED, "attempt": 1, "released_at": now})
        if state.status is StepStatus.WAITING and accepted.issuperset(state.spec.needs)
        else state
        for name, state in run.steps.items()
    }
    return run.model_copy(update={"steps": steps})


def _end_if_answered(run: Run, now: float) -> Run:
    if all(state.status is StepStatus.ACCEPTED for state in run.steps.values()):
        return run.model_copy(update={"status": TaskStatus.SUCCEEDED, "finished_at": now})
    return run


def _fail(run: Run, reason: str, now: float) -> Run:
    if any(state.status is StepStatus.RELEASED for state in run.steps.values()):
        return close(run, TaskStatus.FAILED, reason, now).run
    return run.model_copy(update={"status": TaskStatus.FAILED, "reason": reason, "finished_at": now})


def close(run: Run, status: TaskStatus, reason: str, now: float) -> Change:
    """End a run early: nothing more is released; `finish` ends it once its calls in flight are settled."""
    if not run.live:
        return Change(run, pending(run))
    by = now + limits.CLOSE_GRACE_S
    closing = Closing(status=status, reason=reason, by=by)
    run = run.model_copy(update={"closing": closing, "planning": False, "timer_at": by})
    return Change(run, pending(run))


def finish(run: Run, calls: Sequence[CallRecorded], now: float) -> Change:
    """End a closing run with the calls that the ledger holds for it."""
    if run.closing is None or run.status is not None:
        return Change(run, pending(run))
    update = {
        "status": run.closing.status,
        "reason": run.closing.reason,
        "finished_at": now,
        "calls": tuple(calls),
    }
    run = run.model_copy(update=update)
    return Change(run, pending(run))


def rearm(run: Run, now: float) -> Change:
    """Set the timer anew after it rang with nothing due."""
    if run.status is not None or run.timer_at > now:
        return Change(run, [])
    at = now + limits.CLOSE_GRACE_S if run.closing else _watch(run, now)
    run = run.model_copy(update={"timer_at": at})
    return Change(run, [TimerSet(run=run.id, due_at=at)])


def _watch(run: Run, now: float) -> float:
    return min(run.deadline_at, now + (limits.FOLLOW_S if run.following else limits.WATCH_S))


def pending(run: Run) -> list[Message]:
    """Everything the run has released and not got back: safe to say again at any time."""
    if run.status is not None:
        return []
    messages: list[Message] = [TimerSet(run=run.id, due_at=run.timer_at)]
    if run.closing is not None:
        return messages
    if run.planning:
        messages.append(PlanRequested(run=run.id, priority=run.priority))
    messages.extend(
        StepReleased(run=run.id, step=name, attempt=state.attempt, tier=state.tier, priority=run.priority)
        for name, state in run.steps.items()
        if state.status is StepStatus.RELEASED
    )
    return messages
