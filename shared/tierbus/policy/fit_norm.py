"""What training shows of the signs by which a class is held against it (`drift`)."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tierbus.policy.choose import Course, Curve, Step
from tierbus.policy.drift import Norm
from tierbus.policy.features import agree, usable
from tierbus.policy.moves import Seen
from tierbus.policy.search import curve

Floats = npt.NDArray[np.float64]

ENOUGH = 30
"""Tasks in training below which nothing is held against it."""
WIDE = 4.0
"""Standard deviations of a gain from its mean beyond which it counts no more than there: rare ones would hide the many."""


def trained(
    course: Course, gains: Mapping[tuple[int, ...], Mapping[int, Floats]], seens: Sequence[tuple[Seen, ...]]
) -> Norm | None:
    """The norm of a class; None where too few tasks gave a sign.

    Args:
        course: of the class.
        gains: what models say that were not fitted on the task, by the places seen.
        seens: for each task the answers of every place.
    """
    before, after = gains[()][course.first], gains[(course.first,)][course.first]
    started = [at for at, gain in enumerate(before) if course.starts_cheap(float(gain))]
    if course.second is not None:
        return _of_pairs(course, course.second, after, [(at, seens[at]) for at in started])
    signs = np.clip(after[started], -1.0, 1.0)
    if len(signs) < ENOUGH:
        return None
    reach = WIDE * float(signs.std())
    least, most = max(-1.0, float(signs.mean()) - reach), min(1.0, float(signs.mean()) + reach)
    return _norm(np.clip(signs, least, most), least, most, None)


def _of_pairs(
    course: Course, second: int, after: Floats, started: Sequence[tuple[int, tuple[Seen, ...]]]
) -> Norm | None:
    pairs = [
        (float(after[at]), float(agree(row[course.first], row[second])))
        for at, row in started
        if course.step(float(after[at]), usable=usable(row[course.first])) is Step.SECOND
    ]
    if len(pairs) < ENOUGH:
        return None
    gains, agreed = np.array(pairs).T
    return _norm(agreed, 0.0, 1.0, curve(gains, agreed))


def _norm(signs: Floats, least: float, most: float, agreement: Curve | None) -> Norm:
    return Norm(len(signs), float(signs.mean()), float(signs.std()), least, most, agreement)
