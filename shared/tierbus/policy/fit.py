"""Learning a policy from labelled answers: regressions judged out of fold, and a course for every class.

numpy and scikit-learn are used here and in `search` only; what comes out needs neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from joblib import Parallel, cpu_count, delayed  # type: ignore[import-untyped]  # it has no types; scikit-learn requires it
from sklearn import config_context
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types; scikit-learn requires it

from tierbus.policy.features import Features, usable
from tierbus.policy.fit_norm import trained
from tierbus.policy.fit_words import fit_words
from tierbus.policy.learned import LABELS, Learned, Lesson, stage_name
from tierbus.policy.model import REACH, STRONG, Stage, strangeness
from tierbus.policy.moves import Case, Seen
from tierbus.policy.reading import AGREE, Reader, read
from tierbus.policy.regress import MANY, Table, chance, difference
from tierbus.policy.search import Found, Outlook, search
from tierbus.policy.words import COURSE_ROWS, Words

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SMALL = 700
Z, Z_SMALL = 1.28, 1.64
"""Standard errors of the observed difference that are kept as a margin (one-sided, 90 and 95 %); the second below `SMALL` labels,
where the estimate is chosen among many and errs most. With 1 instead of 1.28 half of all re-splits of a ladder whose courses
come out near the target lost more than it.
"""
TRUST = 0.75
"""Share of what was observed in the estimate of quality; the rest is what the models expect, which varies less. With both,
re-splits of recorded answers held the target on average.
"""
AGREE_WEIGHT = 4.0
"""How much less agreement's weight is penalised than the others': it says more than all of them together."""
FOLDS = 5
AGAIN = 4
"""Assignments to folds in classes between `SMALL` and `MANY` labels. Below, the larger margin was chosen with one; above, one
assignment says the same as four.
"""
APART = 2_000
"""Tasks from which on classes are learned in processes of their own; fewer take about as long as starting these."""
_FLAT = 1e-9
_STRANGE_AT = 99.5
_STRANGE_SLACK = 2.0


@dataclass(frozen=True)
class Aim:
    """What a user asks for: points of accuracy that may be lost (.01 is one), the margin in standard errors, the fold seed.

    `z` None is the measured default.
    """

    target: float = 0.01
    z: float | None = None
    seed: int = 0


def fit(
    cases: Sequence[Case],
    seens: Sequence[tuple[Seen, ...]],
    correct: Sequence[Sequence[bool]],
    models: Sequence[str] | None = None,
    aim: Aim = Aim(),
    reader: Reader = read,
) -> Learned:
    """A policy from tasks whose every answer on the ladder is known and judged, one lesson a class.

    Classes are learned beside each other, each in a process of its own where there are many tasks. A process uses one thread:
    these regressions are so small that threads wait for each other most of the time, on two cores for more than half of it, and
    their number would change the last digits of what comes out.

    Args:
        cases: the tasks.
        seens: for each task the answer of every place, in the ladder's order.
        correct: for each task, place by place, whether the answer was right.
        models: names of the ladder's models; numbered without it.
        aim: the quality target.
        reader: makes the features; another one may keep what it made.

    Raises:
        ValueError: no task, or tasks with different numbers of answers.
    """
    if not cases or len({len(row) for row in seens} | {len(row) for row in correct}) != 1:
        raise ValueError("every task needs an answer and a judgement for every place of the ladder")
    names = tuple(models) if models is not None else tuple(f"place {at}" for at in range(len(seens[0])))
    right = np.array(correct, dtype=bool)
    classes: dict[str, list[int]] = {}
    for at, case in enumerate(cases):
        classes.setdefault(case.task_class, []).append(at)
    processes = min(len(classes), cpu_count()) if len(cases) >= APART else 1
    lessons = Parallel(n_jobs=processes)(
        delayed(_taught)([cases[at] for at in picked], [seens[at] for at in picked], right[picked], aim, reader)
        for _, picked in sorted(classes.items())
    )
    return Learned(names, dict(zip(sorted(classes), lessons, strict=True)), aim.target, reader)


def _taught(cases: list[Case], seens: list[tuple[Seen, ...]], correct: Bools, aim: Aim, reader: Reader) -> Lesson:
    with threadpool_limits(limits=1), config_context(assume_finite=True, skip_parameter_validation=True):
        return _lesson(cases, seens, correct, aim, reader)


def _lesson(cases: list[Case], seens: list[tuple[Seen, ...]], correct: Bools, aim: Aim, reader: Reader) -> Lesson:
    usd = np.array([[one.cost_usd for one in row] for row in seens])
    costs = tuple(usd.mean(axis=0).tolist())
    groups = tuple(sorted({case.group for case in cases if case.group is not None}))
    if len(cases) < LABELS or correct.shape[1] == 1:
        return Lesson(len(cases), groups, costs)
    rng = np.random.default_rng(aim.seed)
    again = AGAIN if SMALL <= len(cases) < MANY else 1
    folds = np.array([rng.permutation(len(cases)) % FOLDS for _ in range(again)])
    stages: dict[str, Stage] = {}
    gains: dict[tuple[int, ...], dict[int, Floats]] = {}
    words: Words | None = None
    for places, table in _tables(cases, seens, _moments(correct.shape[1] - 1), reader).items():
        stages[stage_name(places)], gains[places] = _stage(table, places, correct, folds)
        if not places:
            words, gains[()] = _words(cases, table, correct, folds[0], gains[()])
    found = _course(Outlook(gains, correct, usd, _usable(seens)), aim)
    if found is None:
        return Lesson(len(cases), groups, costs, stages, words=words)
    norm = trained(found.course, gains, seens, [case.group for case in cases])
    return Lesson(
        len(cases), groups, costs, stages, found.course, found.quality, found.cost_share, words=words, norm=norm
    )


def _tables(
    cases: list[Case], seens: list[tuple[Seen, ...]], moments: list[tuple[int, ...]], reader: Reader
) -> dict[tuple[int, ...], list[Features]]:
    """Features by moment, read task by task: what is read of a text at one moment is still kept at the next."""
    tables: dict[tuple[int, ...], list[Features]] = {places: [] for places in moments}
    for case, row in zip(cases, seens, strict=True):
        for places, table in tables.items():
            table.append(reader(case, tuple(row[place] for place in places)))
    return tables


def _words(
    cases: list[Case],
    table: list[Features],
    correct: Bools,
    fold: npt.NDArray[np.int64],
    gains: dict[int, Floats],
) -> tuple[Words | None, dict[int, Floats]]:
    """A bag of words, where it puts tasks that it did not see in better order than the features; and what the course goes by."""
    questions = [*map(str, range(correct.shape[1] - 1)), STRONG]
    fitted = fit_words([case.prompt for case in cases], table, questions, correct, fold)
    if fitted is None:
        return None, gains
    heard = {place: fitted.gain(place) for place in gains}
    if _order(heard, correct) <= _order(gains, correct):
        return None, gains
    return fitted.words, heard if len(cases) >= COURSE_ROWS else gains


def _order(gains: dict[int, Floats], correct: Bools) -> float:
    """How well tasks are put in order: the covariance of the rank by expected gain with what a strong call added.

    The area under a router's curve of quality over strong calls rises with it.
    """
    added = correct.astype(float)
    return sum(
        float(np.cov(np.searchsorted(np.sort(gain), gain), added[:, -1] - added[:, place])[0, 1])
        for place, gain in gains.items()
    )


def _moments(cheap: int) -> list[tuple[int, ...]]:
    """Which places may have answered when a decision is due."""
    pairs = [(one, other) for other in range(cheap) for one in range(other)]
    return [(), *((place,) for place in range(cheap)), *pairs]


def _usable(seens: list[tuple[Seen, ...]]) -> Bools:
    return np.array([[usable(one) for one in row] for row in seens])


def _course(outlook: Outlook, aim: Aim) -> Found | None:
    if not outlook.usd[:, -1].sum() > 0:
        return None
    usual = Z_SMALL if len(outlook.usd) < SMALL else Z
    return search(outlook, aim.target, aim.z if aim.z is not None else usual, TRUST)


def _stage(
    table: list[Features], places: tuple[int, ...], correct: Bools, folds: npt.NDArray[np.int64]
) -> tuple[Stage, dict[int, Floats]]:
    """The stage after these places, and the out-of-fold gains of the answers that may be taken then."""
    names = tuple(sorted({name for row in table for name in row}))
    raw = np.array([[row.get(name, 0.0) for name in names] for row in table])
    means, scales = raw.mean(axis=0), raw.std(axis=0)
    scales[scales < _FLAT] = 1.0
    standard = (raw - means) / scales
    values = np.clip(standard, -REACH, REACH)
    weigh = np.array([AGREE_WEIGHT if name == AGREE else 1.0 for name in names])
    rows = Table(values, weigh, folds)
    heads, lines, added = {}, {}, {}
    heads[STRONG], strong = chance(rows, correct[:, -1])
    for place in places or range(correct.shape[1] - 1):
        heads[str(place)], right = chance(rows, correct[:, place])
        gained = correct[:, -1].astype(float) - correct[:, place]
        lines[str(place)], away = difference(rows, gained)
        added[place] = (strong - right + away) / 2
    odd = np.percentile([strangeness(row) for row in standard.tolist()], _STRANGE_AT)
    limit = float(odd) * _STRANGE_SLACK
    return Stage(names, tuple(means.tolist()), tuple(scales.tolist()), limit, heads, lines), added
