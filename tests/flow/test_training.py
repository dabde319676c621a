"""`tierbus train --from-ledger` on a running bus: finished tasks become a version, services started with it use it, and back."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from tests.flow.conftest import Lab
from tests.flow.test_kill import kill
from tests.policies import LADDER
from tests.scenarios import write
from tests.shared.policy.made import tasks

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, Tier, run_id
from tierbus.policy.store import load, stored
from tierbus.replay.records import Output, Row
from tierbus.replay.records import write as write_rows

pytestmark = pytest.mark.flow

LABELLED = 500
REJECTED = 24
"""Enough rejections that asking two cheap models for these tasks is known not to pay."""
LEDGERS = "Add up the accounts of the Fjordline ferry"
SCENARIO = {
    "name": "ledgers",
    "about": "unlike anything in training; the small models forget the currency, the frontier does not",
    "match": LEDGERS,
    "task": {"prompt": LEDGERS},
    "answers": [
        {"when": {"role": "executor", "tier": "small"}, "text": "It is 72. [SIMULATED]"},
        {"when": {"role": "executor"}, "text": "It is 72 EUR. [SIMULATED]"},
    ],
    "expect": {"route": "direct", "tier_path": {}},
}


def tierbus(lab: Lab | None, *words: object) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, beside a running bus or without one."""
    env = {**os.environ, "TIERBUS_NATS_URL": lab.stack.nats_url if lab else "", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
    )


def labelled(path: Path) -> Path:
    """Sums with known answers, by the models of the default tiers."""
    rows = [
        Row(
            case.id,
            case.task_class,
            None,
            "train",
            case.prompt,
            None,
            {
                model: Output(fine, one.answer, one.text, one.input_tokens, one.output_tokens, one.cost_usd, None)
                for model, one, fine in zip(LADDER, answers, right, strict=True)
            },
        )
        for case, answers, right in zip(*tasks(LABELLED, 21), strict=True)
    ]
    write_rows(path, rows)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose first version was fitted on labels."""
    at = tmp_path_factory.mktemp("fitted")
    out, data = at / "policy", labelled(at / "sums.jsonl.gz")
    done = tierbus(None, "train", data, "--cheap", ",".join(LADDER[:2]), "--strong", LADDER[2], "--all", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def _stack(at: Path, policy: Path) -> Stack:
    scenarios = write(at / "scenarios", [SCENARIO])
    return Stack(
        data=at / "bus",
        sim_options=("--scenarios", str(scenarios), "--latency", "0"),
        env={"TIERBUS_POLICY": str(policy)},
        logs=(at / "log").open("w", encoding="utf-8"),
    )


@pytest.fixture
def folder(tmp_path: Path, fitted: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(fitted, tmp_path / "policy"))


@pytest.fixture
def taught(tmp_path: Path, folder: Path) -> Iterator[Lab]:
    """A running stack that uses the folder's policy."""
    with _stack(tmp_path, folder) as stack:
        yield Lab(stack)
    assert stack.logs is not None
    stack.logs.close()


def task(name: str) -> dict[str, Any]:
    """One that is strange to the policy: sums have numbers, this has none."""
    return {"id": name, "prompt": f"{LEDGERS}, {name}.", "task_class": "sums", "expects": {"must_mention": ["EUR"]}}


def finished(lab: Lab, tenant: str, names: list[str]) -> dict[str, Result]:
    """Publish these tasks at once; their results."""

    async def work() -> dict[str, Result]:
        wanted = {run_id(tenant, name): name for name in names}
        found: dict[str, Result] = {}
        async with client(lab.stack.settings) as bus:
            await asyncio.gather(*(bus.publish(task(name), tenant, "normal", name) for name in names))
            async for event in bus.follow([f"tierbus.event.{tenant}.*.result"], 90.0):
                if isinstance(event, Result) and event.run in wanted:
                    found[wanted[event.run]] = event
                if len(found) == len(names):
                    break
        return found

    return asyncio.run(work())


def anew(lab: Lab) -> None:
    """Router and reviewer again, with the version that is in use now."""
    for service in ("router", "reviewer"):
        kill(lab, service)


