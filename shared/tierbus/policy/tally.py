"""What the tasks of one class showed in use, as sums: whoever adds them up, and in whatever order, has the same counts.

A task is told in moments: each answer that came in (two cheap ones that agree or not), and its end (what its calls and looks cost).
`guard` works out what a moment adds to the counts and reads rules from them.
"""

from dataclasses import dataclass, field
from operator import add
from typing import TypeVar

from tierbus.policy.drift import Drift

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Moment:
    """What one moment of a task shows, without labels.

    Args:
        calls: when the task has ended, each call's place and dollars; empty before.
        agreed: when a second cheap answer came in, whether it agrees with the first; else None.
        sign: by how much what is held against training (`drift`) is above what that leads to expect; None where there is
            nothing to hold.
        looks_usd: when the task has ended, dollars of a reviewer's looks that the policy asked for.
        looks_saved_usd: what those looks saved (cost: negative) against what would have been done without them.
    """

    calls: tuple[tuple[int, float], ...] = ()
    agreed: bool | None = None
    sign: float | None = None
    looks_usd: float = 0.0
    looks_saved_usd: float = 0.0


@dataclass(frozen=True)
class Tally:
    """The counts of a class; `Tally()` is nothing counted, on a ladder of any length.

    Args:
        spent_usd: dollars of calls, by place.
        calls: calls, by place.
        beside_usd: dollars of a place's calls on tasks that the strong model answered too.
        strong_usd: dollars of the strong calls on those tasks.
        looks_saved_usd: what looks saved against what would have been done without them (cost: negative).
        lost: what was spent beyond the strong model alone (below it: negative), in strong calls.
        worth: what the strong model alone would have cost, in strong calls.
        ended: tasks that ended.
        asked: tasks that two cheap models answered.
        agreed: those of them whose answers agree.
        skipped: tasks that ended without two cheap answers.
        skipped_at: `skipped` when two cheap answers last came in: the greatest one counts.
    """

    spent_usd: tuple[float, ...] = ()
    calls: tuple[int, ...] = ()
    beside_usd: tuple[float, ...] = ()
    strong_usd: tuple[float, ...] = ()
    looks_saved_usd: float = 0.0
    lost: float = 0.0
    worth: float = 0.0
    ended: int = 0
    asked: int = 0
    agreed: int = 0
    skipped: int = 0
    skipped_at: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            _sum(self.spent_usd, other.spent_usd),
            _sum(self.calls, other.calls),
            _sum(self.beside_usd, other.beside_usd),
            _sum(self.strong_usd, other.strong_usd),
            self.looks_saved_usd + other.looks_saved_usd,
            self.lost + other.lost,
            self.worth + other.worth,
            self.ended + other.ended,
            self.asked + other.asked,
            self.agreed + other.agreed,
            self.skipped + other.skipped,
            max(self.skipped_at, other.skipped_at),
        )


@dataclass(frozen=True)
class Counted:
    """All that is counted of a class: the sums, and how its tasks compare with training (`drift`, in order)."""

    tally: Tally = field(default_factory=Tally)
    drift: Drift = field(default_factory=Drift)


def _sum(one: tuple[N, ...], other: tuple[N, ...]) -> tuple[N, ...]:
    if not one or not other:
        return one or other
    if len(one) < len(other):
        one, other = other, one
    return (*map(add, one, other), *one[len(other) :])
