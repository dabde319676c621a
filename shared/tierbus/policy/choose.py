"""The sequence of least expected cost, where a right answer more is worth so many dollars.

One number, `worth_usd`, carries the quality target: the higher, the more strong calls. Fitting finds the cheapest one that
holds the target (`search`). `gain` is always P(strong right) - P(the answer at hand right) as the models see it then.
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from math import inf


class Step(Enum):
    """What to do with an answer."""

    TAKE = "take"
    SECOND = "second"
    JUDGE = "judge"
    STRONG = "strong"


@dataclass(frozen=True)
class Curve:
    """A mean against a gain, such as expected dollars still to come; linear between points, flat outside. `gains` rise."""

    gains: tuple[float, ...]
    means: tuple[float, ...]

    def at(self, gain: float) -> float:
        """The mean at a gain."""
        place = bisect_right(self.gains, gain)
        if place == 0:
            return self.means[0]
        if place == len(self.gains):
            return self.means[-1]
        left, right = self.gains[place - 1], self.gains[place]
        share = (gain - left) / (right - left)
        return self.means[place - 1] + share * (self.means[place] - self.means[place - 1])


@dataclass(frozen=True)
class Course:
    """Which cheap place is asked first, which may be asked second, and when to stop.

    Args:
        first: the place that is asked first.
        second: the place that may be asked second, None where only one is.
        worth_usd: dollars that one right answer more may cost.
        costs_usd: mean dollars of a call by place, the strong one last.
        after_prompt: expected dollars from the first answer on, against the gain that the prompt shows.
        after_first: expected dollars from the second answer on, against the gain after the first.
    """

    first: int
    second: int | None
    worth_usd: float
    costs_usd: tuple[float, ...]
    after_prompt: Curve
    after_first: Curve | None = None

    @property
    def cheap(self) -> tuple[int, ...]:
        """The cheap places that it may ask, in their order."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def starts_cheap(self, gain: float, look_usd: float = inf) -> bool:
        """Whether asking the first cheap model is expected to cost less than the strong call.

        `look_usd`: expected dollars from the first answer on, if a reviewer looks at it whatever it is.
        """
        return self.costs_usd[self.first] + min(self.after_prompt.at(gain), look_usd) < self.costs_usd[-1]

    def next_usd(self, step: Step, strong_usd: float) -> float:
        """Dollars of the call that a step other than a look makes next."""
        if step is Step.SECOND and self.second is not None:
            return self.costs_usd[self.second]
        return strong_usd if step is Step.STRONG else 0.0

    def step(self, gain: float, *, usable: bool, alone: bool = True, look_usd: float = inf) -> Step:
        """What to do with the answer at hand; one that a free check refused is not taken.

        Args:
            gain: what a strong call would add to it.
            usable: no free check speaks against it.
            alone: it is the only one so far, so that a second cheap one may be asked for.
            look_usd: expected dollars of a reviewer's look and what follows.
        """
        strong_usd = self.costs_usd[-1]
        take_usd = self.worth_usd * gain if usable else inf
        second_usd = (
            self.costs_usd[self.second] + self.after_first.at(gain)
            if alone and self.second is not None and self.after_first is not None
            else inf
        )
        if usable and look_usd < min(take_usd, second_usd, strong_usd):
            return Step.JUDGE
        if take_usd <= min(strong_usd, second_usd):
            return Step.TAKE
        return Step.SECOND if second_usd < strong_usd else Step.STRONG
