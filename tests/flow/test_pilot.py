"""Pilots on a real nats-server: a cheap tier that gets worse is rolled back, one that is fine ramps to every task."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.flow.conftest import Lab, result_of
from tests.flow.test_kill import kill
from tests.scenarios import write

from tierbus.bus.client import client
from tierbus.bus.pilots import JetPilots
from tierbus.cli.stack import Stack
from tierbus.contracts import Outcome, PilotArm, PilotChange, Result, Tier, run_id
from tierbus.pilot.pilots import FRESH_S
from tierbus.pilot.progress import PilotState

BATCH = 40
CLASS = "pilot.flow"
TASK = {
    "prompt": "PILOT capital: name the capital of France.",
    "risk": "low",
    "expects": {"must_mention": ["Paris"]},
}
RIGHT = {"text": "SIMULATED: the capital of France is Paris, on the Seine."}
WRONG = {"text": "SIMULATED: the capital of France is Lyon, on the Rhone."}
STEPS = [{"percent": 20, "tries": 10}, {"percent": 50, "tries": 15}, {"percent": 100, "tries": 20}]
RAMP = {"mode": "ramp", "target": 0.9, "alpha": 0.05, "steps": STEPS}


def scenario(*small: dict[str, Any]) -> dict[str, Any]:
    """The small tier says these, the first rule that fits; the others are always right."""
    when = {"role": "executor", "tier": "small"}
    return {
        "name": "pilot",
        "about": "one fact, which a free check knows",
        "match": "PILOT capital",
        "task": TASK,
        "answers": [
            *({**answer, "when": when} for answer in small),
            {**RIGHT, "when": {"role": "executor"}},
        ],
        "expect": {"route": "direct", "tier_path": {"answer": ["small"]}},
    }


@asynccontextmanager
async def running(tmp_path: Path, rules: dict[str, Any], *small: dict[str, Any]) -> AsyncIterator[Lab]:
    """A stack whose class has these rules and whose small tier says this."""
    folder = write(tmp_path / "scenarios", [scenario(*small)])
    classes = tmp_path / "classes.yaml"
    classes.write_text(yaml.safe_dump({"classes": {CLASS: {"pilot": rules}}}), encoding="utf-8")
    options = ("--scenarios", str(folder), "--latency", "0")
    env = {"TIERBUS_CLASSES": str(classes)}
    with (tmp_path / "log").open("w") as log:
        stack = Stack(data=tmp_path, sim_options=options, logs=log, env=env)
        try:
            await asyncio.to_thread(stack.start)
            yield Lab(stack)
        finally:
            await asyncio.to_thread(stack.stop)


async def publish(lab: Lab, names: Sequence[str]) -> list[Result]:
    """Publish these tasks and wait for all results."""
    async with client(lab.stack.settings) as bus:

        async def one(name: str) -> Result:
            body = {**TASK, "id": name, "task_class": CLASS}
            published = await bus.publish(body, "acme", "normal", name)
            return await result_of(bus, published.subjects[:1], 120)

        return list(await asyncio.gather(*map(one, names)))


async def pilot(lab: Lab, runs: int, arms: Sequence[PilotArm] = tuple(PilotArm)) -> PilotState:
    """The only pilot, when so many runs of these arms are counted."""
    async with client(lab.stack.settings) as bus:
        store = JetPilots(bus.publisher, bus.nc)
        for _ in range(300):
            [state] = await store.all()
            if state.bill(*arms).runs >= runs:
                return state
            await asyncio.sleep(0.1)
    raise AssertionError(f"{state.bill(*arms).runs} of {runs} outcomes are counted")


async def in_batches(
    lab: Lab, until: Callable[[PilotState], bool], stem: str = "t", most: int = 14, known: int = 0
) -> tuple[PilotState, list[Result]]:
    """Publish batch after batch until the pilot is so far; `known` runs were counted before."""
    results: list[Result] = []
    for batch in range(most):
        results += await publish(lab, [f"{stem}-{batch}-{number}" for number in range(BATCH)])
        state = await pilot(lab, known + len(results))
        await asyncio.sleep(FRESH_S + 0.1)  # the router looks again
        if until(state):
            return state, results
    raise AssertionError(f"after {len(results)} tasks: {state}")


def cli(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TIERBUS_NATS_URL": lab.stack.nats_url}
    return subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", "pilot", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=env,
    )


def arms(results: Sequence[Result]) -> list[PilotArm | None]:
    return [result.decision.pilot.arm if result.decision and result.decision.pilot else None for result in results]


@pytest.mark.timeout(280)
async def test_a_cheap_tier_that_gets_worse_at_half_time_is_rolled_back(tmp_path: Path) -> None:
    async with running(tmp_path, RAMP, {**WRONG, "after": 40}, RIGHT) as lab:
        state, results = await in_batches(lab, lambda state: state.rolled_back)
        later = await publish(lab, [f"later-{number}" for number in range(BATCH)])
        status = json.loads(cli(lab, "status", "--json").stdout)
        refused = cli(lab, "resume", CLASS)
        metrics = lab.scraped("reviewer")

    kinds = [change.change for change in state.changes]
    assert kinds[0] is PilotChange.WIDENED
    assert kinds[-1] is PilotChange.ROLLED_BACK
    assert all(result.status == "succeeded" for result in results)
    assert state.passes >= 40
    assert {*arms(later)} == {PilotArm.OUTSIDE}
    assert {step.tier_path for result in later for step in result.steps} == {(Tier.FRONTIER,)}
    [row] = status
    assert (row["state"], row["percent"], row["advice"]) == ("rolled back", 0, "roll back")
    assert refused.returncode == 3, refused.stderr
    assert (
        f'tierbus_pilot_changes_total{{tierbus_pilot_change="rolled-back",tierbus_task_class="{CLASS}"}} 1.0' in metrics
    )


@pytest.mark.timeout(280)
async def test_a_cheap_tier_that_is_fine_ramps_to_every_task_although_services_are_killed(tmp_path: Path) -> None:
    async with running(tmp_path, RAMP, RIGHT) as lab:
        first, begun = await in_batches(lab, lambda state: state.step > 0)
        killer = asyncio.create_task(_kill_in_the_middle(lab))
        wide = await in_batches(lab, lambda state: state.percent == 100, "u", known=len(begun))
        await killer
        later = await publish(lab, [f"later-{number}" for number in range(BATCH)])
        results = [*begun, *wide[1], *later]
        state = await pilot(lab, len(results))
        shown = cli(lab, "status").stdout

    assert [change.change for change in state.changes] == [PilotChange.WIDENED, PilotChange.WIDENED]
    assert {*arms(later)} == {PilotArm.CANARY}
    drawn = [result for result in results if arms([result]) == [PilotArm.CANARY]]
    assert state.tries == state.passes == len(drawn)
    assert state.bill(PilotArm.CANARY).cost_nano_usd == sum(result.cost_nano_usd for result in drawn)
    assert state.bill(PilotArm.OUTSIDE).runs == len(results) - len(drawn)
    assert first.step == 1
    assert "100.0%" in shown


async def _kill_in_the_middle(lab: Lab) -> None:
    """Tasks are being routed and runs ended when both services die."""
    await asyncio.sleep(0.2)
    kill(lab, "router")
    await asyncio.sleep(0.2)
    kill(lab, "reviewer")


@pytest.mark.timeout(280)
async def test_a_shadow_is_judged_and_never_the_answer(tmp_path: Path) -> None:
    rules = {"mode": "shadow", "percent": 50, "target": 0.5}
    async with running(tmp_path, rules, {**WRONG, "after": 5}, RIGHT) as lab:
        results = await publish(lab, [f"t-{number}" for number in range(BATCH)])
        shadowed = [result for result in results if arms([result]) == [PilotArm.SHADOWED]]
        state = await pilot(lab, len(shadowed), [PilotArm.SHADOW])
        async with client(lab.stack.settings) as bus:
            beside = [await bus.result("acme", run_id("acme", f"{result.task}~shadow")) for result in shadowed]
        shadows = [result for result in beside if result is not None]
        calls = await asyncio.to_thread(lab.ledger, "acme")
        [row] = json.loads(cli(lab, "status", "--json").stdout)

    assert 5 < len(shadowed) < BATCH - 5
    assert len(shadows) == len(shadowed) == state.tries
    assert all("Paris" in result.answer.text for result in results if result.answer and result.answer.text)
    assert {result.status.value for result in results} == {"succeeded"}
    assert {step.tier_path for result in shadows for step in result.steps} == {(Tier.SMALL,)}
    assert state.passes == sum(result.status == "succeeded" for result in shadows) == 5
    assert {attempt.outcome for result in shadows for step in result.steps for attempt in step.attempts} == {
        Outcome.ANSWERED
    }
    assert sum(call.cost_nano_usd or 0 for call in calls) == sum(one.cost_nano_usd for one in (*results, *shadows))
    assert round(row["overhead_usd"] * 1e9) == sum(one.cost_nano_usd for one in shadows)
    assert (row["agreed"], row["compared"], row["saving_is"]) == (5, 5, "reckoned")
