"""Pilots in memory, for tests without a bus; the suite that runs over JetStream runs over these too."""

from collections.abc import AsyncIterator

from tierbus.contracts import PilotOutcome
from tierbus.errors import Conflict
from tierbus.pilot.progress import PilotState
from tierbus.pilot.store import Held


class MemoryPilots:
    """States with revisions, and outcomes with their places; `say` is what the bus does with an outcome."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], tuple[PilotState, int]] = {}
        self.held: list[Held] = []
        self._sequence = 0

    def say(self, outcome: PilotOutcome, at: int = 0) -> int:
        """Keep an outcome, at this place or the next; said again it stays the one it was. Returns its place."""
        known = next((held for held in self.held if held.outcome.subject == outcome.subject), None)
        if known is not None:
            return known.sequence
        self._sequence = max(self._sequence + 1, at)
        self.held.append(Held(outcome, self._sequence))
        return self._sequence

    async def read(self, task_class: str, rules: str) -> tuple[PilotState, int] | None:
        return self.states.get((task_class, rules))

    async def write(self, state: PilotState, revision: int) -> int:
        key = (state.task_class, state.rules.id)
        if (self.states[key][1] if key in self.states else 0) != revision:
            raise Conflict(f"the pilot of {state.task_class!r} is not at revision {revision}")
        self._sequence += 1
        self.states[key] = (state, self._sequence)
        return self._sequence

    async def after(self, task_class: str, rules: str, sequence: int) -> AsyncIterator[Held]:
        for held in list(self.held):
            outcome = held.outcome
            if held.sequence > sequence and (outcome.task_class, outcome.rules) == (task_class, rules):
                yield held
