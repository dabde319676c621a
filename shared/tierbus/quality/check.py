"""Running the operator's own check of an answer: a program, started without a shell, that ends with 0 or 1."""

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress

from tierbus.errors import TierbusError
from tierbus.quality.rules import CheckRules

GOOD, BAD = 0, 1


class CheckBroken(TierbusError):
    """The operator's check could not say whether an answer is good; the text names the program, never the answer."""


async def good(rules: CheckRules, task: str, attachments: Mapping[str, str], answer: str) -> bool:
    """Whether the check takes the answer for good.

    Raises:
        CheckBroken: it cannot be started, takes too long, or ends with something else than 0 or 1.
    """
    body = json.dumps({"task": task, "attachments": dict(attachments), "answer": answer}).encode()
    program = rules.command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *rules.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
    except OSError as error:
        raise CheckBroken(f"the check {program!r} cannot be started: {error.strerror}") from None
    try:
        await asyncio.wait_for(process.communicate(body), rules.timeout_s)
    except TimeoutError:
        raise CheckBroken(f"the check {program!r} took longer than {rules.timeout_s:g} s") from None
    finally:
        await _ended(process)
    if process.returncode not in (GOOD, BAD):
        raise CheckBroken(f"the check {program!r} ended with {process.returncode}, which is neither 0 nor 1")
    return process.returncode == GOOD


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Nothing of it stays behind, whatever it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
