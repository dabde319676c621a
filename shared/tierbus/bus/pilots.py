"""Pilots in JetStream: states compare-and-set by the sequence of their subject, outcomes in the order of their stream."""

import base64
import json
from collections.abc import AsyncIterator

import structlog
from nats.aio.client import Client

from tierbus.bus.publish import EXPECT_LAST, Publisher
from tierbus.bus.stores import NO_MESSAGE, last, replay
from tierbus.bus.topology import PILOT, PILOT_SUBJECT
from tierbus.contracts import PilotOutcome, class_token, decode, encode
from tierbus.errors import Rejected, Unavailable
from tierbus.pilot.progress import PilotState
from tierbus.pilot.store import Held

log = structlog.get_logger(__name__)


class JetPilots:
    """The pilots of a bus."""

    def __init__(self, publisher: Publisher, nc: Client) -> None:
        self._publisher = publisher
        self._nc = nc

    async def read(self, task_class: str, rules: str) -> tuple[PilotState, int] | None:
        found = await last(self._publisher, PILOT, _state(task_class, rules))
        return (PilotState.model_validate_json(found[0]), found[1]) if found else None

    async def write(self, state: PilotState, revision: int) -> int:
        subject = _state(state.task_class, state.rules.id)
        return await self._publisher.put(subject, encode(state), {EXPECT_LAST: str(revision)})

    async def after(self, task_class: str, rules: str, sequence: int) -> AsyncIterator[Held]:
        """One question each: while it is kept up with there are one or two, and no consumer has to be made for them."""
        subject = f"tierbus.pilot.outcome.{class_token(task_class)}.{rules}.*.*"
        while True:
            body = json.dumps({"seq": sequence + 1, "next_by_subj": subject}).encode()
            answer = await self._publisher.request(f"$JS.API.STREAM.MSG.GET.{PILOT}", body)
            error = answer.get("error")
            if error is not None and error.get("err_code") == NO_MESSAGE:
                return
            if error is not None:
                raise Unavailable(f"{PILOT} did not give what follows {sequence}: {error.get('description')}")
            message = answer["message"]
            sequence = int(message["seq"])
            try:
                yield Held(decode(PilotOutcome, base64.b64decode(message.get("data") or b"")), sequence)
            except Rejected as error:  # one that cannot be read must not keep the others from being counted
                log.error("pilot.unreadable_outcome", subject=message.get("subject"), error=str(error))  # noqa: TRY400 - no trace is needed

    async def all(self) -> list[PilotState]:
        """The pilot of each class that changed last, by class; earlier ones under other rules are left out."""
        newest: dict[str, PilotState] = {}
        async for data in replay(self._nc, PILOT, "tierbus.pilot.state.>", "last_per_subject"):
            state = PilotState.model_validate_json(data)
            known = newest.get(state.task_class)
            if known is None or state.updated_at >= known.updated_at:
                newest[state.task_class] = state
        return [newest[name] for name in sorted(newest)]

    async def outcomes(self, task_class: str, rules: str) -> list[PilotOutcome]:
        """Every outcome of a pilot that is kept."""
        subject = f"tierbus.pilot.outcome.{class_token(task_class)}.{rules}.>"
        return [decode(PilotOutcome, data) async for data in replay(self._nc, PILOT, subject)]


def _state(task_class: str, rules: str) -> str:
    return PILOT_SUBJECT.format(task_class=class_token(task_class), rules=rules)
