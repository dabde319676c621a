"""A whole Tierbus in several processes on a real nats-server, with SIMULATED models."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tierbus.bus.client import Client, client
from tierbus.cli.stack import Stack
from tierbus.contracts import CallRecorded, Message, Result


async def result_of(bus: Client, subjects: Sequence[str], timeout_s: float) -> Result:
    """The first result on these subjects; a test that gets none has failed."""
    async for event in bus.follow(subjects, timeout_s):
        if isinstance(event, Result):
            return event
    raise AssertionError(f"no result on {subjects} in {timeout_s} s")


class Lab:
    """A running stack, and what a test asks of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def get(self, path: str) -> Any:
        """JSON from the model server."""
        with urllib.request.urlopen(f"{self.stack.model_url}{path}", timeout=5) as answer:
            return json.load(answer)

    def scraped(self, service: str) -> str:
        """What a service says at /metrics."""
        with urllib.request.urlopen(f"{self.stack.health[service]}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def served(self, **about: object) -> list[dict[str, Any]]:
        """What `sim` served, filtered by equal fields."""
        return [one for one in self.get("/sim/served") if all(one.get(name) == value for name, value in about.items())]

    def submit(self, body: dict[str, Any], tenant: str, timeout_s: float = 90.0) -> list[Message]:
        """Publish a task and follow it to its end."""

        async def work() -> list[Message]:
            events: list[Message] = []
            async with client(self.stack.settings) as bus:
                published = await bus.publish(body, tenant, body.get("priority", "normal"), body["id"])
                async for event in bus.follow(published.subjects, timeout_s):
                    events.append(event)
                    if isinstance(event, Result) or event.kind == "rejected":
                        break
            return events

        return asyncio.run(work())

    def result(self, body: dict[str, Any], tenant: str, timeout_s: float = 90.0) -> Result:
        """The result of a task."""
        last = self.submit(body, tenant, timeout_s)[-1]
        assert isinstance(last, Result), last
        return last

    def stack_events(self, subject: str) -> list[dict[str, Any]]:
        """Everything told on an event subject."""

        async def work() -> list[dict[str, Any]]:
            async with client(self.stack.settings) as bus:
                return [event.model_dump(mode="json") async for event in bus.events(subject)]

        return asyncio.run(work())

    def ledger(self, tenant: str) -> list[CallRecorded]:
        """The last record of every call of a tenant."""

        async def work() -> list[CallRecorded]:
            async with client(self.stack.settings) as bus:
                return [call async for call in bus.ledger(f"tierbus.ledger.{tenant}.>")]

        return asyncio.run(work())


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One stack for all flows that leave it whole."""
    folder = tmp_path_factory.mktemp("stack")
    with (folder / "services.log").open("w", encoding="utf-8") as log, Stack(data=Path(folder), logs=log) as stack:
        yield Lab(stack)
