import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tierbus.policy import left_out
from tierbus.policy.left_out import Bools, Floats, Folds, fitted, margins


def told(seed: int, tasks: int, columns: int, share: float) -> tuple[Floats, Bools, Folds]:
    """Tasks whose first column says something of the label; a share of all is right; two assignments to folds."""
    rng = np.random.default_rng(seed)
    rows = np.clip(rng.normal(size=(tasks, columns)) * 2, -4, 4)
    score = rows[:, 0] + rng.normal(size=tasks)
    return rows, score > np.quantile(score, 1 - share), np.array([rng.permutation(tasks) % 5 for _ in range(2)])


def anew(rows: Floats, right: Bools, strength: float, folds: Folds) -> Floats:
    """The same by fitting every part by itself, as exactly as can be."""
    said = np.empty(folds.shape)
    for at, fold in enumerate(folds):
        for part in range(5):
            out = fold == part
            model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000)
            said[at, out] = model.fit(rows[~out], right[~out]).decision_function(rows[out])
    return said


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0.1, 0.9), st.sampled_from([0.0005, 0.01, 0.05, 1.0]))
def test_moving_on_from_the_fit_on_all_says_what_fitting_every_part_anew_says(
    seed: int, columns: int, share: float, strength: float
) -> None:
    rows, right, folds = told(seed, 120, columns, share)

    found = margins(rows, right, strength, folds, fitted(rows, right, strength))

    assert found == pytest.approx(anew(rows, right, strength, folds), abs=1e-3)


def test_parts_that_cannot_be_reached_from_the_fit_on_all_are_fitted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, right, folds = told(1, 120, 5, 0.5)
    monkeypatch.setattr(left_out, "STEPS", 1)

    found = margins(rows, right, 0.05, folds, (np.full(5, 9.0), -9.0))

    assert found == pytest.approx(anew(rows, right, 0.05, folds), abs=1e-3)


@pytest.mark.parametrize(("label", "said"), [(True, -3.0), (False, 3.0)])
def test_where_all_other_tasks_are_alike_they_are_believed_not_without_end(label: bool, said: float) -> None:
    rows = np.random.default_rng(2).normal(size=(50, 3))
    fold = np.arange(50) % 5
    right = (fold == 0) == label

    found = margins(rows, right, 0.05, fold[None, :], fitted(rows, right, 0.05))

    assert found[0, fold == 0] == pytest.approx(said)
    assert np.isfinite(found).all()
