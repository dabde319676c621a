"""The protocol every provider adapter meets: a question in, an answer with its usage out, errors in three classes."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tierbus.contracts import Usage
from tierbus.errors import TierbusError
from tierbus.tiers.catalog import ModelSpec


class StopReason(StrEnum):
    """Why a model stopped. `TRUNCATED` is never an answer."""

    DONE = "done"
    TRUNCATED = "truncated"
    REFUSED = "refused"


@dataclass(frozen=True)
class Turn:
    """One message of a conversation; `role` is `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True)
class Question:
    """One request to a model.

    The stable part comes first, so that it can be cached: `system` (the role's rules, the same for every task), then
    `shared` (material that several questions of one task have in common, may be empty), then the turns.
    `shared_later` says that another question to the same model will begin with the same material within minutes.
    `json_schema` asks for JSON output of that shape, `max_output` is in tokens.
    """

    system: str
    turns: tuple[Turn, ...]
    shared: str = ""
    shared_later: bool = False
    json_schema: dict[str, Any] | None = None
    max_output: int = 4096
    temperature: float | None = None


@dataclass(frozen=True)
class Reply:
    """One answer. `usage.input` includes cached tokens; `request_id` is the provider's."""

    text: str
    usage: Usage
    stop: StopReason
    model: str
    request_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """A model of one provider, spoken to over HTTP."""

    spec: ModelSpec

    async def ask(self, question: Question, timeout_s: float) -> Reply:
        """Ask once, without retries.

        Raises:
            ProviderBusy: try again later, here or at another provider (429, 5xx, 529).
            ProviderLost: nobody knows whether the call was carried out (timeout, connection lost): it is charged by estimate.
            ProviderRefused: the request is wrong or not allowed (other 4xx): trying again is useless.
        """
        ...

    async def ready(self) -> None:
        """Make everything that the first question would otherwise wait for."""
        ...

    async def close(self) -> None:
        """Close the HTTP connections."""
        ...


class ProviderError(TierbusError):
    """Base of what a provider call can fail with. The text never carries the request or a key.

    `kind` is the HTTP status or one word: few values, for metrics.
    """

    def __init__(self, what: str, *, request_id: str | None = None, kind: str = "error") -> None:
        super().__init__(what)
        self.request_id = request_id
        self.kind = kind


class ProviderBusy(ProviderError):
    """The provider asks to come back later; `retry_after_s` is its own word, or None."""

    def __init__(
        self, what: str, *, retry_after_s: float | None = None, request_id: str | None = None, kind: str = "busy"
    ) -> None:
        super().__init__(what, request_id=request_id, kind=kind)
        self.retry_after_s = retry_after_s


class ProviderLost(ProviderError):
    """The answer did not come back: the call may have been carried out and billed."""


class ProviderRefused(ProviderError):
    """The provider will not do this request: the operator or the task must change something."""
