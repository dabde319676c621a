"""What training shows of the signs by which a class is held against it (`drift`)."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tierbus.policy.choose import Course
from tierbus.policy.drift import Level, Norm, sign
from tierbus.policy.moves import Seen
from tierbus.policy.search import curve

Floats = npt.NDArray[np.float64]

ENOUGH = 30
"""Tasks in training below which nothing is held against it."""
WIDE = 4.0
"""Standard deviations of a gain from its mean beyond which it counts no more than there: rare ones would hide the many."""


def trained(
    course: Course,
    gains: Mapping[tuple[int, ...], Mapping[int, Floats]],
    seens: Sequence[tuple[Seen, ...]],
    groups: Sequence[str | None],
) -> Norm | None:
    """The norm of a class; None where too few tasks gave a sign.

    Args:
        course: of the class.
        gains: what models say that were not fitted on the task, by the places seen.
        seens: for each task the answers of every place.
        groups: for each task its category.
    """
    before, after = gains[()][course.first], gains[(course.first,)][course.first]
    found = [
        (float(gain), shown, group)
        for prompt, gain, row, group in zip(before, after, seens, groups, strict=True)
        if course.starts_cheap(float(prompt))
        and (shown := sign(course, float(gain), row[course.first], _second(course, row), None)) is not None
    ]
    if len(found) < ENOUGH:
        return None
    kept, signs = np.array([row[:2] for row in found]).T
    own = [group for _, _, group in found]
    if course.second is not None:
        return Norm(*_level(signs), agreement=curve(kept, signs), groups=_by_group(signs, own))
    _, mean, spread = _level(signs)
    least, most = max(-1.0, mean - WIDE * spread), min(1.0, mean + WIDE * spread)
    signs = np.clip(signs, least, most)
    return Norm(*_level(signs), least, most, groups=_by_group(signs, own))


def _by_group(signs: Floats, groups: Sequence[str | None]) -> dict[str, Level]:
    named = sorted({group for group in groups if group is not None})
    return {name: Level(*_level(signs[[group == name for group in groups]])) for name in named}


def _level(signs: Floats) -> tuple[int, float, float]:
    """Rows, mean and spread. Rounding may put the mean of equal numbers beside them, and so beyond what counts at most."""
    return len(signs), float(signs.mean().clip(signs.min(), signs.max())), float(signs.std())


def _second(course: Course, row: tuple[Seen, ...]) -> Seen | None:
    return None if course.second is None else row[course.second]
