"""What the services keep things in, as protocols: run states, model outputs, texts, the ledger, measured quality.

`bus.stores` keeps them in JetStream, `testing.memory` in memory; one test suite runs over both.
"""

from typing import Protocol

from tierbus.batch.lot import Item, Lot
from tierbus.contracts import CallRecorded, Content, Model, Priority, QualityMeasured
from tierbus.limits import INLINE_BYTES
from tierbus.quality.cap import Taken
from tierbus.run import Run


class Output(Model):
    """What one slot brought: the answer, how the model stopped, and every call it took to get it."""

    text: str
    stop: str
    model: str
    calls: tuple[CallRecorded, ...]


class Lead(Model):
    """The run that answers for a key: its task's id and priority, and since when (Unix seconds)."""

    run: str
    task: str
    priority: Priority
    at: float


class Answers(Protocol):
    """Who answers for what was asked, by tenant and key, and who waits for whom."""

    async def lead(self, tenant: str, key: str) -> tuple[Lead, int] | None:
        """The one that answers for a key, with its revision, or None."""
        ...

    async def claim(self, tenant: str, key: str, lead: Lead, revision: int, ttl_s: float) -> None:
        """Put another one in over `revision` (0: there must be none), for a task's lifetime and `ttl_s` beyond it.

        Raises:
            Conflict: somebody else was put in first.
        """
        ...

    async def follow(self, leader: str, follower: str) -> None:
        """Note that one run waits for another's end; noting it twice changes nothing."""
        ...

    async def followers(self, leader: str) -> list[str]:
        """The runs that wait for this one's end."""
        ...


class RunStore(Protocol):
    """Run states, each written only over the revision that was read."""

    async def read(self, run: str) -> tuple[Run, int] | None:
        """The state and its revision, or None."""
        ...

    async def revision(self, run: str) -> int:
        """The revision alone, 0 where there is none."""
        ...

    async def write(self, run: Run, revision: int) -> int:
        """Write over `revision` (0: there must be none) and return the new one.

        Raises:
            Conflict: another worker wrote first.
        """
        ...

    async def holds(self, subject: str) -> bool:
        """Whether a message on this subject, which may have wildcards, is still queued or being worked on."""
        ...

    async def drop(self, run: str) -> None:
        """Take everything still queued for a run off the bus; its state stays."""
        ...

    async def done(self, run: str) -> None:
        """Take a finished run's timer off the bus."""
        ...


class Outputs(Protocol):
    """Answers by slot id."""

    async def put(self, slot: str, output: Output) -> None:
        """Keep an answer."""
        ...

    async def get(self, slot: str) -> Output | None:
        """The answer kept for this slot, or None."""
        ...


class Texts(Protocol):
    """Texts too large for a state, by content hash."""

    async def read(self, content: Content) -> str:
        """The text, wherever it is.

        Raises:
            Unavailable: it is referred to and not there (yet).
        """
        ...

    async def keep(self, content: Content, most: int = INLINE_BYTES) -> Content:
        """The same content, by reference where it has more than `most` bytes."""
        ...


class Ledger(Protocol):
    """Every paid call; the last record of a call counts."""

    async def claim(self, started: CallRecorded) -> bool:
        """Open a call; False where this call was opened before."""
        ...

    async def close(self, record: CallRecorded) -> bool:
        """Say how a call ended; False where somebody else has said it before: then that stands."""
        ...

    async def last(self, record: CallRecorded) -> CallRecorded | None:
        """The last record of this call."""
        ...

    async def of_run(self, run: str) -> list[CallRecorded]:
        """The last record of each call of a run, in the order they were opened."""
        ...


class Measures(Protocol):
    """What the quality watch knows of each task, written only over the revision that was read."""

    async def read(self, about: QualityMeasured) -> tuple[QualityMeasured, int] | None:
        """The record of the same task and day with its revision, or None."""
        ...

    async def write(self, record: QualityMeasured, revision: int) -> int:
        """Write over `revision` (0: there must be none) and return the new one.

        Raises:
            Conflict: another worker wrote first.
        """
        ...

    async def taken(self, day: str) -> dict[str, Taken]:
        """What the comparisons of tasks that ended on this day (`2026-03-14`, UTC) have taken, by subject; nothing is left out."""
        ...


class Lots(Protocol):
    """Steps that wait for a batch, and batches."""

    async def add(self, item: Item) -> None:
        """Let a step wait in its lane; one that waits already keeps its place."""
        ...

    async def waiting(self, lane: str) -> list[Item]:
        """Everything that waits in a lane."""
        ...

    async def count(self, lane: str) -> int:
        """How many wait in a lane."""
        ...

    async def take(self, item: Item) -> None:
        """Take a step out of its lane."""
        ...

    async def read(self, name: str) -> tuple[Lot, int] | None:
        """A batch and its revision, or None."""
        ...

    async def write(self, lot: Lot, revision: int) -> int:
        """Write over `revision` (0: there must be none) and return the new one.

        Raises:
            Conflict: another worker wrote first.
        """
        ...
