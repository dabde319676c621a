"""The run beside a task: the same task done the cheap way, for the verdict alone. Pure.

It has an id that follows from the task's, so that opening it twice opens one; low priority; the task's deadline and, once more,
the task's budget; a trace of its own. A rejected answer ends it: nothing is sent up a tier for an answer that nobody wants.
"""

from tierbus.contracts import Priority, Route, run_id
from tierbus.run import Change, Run, begin

SHADOW = "~shadow"
"""Behind a task's id it is the id of its shadow; a publisher's own id must not end so."""
SHADOW_OF = "tierbus-shadow-of"
"""In a shadow's metadata: the id of the task."""


def shadow_id(run: Run) -> str:
    """The run of a run's shadow."""
    return run_id(run.tenant, f"{run.task}{SHADOW}")


def shadow_of(fresh: Run, opened: Run, now: float) -> Change | None:
    """The shadow of a run that has been opened, or None where it is to have none.

    `fresh` is the run as the task's message says it, without a step or a call; `opened` knows what was decided, even if that
    was in an earlier delivery.
    """
    if opened.shadow is None:
        return None
    identity = shadow_id(opened)
    run = fresh.model_copy(
        update={
            "id": identity,
            "task": f"{opened.task}{SHADOW}",
            "priority": Priority.LOW,
            "decision": opened.shadow,
            "shadow": None,
            "planning": opened.shadow.route is Route.PLAN,
            "calls": (),
            "metadata": {**opened.metadata, SHADOW_OF: opened.task},
            "trace_id": identity,
            "caller": None,
            "joined": False,
            "traced": True,
        }
    )
    return begin(run, now)
