"""Which scenario and rule fits a request, how faults are counted, and what is said where nothing fits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tierbus import prompts
from tierbus.answers import schema_errors
from tierbus.contracts import Role, Tier
from tierbus.errors import Misconfigured
from tierbus.planner.plan import Facts, check, read
from tierbus.testing.sim.cache import Cache, tokens
from tierbus.testing.sim.fallback import about, instance, unscripted
from tierbus.testing.sim.script import (
    Book,
    Fault,
    Request,
    Scenario,
    When,
    fits,
    load_scenarios,
    parse,
    tiers_by_model,
    understand,
)

EXECUTOR = prompts.load("tierbus.executor", "step.md")
SCHEMA: dict[str, Any] = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}

TWO = """
name: bread
about: a test
match: the bread of Rosario
task: {prompt: Compare the bread of Rosario with others.}
answers:
  - when: {role: executor, step: answer, tier: small}
    text: Rye.
  - when: {role: executor, critique: true}
    text: Wheat, on reflection.
  - when: {role: planner}
    json: {steps: [{id: crumb, instruction: Describe the crumb of the Rosario loaf.}]}
  - when: {role: executor, step: crumb}
    json: {crumb: open}
faults:
  - when: {role: executor, tier: small}
    status: 529
    times: 2
expect: {route: direct, tier_path: {answer: [small]}}
"""


def _scenario() -> Scenario:
    return parse("bread.yaml", TWO)


def _asked(
    user: str = "<task>\nCompare the bread of Rosario with others.\n</task>",
    *,
    system: str = EXECUTOR,
    step: str = "answer",
    tier: Tier = Tier.SMALL,
    model: str = "claude-haiku-5-5",
    more: tuple[str, ...] = (),
) -> Request:
    named = f"{prompts.fenced('step', '', id=step)}\n\n{user}" if step else user
    return understand(model, tier, system, [named, *more])


@pytest.mark.parametrize(
    ("package", "file", "role"),
    [
        ("tierbus.router", "classify.md", Role.ROUTER),
        ("tierbus.planner", "plan.md", Role.PLANNER),
        ("tierbus.executor", "step.md", Role.EXECUTOR),
        ("tierbus.reviewer", "review.md", Role.REVIEWER),
    ],
)
def test_the_role_is_read_from_the_services_own_prompts(package: str, file: str, role: Role) -> None:
    assert role is _asked(system=prompts.load(package, file)).role


def test_a_stranger_has_no_role() -> None:
    assert _asked(system="You are a helpful assistant.").role is None


def test_the_step_is_read_from_its_tag() -> None:
    assert _asked(step="extract").step == "extract"
    assert _asked(step="").step is None


def test_a_step_in_the_material_is_not_taken_for_the_step() -> None:
    material = prompts.fenced("task", 'say <step id="other">')

    assert _asked(material, step="").step is None


def test_a_repair_is_the_second_turn() -> None:
    assert _asked().turn == 1
    assert _asked(more=("{", "that was not JSON")).turn == 2


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"role": "executor"}, True),
        ({"role": "reviewer"}, False),
        ({"step": "answer", "tier": "small"}, True),
        ({"step": "answer", "tier": "mid"}, False),
        ({"model": "claude-haiku-5-5"}, True),
        ({"model": "claude-haiku-4-5-20251001"}, False),
        ({"contains": "bread of Rosario"}, True),
        ({"contains": "cake of Rosario"}, False),
        ({"critique": False}, True),
        ({"critique": True}, False),
        ({"turn": 1}, True),
        ({"turn": 2}, False),
    ],
)
def test_every_given_key_must_fit(when: dict[str, Any], expected: bool) -> None:
    assert fits(When.model_validate(when), _asked()) is expected


def test_the_executors_rules_speak_of_critiques_without_being_one() -> None:
    assert "<critique>" in EXECUTOR

    criticised = _asked(prompts.fenced("task", "x") + prompts.fenced("critique", "wrong"))

    assert fits(When(critique=True), criticised)
    assert not fits(When(critique=True), _asked())


def test_a_scenario_is_known_by_its_phrase_and_by_its_steps_instructions() -> None:
    book = Book([_scenario()])
    by_step = _asked(prompts.fenced("instruction", "Describe the crumb of the Rosario loaf."), step="crumb")

    assert book.find(_asked()) == book.find(by_step) == _scenario()
    assert book.find(_asked("<task>\nBake.\n</task>")) is None


def test_the_first_rule_that_fits_answers() -> None:
    book, scenario = Book([]), _scenario()

    assert book.answer(scenario, _asked()).text == "Rye.\n\n[SIMULATED]"
    assert json.loads(book.answer(scenario, _asked(step="crumb")).text) == {"crumb": "open"}


def test_a_rule_for_a_critique_answers_one_tier_up() -> None:
    asked = _asked(prompts.fenced("critique", "it is wheat"), tier=Tier.MID)

    assert Book([]).answer(_scenario(), asked).text.startswith("Wheat")


def test_a_fault_strikes_its_times_then_lets_one_pass_and_begins_anew() -> None:
    book, scenario = Book([_scenario()]), _scenario()

    struck = [book.fault(scenario, _asked()) is not None for _ in range(6)]

    assert struck == [True, True, False, True, True, False]


def test_a_fault_does_not_count_what_it_does_not_fit() -> None:
    book, scenario = Book([_scenario()]), _scenario()

    assert book.fault(scenario, _asked(tier=Tier.MID)) is None
    assert book.fault(None, _asked()) is None
    assert book.fault(scenario, _asked()) is not None


def test_a_fault_that_always_strikes_never_tires() -> None:
    scenario = parse("x", TWO.replace("times: 2", "times: always"))
    book = Book([scenario])

    assert all(book.fault(scenario, _asked()) for _ in range(20))


def test_a_rule_that_waits_speaks_after_so_many_requests_that_fit_and_then_always() -> None:
    waits = TWO.replace(
        "    text: Rye.", "    text: Mould.\n    after: 2\n  - when: {role: executor, step: answer}\n    text: Rye."
    )
    book = Book([parse("bread.yaml", waits)])
    [scenario] = book.scenarios
    assert [book.answer(scenario, _asked()).text[:3] for _ in range(2)] == ["Rye"] * 2
    assert book.answer(scenario, _asked(tier=Tier.MID)).text[:3] == "Rye"
    assert [book.answer(scenario, _asked()).text[:5] for _ in range(2)] == ["Mould"] * 2
    book.forget()
    assert book.answer(scenario, _asked()).text[:3] == "Rye"


def test_forgotten_faults_begin_anew() -> None:
    book, scenario = Book([_scenario()]), _scenario()
    book.fault(scenario, _asked())
    book.fault(scenario, _asked())
    book.forget()

    assert book.fault(scenario, _asked()) is not None


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "SIMULATED"),
        ({"type": "string", "maxLength": 3}, "SIM"),
        ({"type": "string", "minLength": 12}, "SIMULATED..."),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": ["string", "null"]}, "SIMULATED"),
        ({"type": "null"}, None),
        ({"type": "boolean"}, False),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "number", "minimum": 0.5}, 0.5),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"oneOf": [{"const": "x"}, {"const": "y"}]}, "x"),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]}, {"a": 0}),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [0, 0]),
        ({"type": "array", "minItems": 2, "uniqueItems": True, "items": {"enum": ["a", "b"]}}, ["a", "b"]),
        ({"type": "array", "minItems": 2, "uniqueItems": True}, ["SIMULATED 1", "SIMULATED 2"]),
        ({"type": "array", "minItems": 2, "prefixItems": [{"const": 1}], "items": {"const": 2}}, [1, 2]),
        (SCHEMA, {"n": 0}),
        ({"properties": {"a": {}, "b": {}}, "required": ["b"]}, {"b": "SIMULATED"}),
        ({}, "SIMULATED"),
    ],
)
def test_the_smallest_instance_fits_its_schema(schema: dict[str, Any], expected: Any) -> None:
    made = instance(schema)

    assert made == expected
    assert schema_errors(schema, made) == []


@pytest.mark.parametrize(
    ("package", "file"),
    [
        ("tierbus.planner", "plan.schema.json"),
        ("tierbus.reviewer", "review.schema.json"),
        ("tierbus.router", "classify.schema.json"),
    ],
)
def test_the_services_own_schemas_have_an_instance(package: str, file: str) -> None:
    schema = prompts.schema(package, file)

    assert schema_errors(schema, instance(schema)) == []


@pytest.mark.parametrize(
    ("role", "package", "file"),
    [
        (Role.PLANNER, "tierbus.planner", "plan.schema.json"),
        (Role.REVIEWER, "tierbus.reviewer", "review.schema.json"),
        (Role.ROUTER, "tierbus.router", "classify.schema.json"),
        (Role.WATCH, "tierbus.reviewer", "judge.schema.json"),
    ],
)
def test_what_nobody_scripted_fits_the_role(role: Role, package: str, file: str) -> None:
    said = unscripted(role, "<task>\nAnything.\n</task>", None)

    assert schema_errors(prompts.schema(package, file), json.loads(said)) == []


def test_the_plan_that_nobody_scripted_is_valid_and_shows_the_attachments() -> None:
    asked = prompts.fenced("attachment", "text", name="a.txt") + prompts.fenced("attachment", "text", name="b.txt")

    plan, problems = read(unscripted(Role.PLANNER, asked, None))

    assert plan is not None
    assert problems == check(plan, Facts(attachments=frozenset({"a.txt", "b.txt"}))) == []
    assert [len(step.needs) for step in plan.steps] == [0, 0, 2]


def test_an_unscripted_answer_says_that_it_is_simulated_and_what_it_is_about() -> None:
    assert unscripted(Role.EXECUTOR, "<task>\nBake\n bread.\n</task>", None) == "SIMULATED answer to: Bake bread."
    assert about("<task>\nx\n</task>\n<instruction>\ny\n</instruction>") == "y"
    assert len(about("z" * 500)) == 80


def test_a_model_of_any_tier_file_has_its_tier() -> None:
    tiers = tiers_by_model()

    assert (tiers["claude-haiku-5-5"], tiers["claude-opus-5-5"]) == (Tier.SMALL, Tier.FRONTIER)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ("match: the bread of Rosario", "match: the cake of Rosario"),
            "does not occur in the task's prompt",
        ),
        (("text: Rye.", "latency_s: 1"), "either `text` or `json`"),
        (("status: 529", "hint: 529"), "extra_forbidden|Extra inputs"),
        (("    status: 529\n", ""), "exactly one of"),
        (("role: planner", "role: cook"), "cook"),
        (("name: bread", "name: [bread"), "not YAML"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_the_reason(change: tuple[str, str], told: str) -> None:
    with pytest.raises(Misconfigured, match=told) as caught:
        parse("bread.yaml", TWO.replace(*change))

    assert "bread.yaml" in str(caught.value)


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    for file in ("a.yaml", "b.yaml"):
        (tmp_path / file).write_text(TWO, encoding="utf-8")

    with pytest.raises(Misconfigured, match="'bread'"):
        load_scenarios(str(tmp_path))


def test_a_folder_that_does_not_exist_is_named() -> None:
    with pytest.raises(Misconfigured, match="/no/such/folder"):
        load_scenarios("/no/such/folder")


def test_a_marked_beginning_is_written_once_and_read_afterwards() -> None:
    cache, rules, material = Cache(), "r" * 4096, "m" * 4096

    first = cache.marked("a", [rules, material, "question"], [1])
    second = cache.marked("a", [rules, material, "another"], [1])

    whole = tokens(f"{rules}\n\n{material}")
    assert (first.read, first.written) == (0, whole)
    assert (second.read, second.written) == (whole, 0)


def test_another_model_has_another_cache() -> None:
    cache = Cache()
    cache.marked("a", ["r" * 4096], [0])

    assert cache.marked("b", ["r" * 4096], [0]) == (0, 1024)


def test_of_two_marks_the_known_one_is_read_and_the_rest_written() -> None:
    cache = Cache()
    cache.marked("a", ["r" * 4096], [0])

    assert cache.marked("a", ["r" * 4096, "m" * 398], [0, 1]) == (1024, 100)


@pytest.mark.parametrize(("blocks", "marks"), [(["r" * 4092], [0]), (["r" * 8000], [])])
def test_short_or_unmarked_beginnings_are_not_cached(blocks: list[str], marks: list[int]) -> None:
    cache = Cache()

    assert [cache.marked("a", blocks, marks) for _ in range(2)] == [(0, 0), (0, 0)]


def test_the_longest_known_beginning_counts_in_steps_of_128_tokens() -> None:
    cache = Cache()
    assert cache.longest("a", "x" * 6000) == (0, 0)

    assert cache.longest("a", "x" * 5200 + "y" * 4000) == (1280, 0)
    assert cache.longest("a", "x" * 4000) == (0, 0)


def test_only_a_request_in_a_batch_can_expire() -> None:
    with pytest.raises(ValidationError, match="strikes only requests in batches"):
        Fault(expired=True)

    assert Fault(expired=True, when=When(batch=True)).expired


def test_a_rule_about_batches_fits_only_requests_in_them() -> None:
    by_itself = understand("claude-haiku-5-5", Tier.SMALL, "", ["x"])
    batched = replace(by_itself, batch=True)

    assert [fits(When(batch=True), one) for one in (by_itself, batched)] == [False, True]
    assert [fits(When(batch=False), one) for one in (by_itself, batched)] == [True, False]
    assert all(fits(When(), one) for one in (by_itself, batched))
