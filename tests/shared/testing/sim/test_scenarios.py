"""Every scenario that ships: it can run, its answers are as they claim, and the promised kinds are there."""

import json
from collections import Counter
from typing import Any

import pytest

from tierbus import prompts
from tierbus.answers import broken_schema, schema_errors
from tierbus.contracts import Expects, Plan, Role, Route, Step, Task, Tier
from tierbus.planner.plan import Facts, check, depths, read
from tierbus.router.decide import by_rules, decide
from tierbus.router.signals import instruction_of, signals
from tierbus.testing.sim.script import (
    Answer,
    Book,
    Request,
    Scenario,
    bench_scenarios,
    load_scenarios,
    understand,
)
from tierbus.tiers import catalog

SHIPPED = load_scenarios()
ALL = [*SHIPPED, *bench_scenarios()]
PLANNED = [scenario for scenario in ALL if scenario.plans()]

each = pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
each_planned = pytest.mark.parametrize("scenario", PLANNED, ids=lambda scenario: scenario.name)


def _facts(scenario: Scenario) -> Facts:
    return Facts(attachments=frozenset(item.name for item in scenario.task.attachments))


def _plan(scenario: Scenario) -> Plan | None:
    """The plan that runs: the last one that the planner gives."""
    if not scenario.plans():
        return None
    plan, problems = read(json.dumps(scenario.plans()[-1]))
    assert problems == []
    return plan


def _steps(scenario: Scenario) -> list[Step]:
    plan = _plan(scenario)
    if plan is not None:
        return list(plan.steps)
    return [Step(id="answer", instruction="Do the task.", expects=Expects.model_validate(scenario.task.expects))]


def _last(scenario: Scenario) -> str:
    needed = {need for step in _steps(scenario) for need in step.needs}
    [last] = [step.id for step in _steps(scenario) if step.id not in needed]
    return last


def _final_tier(scenario: Scenario, step: str) -> Tier:
    return scenario.expect.tier_path[step][-1]


def _request(scenario: Scenario, step: Step, tier: Tier) -> Request:
    """What the executor would ask for the attempt that ends the step."""
    parts = [prompts.fenced("step", "", id=step.id)]
    parts.append(
        prompts.fenced("task", scenario.task.prompt)
        if step.id == "answer"
        else prompts.fenced("instruction", step.instruction)
    )
    if len(scenario.expect.tier_path[step.id]) > 1:
        parts.append(prompts.fenced("critique", "it was wrong"))
    system = prompts.load("tierbus.executor", "step.md")
    model = catalog.load("default").tiers[tier][0].id
    return understand(model, tier, system, ["\n\n".join(parts)], step.expects.json_schema)


def _final_answer(scenario: Scenario, step: Step) -> str:
    request = _request(scenario, step, _final_tier(scenario, step.id))
    book = Book(ALL)
    assert book.find(request) == scenario
    return book.answer(scenario, request).text


@each
def test_the_task_is_one_that_the_bus_takes(scenario: Scenario) -> None:
    task = Task.model_validate_json(json.dumps(scenario.task_body()))

    assert task.prompt == scenario.task.prompt
    assert task.expects.json_schema is None or broken_schema(task.expects.json_schema) is None


@each
def test_the_router_sees_the_phrase_by_which_the_scenario_is_known(scenario: Scenario) -> None:
    assert scenario.match in instruction_of(scenario.task.prompt)


def test_no_phrase_belongs_to_two_scenarios() -> None:
    texts = {
        scenario.name: "\n".join(
            [scenario.task.prompt, *(item.text for item in scenario.task.attachments), *scenario.marks()]
        )
        for scenario in ALL
    }
    for scenario in ALL:
        for mark in scenario.marks():
            assert mark == prompts.defuse(mark)
            found = [name for name, text in texts.items() if mark in text]
            assert found == [scenario.name], mark


