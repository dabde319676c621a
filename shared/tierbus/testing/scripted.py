"""A model that says what it is told to, for tests of services: no HTTP, no patching."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from tierbus.contracts import Usage
from tierbus.llm.batches import Answer, Progress, Request
from tierbus.llm.model import ProviderError, ProviderRefused, Question, Reply, StopReason
from tierbus.tiers.catalog import ModelSpec

Says = str | Reply | BaseException
Script = Iterable[Says] | Callable[[ModelSpec, Question], Says]


class ScriptEnded(AssertionError):
    """A question was asked that the script has no answer for."""


@dataclass
class ScriptedModels:
    """Answers questions from a list in order, or by a function of model and question; remembers what was asked."""

    script: Script
    asked: list[tuple[ModelSpec, Question]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = None if callable(self.script) else iter(self.script)

    def of(self, spec: ModelSpec) -> "ScriptedModel":
        """The scripted stand-in of this model."""
        return ScriptedModel(spec, self)

    def say(self, spec: ModelSpec, question: Question) -> Says:
        """The next answer."""
        self.asked.append((spec, question))
        if callable(self.script):
            return self.script(spec, question)
        assert self._left is not None  # noqa: S101 - set where the script is a list
        try:
            return next(self._left)
        except StopIteration:
            raise ScriptEnded(f"nothing left to say to {question.turns[-1].text[:80]!r}") from None

    async def close(self) -> None:
        """Nothing to close."""


@dataclass
class ScriptedModel:
    """One model of a script."""

    spec: ModelSpec
    script: ScriptedModels

    async def ask(self, question: Question, timeout_s: float) -> Reply:  # noqa: ARG002 - the protocol's shape
        """The next answer, or the next error."""
        said = self.script.say(self.spec, question)
        if isinstance(said, BaseException):
            raise said
        return said if isinstance(said, Reply) else reply(said, self.spec.id)

    async def ready(self) -> None:
        """Always ready."""

    async def close(self) -> None:
        """Nothing to close."""


def reply(text: str, model: str = "m", stop: StopReason = StopReason.DONE, usage: Usage | None = None) -> Reply:
    """A reply with plausible usage."""
    return Reply(text=text, usage=usage or Usage(input=100, output=20), stop=stop, model=model, request_id="req-1")


@dataclass
class _Made:
    """A scripted batch."""

    requests: list[Request]
    at: float
    cancelled: bool = False


@dataclass
class ScriptedBatches:
    """A batch endpoint in memory: a batch ends `takes_s` after it was made, by `clock`, and is answered by the script.

    The script says a text, a reply, or an error: a `ProviderError` becomes an errored request, whose `kind` is its type.
    `counts` says how often each method was called.
    """

    script: Callable[[Question], Says]
    clock: Callable[[], float]
    takes_s: float = 3600.0
    made: dict[str, _Made] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def batches(self, _spec: ModelSpec) -> "ScriptedBatches":
        """Every model has this endpoint."""
        return self

    async def create(self, requests: Sequence[Request]) -> str:
        """Make a batch."""
        self.counts["create"] += 1
        name = f"msgbatch_{len(self.made)}"
        self.made[name] = _Made(list(requests), self.clock())
        return name

    async def made_since(self, at: float, requests: int, not_these: Collection[str]) -> list[str]:
        """Batches of this size, latest first."""
        self.counts["made_since"] += 1
        return [
            name
            for name, batch in reversed(self.made.items())
            if batch.at >= at and len(batch.requests) == requests and name not in not_these
        ]

    async def progress(self, batch: str) -> Progress:
        """Ended when its time is over."""
        self.counts["progress"] += 1
        if batch not in self.made:
            raise ProviderRefused(f"HTTP 404: no batch {batch!r}", kind="404")
        end = self.made[batch].at + self.takes_s
        return Progress(end if self.clock() >= end else None)

    async def answers(self, batch: str) -> AsyncGenerator[Answer, None]:
        """What the script says to each request."""
        self.counts["answers"] += 1
        for request in self.made[batch].requests:
            said = self.script(request.question)
            if isinstance(said, ProviderError):
                yield Answer(request.custom_id, error=str(said), error_type=said.kind)
            elif isinstance(said, BaseException):
                raise said
            else:
                yield Answer(request.custom_id, said if isinstance(said, Reply) else reply(said))

    async def cancel(self, batch: str) -> None:
        """Stop it."""
        self.counts["cancel"] += 1
        self.made[batch].cancelled = True
