"""Every scenario, as it is published by the demo, ends as it says it does."""

import asyncio

import pytest
from tests.flow.conftest import Lab
from tests.scenarios import publish_all

from tierbus.contracts import CallStatus, Result, Role
from tierbus.testing.sim.script import load_scenarios

TENANT = "scenarios"
SCENARIOS = load_scenarios()


@pytest.fixture(scope="module")
def results(lab: Lab) -> dict[str, Result]:
    """All scenarios at once."""
    return asyncio.run(publish_all(lab.stack.settings, TENANT, 90.0))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_ends_as_it_says(results: dict[str, Result], scenario: object) -> None:
    from tierbus.testing.sim.script import Scenario

    assert isinstance(scenario, Scenario)
    result = results[scenario.name]
    paths = {step.id: step.tier_path for step in result.steps}

    assert (scenario.expect.status, scenario.expect.route) == (result.status, result.decision and result.decision.route)
    assert scenario.expect.tier_path == paths
    assert scenario.expect.steps == len(result.steps)


def test_every_results_cost_is_the_sum_of_its_ledger_records(lab: Lab, results: dict[str, Result]) -> None:
    ledger = lab.ledger(TENANT)
    by_run = {result.run: [call for call in ledger if call.run == result.run] for result in results.values()}

    assert {run: sum(call.cost_nano_usd or 0 for call in calls) for run, calls in by_run.items()} == {
        result.run: result.cost_nano_usd for result in results.values()
    }
    assert {run: len(calls) for run, calls in by_run.items()} == {
        result.run: result.calls for result in results.values()
    }


def test_every_call_that_sim_served_is_in_the_ledger_with_its_tokens(lab: Lab, results: dict[str, Result]) -> None:
    names = {scenario.name for scenario in SCENARIOS}
    served = {one["id"]: one for one in lab.served() if one["scenario"] in names and one["state"] == "done"}
    ledger = {call.request_id: call for call in lab.ledger(TENANT) if call.status is not CallStatus.INTERRUPTED}

    assert results
    assert set(served) <= set(ledger)
    finished = [call for call in ledger.values() if call.status is CallStatus.FINISHED]
    assert [
        (served[str(call.request_id)]["input_tokens"], served[str(call.request_id)]["output_tokens"])
        for call in finished
    ] == [(call.usage.input, call.usage.output) for call in finished]


def test_simple_tasks_never_pay_for_planning_and_planned_ones_pay_the_frontier_once(results: dict[str, Result]) -> None:
    """A repaired plan is one more call; nobody else asks the planner."""
    planner = {name: result.cost_by_role.get(Role.PLANNER) for name, result in results.items()}
    calls = {scenario.name: (planner[scenario.name].calls if planner[scenario.name] else 0) for scenario in SCENARIOS}  # type: ignore[union-attr] # checked in the condition
    direct = {scenario.name for scenario in SCENARIOS if scenario.expect.route == "direct"}

    assert dict.fromkeys(direct, 0) == {name: count for name, count in calls.items() if name in direct}
    assert {1, 2} >= {count for name, count in calls.items() if name not in direct}


def test_a_step_that_gave_json_hands_json_on(results: dict[str, Result]) -> None:
    planned = [result for result in results.values() if len(result.steps) > 1]

    assert planned
    assert all(result.answer is not None for result in planned if result.status == "succeeded")
