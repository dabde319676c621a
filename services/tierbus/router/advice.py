"""Where a learned policy has a word in routing: which tasks are its business, and what its first move means. Pure."""

from tierbus.contracts import Decision, Risk, Route, Task
from tierbus.errors import Misconfigured
from tierbus.policy.advisor import Advisor
from tierbus.policy.moves import Ask, Move


def advised(task: Task, tokens: int, advisor: Advisor) -> bool:
    """Whether the policy starts this task: one of its classes, no high risk, not too long, and nothing else asked for."""
    free = task.hints.tier is None and task.hints.route in (None, Route.DIRECT)
    return free and task.risk is not Risk.HIGH and tokens <= advisor.window and advisor.policy.covers(task.task_class)


def start(decision: Decision, advisor: Advisor, move: Move) -> Decision:
    """The decision with the model that the policy asks first.

    Raises:
        Misconfigured: the policy takes an answer that nobody has given.
    """
    if not isinstance(move, Ask):
        raise Misconfigured(f"the policy took the answer of place {move.place} before any was given")
    return decision.model_copy(
        update={
            "route": Route.DIRECT,
            "tier": advisor.tiers[move.place],
            "model": advisor.policy.models[move.place],
            "cause": f"policy: {move.why}; {decision.cause}"[:2000],
            "decided_by": "policy",
        }
    )
