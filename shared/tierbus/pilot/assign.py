"""Who is drawn into a pilot, and what that makes of the router's decision. Pure.

A task's place is a number from its class, tenant and id alone: whoever asks and however often, it is the same, and a task
that is drawn at 10 % is drawn at 25 % too.
"""

import hashlib
from typing import NamedTuple

from tierbus.contracts import Decision, PilotArm, PilotMark, ReviewLevel, Route, Tier
from tierbus.pilot.progress import PilotState
from tierbus.pilot.rules import Mode, PilotRules

_BITS = 53
"""What a float holds exactly."""


class Who(NamedTuple):
    """The task that is assigned."""

    task_class: str
    tenant: str
    task: str
    run: str


class Routed(NamedTuple):
    """The task's own decision, and the decision of a run beside it where there is to be one."""

    decision: Decision
    shadow: Decision | None = None


class _Drawn(NamedTuple):
    yes: bool
    why: str


def place(who: Who, salt: str = "pilot") -> float:
    """Where a task stands, at least 0 and below 1."""
    digest = hashlib.sha256(f"{salt}/{who.task_class}/{who.tenant}/{who.task}".encode()).digest()
    return float((int.from_bytes(digest[:8]) >> (64 - _BITS)) / 2**_BITS)


def reach(rules: PilotRules, percent: float, tenant: str) -> float:
    """Percent of a tenant's tasks that are drawn while the class is at `percent`."""
    own = rules.tenants.get(tenant)
    if own is None:
        return percent
    return min(own, percent) if rules.mode is Mode.RAMP else own


def route(cheap: Decision, who: Who, state: PilotState) -> Routed:
    """What is done with a task that the router would send the cheap way by `cheap`."""
    rules, drawn = state.rules, _drawn(cheap, who, state)
    counted = not rules.judge_percent or place(who, "judge") < rules.judge_percent / 100
    mark = PilotMark(arm=PilotArm.OUTSIDE, rules=state.rules.id, generation=state.generation, counted=counted)
    why = f"pilot of class {who.task_class}: {drawn.why}"
    if not drawn.yes:
        return Routed(_frontier(cheap, mark.model_copy(update={"counted": False}), why))
    review = ReviewLevel.STRICT if rules.judge_percent and counted else cheap.review
    if rules.mode is not Mode.SHADOW:
        canary = mark.model_copy(update={"arm": PilotArm.CANARY})
        return Routed(cheap.model_copy(update={"review": review, "pilot": canary, "cause": f"{why}; {cheap.cause}"}))
    shadowed = mark.model_copy(update={"arm": PilotArm.SHADOWED, "counted": False})
    shadow = mark.model_copy(update={"arm": PilotArm.SHADOW, "beside": who.run})
    beside = {"review": review, "pilot": shadow, "cause": f"{why}, as the shadow of run {who.run}; {cheap.cause}"}
    return Routed(_frontier(cheap, shadowed, f"{why}, a shadow runs beside it"), cheap.model_copy(update=beside))


def _drawn(cheap: Decision, who: Who, state: PilotState) -> _Drawn:
    stage = state.stage
    if stage is None:
        why = "rolled back" if state.rolled_back else "paused" if state.paused else "at 0 %"
        return _Drawn(yes=False, why=why)
    complexity = cheap.scores.get("complexity", 0.0)
    limit = stage.complexity_below
    if limit is not None and complexity >= limit:
        return _Drawn(yes=False, why=f"complexity {complexity:.2f}, simplest first: below {limit:g}")
    percent = reach(state.rules, stage.percent, who.tenant)
    inside = place(who) < percent / 100
    return _Drawn(yes=inside, why=f"{'inside' if inside else 'outside'} the {percent:g} %")


def _frontier(cheap: Decision, mark: PilotMark, why: str) -> Decision:
    instead = f"else {cheap.route} from tier {cheap.tier}: {cheap.cause}"
    return cheap.model_copy(
        update={
            "route": Route.DIRECT,
            "tier": Tier.FRONTIER,
            "decided_by": "pilot",
            "cause": f"{why}; {instead}",
            "pilot": mark,
        }
    )


def concerned(decision: Decision, *, hinted: bool, frontier_fits: bool) -> bool:
    """Whether a pilot has a say in a task: not where its publisher decided, nor where there is only one way."""
    only_frontier = decision.route is Route.DIRECT and decision.tier is Tier.FRONTIER
    return not hinted and frontier_fits and not only_frontier
