"""A kept plan with other words: its structure stays, whatever the model says."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import NOW, plans

from tierbus.contracts import Expects, Inputs, Plan, Step, Tier
from tierbus.planner.adapt import fill, shown
from tierbus.planner.plan import Facts, check
from tierbus.plans.shelf import Template

READ = Step(
    id="read",
    instruction="Read what Aurora asks for in aurora.txt.",
    inputs=Inputs(attachments=("aurora.txt",), prompt=True),
    expects=Expects(json_schema={"type": "object"}, must_mention=("Aurora",)),
    edge_cases=("Aurora is missing: say so.",),
    tier=Tier.MID,
)
WRITE = Step(id="write", instruction="Advise.", needs=("read",), inputs=Inputs(outputs=("read",)))
KEPT = Template(
    id="first",
    plan=Plan(steps=(READ, WRITE)),
    prompt="Judge the offer of Aurora.",
    attachments=("aurora.txt",),
    literals=("Aurora", "aurora.txt"),
    made_at=NOW,
    used_at=NOW,
)
MATERIAL = '<task>\nJudge the offer of Nordvik.\n</task>\n<attachment name="nordvik.txt">\n</attachment>'


def words(name: str, instruction: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "instruction": instruction, "must_mention": [], "criteria": [], "edge_cases": [], **more}


def answer(*steps: dict[str, Any]) -> str:
    return json.dumps({"steps": steps})


NEW_READ = words("read", "Read what Nordvik asks for in nordvik.txt.", must_mention=["Nordvik"], criteria=["is short"])
NEW_WRITE = words("write", "Advise.")


def filled(*steps: dict[str, Any], names: tuple[str, ...] = ("nordvik.txt",)) -> tuple[Plan | None, list[str]]:
    return fill(KEPT, answer(*steps), names, MATERIAL)


def structure(plan: Plan, names: tuple[str, ...]) -> list[tuple[object, ...]]:
    """All of a plan that is not words; attachments by their place."""
    return [
        (
            step.id,
            step.needs,
            step.inputs.outputs,
            tuple(names.index(name) for name in step.inputs.attachments),
            step.inputs.prompt,
            step.tools,
            step.tier,
            json.dumps(step.expects.json_schema, sort_keys=True),
            step.expects.min_chars,
            step.expects.max_chars,
        )
        for step in plan.steps
    ]


def test_the_words_are_new_and_the_structure_is_the_kept_ones() -> None:
    plan, problems = filled(NEW_READ, NEW_WRITE)

    assert problems == []
    assert plan is not None
    assert structure(plan, ("nordvik.txt",)) == structure(KEPT.plan, KEPT.attachments)
    assert plan.steps[0].instruction == "Read what Nordvik asks for in nordvik.txt."
    assert plan.steps[0].expects.must_mention == ("Nordvik",)
    assert (plan.steps[0].expects.criteria, plan.steps[0].edge_cases) == (("is short",), ())


BAD: dict[str, tuple[str, str]] = {
    "prose": ("I would rather not.", "the answer is not JSON"),
    "no steps": ("{}", "steps: Field required"),
    "a step missing": (answer(NEW_READ), "step 'write' is missing"),
    "a step more": (answer(NEW_READ, NEW_WRITE, words("more", "x")), "1 steps are not of the plan"),
    "renamed": (answer(words("look", "x"), NEW_WRITE), "step 'read' is missing"),
    "another order": (answer(NEW_WRITE, NEW_READ), "the steps stand in another order than read, write"),
    "twice": (answer(NEW_READ, NEW_READ, NEW_WRITE), "one stands there twice"),
    "no instruction": (answer(words("read", ""), NEW_WRITE), "steps.0.instruction"),
    "needs of its own": (answer({**NEW_READ, "needs": ["write"]}, NEW_WRITE), "steps.0.needs: Extra inputs"),
    "old words": (
        answer(words("read", "Read what Aurora asks for."), NEW_WRITE),
        "step 'read' still speaks of the earlier task, in 1 places",
    ),
    "old words in an edge case": (
        answer({**NEW_READ, "edge_cases": ["aurora.txt is empty"]}, NEW_WRITE),
        "step 'read' still speaks of the earlier task, in 2 places",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_does_not_stand_for_the_plan_is_refused(name: str) -> None:
    text, why = BAD[name]

    plan, problems = fill(KEPT, text, ("nordvik.txt",), MATERIAL)

    assert plan is None
    assert why in "; ".join(problems)


def test_no_problem_quotes_a_tasks_words() -> None:
    told = [fill(KEPT, text, ("nordvik.txt",), MATERIAL)[1] for text, _ in BAD.values()]

    assert [line for problems in told for line in problems if "Aurora" in line or "rather" in line] == []


def test_what_the_new_task_speaks_of_too_may_stay() -> None:
    plan, _ = fill(KEPT, answer(words("read", "Compare with Aurora."), NEW_WRITE), ("n.txt",), f"{MATERIAL} Aurora")

    assert plan is not None


@pytest.mark.parametrize("names", [(), ("a.txt", "b.txt")])
def test_another_number_of_attachments_cannot_be_filled_in(names: tuple[str, ...]) -> None:
    plan, problems = filled(NEW_READ, NEW_WRITE, names=names)

    assert (plan, problems) == (None, [f"{len(names)} attachments cannot stand for 1"])


def test_the_model_is_shown_the_words_and_what_each_step_is_given() -> None:
    [first, second] = json.loads(shown(KEPT))["steps"]

    assert first["is_shown"] == ["aurora.txt", "the task"]
    assert (second["id"], second["instruction"], second["needs"]) == ("write", "Advise.", ["read"])
    assert "json_schema" not in json.dumps([first, second])


@settings(max_examples=60, deadline=None)
@given(plans(), st.text(min_size=1, max_size=40), st.lists(st.text(max_size=20), max_size=3))
def test_any_words_leave_any_plans_structure_and_its_validity(plan: Plan, said: str, criteria: list[str]) -> None:
    kept = KEPT.model_copy(update={"plan": plan, "attachments": (), "literals": ()})
    text = answer(*(words(step.id, said, criteria=criteria) for step in plan.steps))

    found, problems = fill(kept, text, (), "")

    assert problems == []
    assert found is not None
    assert structure(found, ()) == structure(plan, ())
    assert check(found, Facts(frozenset())) == check(plan, Facts(frozenset()))


@settings(max_examples=60, deadline=None)
@given(plans(), st.randoms(use_true_random=False))
def test_any_other_list_of_steps_is_refused(plan: Plan, chance: Any) -> None:
    kept = KEPT.model_copy(update={"plan": plan, "attachments": (), "literals": ()})
    names = [step.id for step in plan.steps]
    other = chance.choices([*names, "stranger"], k=chance.randint(0, len(names) + 1))

    found, problems = fill(kept, answer(*(words(name, "Do.") for name in other)), (), "")

    assert (found is not None, problems == []) == (other == names, other == names)
