"""The two regressions that a policy is made of, each with the penalty that did best on rows it had not seen.

numpy and scikit-learn are used here; what comes out is weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from tierbus.policy.model import Head

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Folds = npt.NDArray[np.int64]

STRENGTHS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Inverse strengths of the logistic penalty (scikit-learn's C) that are tried, the most careful one first."""
PENALTIES = (10_000.0, 3_000.0, 1_000.0, 300.0, 100.0)
"""Penalties of the linear regression that are tried, the most careful one first."""
MANY = 3_000
"""Rows from which on the strength hardly matters, and one that is not tried but taken saves most of the time."""
STRENGTH_OF_MANY = 0.02
_SURE = 3.0
_LEAST = 1e-4


class Table(NamedTuple):
    """Standardised features, task by task; by how much less each column's weight is penalised; the fold of each task."""

    values: Floats
    weigh: Floats
    fold: Folds

    @property
    def scaled(self) -> Floats:
        """The columns as the penalty sees them."""
        return self.values * self.weigh


class _Tried(NamedTuple):
    strength: float
    chances: Floats
    losses: Floats
    slope: float
    shift: float


def chance(table: Table, right: Bools) -> tuple[Head, Floats]:
    """A calibrated logistic regression, and what it says of tasks that it was not fitted on.

    The strength is the most careful one whose log loss out of fold is within one standard error of the best (Breiman's rule).
    """
    if right.all() or not right.any():
        share = (right.sum() + 1) / (len(right) + 2)
        weights = (0.0,) * table.values.shape[1]
        return Head(weights, float(np.log(share / (1 - share)))), np.full(len(right), share)
    strengths = STRENGTHS if len(right) < MANY else (STRENGTH_OF_MANY,)
    scaled = table.scaled
    tried = [_tried(scaled, table.fold, right, strength) for strength in strengths]
    found = tried[_careful([one.losses for one in tried])]
    whole = _logistic(found.strength).fit(scaled, right)
    weights = found.slope * whole.coef_[0] * table.weigh
    head = Head(tuple(weights.tolist()), found.slope * float(whole.intercept_[0]) + found.shift)
    return head, found.chances


def difference(table: Table, gained: Floats) -> tuple[Head, Floats]:
    """A linear regression of what another answer gains (-1, 0, 1), and what it says of tasks that it was not fitted on.

    Two chances fitted apart err apart; their difference regressed at once errs less, and the mean of both least.
    """
    scaled, fold = table.scaled, table.fold
    away = np.zeros((len(PENALTIES), len(gained)))
    for part in np.unique(fold):
        rest = fold != part
        for at, (weights, bias) in enumerate(_ridges(scaled[rest], gained[rest])):
            away[at, fold == part] = scaled[fold == part] @ weights + bias
    best = int(((away - gained) ** 2).mean(axis=1).argmin())
    weights, bias = _ridges(scaled, gained)[best]
    return Head(tuple((weights * table.weigh).tolist()), float(bias)), away[best]


def _tried(scaled: Floats, fold: Folds, right: Bools, strength: float) -> _Tried:
    away = np.zeros(len(right))
    for part in np.unique(fold):
        rest = fold != part
        away[fold == part] = _margins(scaled[rest], right[rest], scaled[fold == part], strength)
    platt = LogisticRegression(C=1e3).fit(away[:, None], right)
    slope, shift = max(float(platt.coef_[0, 0]), 0.0), float(platt.intercept_[0])
    chances = 1 / (1 + np.exp(-(slope * away + shift)))
    sure = np.clip(chances, _LEAST, 1 - _LEAST)
    return _Tried(strength, chances, -np.where(right, np.log(sure), np.log(1 - sure)), slope, shift)


def _margins(values: Floats, right: Bools, others: Floats, strength: float) -> Floats:
    if right.all() or not right.any():
        return np.full(len(others), _SURE if right.all() else -_SURE)
    return np.asarray(_logistic(strength).fit(values, right).decision_function(others))


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300)


def _careful(losses: Sequence[Floats]) -> int:
    """The first whose mean is within one standard error of the least, paired."""
    best = min(losses, key=lambda one: float(one.mean()))
    apart = [one - best for one in losses]
    return next(at for at, one in enumerate(apart) if one.mean() <= one.std() / np.sqrt(len(one)))


def _ridges(scaled: Floats, gained: Floats) -> list[tuple[Floats, float]]:
    """Weights and bias for every penalty, from one decomposition."""
    middle, mean = scaled.mean(axis=0), float(gained.mean())
    left, spread, right = np.linalg.svd(scaled - middle, full_matrices=False)
    turned = left.T @ (gained - mean)
    found = [right.T @ (spread / (spread**2 + penalty) * turned) for penalty in PENALTIES]
    return [(weights, float(mean - middle @ weights)) for weights in found]