@each
def test_the_rules_route_it_as_it_says(scenario: Scenario) -> None:
    task = Task.model_validate_json(json.dumps(scenario.task_body()))
    seen = signals(scenario.task.prompt, [len(item.text.encode()) for item in scenario.task.attachments])
    scores = by_rules(seen)
    if scores.confidence < 0.6 and not (task.hints.route or task.hints.tier):
        assert any(answer.when.role is Role.ROUTER for answer in scenario.answers), "the rules are unsure"
        return

    decision = decide(
        seen,
        scores,
        risk=task.risk,
        hints=task.hints,
        catalog=catalog.load("default"),
        at=1.8e9,
        decided_by="rules",
    )

    assert decision.route == scenario.expect.route
    if decision.route is Route.DIRECT:
        assert decision.tier is scenario.expect.tier_path["answer"][0]


@each
def test_scripted_classifications_and_verdicts_fit_their_schemas(scenario: Scenario) -> None:
    schemas = {
        Role.ROUTER: prompts.schema("tierbus.router", "classify.schema.json"),
        Role.REVIEWER: prompts.schema("tierbus.reviewer", "review.schema.json"),
        Role.PLANNER: prompts.schema("tierbus.planner", "plan.schema.json"),
    }
    for answer in scenario.answers:
        if answer.when.role in schemas:
            assert schema_errors(schemas[answer.when.role], answer.json_) == []


@each_planned
def test_the_plan_that_runs_is_valid_and_has_one_last_step(scenario: Scenario) -> None:
    plan = _plan(scenario)

    assert plan is not None
    assert check(plan, _facts(scenario)) == []
    assert len(plan.steps) == scenario.expect.steps
    assert _last(scenario) == plan.steps[-1].id


@each_planned
def test_a_repaired_plan_was_bad_before(scenario: Scenario) -> None:
    first, problems = read(json.dumps(scenario.plans()[0]))
    bad = bool(problems) or first is None or bool(check(first, _facts(scenario)))

    assert bad is scenario.expect.repaired


@each
def test_the_tier_path_names_every_step_and_starts_where_the_plan_says(scenario: Scenario) -> None:
    steps = _steps(scenario)

    assert set(scenario.expect.tier_path) == {step.id for step in steps}
    if scenario.plans():
        assert [scenario.expect.tier_path[step.id][0] for step in steps] == [step.tier for step in steps]


@each
def test_every_answer_is_for_somebody(scenario: Scenario) -> None:
    names = {step.id for step in _steps(scenario)}
    for when in [rule.when for rule in scenario.answers] + [fault.when for fault in scenario.faults]:
        assert when.step in {None, *names}
        assert when.role is not None


@pytest.mark.parametrize(
    "scenario", [s for s in ALL if s.expect.status == "succeeded"], ids=lambda scenario: scenario.name
)
def test_the_final_answers_are_what_steps_and_task_expect(scenario: Scenario) -> None:
    for step in _steps(scenario):
        answer = _final_answer(scenario, step)
        _holds(answer, step.expects)
        if step.id == _last(scenario):
            _holds(answer, Expects.model_validate(scenario.task.expects))


def _holds(answer: str, expects: Expects) -> None:
    flat = " ".join(answer.split()).lower()
    assert [fact for fact in expects.must_mention if fact.lower() not in flat] == []
    assert expects.max_chars is None or len(answer) <= expects.max_chars
    assert expects.min_chars is None or len(answer) >= expects.min_chars
    if expects.json_schema is not None:
        assert schema_errors(expects.json_schema, json.loads(answer)) == []
    else:
        assert "SIMULATED" in answer


@each
def test_what_must_be_mentioned_can_be_known(scenario: Scenario) -> None:
    """A fact that is asked for stands in the material, or follows from it in the answer of a step."""
    given = [scenario.task.prompt, *(item.text for item in scenario.task.attachments)]
    worked_out = [json.dumps(answer.json_) for answer in scenario.answers]
    worked_out += [answer.text or "" for answer in scenario.answers]
    for fact in Expects.model_validate(scenario.task.expects).must_mention:
        assert any(fact.lower() in text.lower() for text in (*given, *worked_out)), fact


