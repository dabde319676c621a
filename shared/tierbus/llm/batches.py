"""The protocol of a batch endpoint: many questions for half the price, answered within a day."""

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tierbus.llm.model import Question, Reply


@dataclass(frozen=True)
class Request:
    """One question of a batch, by our name for it."""

    custom_id: str
    question: Question


@dataclass(frozen=True)
class Progress:
    """Whether a batch has been worked through, and when that was (Unix seconds)."""

    ended_at: float | None


@dataclass(frozen=True)
class Answer:
    """What became of one question: a reply, or an error; `lost` says that nobody knows whether it was carried out.

    `error_type` is one word: expired, canceled, unreadable, or the provider's own for an error.
    """

    custom_id: str
    reply: Reply | None = None
    error: str = ""
    error_type: str = ""
    lost: bool = False


class Batches(Protocol):
    """The batch endpoint of one model's provider. Every method may raise what `Model.ask` raises."""

    async def create(self, requests: Sequence[Request]) -> str:
        """Have a batch made; returns the provider's name for it."""
        ...

    async def made_since(self, at: float, requests: int, not_these: Collection[str]) -> list[str]:
        """Batches of this many requests that were made since (Unix seconds), latest first."""
        ...

    async def progress(self, batch: str) -> Progress:
        """How far a batch is."""
        ...

    def answers(self, batch: str) -> AsyncGenerator[Answer, None]:
        """The answers of a batch that has ended, in any order."""
        ...

    async def cancel(self, batch: str) -> None:
        """Stop a batch: what it has not begun is not charged."""
        ...
