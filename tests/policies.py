"""Policies for tests: small enough that their moves can be told beforehand."""

from dataclasses import dataclass, field

from tierbus.policy.choose import Course, Curve
from tierbus.policy.learned import Learned, Lesson
from tierbus.policy.model import STRONG, Head, Stage
from tierbus.policy.moves import Ask, Case, Judge, Move, Seen, Take

LADDER = ("claude-haiku-5-5", "claude-haiku-4-5-20251001", "claude-opus-5-5")


@dataclass
class TwoAgree:
    """Asks two cheap models, takes an answer that both give, else asks the strong one. Hard tasks start at the top."""

    models: tuple[str, ...] = LADDER
    classes: tuple[str, ...] = ("sums",)
    learned: list[tuple[Case, tuple[Seen, ...]]] = field(default_factory=list)

    def covers(self, task_class: str) -> bool:
        return task_class in self.classes

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        strong = len(self.models) - 1
        if "hard" in case.prompt and not seen:
            return Ask(strong, "it is hard")
        if len(seen) < strong:
            return Ask(len(seen), "not yet compared")
        if any(one.valid is False for one in seen):
            return Take(next(one.place for one in seen if one.valid is not False), "the other one is not valid")
        if len({one.answer for one in seen}) == 1:
            return Take(0, "both say the same")
        return Ask(strong, "they differ")

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        self.learned.append((case, seen))


@dataclass
class Doubting(TwoAgree):
    """Asks as many cheap models as told, then has the reviewer look at the last one's answer, and does what it says."""

    cheap: int = 1

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:  # noqa: ARG002 - the protocol's argument
        if len(seen) < self.cheap:
            return Ask(len(seen), "a cheap one first")
        last = seen[-1]
        if last.judged is None:
            return Judge(last.place, "a look pays")
        return Take(last.place, "accepted") if last.judged else Ask(2, "rejected")


class Trusting(Doubting):
    """Does what a reviewer said, but asks for no look by itself."""

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        move = super().next(case, seen)
        return Take(move.place, "trusted") if isinstance(move, Judge) else move


def unlike(task_class: str, models: tuple[str, ...] = LADDER) -> Learned:
    """A learned policy that takes every task of its class for one that training had nothing like: two cheap models are asked."""
    heads = {name: Head((), 0.0) for name in (STRONG, "0", "1")}
    gains = {name: Head((), 0.0) for name in ("0", "1")}
    stages = {name: Stage((), (), (), -1.0, heads, gains) for name in ("prompt", "0", "1", "0+1")}
    flat = Curve((0.0,), (0.0,))
    course = Course(0, 1, 4.0, (0.0, 0.0, 0.0), flat, flat)
    return Learned(models, {task_class: Lesson(0, (), (0.0, 0.0, 0.0), stages, course)}, 0.01)
