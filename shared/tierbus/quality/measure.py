"""What many comparisons and much feedback show: quality difference and true saving with their intervals. Pure.

All intervals are for 95 %.

* Quality difference: (better - worse) / n. Its interval is Agresti and Min's for the difference of matched proportions ("Simple
  improved confidence intervals for comparing matched proportions", Statistics in Medicine 24, 2005): Wald's after half an
  observation was added to each of the four cells. It is never of width 0, so three ties do not prove equality.
* True saving: 1 - sum(task cost) / sum(frontier cost), over tasks of which both are known. Its interval is the percentile
  bootstrap over tasks, each with both of its costs, with a fixed seed: the same records give the same figures.
* Feedback: the mean score with Wilson's interval. For scores between 0 and 1 it is wider than need be, never narrower: no
  distribution on [0, 1] varies more than the one with the same mean on the two ends.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tierbus.contracts import Comparison, FeedbackGiven, Model, QualityMeasured, WatchState
from tierbus.quality.sample import day_of

Z = 1.959964
"""97.5 % of a standard normal distribution lie below it."""
DRAWS = 1000
_SEED = 20_050_301
_MOST_PICKS = 2_000_000
"""Tasks times draws of one bootstrap: about half a second of pure Python. Beyond it fewer draws are made, 200 at least."""
_LEAST_DRAWS = 200
T = TypeVar("T")


class Interval(Model):
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float


class Saving(Model):
    """What tasks cost against the frontier's own answer to them. `pairs` are the tasks of which both costs are known.

    `estimated` is the baseline that their results gave, over those pairs that have one; None where any has none.
    """

    pairs: int
    task_nano_usd: int
    frontier_nano_usd: int
    estimated_nano_usd: int | None
    ratio: Interval | None


class Measured(Model):
    """The comparisons of one group: how many of each, what they show, and what the watch itself spent.

    `split` counts comparisons in which the two orders named different winners: much of it is a judge that prefers a place.
    """

    n: int
    better: int
    ties: int
    worse: int
    split: int
    over_cap: int
    failed: int
    under_way: int
    own_nano_usd: int
    own_complete: bool
    difference: Interval | None
    saving: Saving


class Feedback(Model):
    """Scores that people gave, the last of each task."""

    n: int
    score: Interval | None


class Day(Model):
    """One day (UTC), by the end of its tasks; feedback by when it was given."""

    day: str
    measured: Measured
    feedback: Feedback


class ClassQuality(Model):
    """All that is known of one class."""

    task_class: str
    measured: Measured
    feedback: Feedback
    days: tuple[Day, ...]


class Quality(Model):
    """What the watch knows, by class, those with most comparisons first, and all classes together."""

    classes: tuple[ClassQuality, ...] = ()
    all: ClassQuality | None = None

    @property
    def compared(self) -> int:
        """Comparisons in all."""
        return self.all.measured.n if self.all else 0

    @property
    def empty(self) -> bool:
        """Whether nothing was watched and nobody said anything."""
        return self.all is None


def quality(records: Iterable[QualityMeasured], feedback: Iterable[FeedbackGiven]) -> Quality:
    """What these records show; of several about one task the last one counts."""
    latest = list({(one.tenant, one.run): one for one in sorted(records, key=lambda one: one.at)}.values())
    said = list({(one.tenant, one.run): one for one in sorted(feedback, key=lambda one: one.at)}.values())
    if not latest and not said:
        return Quality()
    records_of, said_of = _grouped(latest, lambda one: one.task_class), _grouped(said, lambda one: one.task_class)
    classes = [_class(name, records_of.get(name, ()), said_of.get(name, ())) for name in {*records_of, *said_of}]
    ordered = sorted(classes, key=lambda one: (-one.measured.n, -one.feedback.n, one.task_class))
    return Quality(classes=tuple(ordered), all=_class("*", latest, said))


def _class(name: str, records: Sequence[QualityMeasured], said: Sequence[FeedbackGiven]) -> ClassQuality:
    records_on, said_on = _grouped(records, lambda one: one.day), _grouped(said, lambda one: day_of(one.at))
    return ClassQuality(
        task_class=name,
        measured=measured(records),
        feedback=rated(said),
        days=tuple(
            Day(day=day, measured=measured(records_on.get(day, ())), feedback=rated(said_on.get(day, ())))
            for day in sorted({*records_on, *said_on})
        ),
    )


def measured(records: Sequence[QualityMeasured]) -> Measured:
    """The comparisons of one group."""
    states = [record.state for record in records]
    compared = [record for record in records if record.comparison is not None]
    found = [record.comparison for record in compared]
    better, worse = found.count(Comparison.BETTER), found.count(Comparison.WORSE)
    return Measured(
        n=len(compared),
        better=better,
        ties=found.count(Comparison.TIE),
        worse=worse,
        split=sum(set(record.orders) == {Comparison.BETTER, Comparison.WORSE} for record in compared),
        over_cap=states.count(WatchState.OVER_CAP),
        failed=states.count(WatchState.FAILED),
        under_way=states.count(WatchState.ASKING),
        own_nano_usd=sum(record.own_nano_usd for record in records if record.final),
        own_complete=all(record.own_complete for record in records),
        difference=difference(better, worse, len(compared)),
        saving=saving(compared),
    )


def difference(better: int, worse: int, n: int) -> Interval | None:
    """(better - worse) / n with Agresti and Min's interval; None of no comparison."""
    if n <= 0:
        return None
    value = (better - worse) / n
    one, other, all_ = better + 0.5, worse + 0.5, n + 2.0
    middle = (one - other) / all_
    half = Z * math.sqrt(max(0.0, one + other - (one - other) ** 2 / all_)) / all_
    return Interval(value=value, low=max(-1.0, min(value, middle - half)), high=min(1.0, max(value, middle + half)))


