"""The learned policy's counts on a real nats-server: two reviewers count, every router decides from it, a restart goes on."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.flow.conftest import Lab, result_of
from tests.flow.test_kill import kill
from tests.policies import LADDER, unlike
from tests.scenarios import write

from tierbus.bus.apply import request
from tierbus.bus.client import client
from tierbus.bus.tallies import JetTallies
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, Tier
from tierbus.policy.store import Made, add, stored
from tierbus.policy.tally import Tally

CLASS = "policy.flow"
BATCH = 25
FEW = 8
"""Tasks whose counts may be lost with a process that is killed: what it was about to say just then."""
TASK = {"prompt": "POLICY capital: name the capital of France.", "risk": "low"}


def scenario(second: str) -> dict[str, Any]:
    """What the first cheap model says, and the second one, and all others."""
    said = {LADDER[0]: "Lyon", LADDER[1]: second}
    return {
        "name": "policy",
        "about": "one word, on which cheap models agree or not",
        "match": "POLICY capital",
        "task": TASK,
        "answers": [
            *({"text": text, "when": {"role": "executor", "model": model}} for model, text in said.items()),
            {"text": "Paris", "when": {"role": "executor"}},
        ],
        "expect": {"route": "direct", "tier_path": {"answer": ["small"]}},
    }


@asynccontextmanager
async def running(tmp_path: Path, second: str, latency_s: float = 0.0) -> AsyncIterator[Lab]:
    folder = write(tmp_path / "scenarios", [scenario(second)])
    add(tmp_path / "policy", unlike(CLASS), Made(1_700_000_000.0, "ab" * 32, 0))
    options = ("--scenarios", str(folder), "--latency", str(latency_s))
    env = {"TIERBUS_POLICY": str(tmp_path / "policy")}
    with (tmp_path / "log").open("w") as log:
        stack = Stack(data=tmp_path, sim_options=options, logs=log, env=env, counts={"reviewer": 2})
        try:
            await asyncio.to_thread(stack.start)
            yield Lab(stack)
        finally:
            await asyncio.to_thread(stack.stop)


async def publish(lab: Lab, stem: str, count: int = BATCH) -> list[Result]:
    """Publish so many tasks and wait for all results."""
    async with client(lab.stack.settings) as bus:

        async def one(name: str) -> Result:
            published = await bus.publish({**TASK, "id": name, "task_class": CLASS}, "acme", "normal", name)
            return await result_of(bus, published.subjects[:1], 120)

        return list(await asyncio.gather(*(one(f"{stem}-{number}") for number in range(count))))


async def tally(lab: Lab, tmp_path: Path, ended: int) -> Tally:
    """The counts that are written down, when so many tasks are in them."""
    found = Tally()
    async with client(lab.stack.settings) as bus:
        tallies = JetTallies(bus.publisher, bus.nc)
        for _ in range(200):
            kept = await tallies.read(stored(tmp_path / "policy").digest)
            found = kept[0].classes[CLASS].tally if kept and CLASS in kept[0].classes else found
            if found.ended >= ended:
                return found
            await asyncio.sleep(0.1)
    raise AssertionError(f"{found.ended} of {ended} tasks are counted")


def starts(results: Sequence[Result]) -> set[Tier]:
    return {result.decision.tier for result in results if result.decision}


@pytest.mark.timeout(280)
async def test_a_class_whose_cheap_answers_are_useless_starts_at_the_top_after_a_restart_too(tmp_path: Path) -> None:
    async with running(tmp_path, "Nice") as lab:
        first = await publish(lab, "first")
        counted = await tally(lab, tmp_path, BATCH)
        after = await publish(lab, "after")
        assert (await tally(lab, tmp_path, 2 * BATCH)).skipped == BATCH
        for service in ("router", "reviewer", "reviewer-2"):
            await asyncio.to_thread(kill, lab, service)
        again = await publish(lab, "again")
        whole = await tally(lab, tmp_path, 3 * BATCH)
        shown = _used(lab, tmp_path)
    log = (tmp_path / "log").read_text()

    assert starts(first) == {Tier.SMALL}
    assert (counted.ended, counted.asked, counted.agreed, counted.calls) == (BATCH, BATCH, 0, (BATCH, BATCH, BATCH))
    assert starts(after) == starts(again) == {Tier.FRONTIER}
    assert {result.answer.text.split()[0] for result in first if result.answer and result.answer.text} == {"Paris"}
    assert (whole.ended, whole.asked, whole.skipped) == (3 * BATCH, BATCH, 2 * BATCH)
    spent = sum(result.cost_nano_usd for result in (*first, *after, *again))
    assert round(sum(whole.spent_usd) * 1e9) == spent
    assert len(re.findall("policy.class_given_up", log)) == 1
    assert "given up for now" in shown


@pytest.mark.timeout(280)
async def test_a_class_whose_cheap_answers_agree_stays_cheap_though_its_counts_are_lost(tmp_path: Path) -> None:
    async with running(tmp_path, "Lyon") as lab:
        first = await publish(lab, "first")
        counted = await tally(lab, tmp_path, BATCH)
        async with client(lab.stack.settings) as bus:
            await request(bus.nc, "STREAM.DELETE.TALLY")
        after = await publish(lab, "after")
    log = (tmp_path / "log").read_text()

    assert starts(first) == starts(after) == {Tier.SMALL}
    assert {result.status.value for result in (*first, *after)} == {"succeeded"}
    assert (counted.agreed, counted.lost) == (BATCH, 0)
    assert "policy.counts_not_" in log


@pytest.mark.timeout(280)
async def test_a_task_whose_reviewer_was_killed_counts_once_at_most(tmp_path: Path) -> None:
    async with running(tmp_path, "Nice", latency_s=0.3) as lab:
        publishing = asyncio.create_task(publish(lab, "killed"))
        for service in ("reviewer", "reviewer-2"):
            await asyncio.sleep(0.7)
            await asyncio.to_thread(kill, lab, service)
        results = await publishing
        whole = await tally(lab, tmp_path, BATCH - FEW)

    assert {result.status.value for result in results} == {"succeeded"}
    assert BATCH - FEW <= whole.ended <= BATCH
    assert BATCH - FEW <= whole.asked <= BATCH
    assert all(BATCH - FEW <= calls <= BATCH for calls in whole.calls)


def _used(lab: Lab, tmp_path: Path) -> str:
    command = [sys.executable, "-m", "tierbus.cli.entry", "train", "--used", "--out", str(tmp_path / "policy")]
    env = lab.stack._environment(COLUMNS="200")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=env).stdout
