"""A service that is told to stop finishes what it has begun."""

import asyncio
import signal
import time
from pathlib import Path

from tests.flow.conftest import Lab

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import CallStatus, Result


def test_sigterm_during_a_call_lets_it_finish_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    options = ("--scenarios", "none", "--latency", "2")
    with (tmp_path / "log").open("w") as log, Stack(data=tmp_path, sim_options=options, logs=log) as stack:
        lab = Lab(stack)

        async def work() -> tuple[int, Result | None]:
            async with client(stack.settings) as bus:
                body = {"id": "drained", "prompt": "Translate: drained.", "risk": "low"}
                published = await bus.publish(body, "drain", "normal", "drained")
                until = time.monotonic() + 60
                while not lab.served(role="executor", state="open"):
                    assert time.monotonic() < until
                    await asyncio.sleep(0.05)
                executor = next(process for process in stack.processes if process.name == "executor")
                executor.popen.send_signal(signal.SIGTERM)
                code = await asyncio.to_thread(executor.popen.wait, 60)
                async for event in bus.follow(published.subjects, 60):
                    if isinstance(event, Result):
                        return code, event
                return code, None

        code, result = asyncio.run(work())
        ledger = lab.ledger("drain")

    assert (code, result and result.status) == (0, "succeeded")
    assert [call.status for call in ledger] == [CallStatus.FINISHED]
