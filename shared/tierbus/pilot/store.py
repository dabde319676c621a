"""Where pilots are kept, as a protocol: `bus.pilots` keeps them in JetStream, `testing.pilots` in memory."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from tierbus.contracts import PilotOutcome
from tierbus.pilot.progress import PilotState


class Held(NamedTuple):
    """An outcome with its place in the stream."""

    outcome: PilotOutcome
    sequence: int


class PilotStore(Protocol):
    """States of pilots, each written only over the revision that was read, and the outcomes in their order."""

    async def read(self, task_class: str, rules: str) -> tuple[PilotState, int] | None:
        """The state of a pilot and its revision, or None."""
        ...

    async def write(self, state: PilotState, revision: int) -> int:
        """Write over `revision` (0: there must be none) and return the new one.

        Raises:
            Conflict: somebody else wrote first.
        """
        ...

    def after(self, task_class: str, rules: str, sequence: int) -> AsyncIterator[Held]:
        """Every outcome of a pilot that is held after this place, oldest first."""
        ...
