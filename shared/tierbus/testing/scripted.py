"""A model that says what it is told to, for tests of services: no HTTP, no patching."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tierbus.contracts import Usage
from tierbus.llm.model import Question, Reply, StopReason
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
