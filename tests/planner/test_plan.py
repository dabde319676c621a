"""Reading and checking plans."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import diamond, plans, step

from tierbus import limits
from tierbus.contracts import Expects, Inputs, Plan, Step
from tierbus.planner.plan import Facts, check, depths, read

FACTS = Facts(attachments=frozenset({"a.txt"}))


def changed(plan: Plan, name: str, **update: object) -> Plan:
    return Plan(steps=tuple(one.model_copy(update=update) if one.id == name else one for one in plan.steps))


@settings(max_examples=200, deadline=None)
@given(plan=plans())
def test_every_valid_plan_passes(plan: Plan) -> None:
    assert check(plan, Facts(attachments=frozenset(), max_depth=7)) == []


def _circle(plan: Plan) -> Plan:
    """The first step of the longest chain now needs the last one."""
    found = depths(plan) or {}
    first = min(found, key=lambda name: found[name])
    last = max(found, key=lambda name: found[name])
    return changed(plan, first, needs=(last,), inputs=Inputs())


BREAKS: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "circle": (_circle, "circle|itself"),
    "unknown need": (
        lambda plan: changed(plan, "last", needs=("ghost",), inputs=Inputs()),
        "unknown step 'ghost'",
    ),
    "unknown attachment": (
        lambda plan: changed(plan, "last", inputs=Inputs(attachments=("ghost.txt",))),
        "unknown attachment 'ghost.txt'",
    ),
    "unknown tool": (lambda plan: changed(plan, "last", tools=("browser",)), "unknown tool 'browser'"),
    "output not needed": (
        lambda plan: changed(plan, "last", inputs=Inputs(outputs=("elsewhere",))),
        "'elsewhere', which is not in its needs",
    ),
    "twice the same id": (lambda plan: Plan(steps=(*plan.steps, step("last"))), "'last' is used 2 times"),
    "two last steps": (lambda plan: Plan(steps=(*plan.steps, step("other"))), "exactly one step"),
    "broken schema": (
        lambda plan: changed(plan, "last", expects=Expects(json_schema={"type": "no such type"})),
        "not a JSON schema",
    ),
    "too many steps": (
        lambda plan: Plan(steps=(*plan.steps, *(step(f"extra{n}") for n in range(limits.PLAN_STEPS)))),
        "the limit is",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
@settings(max_examples=40, deadline=None)
@given(plan=plans())
def test_every_broken_plan_is_named_invalid_with_the_reason(name: str, plan: Plan) -> None:
    breaker, reason = BREAKS[name]

    problems = check(breaker(plan), FACTS)

    assert problems
    assert any(_matches(reason, problem) for problem in problems), problems


def _matches(reason: str, problem: str) -> bool:
    return any(part in problem for part in reason.split("|"))


@settings(max_examples=50, deadline=None)
@given(length=st.integers(limits.PLAN_DEPTH + 1, limits.PLAN_STEPS))
def test_a_chain_that_is_too_long_is_invalid(length: int) -> None:
    chain = [step("s0"), *(step(f"s{n}", f"s{n - 1}") for n in range(1, length))]

    [problem] = check(Plan(steps=tuple(chain)), FACTS)

    assert f"the longest chain has {length} steps" in problem


def test_an_empty_plan_is_invalid() -> None:
    assert check(Plan(steps=()), FACTS) == ["the plan has no steps"]


def test_the_planners_json_text_schema_is_read() -> None:
    answer = {"steps": [{"id": "only", "instruction": "Do it.", "expects": {"json_schema": '{"type": "object"}'}}]}

    plan, problems = read(json.dumps(answer))

    assert problems == []
    assert plan is not None
    assert plan.steps[0].expects.json_schema == {"type": "object"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("not json", "not JSON"),
        ("[]", "no list `steps`"),
        ('{"steps": [{"id": "Bad Id", "instruction": "x"}]}', "step 'Bad Id': id"),
        ('{"steps": [{"id": "a", "instruction": "x", "tier": "giant"}]}', "step 'a': tier"),
        (
            '{"steps": [{"id": "a", "instruction": "x", "expects": {"json_schema": "{"}}]}',
            "json_schema is not JSON",
        ),
        ('{"steps": ["a"]}', "step 0"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_value(answer: str, reason: str) -> None:
    plan, problems = read(answer)

    assert plan is None
    assert any(reason in problem for problem in problems), problems


def test_the_diamond_has_depth_three() -> None:
    assert depths(diamond()) == {"split": 1, "left": 2, "right": 2, "join": 3}


def test_a_step_needs_an_instruction() -> None:
    with pytest.raises(ValueError, match="instruction"):
        Step(id="a", instruction="")
