"""What becomes of a task that asks what another one asked: pure functions from the two runs to a choice, and to the next state."""

from enum import StrEnum

from tierbus import limits
from tierbus.cache.rules import CacheRules
from tierbus.contracts import Decision, Priority, Route, TaskStatus
from tierbus.result import result_of
from tierbus.run import Cached, Change, Run, Shared, StepStatus, begin, pending
from tierbus.stores import Lead

ALWAYS = CacheRules(ttl_s=limits.CACHE_TTL_S)
"""The rules for a run that has waited: whatever answer there is now is younger than the run."""


class Choice(StrEnum):
    """What a task does about its key."""

    LEAD = "lead"
    """Work, and answer for others."""
    ANSWER = "answer"
    """Take the answer that is there."""
    FOLLOW = "follow"
    """Wait for the one that works."""
    ALONE = "alone"
    """Work without answering for others: another one does already."""


def choose(run: Run, lead: Lead | None, leader: Run | None, rules: CacheRules, now: float) -> Choice:
    """What `run` does where `lead` answers for its key and `leader` is that one's state, None where it has none."""
    if lead is None or lead.run == run.id or (leader is not None and leader.tenant != run.tenant):
        return Choice.LEAD
    if leader is None:
        recent = now - lead.at < limits.LEAD_OPENED_S
        return _beside(run, lead, rules) if recent else Choice.LEAD
    if usable(leader):
        fresh = now - (leader.finished_at or 0.0) <= rules.ttl_s
        return Choice.ANSWER if fresh else Choice.LEAD
    return _beside(run, lead, rules) if leader.live else Choice.LEAD


def _beside(run: Run, lead: Lead, rules: CacheRules) -> Choice:
    """A task never waits for one of a lower priority."""
    order = list(Priority)
    waits = rules.coalesce and order.index(run.priority) >= order.index(lead.priority)
    return Choice.FOLLOW if waits else Choice.ALONE


def usable(leader: Run) -> bool:
    """Whether a run has an answer for others, with every step accepted; one that was taken over has no step and is not handed on."""
    last = leader.last_step
    return (
        leader.status is TaskStatus.SUCCEEDED
        and last is not None
        and last.output is not None
        and all(state.status is StepStatus.ACCEPTED for state in leader.steps.values())
    )


def leads(run: Run, key: str, ttl_s: float) -> Run:
    """The run as one that answers for this key."""
    return run.model_copy(update={"shared": Shared(key=key, ttl_s=ttl_s)})


def follows(run: Run, shared: Shared, lead: Lead, otherwise: Decision, now: float) -> Run:
    """The run as one that waits for another; `otherwise` is what it does if that one ends without an answer."""
    waiting = otherwise.model_copy(
        update={"cause": f"waits for the answer of task {lead.task!r}, which asks the same", "decided_by": "cache"}
    )
    return run.model_copy(
        update={
            "shared": shared.model_copy(update={"follows": lead.run, "otherwise": otherwise}),
            "decision": waiting,
            "timer_at": min(run.deadline_at, now + limits.FOLLOW_S),
        }
    )


def answered(run: Run, leader: Run, now: float) -> Run:
    """The run, ended with the other one's answer.

    Raises:
        ValueError: the other one has none.
    """
    last, decision = leader.last_step, leader.decision
    if not usable(leader) or last is None or last.output is None or decision is None:
        raise ValueError(f"run {leader.id!r} has no answer for run {run.id!r}")
    age = _age(max(0.0, now - (leader.finished_at or now)))
    cause = f"the answer of task {leader.task!r} from {age} ago"
    return run.model_copy(
        update={
            "decision": decision.model_copy(
                update={"cause": cause, "decided_by": "cache", "confidence": 1.0, "scores": {}}
            ),
            "cached": Cached(run=leader.id, answer=last.output, baseline=result_of(leader).baseline),
            "status": TaskStatus.SUCCEEDED,
            "finished_at": now,
        }
    )


def take(run: Run, leader: Run, now: float) -> Change:
    """End a waiting run with the answer of `leader`; a run that no longer waits is left as it is."""
    return Change(answered(run, leader, now), []) if run.following else Change(run, pending(run))


def turn(run: Run, lead: Lead, now: float) -> Change:
    """Let a waiting run wait for another one."""
    shared = run.shared
    if not run.following or shared is None or shared.otherwise is None:
        return Change(run, pending(run))
    run = follows(run, shared, lead, shared.otherwise, now)
    return Change(run, pending(run))


def work(run: Run, now: float) -> Change:
    """Let a waiting run do its task itself, as was decided when it came."""
    shared = run.shared
    if not run.following or shared is None or shared.otherwise is None:
        return Change(run, pending(run))
    decision = shared.otherwise
    update = {
        "shared": shared.model_copy(update={"follows": None, "otherwise": None}),
        "decision": decision,
        "planning": decision.route is Route.PLAN,
    }
    return begin(run.model_copy(update=update), now)


def own_decision(run: Run | None) -> Decision | None:
    """What was decided about a run's work, also while it waits for another one."""
    if run is None:
        return None
    return run.shared.otherwise if run.shared is not None and run.shared.otherwise is not None else run.decision


def _age(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
