"""A logistic model at run time: plain floats, no library. Fitting is in `fit`.

A stage is a moment of a task: before anything was asked, after one answer, after two. It turns features into numbers once,
and every head reads them for one question, such as "is the strong model's answer right?".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

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

    def chance(self, values: tuple[float, ...]) -> float:
        """The chance between 0 and 1."""
        total = self.bias + sum([weight * value for weight, value in zip(self.weights, values, strict=True)])
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

    def chances(self, features: Features) -> dict[str, float]:
        """Every head's chance."""
        values = tuple([max(-REACH, min(REACH, value)) for value in self._standard(features)])
        return {question: head.chance(values) for question, head in self.heads.items()}

    def strange(self, features: Features) -> bool:
        """The features are far outside of what training saw: mean squared deviation above the limit."""
        return strangeness(self._standard(features)) > self.limit

    def _standard(self, features: Features) -> list[float]:
        return [
            (features.get(name, 0.0) - mean) / scale
            for name, mean, scale in zip(self.names, self.means, self.scales, strict=True)
        ]


def strangeness(standard: list[float]) -> float:
    """Mean squared deviation of standardised features, each cut at 10 standard deviations."""
    return sum([min(_FAR, abs(value)) ** 2 for value in standard]) / (len(standard) or 1)