@each
def test_a_rejection_names_a_phrase_of_the_wrong_answer_only(scenario: Scenario) -> None:
    final = {step.id: _final_answer(scenario, step) for step in _steps(scenario)}
    material = "\n".join([scenario.task.prompt, *(item.text for item in scenario.task.attachments)])
    for rule in scenario.answers:
        if rule.when.role is not Role.REVIEWER or rule.json_["verdict"] == "accept":
            continue
        phrase = rule.when.contains
        assert phrase is not None
        assert rule.json_["critique"]
        assert phrase not in material
        assert any(phrase in other.said.text for other in scenario.answers if other.when.role is Role.EXECUTOR)
        assert not any(phrase in text for text in final.values())


def _failing(scenario: Scenario) -> list[Answer]:
    return [answer for answer in scenario.answers if answer.when.role is Role.EXECUTOR]


@pytest.mark.parametrize(
    "scenario", [s for s in ALL if s.expect.status == "failed"], ids=lambda scenario: scenario.name
)
def test_a_task_that_fails_is_turned_down_on_every_tier(scenario: Scenario) -> None:
    assert scenario.expect.tier_path == {"answer": (Tier.SMALL, Tier.MID, Tier.FRONTIER)}
    schema: dict[str, Any] = scenario.task.expects["json_schema"]
    rejected = [answer.when.contains for answer in scenario.answers if answer.when.role is Role.REVIEWER]
    for answer in _failing(scenario):
        fits_schema = not schema_errors(schema, answer.json_)
        assert fits_schema is any(phrase in answer.said.text for phrase in rejected if phrase)


def _diamond(scenario: Scenario) -> bool:
    plan = _plan(scenario)
    if plan is None:
        return False
    width = Counter((depths(plan) or {}).values())
    return [width[depth] for depth in sorted(width)] == [1, 2, 1]


def test_the_kinds_that_are_promised_are_there() -> None:
    names = {scenario.name for scenario in SHIPPED}
    paths = {scenario.name: list(scenario.expect.tier_path.values()) for scenario in SHIPPED}

    assert len(SHIPPED) >= 14
    assert names >= {
        "support-triage",
        "invoice-extraction",
        "translation",
        "code-review",
        "contract-comparison",
        "incident-report",
        "data-cleaning",
        "research-brief",
        "sql-from-schema",
        "release-notes",
        "multi-document-question",
        "ambiguous-request",
    }
    assert {"direct", "plan"} == {scenario.expect.route for scenario in SHIPPED}
    assert [scenario.name for scenario in SHIPPED if _diamond(scenario)] == ["incident-report"]
    assert (Tier.SMALL, Tier.MID) in paths["escalation-mended"]
    assert [scenario.name for scenario in SHIPPED if scenario.expect.status == "failed"] == ["escalation-failed"]
    assert [scenario.name for scenario in SHIPPED if scenario.expect.repaired] == ["plan-repaired"]
    assert any(fault.times == "always" and fault.status == 529 for s in SHIPPED for fault in s.faults)


def test_an_outage_hits_the_first_model_of_the_default_tier_only() -> None:
    first = {models[0].id for models in catalog.load("default").tiers.values()}
    for scenario in SHIPPED:
        for fault in scenario.faults:
            assert fault.when.model is None or fault.when.model in first


def test_the_material_is_of_real_length() -> None:
    [incident] = [scenario for scenario in SHIPPED if scenario.name == "incident-report"]
    [log] = [item.text for item in incident.task.attachments if item.name == "payments.log"]
    failed = [line for line in log.splitlines() if "status=503" in line]

    assert 40 <= len(log.splitlines()) <= 120
    assert len(failed) == 36
    assert Counter(line.rsplit("tenant=", 1)[1] for line in failed) == {
        "hansa": 11,
        "orbit": 11,
        "lumen": 9,
        "kestrel": 5,
    }


def test_the_benchmarks_scenarios_are_a_diamond_and_a_direct_task() -> None:
    direct, diamond = sorted(bench_scenarios(), key=lambda scenario: scenario.expect.route)

    assert (direct.match, diamond.match) == ("BENCH direct", "BENCH diamond")
    assert _diamond(diamond)
