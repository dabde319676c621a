"""The shelf of a shape: the plan that is kept for it and what became of the runs that used it. Pure.

A run is counted once however often its end is told: the shelf remembers the last `REMEMBERED` runs by when they ended, and
takes a run that ended before all of those for counted. So a word that comes late by that many runs is lost, never counted
twice.
"""

from typing import NamedTuple

from pydantic import Field

from tierbus import limits
from tierbus.contracts import SCHEMA_VERSION, CallRecorded, Model, Plan, Role, TaskStatus, Tier, encode, spent
from tierbus.plans.rules import PlanRules
from tierbus.plans.shape import owned
from tierbus.run import Run

REMEMBERED = 64
WINDOW_TRIES = 20
"""The rate of a kept plan is that of its last so many tries (or of `min_tries`, if that is more): old ones hide nothing."""


class Template(Model):
    """A plan that was made by the frontier and accepted.

    `id` is the run it was made for, `prompt` that run's task, `literals` what is that task's own.
    `planning_nano_usd` is what the frontier took for it, None where a price is not known. `earned` counts accepted frontier
    plans of the shape, this one included; `tried` and `accepted` count the runs that used it again.
    """

    id: str
    plan: Plan
    prompt: str
    attachments: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()
    planning_nano_usd: int | None = None
    made_at: float
    used_at: float
    earned: int = Field(default=1, ge=1)
    tried: int = Field(default=0, ge=0)
    accepted: int = Field(default=0, ge=0)
    recent: tuple[bool, ...] = ()

    @property
    def rate(self) -> float:
        """The part of the recent tries that was accepted; 1 where there was none."""
        return sum(self.recent) / len(self.recent) if self.recent else 1.0


class Counted(Model):
    """A run that was counted, and when it ended (Unix seconds)."""

    run: str
    ended_at: float


class Shelf(Model):
    """What is kept for one shape of one tenant and class."""

    schema_version: int = SCHEMA_VERSION
    tenant: str
    shape: str
    task_class: str
    template: Template | None = None
    counted: tuple[Counted, ...] = ()


class Ended(NamedTuple):
    """How a run with a shape ended, as far as its plan is concerned.

    `tried` is the template that was tried for it, `good` whether the run's plan was accepted as it was released, `made` the
    template that its plan would be where the frontier made it.
    """

    run: str
    ended_at: float
    tried: str | None
    good: bool
    made: Template | None


class Count(NamedTuple):
    """A shelf after a run was counted, and the template that lost its place by it."""

    shelf: Shelf
    dropped: Template | None = None


def standing(shelf: Shelf, rules: PlanRules, now: float) -> Template | None:
    """The template that may be used now, or None."""
    kept = shelf.template
    if kept is None or not rules.reuse or kept.earned < rules.min_accepted or _old(kept, rules, now):
        return None
    return kept


def is_good(run: Run) -> bool:
    """Whether a plan did its work: the task succeeded, and no step had to be sent up to the frontier."""
    sent_up = any(state.attempt > 1 and state.tier is Tier.FRONTIER for state in run.steps.values())
    return run.status is TaskStatus.SUCCEEDED and not sent_up


def ended(run: Run, prompt: str, shown: str) -> Ended | None:
    """What a run says about its plan; None where it says nothing: it has no shape, has not ended, or was called off."""
    if run.plan_shape is None or run.finished_at is None or not judges(run):
        return None
    good = is_good(run)
    made = _made(run, prompt, shown, run.finished_at) if good else None
    return Ended(run.id, run.finished_at, run.plan_tried, good and run.plan_reused_from is not None, made)


def judges(run: Run) -> bool:
    """Whether a run's end says anything about its plan: not where somebody called it off or its time was over."""
    return run.plan_shape is not None and run.status in (TaskStatus.SUCCEEDED, TaskStatus.FAILED)


def _made(run: Run, prompt: str, shown: str, now: float) -> Template | None:
    """The template that a run's own plan makes; none of a plan that was taken over, given up, or is too large to be kept."""
    if run.plan_reused_from is not None or run.fallback is not None:
        return None
    plan = Plan(steps=tuple(state.spec for state in run.steps.values()))
    if len(encode(plan)) > limits.TEMPLATE_BYTES:
        return None
    names = tuple(item.name for item in run.attachments)
    return Template(
        id=run.id,
        plan=plan,
        prompt=prompt,
        attachments=names,
        literals=owned(plan.steps, prompt, names, shown),
        planning_nano_usd=planning_cost(run.calls),
        made_at=now,
        used_at=now,
    )


def planning_cost(calls: tuple[CallRecorded, ...]) -> int | None:
    """Nano-dollars that the frontier took to plan, repairs included; None where that is not known."""
    planned = [call for call in calls if call.role is Role.PLANNER and call.tier is Tier.FRONTIER]
    return spent(planned) if planned and all(call.cost_nano_usd is not None for call in planned) else None


def count(shelf: Shelf, run: Ended, rules: PlanRules) -> Count:
    """Count a run; one that was counted before changes nothing."""
    if _seen(shelf, run):
        return Count(shelf)
    remembered = sorted(
        (*shelf.counted, Counted(run=run.run, ended_at=run.ended_at)), key=lambda one: (one.ended_at, one.run)
    )
    shelf = shelf.model_copy(update={"counted": tuple(remembered[-REMEMBERED:])})
    kept, dropped = shelf.template, None
    if kept is not None and kept.id == run.tried:
        kept = _tried(kept, run, rules)
        if _fails(kept, rules):
            kept, dropped = None, kept
    elif kept is not None and run.tried is None and run.made is not None and not _old(kept, rules, run.ended_at):
        kept = kept.model_copy(update={"earned": kept.earned + 1, "used_at": max(kept.used_at, run.ended_at)})
    if run.made is not None and (kept is None or _old(kept, rules, run.ended_at)):
        kept = run.made
    return Count(shelf.model_copy(update={"template": kept}), dropped)


def _seen(shelf: Shelf, run: Ended) -> bool:
    if any(one.run == run.run for one in shelf.counted):
        return True
    full = len(shelf.counted) >= REMEMBERED
    return full and run.ended_at <= min(one.ended_at for one in shelf.counted)


def _tried(kept: Template, run: Ended, rules: PlanRules) -> Template:
    return kept.model_copy(
        update={
            "tried": kept.tried + 1,
            "accepted": kept.accepted + run.good,
            "recent": (*kept.recent, run.good)[-max(WINDOW_TRIES, rules.min_tries) :],
            "used_at": max(kept.used_at, run.ended_at),
        }
    )


def _fails(kept: Template, rules: PlanRules) -> bool:
    return len(kept.recent) >= rules.min_tries and kept.rate < rules.keep_rate


def _old(kept: Template, rules: PlanRules, now: float) -> bool:
    return now >= kept.made_at + rules.ttl_s
