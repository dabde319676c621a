"""A learned policy in the running services that has the judge look at cheap answers. SIMULATED: the judge knows their worth."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from tests.bench.core import TENANT, Listener
from tests.shared.policy.made import Tasks, tasks

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import CallRecorded, CallStatus, Result, Role, TaskStatus, Tier, VerdictKind
from tierbus.policy.fit import fit
from tierbus.policy.store import Made, save
from tierbus.replay.records import Output, Row, write

LADDER = ("small", "other", "strong")
JUDGE = "judge"
PRICES = {"small": "0.24", "other": "0.35", "strong": "11.8", JUDGE: "0.1"}
"""Dollars per million tokens: the made-up tasks' costs, a thousand times less."""
ERROR = 0.05
COUNT = 80

pytestmark = pytest.mark.flow


def scaled(played: Tasks) -> Tasks:
    cases, seens, correct = played
    return cases, tuple(tuple(one._replace(cost_usd=one.cost_usd / 1000) for one in row) for row in seens), correct


def rows() -> list[Row]:
    found = []
    for case, seen, right in zip(*scaled(tasks(COUNT, 31)), strict=True):
        outputs = {
            name: Output(fine, one.answer, one.text, one.input_tokens, one.output_tokens, one.cost_usd, None)
            for name, one, fine in zip(LADDER, seen, right, strict=True)
        }
        found.append(Row(case.id, case.task_class, None, "test", case.prompt, None, outputs))
    return found


def trained(path: Path) -> None:
    cases, seens, correct = scaled(tasks(700, 1))
    policy = fit(cases, seens, correct, LADDER)
    policy.review_error = ERROR
    save(path, policy, Made(0.0, "", len(cases)))


@contextmanager
def models(folder: Path, latency_s: float = 0.0) -> Iterator[tuple[str, Path]]:
    """The recorded models and the judge behind HTTP, and the tier file that names them."""
    write(folder / "rows.jsonl", rows())
    judge = ("--judge", JUDGE, "--judge-latency", str(latency_s))
    command = [sys.executable, "-m", "tests.recorded", str(folder / "rows.jsonl"), *judge]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        tiers = {"small": ["small", "other"], "mid": [JUDGE], "frontier": ["strong"]}
        written = {
            "name": "made-up",
            "about": "SIMULATED: made-up answers.",
            "providers": {"made-up": {"sdk": "openai", "base_url": f"{url}/v1"}},
            "tiers": {tier: [spec(name) for name in names] for tier, names in tiers.items()},
        }
        path = folder / "made-up.yaml"
        path.write_text(yaml.safe_dump(written), encoding="utf-8")
        try:
            yield url, path
        finally:
            server.terminate()


def spec(name: str) -> dict[str, object]:
    price = {"input_usd_per_mtok": PRICES[name], "output_usd_per_mtok": PRICES[name]}
    return {"id": name, "provider": "made-up", "context_window": 128_000, "max_output": 8192, "price": price}


@contextmanager
def lab(folder: Path, latency_s: float = 0.0) -> Iterator[tuple[Stack, str]]:
    """The services with a policy that reckons with the judge, and the address of the models."""
    policy = folder / "policy.json"
    trained(policy)
    with models(folder, latency_s) as (url, tiers), (folder / "log").open("w") as log:
        env = {"TIERBUS_POLICY": str(policy)}
        with Stack(data=folder / "bus", models=str(tiers), tiers=str(tiers), logs=log, env=env) as stack:
            yield stack, url


async def nothing() -> None:
    """Nothing happens meanwhile."""


async def through_the_bus(
    stack: Stack, recorded: list[Row], meanwhile: Callable[[], Awaitable[None]] = nothing
) -> tuple[dict[str, Result], list[CallRecorded]]:
    async with client(stack.settings, "test") as bus:
        listener = Listener(bus)
        await listener.start()
        for row in recorded:
            await bus.publish({"id": row.id, "task_class": "sums", "prompt": row.prompt}, TENANT, "normal", row.id)
        await meanwhile()
        await listener.wait([row.id for row in recorded])
        calls = [call async for call in bus.ledger(f"tierbus.ledger.{TENANT}.>")]
    return listener.results, calls


def test_answers_are_looked_at_where_the_policy_asks_for_it_and_every_look_is_paid_and_heeded(tmp_path: Path) -> None:
    recorded = rows()
    with lab(tmp_path) as (stack, _):
        results, calls = asyncio.run(through_the_bus(stack, recorded))

    assert Counter((result.status, result.reason) for result in results.values()) == {
        (TaskStatus.SUCCEEDED, None): len(recorded)
    }
    attempts = [
        (row, attempt)
        for row in recorded
        for attempt in results[row.id].steps[0].attempts
        if attempt.verdict.rung == "judge"
    ]
    accepted = [(row, one) for row, one in attempts if one.verdict.kind is VerdictKind.ACCEPT]
    rejected = [(row, one) for row, one in attempts if one.verdict.kind is VerdictKind.ESCALATE]
    assert len(accepted) > 3
    assert rejected
    assert all(row.outputs[one.model].correct for row, one in accepted)
    assert all(results[row.id].steps[0].attempts[-1].model == "strong" for row, _ in rejected)
    assert all("SIMULATED" in one.verdict.reason for _, one in attempts)

    looks = [call for call in calls if call.tier is Tier.MID]
    assert {call.role for call in looks} == {Role.REVIEWER}
    assert len(looks) == len(attempts)
    assert {call.status for call in calls} == {CallStatus.FINISHED}
    assert sum(call.cost_nano_usd or 0 for call in calls) == sum(result.cost_nano_usd for result in results.values())


def test_a_reviewer_that_is_killed_in_the_middle_of_looks_pays_for_none_of_them_unseen(tmp_path: Path) -> None:
    recorded = rows()

    with lab(tmp_path, latency_s=1.5) as (stack, url):

        async def kill() -> None:
            while not httpx2.get(f"{url}/stats").json().get(JUDGE):
                await asyncio.sleep(0.05)
            victim = next(process for process in stack.processes if process.name == "reviewer")
            victim.popen.kill()
            victim.popen.wait()
            stack.processes.remove(victim)
            stack.start_service("reviewer")

        results, calls = asyncio.run(through_the_bus(stack, recorded, kill))
        served = httpx2.get(f"{url}/stats").json()[JUDGE]

    assert {result.status for result in results.values()} == {TaskStatus.SUCCEEDED}
    looks = [call for call in calls if call.tier is Tier.MID]
    interrupted = [call for call in looks if call.status is CallStatus.INTERRUPTED]
    assert interrupted
    assert {call.status for call in looks} == {CallStatus.INTERRUPTED, CallStatus.FINISHED}
    assert len(looks) - len(interrupted) <= served <= len(looks), (
        "a call may be cut off before it is served, none is unseen"
    )
    finished = [call.call.rsplit(".", 1)[0] for call in looks if call.status is CallStatus.FINISHED]
    assert len(finished) == len(set(finished)), "one verdict for each look"
    assert sum(call.cost_nano_usd or 0 for call in calls) == sum(result.cost_nano_usd for result in results.values())
