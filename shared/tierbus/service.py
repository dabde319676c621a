"""A service is a name and a table from message type to handler; a handler takes one message and returns the next ones."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tierbus.contracts import Leg, Message


@dataclass(frozen=True)
class Delivery:
    """How a message came: where from, for the how manieth time, and how long it waited (`queue_s`, seconds)."""

    subject: str
    stream: str = ""
    sequence: int = 0
    deliveries: int = 1
    published_at: float = 0.0
    received_at: float = field(default_factory=time.time)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def queue_s(self) -> float:
        """Seconds between publishing and this delivery, never negative."""
        return max(0.0, self.received_at - self.published_at) if self.published_at else 0.0

    def leg(self, ended_at: float) -> Leg:
        """Its way, for the record."""
        return Leg(
            stream=self.stream,
            sequence=self.sequence,
            deliveries=self.deliveries,
            published_at=self.published_at,
            began_at=self.received_at,
            ended_at=ended_at,
        )

    @property
    def again(self) -> bool:
        """Whether a worker before us got this message and did not finish it."""
        return self.deliveries > 1


Handler = Callable[[Any, Delivery], Awaitable[Sequence[Message]]]
GiveUp = Callable[[Any, Delivery, Exception], Awaitable[Sequence[Message]]]
Hook = Callable[[], Awaitable[None]]
Refusal = Callable[[Delivery, bytes, Exception], Sequence[Message]]


@dataclass(frozen=True)
class Service:
    """What runs.

    `handlers` says what is done with each message type, `give_up` what is said when a message was tried too often,
    `refuse` what is said besides the dead letter when a message cannot be read or done.
    """

    name: str
    handlers: Mapping[type[Message], Handler]
    give_up: Mapping[type[Message], GiveUp] = field(default_factory=dict)
    refuse: Mapping[type[Message], Refusal] = field(default_factory=dict)
    on_start: Sequence[Hook] = ()
    on_stop: Sequence[Hook] = ()
