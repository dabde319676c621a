"""What a finished run says to whoever published the task: pure, from the run's state alone."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from tierbus.contracts import (
    NANO,
    Attempt,
    Baseline,
    CallRecorded,
    CallStatus,
    Content,
    Result,
    Role,
    StepReport,
    TaskStatus,
    Tier,
    TierCost,
    Usage,
    spent,
)
from tierbus.run import Run, StepStatus

K = TypeVar("K", Tier, Role)
BASELINE_METHOD = (
    "the accepted answer of every step, with the same tokens, at the price of the frontier tier's first model;"
    " planning, review, retries and rejected attempts are charged to Tierbus alone"
)


def result_of(run: Run) -> Result:
    """The result of a run that has ended.

    Raises:
        ValueError: the run has not ended.
    """
    if run.status is None or run.finished_at is None:
        raise ValueError(f"run {run.id!r} has not ended")
    return _told(run, run.status, run.finished_at)


def so_far(run: Run, at: float = 0.0) -> Result:
    """A run that has not ended, in the form of a result: for who draws it, never to be said; its status means nothing."""
    return _told(run, run.status or TaskStatus.FAILED, at)


def _told(run: Run, status: TaskStatus, at: float) -> Result:
    attempts = [attempt for state in run.steps.values() for attempt in state.attempts]
    cost = run.cost_nano_usd
    return Result(
        run=run.id,
        tenant=run.tenant,
        at=at,
        task=run.task,
        task_class=run.task_class,
        status=status,
        reason=run.reason,
        answer=_answer(run),
        decision=run.decision,
        steps=reports(run),
        cost_nano_usd=cost,
        cost_usd=Decimal(cost) / NANO,
        cost_complete=not any(_unpriced(call) for call in run.calls),
        cost_by_tier=_bills(run.calls, Tier, lambda call: call.tier),
        cost_by_role=_bills(run.calls, Role, lambda call: call.role),
        usage=Usage.total(call.usage for call in run.calls),
        baseline=_baseline(run),
        calls=len(run.calls),
        interrupted_calls=sum(call.status is CallStatus.INTERRUPTED for call in run.calls),
        unpriced_calls=sum(_unpriced(call) for call in run.calls),
        escalations=_escalations(run),
        queue_s=run.queue_s + sum(attempt.queue_s for attempt in attempts),
        llm_s=sum(call.duration_s for call in run.calls),
        submitted_at=run.submitted_at,
        repaired=run.repaired,
        fallback=run.fallback,
        cached_from=run.cached.run if run.cached else None,
        plan_reused_from=run.plan_reused_from,
        plan_saved_nano_usd=run.plan_saved_nano_usd,
        routed=run.routed,
        planned=run.planned,
        trace_id=run.trace_id,
        caller=run.caller,
        joined=run.joined,
        metadata=run.metadata,
    )


def _answer(run: Run) -> Content | None:
    if run.status is not TaskStatus.SUCCEEDED:
        return None
    if run.cached is not None:
        return run.cached.answer
    last = run.last_step
    return last.output if last else None


def reports(run: Run) -> tuple[StepReport, ...]:
    """The steps of a run, ended or not, as a result tells them."""
    return tuple(
        StepReport(
            id=name,
            instruction=state.spec.instruction,
            needs=state.spec.needs,
            status=state.status,
            tier_path=tuple(attempt.tier for attempt in state.attempts),
            attempts=state.attempts,
            released_at=state.released_at,
            ended_at=state.ended_at,
        )
        for name, state in run.steps.items()
    )


def _unpriced(call: CallRecorded) -> bool:
    return call.cost_nano_usd is None


def _escalations(run: Run) -> int:
    return sum(max(0, state.attempt - 1) for state in run.steps.values())


def _bills(calls: Iterable[CallRecorded], order: Iterable[K], of: Callable[[CallRecorded], K]) -> dict[K, TierCost]:
    """One bill a tier or role that made calls, in the order of their kind."""
    groups: dict[K, list[CallRecorded]] = {}
    for call in calls:
        groups.setdefault(of(call), []).append(call)
    return {
        name: TierCost(calls=len(mine), cost_nano_usd=spent(mine), usage=Usage.total(call.usage for call in mine))
        for name in order
        if (mine := groups.get(name))
    }


def _baseline(run: Run) -> Baseline | None:
    if run.status is not TaskStatus.SUCCEEDED:
        return None
    if run.cached is not None:
        return run.cached.baseline
    costs = [
        _answer_baseline(run.calls, name, state.attempts[-1])
        for name, state in run.steps.items()
        if state.status is StepStatus.ACCEPTED and state.attempts
    ]
    known = [cost for cost in costs if cost is not None]
    complete = len(known) == len(costs) and bool(known)
    return Baseline(cost_nano_usd=sum(known) if complete else None, method=BASELINE_METHOD)


def _answer_baseline(calls: Iterable[CallRecorded], step: str, accepted: Attempt) -> int | None:
    answers = [
        call
        for call in calls
        if call.step == step
        and call.attempt == accepted.attempt
        and call.role is Role.EXECUTOR
        and call.status is CallStatus.FINISHED
    ]
    return answers[-1].baseline_nano_usd if answers else None
