"""The two regressions that a policy is made of, each with the penalty that did best on rows it had not seen.

numpy and scikit-learn are used here; what comes out is weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from tierbus.policy.left_out import Bools, Floats, Folds, fitted, margins
from tierbus.policy.model import Head

STRENGTHS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Inverse strengths of the logistic penalty (scikit-learn's C) that are tried, the most careful one first."""
PENALTIES = (10_000.0, 3_000.0, 1_000.0, 300.0, 100.0)
"""Penalties of the linear regression that are tried, the most careful one first."""
MANY = 3_000
"""Rows from which on the strength hardly matters, and one that is not tried but taken saves most of the time."""
STRENGTH_OF_MANY = 0.02
_LEAST = 1e-4


class Table(NamedTuple):
    """Standardised features, task by task; by how much less each column's weight is penalised; the folds.

    Each row of `folds` assigns every task to a fold. What is said of a task out of fold is the mean over the rows: it errs less by
    the accident of one assignment.
    """

    values: Floats
    weigh: Floats
    folds: Folds

    @property
    def scaled(self) -> Floats:
        """The columns as the penalty sees them."""
        return self.values * self.weigh


class _Tried(NamedTuple):
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
    wholes = [fitted(scaled, right, strength) for strength in strengths]
    tried = [
        _tried(margins(scaled, right, strength, table.folds, whole), right)
        for strength, whole in zip(strengths, wholes, strict=True)
    ]
    best = _careful([one.losses for one in tried])
    found, (weights, bias) = tried[best], wholes[best]
    head = Head(tuple((found.slope * weights * table.weigh).tolist()), found.slope * bias + found.shift)
    return head, found.chances


def difference(table: Table, gained: Floats) -> tuple[Head, Floats]:
    """A linear regression of what another answer gains (-1, 0, 1), and what it says of tasks that it was not fitted on.

    Two chances fitted apart err apart; their difference regressed at once errs less, and the mean of both least.
    """
    scaled = table.scaled
    away = np.zeros((len(PENALTIES), len(gained)))
    for fold in table.folds:
        for part in np.unique(fold):
            out = fold == part
            for at, (weights, bias) in enumerate(_ridges(scaled[~out], gained[~out])):
                away[at, out] += (scaled[out] @ weights + bias) / len(table.folds)
    best = int(((away - gained) ** 2).mean(axis=1).argmin())
    weights, bias = _ridges(scaled, gained)[best]
    return Head(tuple((weights * table.weigh).tolist()), float(bias)), away[best]


def _tried(said: Floats, right: Bools) -> _Tried:
    """One strength, calibrated on what fits of every assignment to folds say; the chances are the mean of theirs."""
    platt = LogisticRegression(C=1e3).fit(said.reshape(-1, 1), np.tile(right, len(said)))
    slope, shift = max(float(platt.coef_[0, 0]), 0.0), float(platt.intercept_[0])
    chances = (1 / (1 + np.exp(-(slope * said + shift)))).mean(axis=0)
    sure = np.clip(chances, _LEAST, 1 - _LEAST)
    return _Tried(chances, -np.where(right, np.log(sure), np.log(1 - sure)), slope, shift)


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
