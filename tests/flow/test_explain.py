"""`tierbus costs --explain` over the demo's scenarios: its parts are the bill."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from tests.flow.conftest import Lab
from tests.flow.test_cli import tierbus
from tests.scenarios import publish_all

from tierbus.cli.stack import Stack
from tierbus.contracts import Result, Role
from tierbus.pricing.explain import Told
from tierbus.result import BASELINE_METHOD

TENANT = "explain"


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A stack of its own: others count what the shared one's model server was asked for."""
    folder = tmp_path_factory.mktemp("explain")
    with (folder / "log").open("w", encoding="utf-8") as log, Stack(data=folder, logs=log) as stack:
        yield Lab(stack)


@pytest.fixture(scope="module")
def results(own_lab: Lab) -> dict[str, Result]:
    return asyncio.run(publish_all(own_lab.stack.settings, TENANT, 90.0))


def test_the_parts_add_up_to_the_ledgers_sum_and_the_baseline_is_the_results_own(
    own_lab: Lab, results: dict[str, Result]
) -> None:
    done = tierbus(own_lab, "costs", "--explain", "--tenant", TENANT, "--json")
    found = json.loads(done.stdout)
    baselines = [result.baseline.cost_nano_usd for result in results.values() if result.baseline]
    bill = json.loads(tierbus(own_lab, "costs", "--tenant", TENANT, "--json").stdout)
    savings, overheads = found["savings_nano_usd"], found["overheads_nano_usd"]

    assert found["cost_nano_usd"] == bill["cost_nano_usd"] == sum(result.cost_nano_usd for result in results.values())
    assert found["baseline_nano_usd"] == sum(baseline or 0 for baseline in baselines)
    assert None not in baselines
    assert found["baseline_method"] == BASELINE_METHOD
    assert found["baseline_nano_usd"] - sum(savings.values()) + sum(overheads.values()) == found["cost_nano_usd"]
    assert found["told"] == dict.fromkeys(Told, 0)
    assert min(savings["routing"], savings["planning"]) > 0
    assert 0 not in (savings["prompt_cache"], savings["baseline_prompt_cache"])
    assert [savings[one] for one in ("result_cache", "plan_reuse", "batch")] == [0, 0, 0]
    assert min(overheads["planner"], overheads["reviewer"], overheads["escalations"], overheads["not_succeeded"]) > 0


def test_an_overheads_line_is_what_its_calls_cost_before_cache_reads(own_lab: Lab, results: dict[str, Result]) -> None:
    found = json.loads(tierbus(own_lab, "costs", "--explain", "--tenant", TENANT, "--json").stdout)
    planners = [call for call in own_lab.ledger(TENANT) if call.role is Role.PLANNER]
    failed = {result.run for result in results.values() if result.status != "succeeded"}
    paid = sum(call.cost_nano_usd or 0 for call in planners if call.run not in failed and call.status == "finished")

    assert found["overheads_nano_usd"]["planner"] >= paid > 0


def test_a_person_reads_it_as_a_table_with_the_total_and_the_method(own_lab: Lab, results: dict[str, Result]) -> None:
    shown = tierbus(own_lab, "costs", "--explain", "--tenant", TENANT).stdout

    assert results
    for line in ("all on the frontier (baseline)", "routing: direct tasks", "+ planner", "spent (the ledger's sum)"):
        assert line in shown
    assert f"Baseline: {BASELINE_METHOD}." in shown


def test_a_tenant_without_calls_spent_nothing(own_lab: Lab) -> None:
    shown = json.loads(tierbus(own_lab, "costs", "--explain", "--tenant", "nobody", "--json").stdout)

    assert (shown["cost_nano_usd"], shown["baseline_nano_usd"]) == (0, 0)


def test_an_explanation_is_no_csv(own_lab: Lab) -> None:
    done = tierbus(own_lab, "costs", "--explain", "--csv")

    assert (done.returncode, "--explain prints a table or --json" in done.stderr) == (2, True)


def test_another_tier_file_tells_what_it_cannot_split_and_the_parts_add_up_all_the_same(
    own_lab: Lab, results: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERBUS_TIERS", "openai")
    found = json.loads(tierbus(own_lab, "costs", "--explain", "--tenant", TENANT, "--json").stdout)
    parts = found["baseline_nano_usd"] - sum(found["savings_nano_usd"].values())

    assert results
    assert parts + sum(found["overheads_nano_usd"].values()) == found["cost_nano_usd"]
    assert found["told"]["calls_not_split"] > 0
    assert found["savings_nano_usd"]["prompt_cache"] == 0
