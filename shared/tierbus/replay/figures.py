"""The figures of a played policy, against always asking the strong model on the same tasks. Money in dollars."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierbus.replay.board import Board, Floats
from tierbus.replay.play import Played
from tierbus.replay.resample import Interval, Resample

_ROUNDING = 1e-9
"""Differences of means are sums of thousands of floats; exactly one point below is not a miss."""


@dataclass(frozen=True)
class Outcome:
    """Task by task: the chance to be right, dollars, the chance that the strong model was asked, models asked, looks."""

    correct: Floats
    usd: Floats
    strong: Floats
    asked: Floats
    looked: Floats

    @staticmethod
    def mean(played: Sequence[Played]) -> "Outcome":
        """Several plays of the same tasks, such as several orders of arrival, as one."""
        return Outcome(
            np.mean([one.correct for one in played], axis=0),
            np.mean([one.usd for one in played], axis=0),
            np.mean([one.strong for one in played], axis=0),
            np.mean([one.asked for one in played], axis=0),
            np.mean([one.looked for one in played], axis=0),
        )

    @staticmethod
    def always_strong(board: Board) -> "Outcome":
        """What is compared with."""
        ones = np.ones(len(board))
        return Outcome(board.correct[:, board.strong].astype(float), board.usd[:, board.strong], ones, ones, 0 * ones)


@dataclass(frozen=True)
class Quality:
    """Accuracy and cost of a policy.

    `against_strong` is a difference of accuracies (.01 is one point), `cost_share` a share of the strong model's dollars,
    `saving_low` the headline: the lower end of the saving's 95 % interval, None where quality is not equal.
    """

    accuracy: float
    against_strong: Interval
    usd_per_1000: float
    cost_share: Interval
    equal_quality: bool
    saving_low: float | None
    strong_share: float
    asked: float


def quality(outcome: Outcome, strong: Outcome, resample: Resample, margin: float) -> Quality:
    """The figures; equal quality is an accuracy of at least the strong model's less the margin."""
    difference = resample.mean(outcome.correct - strong.correct)
    cost = resample.ratio(outcome.usd, strong.usd)
    equal = within(difference.mean, margin)
    return Quality(
        accuracy=float(outcome.correct.mean()),
        against_strong=difference,
        usd_per_1000=float(outcome.usd.mean() * 1000),
        cost_share=cost,
        equal_quality=equal,
        saving_low=1 - cost.high if equal else None,
        strong_share=float(outcome.strong.mean()),
        asked=float(outcome.asked.mean()),
    )


def within(difference: float, margin: float) -> bool:
    """Whether an accuracy that differs so much from the strong model's counts as equal."""
    return difference >= -margin - _ROUNDING


@dataclass(frozen=True)
class Orders:
    """Means over random orders of arrival, and the worst that any of them gave."""

    orders: int
    accuracy: float
    worst_accuracy: float
    cost_share: float
    worst_cost_share: float


def over_orders(played: Sequence[Played], strong: Outcome) -> Orders:
    """How much the order of arrival matters."""
    accuracy = np.array([one.correct.mean() for one in played])
    cost = np.array([one.usd.sum() for one in played]) / strong.usd.sum()
    return Orders(len(played), float(accuracy.mean()), float(accuracy.min()), float(cost.mean()), float(cost.max()))


@dataclass(frozen=True)
class Resplits:
    """Fitted and played anew on random splits: how many missed the margin, and means."""

    splits: int
    missed: int
    against_strong: float
    cost_share: float


@dataclass(frozen=True)
class Reviewed:
    """What the policy does with a reviewer that errs, its calls paid: means over draws of its errors.

    `looked` is answers that the reviewer looked at, a task.
    """

    error: float
    accuracy: float
    cost_share: float
    strong_share: float
    looked: float


@dataclass(frozen=True)
class Decision:
    """Seconds that one decision takes; a task may need several."""

    p50_s: float
    p99_s: float