def saving(records: Iterable[QualityMeasured]) -> Saving:
    """What these tasks cost against the frontier's answers to them."""
    pairs = [
        (one.task_nano_usd, one.frontier_nano_usd, one.estimated_nano_usd)
        for one in records
        if one.task_nano_usd is not None and one.frontier_nano_usd is not None
    ]
    estimates = [estimated for _, _, estimated in pairs if estimated is not None]
    costs = [(task, frontier) for task, frontier, _ in pairs]
    return Saving(
        pairs=len(pairs),
        task_nano_usd=sum(task for task, _ in costs),
        frontier_nano_usd=sum(frontier for _, frontier in costs),
        estimated_nano_usd=sum(estimates) if len(estimates) == len(pairs) and pairs else None,
        ratio=_ratio(costs),
    )


def _ratio(costs: Sequence[tuple[int, int]]) -> Interval | None:
    """1 - sum / sum with its bootstrap interval; None where the frontier's answers cost nothing."""
    value = _saved(costs)
    if value is None:
        return None
    chance = random.Random(_SEED)  # noqa: S311 - resampling, and the same each time
    draws = max(_LEAST_DRAWS, min(DRAWS, _MOST_PICKS // len(costs)))
    ordered = sorted(costs)
    tried = (_saved(chance.choices(ordered, k=len(ordered))) for _ in range(draws))
    spread = sorted(one for one in tried if one is not None)
    low, high = spread[int(0.025 * len(spread))], spread[math.ceil(0.975 * len(spread)) - 1]
    return Interval(value=value, low=min(low, value), high=max(high, value))


def _saved(costs: Sequence[tuple[int, int]]) -> float | None:
    frontier = sum(cost for _, cost in costs)
    return 1.0 - sum(task for task, _ in costs) / frontier if frontier > 0 else None


def rated(said: Sequence[FeedbackGiven]) -> Feedback:
    """The scores of one group."""
    return Feedback(n=len(said), score=wilson(math.fsum(one.score for one in said), len(said)))


def wilson(good: float, n: int) -> Interval | None:
    """The share of good ones with Wilson's score interval (JASA 22, 1927); None of nothing."""
    if n <= 0:
        return None
    share = good / n
    spread = Z * math.sqrt(max(0.0, share * (1 - share)) / n + Z**2 / (4 * n**2))
    middle, scale = share + Z**2 / (2 * n), 1 + Z**2 / n
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return Interval(value=share, low=max(0.0, min(share, low)), high=min(1.0, max(share, high)))


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: defaultdict[str, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)
