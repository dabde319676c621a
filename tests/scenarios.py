"""The demo's scenarios for whole flows: written for the model server, with faults where asked, and published all at once."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tierbus.bus.client import client
from tierbus.contracts import Result
from tierbus.settings import Settings
from tierbus.testing.sim.script import load_scenarios

FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 429, "retry_after_s": 0.2},
    {"drop": True},
    {"status": 529},
    {"malformed": True},
    {"status": 500},
    {"status": 429, "retry_after_s": 6, "times": 2},
)
"""One for each scenario in turn; the last asks every model of a tier to wait longer than is waited for in place."""


def bodies() -> list[dict[str, Any]]:
    """Every scenario as it stands in its file."""
    return [scenario.model_dump(mode="json", by_alias=True, exclude_unset=True) for scenario in load_scenarios()]


def faulty() -> list[dict[str, Any]]:
    """Every scenario with one fault more, which strikes the executor first."""
    found = bodies()
    for place, body in enumerate(found):
        fault = {"when": {"role": "executor"}, **FAULTS[place % len(FAULTS)]}
        body["faults"] = [*body.get("faults", []), fault]
    return found


def write(folder: Path, scenarios: Iterable[Mapping[str, Any]]) -> Path:
    """Write them into a new folder for `--scenarios`."""
    folder.mkdir()
    for body in scenarios:
        (folder / f"{body['name']}.yaml").write_text(yaml.safe_dump(dict(body)), encoding="utf-8")
    return folder


async def publish_all(settings: Settings, tenant: str, timeout_s: float = 120.0) -> dict[str, Result]:
    """Publish every scenario's task at once; the results by name, of those that had one in time."""
    found: dict[str, Result] = {}
    async with client(settings) as bus:

        async def one(name: str, body: Mapping[str, Any]) -> None:
            published = await bus.publish({**body, "id": name}, tenant, str(body.get("priority", "normal")), name)
            async for event in bus.follow(published.subjects, timeout_s):
                if isinstance(event, Result):
                    found[name] = event
                    return

        await asyncio.gather(*(one(scenario.name, scenario.task_body()) for scenario in load_scenarios()))
    return found
