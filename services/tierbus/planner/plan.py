"""Reading a plan and finding everything that is wrong with it, before anything runs. Pure."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tierbus import limits
from tierbus.answers import broken_schema, parse_json
from tierbus.contracts import Plan, Step, Tier, explain
from tierbus.pricing.cost import estimate
from tierbus.tiers.catalog import Catalog

STEP_INPUT_TOKENS = 2000
STEP_OUTPUT_TOKENS = 600
"""Size of an average step, for the estimate of what a plan costs."""


@dataclass(frozen=True)
class Facts:
    """What a plan is checked against. `budget_nano_usd` None: no budget."""

    attachments: frozenset[str]
    tools: frozenset[str] = frozenset()
    max_steps: int = limits.PLAN_STEPS
    max_depth: int = limits.PLAN_DEPTH
    budget_nano_usd: int | None = None


def read(text: str) -> tuple[Plan | None, list[str]]:
    """The plan in a planner's answer, or why there is none."""
    try:
        value = parse_json(text)
    except ValueError as error:
        return None, [f"the answer is not JSON: {error}"]
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        return None, ["the answer has no list `steps`"]
    problems: list[str] = []
    steps = [_step(place, step, problems) for place, step in enumerate(value["steps"])]
    if problems:
        return None, problems
    return Plan(steps=tuple(step for step in steps if step is not None)), []


def _step(place: int, value: Any, problems: list[str]) -> Step | None:
    name = value.get("id", place) if isinstance(value, dict) else place
    try:
        return Step.model_validate(_with_schema(value))
    except ValidationError as error:
        problems += [f"step {name!r}: {line}" for line in explain(error)]
    except ValueError as error:
        problems.append(f"step {name!r}: expects.json_schema is not JSON: {error}")
    return None


def _with_schema(value: Any) -> Any:
    """A step whose schema was written as JSON text, as the planner's own answer format needs it, with the schema read."""
    expects = value.get("expects") if isinstance(value, Mapping) else None
    if not isinstance(expects, Mapping) or not isinstance(expects.get("json_schema"), str):
        return value
    text = expects["json_schema"].strip()
    return {**value, "expects": {**expects, "json_schema": json.loads(text) if text else None}}


def check(plan: Plan, facts: Facts) -> list[str]:
    """Everything that is wrong with a plan, one sentence each; empty if it can run."""
    problems = [*_size(plan, facts), *_names(plan), *_inputs(plan, facts), *_schemas(plan)]
    if problems:
        return problems
    return _shape(plan, facts)


def _size(plan: Plan, facts: Facts) -> list[str]:
    count = len(plan.steps)
    if count == 0:
        return ["the plan has no steps"]
    return [f"the plan has {count} steps, the limit is {facts.max_steps}"] if count > facts.max_steps else []


def _names(plan: Plan) -> list[str]:
    known = Counter(step.id for step in plan.steps)
    problems = [f"step id {name!r} is used {times} times" for name, times in known.items() if times > 1]
    for step in plan.steps:
        problems += [f"step {step.id!r} needs the unknown step {need!r}" for need in step.needs if need not in known]
        if step.id in step.needs:
            problems.append(f"step {step.id!r} needs itself")
    return problems


def _inputs(plan: Plan, facts: Facts) -> list[str]:
    problems = []
    for step in plan.steps:
        problems += [
            f"step {step.id!r} is shown the output of {name!r}, which is not in its needs"
            for name in step.inputs.outputs
            if name not in step.needs
        ]
        problems += [
            f"step {step.id!r} is shown the unknown attachment {name!r}"
            for name in step.inputs.attachments
            if name not in facts.attachments
        ]
        problems += [
            f"step {step.id!r} uses the unknown tool {name!r}" for name in step.tools if name not in facts.tools
        ]
    return problems


def _schemas(plan: Plan) -> list[str]:
    found = [(step.id, broken_schema(step.expects.json_schema)) for step in plan.steps if step.expects.json_schema]
    return [f"step {name!r}: expects.json_schema is not a JSON schema: {why}" for name, why in found if why]


def _shape(plan: Plan, facts: Facts) -> list[str]:
    depth = depths(plan)
    if depth is None:
        return [f"the steps {', '.join(sorted(_on_cycles(plan)))} need each other in a circle"]
    problems = []
    needed = {need for step in plan.steps for need in step.needs}
    last = [step.id for step in plan.steps if step.id not in needed]
    if len(last) != 1:
        problems.append(f"exactly one step may be needed by no other, these are: {', '.join(last)}")
    deepest = max(depth.values())
    if deepest > facts.max_depth:
        problems.append(f"the longest chain has {deepest} steps, the limit is {facts.max_depth}")
    return problems


def depths(plan: Plan) -> dict[str, int] | None:
    """How many steps the longest chain up to each step has, itself included; None where steps need each other."""
    found: dict[str, int] = {}
    left = {step.id: step for step in plan.steps}
    while left:
        ready = [step for step in left.values() if all(need in found for need in step.needs)]
        if not ready:
            return None
        for step in ready:
            found[step.id] = 1 + max((found[need] for need in step.needs), default=0)
            del left[step.id]
    return found


def _on_cycles(plan: Plan) -> set[str]:
    left = {step.id: set(step.needs) for step in plan.steps}
    while done := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in done}
    return set(left)


def cost_nano_usd(plan: Plan, catalog: Catalog, at: float) -> int | None:
    """What the plan's steps are estimated to cost without escalations; None where a price is unknown."""
    costs = [_step_cost(step.tier, catalog, at) for step in plan.steps]
    return None if any(cost is None for cost in costs) else sum(cost or 0 for cost in costs)


def _step_cost(tier: Tier, catalog: Catalog, at: float) -> int | None:
    return estimate(catalog.tiers[tier][0], STEP_INPUT_TOKENS, STEP_OUTPUT_TOKENS, at).nano_usd


def affordable(plan: Plan, facts: Facts, catalog: Catalog, at: float) -> list[str]:
    """Why the budget does not reach for the plan; empty if it does or there is none."""
    cost = cost_nano_usd(plan, catalog, at)
    if facts.budget_nano_usd is None or cost is None or cost <= facts.budget_nano_usd:
        return []
    return [f"the plan is estimated at ${cost / 1e9:.6f}, ${facts.budget_nano_usd / 1e9:.6f} of the budget is left"]
