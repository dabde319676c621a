"""The learned policy in the running services: recorded tasks through the whole bus come out as `tierbus replay` says."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.bench.core import Listener

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import NANO, CallRecorded, CallStatus, Result, TaskStatus
from tierbus.policy.store import load
from tierbus.replay.board import board
from tierbus.replay.play import play
from tierbus.replay.records import Row, read

DATA = Path(__file__).parents[3] / "shared/data/replay/gsm.jsonl.gz"
FLASH, MINI, STRONG = "gemini-1.5-flash", "gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022"
PRICES = {
    FLASH: ("0.075", "0.3"),
    MINI: ("0.15", "0.6"),
    STRONG: ("3", "15"),
    "claude-3-5-haiku-20241022": ("0.8", "4"),
}
TENANT = "bench"
ROUNDING = 5e-9
"""Dollars: every call is rounded once to a nano-dollar."""
MOST_DIFFERENT = 0.01
"""Share of tasks whose answer the services may read otherwise than the file does, which tips a decision that hung by a hair."""

pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not DATA.exists(), reason=f"the recorded answers are not here: {DATA.name}"),
]


def spec(model: str) -> dict[str, object]:
    given, said = PRICES[model]
    price = {"input_usd_per_mtok": given, "output_usd_per_mtok": said}
    return {"id": model, "provider": "recorded", "context_window": 128_000, "max_output": 8192, "price": price}


@contextmanager
def recorded_models(folder: Path) -> Iterator[Path]:
    """The recorded models behind HTTP, and the tier file that names them."""
    command = [sys.executable, "-m", "tests.recorded", str(DATA)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        tiers = {"small": [FLASH, MINI], "mid": ["claude-3-5-haiku-20241022"], "frontier": [STRONG]}
        path = folder / "recorded.yaml"
        written = {
            "name": "recorded",
            "about": "Recorded answers at the prices of their own time.",
            "providers": {"recorded": {"sdk": "openai", "base_url": f"{url}/v1"}},
            "tiers": {tier: [spec(model) for model in models] for tier, models in tiers.items()},
        }
        path.write_text(yaml.safe_dump(written), encoding="utf-8")
        try:
            yield path
        finally:
            server.terminate()


def trained(folder: Path) -> Path:
    out = folder / "policy"
    alone = ("--review-error", "0.5")  # nobody recorded what a judge would say
    command = ["train", str(DATA), "--cheap", f"{MINI},{FLASH}", "--strong", STRONG, *alone, "--out", str(out)]
    subprocess.run([sys.executable, "-m", "tierbus.cli.entry", *command], check=True, capture_output=True)
    return out


async def through_the_bus(stack: Stack, rows: list[Row]) -> tuple[dict[str, Result], list[CallRecorded]]:
    async with client(stack.settings, "test") as bus:
        listener = Listener(bus)
        await listener.start()
        gate = asyncio.Semaphore(16)

        async def publish(row: Row) -> None:
            body = {"id": row.id, "task_class": "gsm", "prompt": row.prompt, "expects": {"answer_at": "/answer"}}
            async with gate:
                await bus.publish(body, TENANT, "normal", row.id)

        await asyncio.gather(*(publish(row) for row in rows))
        await listener.wait([row.id for row in rows])
        calls = [call async for call in bus.ledger(f"tierbus.ledger.{TENANT}.>")]
    return listener.results, calls


def answered_by(result: Result) -> str:
    return result.steps[0].attempts[-1].model


def test_recorded_tasks_come_out_of_the_bus_as_replay_says(tmp_path: Path) -> None:
    rows = [row for row in read(DATA) if row.split == "test"]
    policy = trained(tmp_path)
    said = play(load(policy).fresh(), board(rows, load(policy).models))

    with (
        recorded_models(tmp_path) as tiers,
        (tmp_path / "log").open("w") as log,
        Stack(
            data=tmp_path / "bus", models=str(tiers), tiers=str(tiers), logs=log, env={"TIERBUS_POLICY": str(policy)}
        ) as stack,
    ):
        results, calls = asyncio.run(through_the_bus(stack, rows))

    assert Counter((result.status, result.reason) for result in results.values()) == {
        (TaskStatus.SUCCEEDED, None): len(rows)
    }
    right = sum(row.outputs[answered_by(results[row.id])].correct is True for row in rows)
    usd = [results[row.id].cost_nano_usd / NANO for row in rows]
    other = [
        row.id for row, here, there in zip(rows, usd, said.usd.tolist(), strict=True) if abs(here - there) > ROUNDING
    ]
    print(  # noqa: T201 - the figures are what this is run for
        f"\n{len(rows)} tasks: bus {right} right, ${sum(usd):.6f}; replay {said.correct.sum()} right, ${said.usd.sum():.6f};"
        f" decided differently: {other}"
    )
    assert len(other) <= MOST_DIFFERENT * len(rows)
    assert abs(right - int(said.correct.sum())) <= len(other)
    assert {call.status for call in calls} == {CallStatus.FINISHED}
    assert sum(call.cost_nano_usd or 0 for call in calls) == sum(result.cost_nano_usd for result in results.values())
