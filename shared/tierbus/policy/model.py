"""A logistic model at run time: plain floats, no library. Fitting is in `fit`.

A stage is a moment of a task: before anything was asked, after one answer, after two. It turns features into numbers once,
and every head reads them for one question, such as "is the strong model's answer right?".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat
from math import copysign, exp
from operator import mul
from typing import NamedTuple

Features = Mapping[str, float]

REACH = 5.0
"""Standard deviations that a feature counts at most; beyond it a linear model only guesses."""
STRONG = "strong"
"""The question whether the strong model will be right; the others are named by place."""
_FAR = 10.0
"""Standard deviations that a feature adds to strangeness at most."""


@dataclass(frozen=True)
class Head:
    """Weights of standardised features. For a question with yes or no they are calibrated: the logistic of the sum is a chance."""

    weights: tuple[float, ...]
    bias: float

    def total(self, values: list[float]) -> float:
        """The weighted sum."""
        return self.bias + float(sum(map(mul, self.weights, values)))

    def chance(self, values: list[float]) -> float:
        """The sum as a chance between 0 and 1."""
        return 1 / (1 + exp(-max(-30.0, min(30.0, self.total(values)))))


@dataclass(frozen=True)
class Stage:
    """What is read at one moment: names, means and scales of features, heads by question.

    `limit` is the strangeness above which nothing like it was seen in training. `gains` say by place what a strong call
    would add to that place's answer, regressed directly.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    limit: float
    heads: Mapping[str, Head]
    gains: Mapping[str, Head] = field(default_factory=dict)

    def chances(self, features: Features) -> dict[str, float]:
        """Every head's chance."""
        return self.judged(features).chances

    def judged(self, features: Features) -> "Judged":
        """All that this stage says of these features."""
        standard = self._standard(features)
        values = self._within(standard)
        chances = {question: head.chance(values) for question, head in self.heads.items()}
        added = {place: head.total(values) for place, head in self.gains.items()}
        return Judged(chances, added, strangeness(standard) > self.limit)

    @staticmethod
    def _within(standard: list[float]) -> list[float]:
        return [value if -REACH < value < REACH else copysign(REACH, value) for value in standard]

    def _standard(self, features: Features) -> list[float]:
        values = map(features.get, self.names, repeat(0.0))
        return [(value - mean) / scale for value, mean, scale in zip(values, self.means, self.scales, strict=True)]


class Judged(NamedTuple):
    """What a stage says.

    Args:
        chances: that the answer is right, by question.
        added: what a strong call would add to a place's answer, by place.
        strange: the features are far outside of what training saw: mean squared deviation above the limit.
    """

    chances: dict[str, float]
    added: dict[str, float]
    strange: bool

    def gain(self, place: int) -> float:
        """What a strong call adds to this place's answer: the mean of two chances' difference and its own regression.

        The two err differently: on recorded answers the mean held more accuracy at the same cost than either.
        """
        return (self.chances[STRONG] - self.chances[str(place)] + self.added[str(place)]) / 2


def strangeness(standard: list[float]) -> float:
    """Mean squared deviation of standardised features, each cut at 10 standard deviations."""
    return sum([value * value if -_FAR < value < _FAR else _FAR * _FAR for value in standard]) / (len(standard) or 1)
