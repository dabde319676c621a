"""A reviewer's look at a cheap answer: what it is worth to a policy before it is paid for. Pure.

A look is asked for only where its word decides: what the reviewer accepts is taken, what it rejects goes to the strong model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tierbus.policy.moves import Case, Seen

APART = 0.25
"""How far the strong model's luck is its own, 0 to 1, see `Odds.mend`. On recorded answers (12 cheap answers of gsm, crux and
function calls, tasks that nothing was fitted on) it lay between .12 and .60, at .37 in the middle; less is more careful."""


class Odds(NamedTuple):
    """Chances that the answer at hand is right, and that the strong model's would be."""

    right: float
    strong: float

    @property
    def mend(self) -> float:
        """The chance that this answer is wrong and the strong model's right.

        Two chances do not say how often both come true. If the strong model were right wherever this answer is, as far as
        that can be, it would be the difference of the chances; if the two had nothing to do with each other, their product.
        The truth lies between, nearer to the first.
        """
        return (1 - APART) * max(self.strong - self.right, 0.0) + APART * self.strong * (1 - self.right)

    @property
    def spoil(self) -> float:
        """The chance that this answer is right and the strong model's wrong."""
        return self.mend - (self.strong - self.right)


@dataclass(frozen=True)
class Reviewing:
    """A reviewer that may be asked.

    Args:
        usd: dollars of one look.
        error: its chance to accept a wrong answer and to reject a right one; from .5 on its word says nothing.
    """

    usd: float
    error: float

    def __post_init__(self) -> None:
        if not (0 <= self.usd < float("inf") and 0 <= self.error <= 1):
            raise ValueError(f"a look costs dollars and errs with a chance between 0 and 1, not {self!r}")

    def accepts(self, odds: Odds) -> float:
        """The chance that it accepts the answer."""
        return odds.right * (1 - self.error) + (1 - odds.right) * self.error

    def expected_usd(self, odds: Odds, worth_usd: float, strong_usd: float) -> float:
        """Expected dollars of a look and what follows, where a right answer more is worth `worth_usd`.

        By Bayes' rule a strong call would add (error * mend - (1 - error) * spoil) / P(accepted) to an accepted answer; that
        is what taking it gives away. A rejected one costs the strong call.
        """
        given_away = self.error * odds.mend - (1 - self.error) * odds.spoil
        return self.usd + worth_usd * given_away + (1 - self.accepts(odds)) * strong_usd


Look = Callable[[Case, Seen | None], Reviewing | None]
"""What a look at an answer would cost and how it errs; at one not yet given (None) as far as can be told. None: nobody can look."""
