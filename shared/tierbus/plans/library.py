"""All shelves of a bus: looking up a plan that may be used again, and counting what became of it."""

from typing import Protocol

import structlog

from tierbus.errors import Conflict, Unavailable
from tierbus.plans.rules import PlanRules
from tierbus.plans.shelf import Ended, Shelf, Template, count, standing
from tierbus.telemetry.watch import Watch

log = structlog.get_logger(__name__)

TRIES = 32


class Shelves(Protocol):
    """Shelves by tenant and shape, each written only over the revision that was read."""

    async def read(self, tenant: str, shape: str) -> tuple[Shelf, int] | None:
        """The shelf and its revision, or None."""
        ...

    async def write(self, shelf: Shelf, revision: int, ttl_s: float) -> int:
        """Write over `revision` (0: there must be none) and return the new one; what is not written again for `ttl_s` is gone.

        Raises:
            Conflict: another worker wrote first.
        """
        ...


class Library:
    """The shelves of one bus."""

    def __init__(self, shelves: Shelves, watch: Watch | None = None) -> None:
        self._shelves = shelves
        self._watch = watch or Watch()

    async def standing(self, tenant: str, shape: str, rules: PlanRules, now: float) -> Template | None:
        """The template that may be used now for a task of this shape, or None."""
        found = await self._shelves.read(tenant, shape)
        return standing(found[0], rules, now) if found else None

    async def count(self, empty: Shelf, run: Ended, rules: PlanRules) -> None:
        """Count a run on its shelf, which is `empty` where there is none yet; whoever wins the write tells of it.

        Raises:
            Unavailable: too many conflicts in a row.
        """
        for _ in range(TRIES):
            shelf, revision = await self._shelves.read(empty.tenant, empty.shape) or (empty, 0)
            after, dropped = count(shelf, run, rules)
            if after is shelf:
                return
            try:
                await self._shelves.write(after, revision, rules.ttl_s)
            except Conflict:
                continue
            self._tell(shelf, after, dropped)
            return
        raise Unavailable(
            f"shelf {empty.shape} of {empty.tenant} changed {TRIES} times while it was written", delay_s=0.5
        )

    def _tell(self, before: Shelf, after: Shelf, dropped: Template | None) -> None:
        if dropped is not None:
            log.warning(
                "plans.template_dropped",
                template=dropped.id,
                shape=after.shape,
                task_class=after.task_class,
                tried=dropped.tried,
                accepted=dropped.accepted,
                rate=round(dropped.rate, 3),
            )
            self._watch.template("dropped")
        old, new = before.template, after.template
        if new is not None and (old is None or old.id != new.id):
            log.info("plans.template_kept", template=new.id, shape=after.shape, task_class=after.task_class)
            self._watch.template("kept")
