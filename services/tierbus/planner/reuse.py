"""What the planner knows of earlier plans: looking one up for a task, and counting what became of it."""

from dataclasses import dataclass
from typing import NamedTuple

from tierbus.classes import Classes
from tierbus.plans.library import Library
from tierbus.plans.rules import PlanRules
from tierbus.plans.shape import shape_of
from tierbus.plans.shelf import Shelf, Template, ended
from tierbus.run import Run


class Known(NamedTuple):
    """The shape of a task whose plan may be kept, and the plan that may be used for it; both None where nothing is known."""

    shape: str | None = None
    template: Template | None = None


@dataclass(frozen=True)
class Reuse:
    """The kept plans, and the rules of the classes that have any."""

    library: Library
    classes: Classes

    def rules(self, run: Run) -> PlanRules | None:
        """The rules of the run's class, None where its plans are not to be used again."""
        rules = self.classes.of(run.task_class).plans
        return rules if rules is not None and rules.reuse else None

    async def look(self, run: Run, prompt: str, now: float) -> Known:
        """What is known for a task."""
        rules = self.rules(run)
        if rules is None:
            return Known()
        shape = shape_of(run.tenant, run.task_class, prompt, run.attachments, run.expects)
        if shape is None:
            return Known()
        return Known(shape, await self.library.standing(run.tenant, shape, rules, now))

    async def count(self, run: Run, prompt: str, shown: str) -> None:
        """Count a run that has ended; `shown` is what the planner was shown of its attachments."""
        rules = self.rules(run)
        told = ended(run, prompt, shown)
        if rules is None or told is None or run.plan_shape is None:
            return
        empty = Shelf(tenant=run.tenant, shape=run.plan_shape, task_class=run.task_class)
        await self.library.count(empty, told, rules)