def path_of(result: Result) -> tuple[Tier, ...]:
    return result.steps[0].tier_path


def test_verdicts_on_the_bus_become_a_version_that_services_use_until_it_is_rolled_back(
    taught: Lab, folder: Path, tmp_path: Path
) -> None:
    names = [f"ferry-{letter}" for letter in ascii_lowercase[:REJECTED]]
    results = finished(taught, "ferries", names)

    assert {(result.status, path_of(result)) for result in results.values()} == {
        ("succeeded", (Tier.SMALL, Tier.FRONTIER))
    }

    done = tierbus(taught, "train", "--from-ledger", "--out", folder, "--report", tmp_path / "wrong.jsonl")

    assert done.returncode == 0, done.stderr
    assert f"{REJECTED} finished tasks; these labels are the reviewer's, not truth" in done.stdout
    assert f"answer rejected, another model's accepted: {REJECTED}" in done.stdout
    assert done.stdout.splitlines()[-1] == f"in use: {folder / 'policy-0002.json'}"
    wrong = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines()]
    assert sorted(one["id"] for one in wrong) == names
    assert {(one["task_class"], one["chose"], one["right_choice"]) for one in wrong} == {("sums", LADDER[0], LADDER[2])}
    assert "EUR" not in (tmp_path / "wrong.jsonl").read_text()
    before, after = load(folder / "policy-0001.json"), stored(folder)
    assert after.policy.lessons["sums"].stages == before.lessons["sums"].stages
    assert [(rate.accepted, rate.rejected) for rate in after.policy.lessons["sums"].rates] == [
        (0, REJECTED),
        (0, 0),
        (REJECTED, 0),
    ]
    assert after.made.ledger_until == {"ferries": max(result.at for result in results.values())}

    anew(taught)
    [second] = finished(taught, "ferries", ["with-the-second"]).values()

    assert path_of(second) == (Tier.FRONTIER,)
    assert second.decision is not None
    assert second.decision.decided_by == "policy"
    assert "two cheap models do not pay" in second.decision.cause

    back = tierbus(None, "train", "--rollback", "--out", folder)
    anew(taught)
    [first] = finished(taught, "ferries", ["with-the-first-again"]).values()

    assert back.stdout == "in use: policy-0001.json\n"
    assert path_of(first) == (Tier.SMALL, Tier.FRONTIER)


def test_what_was_counted_once_is_not_counted_again(taught: Lab, folder: Path) -> None:
    finished(taught, "once", ["one", "two"])
    first = tierbus(taught, "train", "--from-ledger", "--tenant", "once", "--out", folder)
    again = tierbus(taught, "train", "--from-ledger", "--tenant", "once", "--out", folder)
    finished(taught, "others", ["one"])
    finished(taught, "once", ["three"])
    later = tierbus(taught, "train", "--from-ledger", "--tenant", "once", "--out", folder)
    others = tierbus(taught, "train", "--from-ledger", "--out", folder)

    assert [done.returncode for done in (first, again, later, others)] == [0, 1, 0, 0], first.stderr + later.stderr
    assert "nothing new to learn from: 0 finished tasks" in again.stderr.replace("\n", " ")
    assert others.stdout.startswith("1 finished tasks;")
    assert load(folder).lessons["sums"].rates[0].rejected == 4
    assert sorted(path.name for path in folder.glob("policy-*")) == [f"policy-000{n}.json" for n in (1, 2, 3, 4)]


def test_services_start_with_a_policy_that_was_begun_from_the_ledger_and_leave_tasks_to_the_rules(
    taught: Lab, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    finished(taught, "begun", ["one"])
    done = tierbus(taught, "train", "--from-ledger", "--tenant", "begun", "--out", begun)
    taught.stack.env = {"TIERBUS_POLICY": str(begun)}
    anew(taught)
    [result] = finished(taught, "begun", ["two"]).values()

    assert done.returncode == 0, done.stderr
    assert load(begun).models == tuple(Tier)
    assert result.decision is not None
    assert result.status == "succeeded"
    assert result.decision.decided_by != "policy"
