"""A logistic model at run time: plain floats, no library. Fitting is in `fit`.

A stage is a moment of a task: before anything was asked, after one answer, after two. It turns features into numbers once,
and every head reads them for one question, such as "is the strong model's answer right?".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from math import copysign, exp
from operator import mul

Features = Mapping[str, float]

REACH = 5.0
"""Standard deviations that a feature counts at most; beyond it a linear model only guesses."""
_FAR = 10.0
"""Standard deviations that a feature adds to strangeness at most."""


@dataclass(frozen=True)
class Head:
    """Weights of standardised features, calibrated: the logistic of the sum is a chance."""

    weights: tuple[float, ...]
    bias: float

    def chance(self, values: list[float]) -> float:
        """The chance between 0 and 1."""
        total = self.bias + sum(map(mul, self.weights, values))
        return 1 / (1 + exp(-max(-30.0, min(30.0, total))))


@dataclass(frozen=True)
class Stage:
    """What is read at one moment: names, means and scales of features, heads by question.

    `limit` is the strangeness above which nothing like it was seen in training.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    limit: float
    heads: Mapping[str, Head]

    def standard(self, features: Features) -> list[float]:
        """The features as deviations from what training saw, in standard deviations; one that is not there is 0."""
        values = map(features.get, self.names, repeat(0.0))
        return [(value - mean) / scale for value, mean, scale in zip(values, self.means, self.scales, strict=True)]

    def chances(self, standard: list[float]) -> dict[str, float]:
        """Every head's chance."""
        values = [value if -REACH < value < REACH else copysign(REACH, value) for value in standard]
        return {question: head.chance(values) for question, head in self.heads.items()}

    def strange(self, standard: list[float]) -> bool:
        """The features are far outside of what training saw: mean squared deviation above the limit."""
        return strangeness(standard) > self.limit


def strangeness(standard: list[float]) -> float:
    """Mean squared deviation of standardised features, each cut at 10 standard deviations."""
    return sum([value * value if -_FAR < value < _FAR else _FAR * _FAR for value in standard]) / (len(standard) or 1)
