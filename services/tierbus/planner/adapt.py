"""A kept plan with the words of another task: what a small model is shown of it, and what its answer makes of it. Pure.

The model gives words only. Ids, needs, inputs, tools, tiers and output schemas are the kept plan's own, with the new task's
attachments in the places of the earlier ones, so a plan that comes out has the kept one's structure.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from tierbus.answers import parse_json
from tierbus.contracts import Model, Plan, Step, explain
from tierbus.plans.shape import spoken, strangers
from tierbus.plans.shelf import Template


class Words(Model):
    """What a small model says of one step."""

    id: str
    instruction: Annotated[str, Field(min_length=1)]
    must_mention: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    edge_cases: tuple[str, ...] = ()


class _Answer(Model):
    steps: tuple[Words, ...]


def shown(template: Template) -> str:
    """The kept plan as the model is shown it: the words that it replaces, and what each step is given."""
    return json.dumps({"steps": [_shown(step) for step in template.plan.steps]}, ensure_ascii=False, indent=1)


def _shown(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "instruction": step.instruction,
        "must_mention": list(step.expects.must_mention),
        "criteria": list(step.expects.criteria),
        "edge_cases": list(step.edge_cases),
        "needs": list(step.needs),
        "is_shown": [*step.inputs.attachments, *(["the task"] if step.inputs.prompt else [])],
    }


def fill(template: Template, text: str, names: Sequence[str], material: str) -> tuple[Plan | None, list[str]]:
    """The kept plan with the words of a small model's answer, or why that cannot be used.

    `names` are the new task's attachments, `material` all that the model was shown of that task. The problems name steps but
    quote no word of a task: they go into logs.
    """
    try:
        answer = _Answer.model_validate(parse_json(text))
    except ValidationError as error:
        return None, [line.split(" (got ")[0] for line in explain(error)]
    except ValueError:
        return None, ["the answer is not JSON"]
    problems = _structure(template, answer, names)
    if problems:
        return None, problems
    places = dict(zip(template.attachments, names, strict=True))
    steps = [_step(step, words, places) for step, words in zip(template.plan.steps, answer.steps, strict=True)]
    left = [(step.id, len(strangers(spoken(step), template.literals, material))) for step in steps]
    problems = [f"step {name!r} still speaks of the earlier task, in {count} places" for name, count in left if count]
    return (None, problems) if problems else (Plan(steps=tuple(steps)), [])


def _structure(template: Template, answer: _Answer, names: Sequence[str]) -> list[str]:
    """Why the answer does not stand step by step for the kept plan."""
    kept, said = [step.id for step in template.plan.steps], [words.id for words in answer.steps]
    problems = [f"step {name!r} is missing" for name in kept if name not in said]
    unknown = len([name for name in said if name not in kept])
    if unknown:
        problems.append(f"{unknown} steps are not of the plan")
    if not problems and kept != said:
        problems.append(f"the steps stand in another order than {', '.join(kept)}, or one stands there twice")
    if len(names) != len(template.attachments) or len(set(template.attachments)) != len(template.attachments):
        problems.append(f"{len(names)} attachments cannot stand for {len(template.attachments)}")
    return problems


def _step(step: Step, words: Words, places: Mapping[str, str]) -> Step:
    inputs = step.inputs.model_copy(
        update={"attachments": tuple(places.get(name, name) for name in step.inputs.attachments)}
    )
    expects = step.expects.model_copy(update={"must_mention": words.must_mention, "criteria": words.criteria})
    return step.model_copy(
        update={
            "instruction": words.instruction,
            "inputs": inputs,
            "expects": expects,
            "edge_cases": words.edge_cases,
        }
    )
