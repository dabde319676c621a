"""Hypothesis strategies for plans, and hand-made runs for tests."""

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from tierbus.contracts import (
    Content,
    Decision,
    Inputs,
    Leg,
    Outcome,
    Plan,
    Priority,
    ReviewLevel,
    Route,
    Step,
    StepExecuted,
    Tier,
    Verdict,
    VerdictKind,
)
from tierbus.run import Judged, Run, adopt, begin

NOW = 1_800_000_000.0
RUN = "0123456789abcdef0123456789abcdef"
LEG = Leg(stream="WORK", sequence=7, published_at=NOW, began_at=NOW, ended_at=NOW)


def decision(
    route: Route = Route.DIRECT, tier: Tier = Tier.SMALL, review: ReviewLevel = ReviewLevel.STANDARD
) -> Decision:
    return Decision(route=route, tier=tier, review=review, confidence=0.9, cause="a test")


def new_run(route: Route = Route.DIRECT, tier: Tier = Tier.SMALL, **more: object) -> Run:
    given: dict[str, object] = {
        "id": RUN,
        "tenant": "acme",
        "task": "t-1",
        "prompt": Content.of("Translate this."),
        "decision": decision(route, tier),
        "planning": route is Route.PLAN,
        "submitted_at": NOW,
        "accepted_at": NOW,
        "deadline_at": NOW + 3600,
        "timer_at": NOW,
    }
    return Run.model_validate({**given, **more})


def step(name: str, *needs: str, tier: Tier = Tier.SMALL) -> Step:
    return Step(id=name, instruction=f"Do {name}.", needs=needs, inputs=Inputs(outputs=needs), tier=tier)


def diamond() -> Plan:
    return Plan(steps=(step("split"), step("left", "split"), step("right", "split"), step("join", "left", "right")))


def planned(plan: Plan) -> Run:
    return adopt(begin(new_run(Route.PLAN), NOW).run, plan, (), LEG).run


def judged(
    name: str, attempt: int, kind: VerdictKind, tier: Tier = Tier.SMALL, outcome: Outcome = Outcome.ANSWERED
) -> Judged:
    return Judged(
        step=name,
        attempt=attempt,
        tier=tier,
        model="m",
        outcome=outcome,
        output=Content.of(f"output of {name}"),
        verdict=Verdict(kind=kind, rung="judge", reason="because", critique="mend it"),
        calls=(),
        queue_s=0.1,
    )


def executed(text: str, step: str = "answer", **more: object) -> StepExecuted:
    """An answer of the small tier's first model, to be reviewed."""
    given: dict[str, object] = {
        "run": RUN,
        "step": step,
        "attempt": 1,
        "tier": Tier.SMALL,
        "priority": Priority.NORMAL,
        "outcome": Outcome.ANSWERED,
        "output": Content.of(text),
        "model": "claude-haiku-5-5",
        **more,
    }
    return StepExecuted.model_validate(given)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any valid plan: each step needs some of the earlier ones, and the last one needs every step nobody else needs."""
    count = draw(st.integers(1, 7))
    steps: list[Step] = []
    for place in range(count - 1):
        needs = draw(st.lists(st.sampled_from([s.id for s in steps]), unique=True, max_size=3)) if steps else []
        steps.append(step(f"s{place}", *needs, tier=draw(st.sampled_from(list(Tier)))))
    needed = {need for one in steps for need in one.needs}
    steps.append(step("last", *[one.id for one in steps if one.id not in needed]))
    shuffled = list(steps)
    random.Random(draw(st.integers(0, 10_000))).shuffle(shuffled)
    return Plan(steps=tuple(shuffled))


def ancestors(plan: Plan) -> dict[str, set[str]]:
    """Every step with all the steps that must be accepted before it."""
    by_id = {one.id: one for one in plan.steps}

    def of(name: str) -> set[str]:
        needs: Sequence[str] = by_id[name].needs
        return set(needs).union(*(of(need) for need in needs)) if needs else set()

    return {name: of(name) for name in by_id}
