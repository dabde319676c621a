"""Finding the course of a class: the cheapest way that held the quality target on tasks its models did not see.

The worth of a right answer falls step by step from "nearly always strong"; at each worth the sequence of cheap places counts
that comes out best, dollars and worth of lost answers together. The walk ends where the out-of-fold difference to
always-strong, less its margin, falls below the target; a setting further down that looks good again is luck.
Numpy here: only fitting uses this.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tierbus.policy.choose import Course, Curve

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

WORTHS = np.geomspace(3, 0.065, 320)
"""Values of one right answer more, in strong calls over the target, from the safest. With a target of one point a right answer
is worth 300 strong calls at first and never less than 6.5: below that little is saved, and what looks equal in training is luck.
At 1 the models expect no answer that is taken to lose more than the target. With so many steps more of them change nothing.
"""
DEAREST = 0.98
"""Share of the strong model's dollars that a course may cost."""
_LEAST = 1e-4
"""A target below it is taken as it: a right answer has no endless worth."""
_LEAST_SPREAD = 1e-3
_BINS = 8


@dataclass(frozen=True)
class Outlook:
    """Out-of-fold gains of a class's tasks, by the places seen: `gains[()][first]`, `gains[(0,)][0]`, `gains[(0, 1)][place]`."""

    gains: Mapping[tuple[int, ...], Mapping[int, Floats]]
    correct: Bools
    usd: Floats
    usable: Bools


@dataclass(frozen=True)
class Found:
    """A course with its expected difference to the strong model's accuracy, and its cost share."""

    course: Course
    quality: float
    cost_share: float


def search(outlook: Outlook, target: float, z: float, trust: float, dearest: float = DEAREST) -> Found | None:
    """The cheapest course that holds the target; None where none does for less than `dearest` of the strong cost.

    Args:
        outlook: what the models say about tasks they were not fitted on, and what came of these.
        target: accuracy that may be lost, .01 is one point.
        z: standard errors of the observed difference that are kept as a margin, but no more than the target itself: with few labels
            nothing would ever be found otherwise.
        trust: share of the observed difference in the estimate; the rest is what the calibrated models expect, which hardly varies.
        dearest: share of the strong model's dollars that a course may cost.
    """
    strong_usd = float(outlook.usd[:, -1].mean())
    best: Found | None = None
    for worth in WORTHS / max(target, _LEAST):
        tried = [_tried(outlook, one, worth * strong_usd, trust) for one in _sequences(outlook.correct.shape[1] - 1)]
        leading = min(tried, key=lambda one: one.usd - worth * strong_usd * one.quality)
        if leading.quality - min(z * leading.error, target) < -target:
            break
        share = leading.usd / strong_usd
        if share < min(dearest, best.cost_share if best is not None else 1.0):
            best = Found(leading.course, leading.quality, share)
    return best


class _Tried(NamedTuple):
    """A course with what is expected of a task: the difference in accuracy, the standard error of the observed one, dollars."""

    course: Course
    quality: float
    error: float
    usd: float


def _tried(outlook: Outlook, sequence: tuple[int, ...], worth_usd: float, trust: float) -> _Tried:
    course, gained, expected, usd = _try(outlook, sequence, worth_usd)
    quality = trust * gained.mean() + (1 - trust) * expected.mean()
    error = max(float(gained.std()), _LEAST_SPREAD) / np.sqrt(len(gained))
    return _Tried(course, float(quality), float(error), float(usd.mean()))


def _sequences(cheap: int) -> Iterator[tuple[int, ...]]:
    for length in (1, 2):
        yield from permutations(range(cheap), length)


def _try(outlook: Outlook, sequence: tuple[int, ...], worth_usd: float) -> tuple[Course, Floats, Floats, Floats]:
    """The course at this worth, and task by task: the accuracy gained, the accuracy expected, the dollars spent."""
    first, second = sequence[0], sequence[1] if len(sequence) > 1 else None
    costs = outlook.usd.mean(axis=0)
    strong_usd = float(costs[-1])
    prompt_gain, first_gain = outlook.gains[()][first], outlook.gains[(first,)][first]
    after_first, second_usd, two = None, np.full(len(first_gain), np.inf), None
    if second is not None:
        two = _two(outlook, sequence)
        after_first = curve(first_gain, np.minimum(worth_usd * two[1], strong_usd))
        second_usd = costs[second] + _at(after_first, first_gain)
    take_usd = np.where(outlook.usable[:, first], worth_usd * first_gain, np.inf)
    best_usd = np.minimum(np.minimum(take_usd, second_usd), strong_usd)
    after_prompt = curve(prompt_gain, best_usd)
    course = Course(first, second, worth_usd, tuple(costs.tolist()), after_prompt, after_first)
    cheap = costs[first] + _at(after_prompt, prompt_gain) < strong_usd
    takes = cheap & (take_usd <= np.minimum(strong_usd, second_usd))
    asks = cheap & ~takes & (second_usd < strong_usd)
    return course, *_outcome(outlook, sequence, worth_usd, (cheap, takes, asks), two)


def _two(outlook: Outlook, sequence: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], Floats]:
    """The better of two cheap answers by place, and its gain; an unusable one only where both are."""
    places = sorted(sequence)
    gains = np.stack([outlook.gains[tuple(places)][place] for place in places])
    usable = outlook.usable[:, places].T
    judged = np.where(usable | ~usable.any(axis=0), gains, np.inf)
    picked = judged.argmin(axis=0)
    every = np.arange(gains.shape[1])
    gain = np.where(usable.any(axis=0), gains[picked, every], np.inf)
    return np.array(places)[picked], gain


def _outcome(
    outlook: Outlook,
    sequence: tuple[int, ...],
    worth_usd: float,
    masks: tuple[Bools, Bools, Bools],
    two: tuple[npt.NDArray[np.int64], Floats] | None,
) -> tuple[Floats, Floats, Floats]:
    cheap, takes, asks = masks
    correct, first = outlook.correct.astype(float), sequence[0]
    gained, expected = np.zeros(len(correct)), np.zeros(len(correct))
    gained[takes] = (correct[:, first] - correct[:, -1])[takes]
    expected[takes] = -outlook.gains[(first,)][first][takes]
    usd = np.where(cheap, outlook.usd[:, first], 0.0)
    strong = ~takes
    if two is not None:
        place, gain = two
        kept = asks & (worth_usd * gain <= outlook.usd[:, -1].mean())
        gained[kept] = (correct[np.arange(len(correct)), place] - correct[:, -1])[kept]
        expected[kept] = -gain[kept]
        usd[asks] += outlook.usd[asks, sequence[1]]
        strong &= ~kept
    usd[strong] += outlook.usd[strong, -1]
    return gained, expected, usd


def curve(gains: Floats, values: Floats) -> Curve:
    """Mean values in bins of equally many tasks, along the gain."""
    order = np.argsort(gains, kind="stable")
    points: dict[float, list[float]] = {}
    for part in np.array_split(order, _BINS):
        if len(part):
            points.setdefault(float(gains[part].mean()), []).extend(values[part].tolist())
    return Curve(tuple(points), tuple(sum(found) / len(found) for found in points.values()))


def _at(found: Curve, gains: Floats) -> Floats:
    return np.interp(gains, found.gains, found.means)
