"""The pilots of one process: read while tasks are routed, counted when runs end."""

import time
from collections.abc import Callable

import structlog

from tierbus.classes import Classes
from tierbus.contracts import NANO, Message, PilotArm, PilotChange, PilotOutcome
from tierbus.errors import Conflict, Unavailable
from tierbus.pilot.progress import PilotState, count, told
from tierbus.pilot.rules import PilotRules
from tierbus.pilot.store import PilotStore
from tierbus.telemetry import names
from tierbus.telemetry.names import Attr
from tierbus.telemetry.sinks import Meters, Nowhere

log = structlog.get_logger(__name__)

FRESH_S = 1.0
"""How old a state may be when a task is assigned by it: so long after a rollback tasks may still go the cheap way."""
TRIES = 32
_CHEAP = (PilotArm.CANARY, PilotArm.SHADOW)


class Pilots:
    """The pilots of all classes. Without a store or without rules there are none."""

    def __init__(
        self,
        store: PilotStore | None = None,
        classes: Classes | None = None,
        meters: Meters | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._classes = classes or Classes()
        self._meters: Meters = meters or Nowhere()
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[PilotState, float]] = {}

    def rules(self, task_class: str) -> PilotRules | None:
        """The rules that this process was given for a class."""
        return self._classes.of(task_class).pilot if self._store is not None else None

    async def of(self, task_class: str) -> PilotState | None:
        """The pilot of a class, at most `FRESH_S` old; the first who asks begins it. None without rules.

        Raises:
            Unavailable: the bus does not tell.
        """
        rules = self.rules(task_class)
        if rules is None or self._store is None:
            return None
        key = (task_class, rules.id)
        known = self._known.get(key)
        now = self._clock()
        if known is not None and 0 <= now - known[1] < FRESH_S:
            return known[0]
        state = await self._begun(self._store, task_class, rules, now)
        self._known[key] = (state, now)
        return state

    async def _begun(self, store: PilotStore, task_class: str, rules: PilotRules, now: float) -> PilotState:
        """The state as it is kept, under the rules as they are now; another writer's word counts more than ours."""
        found = await store.read(task_class, rules.id)
        state, revision = found or (PilotState(task_class=task_class, rules=rules, updated_at=now), 0)
        if found is not None and state.rules == rules:
            return state
        state = state.model_copy(update={"rules": rules})
        try:
            await store.write(state, revision)
        except Conflict:
            found = await store.read(task_class, rules.id)
            return found[0].model_copy(update={"rules": rules}) if found else state
        return state

    async def counted(self, outcome: PilotOutcome, sequence: int) -> list[Message]:
        """Count every outcome up to this one, and say what followed from it; a second time says the same.

        Raises:
            Unavailable: too many others wrote meanwhile.
        """
        if self._store is None:
            return []
        for _ in range(TRIES):
            found = await self._store.read(outcome.task_class, outcome.rules)
            if found is None:
                log.warning("pilot.unknown", task_class=outcome.task_class, rules=outcome.rules)
                return []
            before, revision = found
            after, fresh = await self._caught_up(self._store, before)
            if after is not before:
                try:
                    await self._store.write(after, revision)
                except Conflict:
                    continue
                self._tell(before, after, fresh)
            return [told(after, change) for change in after.changes if change.sequence >= sequence]
        raise Unavailable(
            f"the pilot of {outcome.task_class!r} changed {TRIES} times while it was counted", delay_s=0.5
        )

    async def _caught_up(self, store: PilotStore, state: PilotState) -> tuple[PilotState, list[PilotOutcome]]:
        fresh = []
        async for held in store.after(state.task_class, state.rules.id, state.sequence):
            state = count(state, held.outcome, held.sequence)
            fresh.append(held.outcome)
        return state, fresh

    def _tell(self, before: PilotState, after: PilotState, fresh: list[PilotOutcome]) -> None:
        """Who wrote the state tells of it: log lines and metrics."""
        which = {Attr.CLASS: after.task_class}
        for outcome in fresh:
            if outcome.generation != after.generation:
                continue
            if outcome.arm in _CHEAP and outcome.counted and outcome.passed is not None:
                passed = names.YES if outcome.passed else names.NO
                self._meters.add(names.PILOT_TRIES, 1, {**which, Attr.PILOT_PASSED: passed})
            if outcome.arm is PilotArm.SHADOW and outcome.source == "review":
                self._meters.add(names.PILOT_OVERHEAD, (outcome.cost_nano_usd or 0) / NANO, which)
        last = before.changes[-1].number if before.changes else 0
        for change in after.changes:
            if change.number > last:
                self._meters.add(names.PILOT_CHANGES, 1, {**which, Attr.PILOT_CHANGE: change.change.value})
                say = log.warning if change.change is PilotChange.ROLLED_BACK else log.info
                say(f"pilot.{change.change.value.replace('-', '_')}", task_class=after.task_class, why=change.why)
