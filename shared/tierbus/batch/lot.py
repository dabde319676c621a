"""A batch as we know it: the steps in it, and how far it has come. Pure."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from tierbus.contracts import SCHEMA_VERSION, Model, Role, Slot, Tier

MOST_TOKENS = 16_000_000
"""Estimated input of one batch, about 64 MB of text; the provider takes 256 MB."""
EARLY_S = 0.05
"""A timer may ring this much too early and still count."""
SETTLE_S = 20.0
"""How long a batch that was asked for may take to appear in the provider's list, if we did not hear that it was made."""
SKEW_S = 120.0
"""How far the provider's clock may be behind ours."""
TRIES = 5
"""How often a batch is asked for before its steps go the normal way."""
FIRST_LOOK_S, LAST_LOOK_S = 1.0, 300.0


class Item(Model):
    """A step that waits in a lane to be put into a batch. `tokens` is the estimated size of its question."""

    schema_version: int = SCHEMA_VERSION
    lane: str
    run: str
    step: str
    attempt: int
    tier: Tier
    queued_at: float
    leave_at: float
    tokens: int = Field(ge=0)
    max_wait_s: float
    max_requests: int


class Entry(Model):
    """A step in a batch."""

    run: str
    step: str
    attempt: int
    leave_at: float

    def slot(self, tenant: str) -> Slot:
        """The question that the batch asks for the step: its executor's first."""
        return Slot(run=self.run, tenant=tenant, step=self.step, attempt=self.attempt, role=Role.EXECUTOR)

    @property
    def custom_id(self) -> str:
        """What the provider calls the request: at most 64 letters, digits, - and _."""
        return custom_id(f"{self.slot('_').id}.0")


def custom_id(call: str) -> str:
    """A call's name at the provider, computed from the call's own: the same call always has the same."""
    return f"tierbus-{hashlib.sha256(call.encode()).hexdigest()[:48]}"


class Lot(Model):
    """A batch. `tried_at` is when the provider was last asked to make it, for `asked` requests.

    `ids` are what it may be at the provider, the first is looked at; `confirmed` says that the provider told us so. `foreign`
    are batches that were found not to be it.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    tier: Tier
    provider: str
    model: str
    made_at: float
    entries: tuple[Entry, ...]
    tried_at: float | None = None
    tries: int = 0
    asked: int = 0
    ids: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    confirmed: bool = False
    sent_at: float | None = None
    ended_at: float | None = None

    def trying(self, asked: int, now: float) -> "Lot":
        """It is about to be asked for."""
        return self.model_copy(update={"tried_at": now, "tries": self.tries + 1, "asked": asked})

    def sent(self, identity: str, now: float) -> "Lot":
        """The provider has made it."""
        return self.model_copy(update={"ids": (identity,), "confirmed": True, "sent_at": now})

    def found(self, ids: Sequence[str]) -> "Lot":
        """It may be one of these; it was sent when it was last asked for."""
        return self.model_copy(update={"ids": tuple(ids), "sent_at": self.tried_at})

    def disowned(self) -> "Lot":
        """The first of its ids is another's batch."""
        first, *others = self.ids
        return self.model_copy(update={"ids": tuple(others), "foreign": (*self.foreign, first)})

    def ended(self, now: float) -> "Lot":
        """Nothing is expected of it any more."""
        return self.model_copy(update={"ended_at": now})


class Ripe(NamedTuple):
    """The items that go now, one group for each batch, and when to look at the others (None: there are none)."""

    groups: list[tuple[Item, ...]]
    next_at: float | None


def ripe(items: Sequence[Item], now: float) -> Ripe:
    """What of a lane goes now: everything once the first has waited long enough, before that what fills a batch."""
    waiting = sorted(items, key=lambda item: (item.queued_at, item.run, item.step))
    if not waiting:
        return Ripe([], None)
    groups = _groups(waiting)
    first = waiting[0]
    if now >= first.queued_at + first.max_wait_s - EARLY_S:
        return Ripe(groups, None)
    full = groups if len(groups[-1]) >= first.max_requests else groups[:-1]
    left = waiting[sum(map(len, full)) :]
    return Ripe(full, left[0].queued_at + left[0].max_wait_s if left else None)


def _groups(waiting: Sequence[Item]) -> list[tuple[Item, ...]]:
    groups: list[list[Item]] = [[]]
    tokens = 0
    for item in waiting:
        if groups[-1] and (len(groups[-1]) >= item.max_requests or tokens + item.tokens > MOST_TOKENS):
            groups.append([])
            tokens = 0
        groups[-1].append(item)
        tokens += item.tokens
    return [tuple(group) for group in groups]


def lot_of(group: Sequence[Item], provider: str, model: str, now: float) -> Lot:
    """A batch of these items; the same items always make a batch of the same name."""
    entries = [Entry(run=item.run, step=item.step, attempt=item.attempt, leave_at=item.leave_at) for item in group]
    names = ",".join(sorted(entry.custom_id for entry in entries))
    return Lot(
        name=f"b{hashlib.sha256(names.encode()).hexdigest()[:31]}",
        tier=group[0].tier,
        provider=provider,
        model=model,
        made_at=now,
        entries=tuple(entries),
    )


def next_look_at(lot: Lot, now: float) -> float:
    """When to look at a sent batch again: a tenth of its age from now, or when the next of its steps stops waiting."""
    age = now - (lot.sent_at or now)
    look = now + min(max(0.1 * age, FIRST_LOOK_S), LAST_LOOK_S)
    leaving = [entry.leave_at for entry in lot.entries if entry.leave_at > now]
    return min([look, *leaving])
