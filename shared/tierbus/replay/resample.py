"""Bootstrap over tasks: every figure of a run sees the same draws, so differences are paired."""

from dataclasses import dataclass

import numpy as np

from tierbus.replay.board import Floats

LEVEL = 95.0
_CHUNK = 250


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % percentile interval."""

    mean: float
    low: float
    high: float


class Resample:
    """How often every task is in every draw."""

    def __init__(self, tasks: int, draws: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        chunks = range(0, draws, _CHUNK)
        share = np.full(tasks, 1 / tasks)
        self._weights = [rng.multinomial(tasks, share, size=min(_CHUNK, draws - at)).astype(np.uint16) for at in chunks]
        self._tasks = tasks

    def means(self, values: Floats) -> Floats:
        """The mean of these values, one for a task, in every draw."""
        return np.concatenate([weights.astype(float) @ values for weights in self._weights]) / self._tasks

    def mean(self, values: Floats) -> Interval:
        """The mean with its interval."""
        return interval(float(values.mean()), self.means(values))

    def ratio(self, part: Floats, whole: Floats) -> Interval:
        """The ratio of two sums over the same tasks."""
        return interval(float(part.sum() / whole.sum()), self.means(part) / self.means(whole))


def interval(mean: float, draws: Floats) -> Interval:
    """A figure with the interval that its draws span."""
    low, high = np.percentile(draws, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(mean, float(low), float(high))
