from collections.abc import Callable

import numpy as np
import pytest

from tierbus.policy.left_out import Bools, Floats, Folds
from tierbus.policy.model import Head
from tierbus.policy.regress import MANY, PENALTIES, Table, chance, difference


def table(rows: int, columns: int, seed: int = 0, assignments: int = 1) -> Table:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, columns))
    return Table(values, np.ones(columns), np.array([rng.permutation(rows) % 5 for _ in range(assignments)]))


def told(found: Table, weights: tuple[float, ...], bias: float) -> np.ndarray:
    return np.asarray(found.values @ np.array(weights) + bias)


def test_a_chance_is_calibrated_on_rows_that_it_was_not_fitted_on() -> None:
    rows = table(2000, 5)
    right = np.random.default_rng(1).random(2000) < 1 / (1 + np.exp(-2 * rows.values[:, 0]))
    _, chances = chance(rows, right)

    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        part = (chances >= low) & (chances < high)
        assert chances[part].mean() == pytest.approx(right[part].mean(), abs=0.05)


def test_what_is_all_noise_gets_hardly_any_weight() -> None:
    rows = table(400, 60)
    right = np.random.default_rng(2).random(400) < 0.8
    head, chances = chance(rows, right)

    assert np.abs(head.weights).max() < 0.1
    assert chances.std() < 0.06


def test_a_question_with_one_answer_only_is_answered_by_its_share() -> None:
    head, chances = chance(table(98, 3), np.ones(98, bool))

    assert head.weights == (0.0, 0.0, 0.0)
    assert head.chance([0.0, 0.0, 0.0]) == pytest.approx(0.99)
    assert chances == pytest.approx(np.full(98, 0.99))


def test_a_column_that_is_penalised_less_gets_more_weight() -> None:
    rows = table(300, 10)
    right = rows.values[:, 0] + np.random.default_rng(3).normal(size=300) > 0
    plain, _ = chance(rows, right)
    trusted, _ = chance(rows._replace(weigh=np.array([4.0] + [1.0] * 9)), right)

    assert trusted.weights[0] > plain.weights[0]


def test_a_difference_finds_what_another_answer_gains() -> None:
    rows = table(2000, 4)
    gained = (np.random.default_rng(4).random(2000) < 0.3 + 0.2 * np.tanh(rows.values[:, 1])).astype(float)
    line, away = difference(rows, gained)

    assert np.corrcoef(told(rows, line.weights, line.bias), rows.values[:, 1])[0, 1] > 0.95
    assert away.mean() == pytest.approx(gained.mean(), abs=0.01)
    assert np.corrcoef(away, gained)[0, 1] > 0.25


def test_a_difference_out_of_noise_is_nearly_its_mean() -> None:
    rows = table(300, 80)
    gained = np.random.default_rng(5).choice([-1.0, 0.0, 1.0], 300, p=[0.05, 0.8, 0.15])
    line, away = difference(rows, gained)

    assert away.std() < 0.2 * gained.std()
    assert line.bias == pytest.approx(gained.mean(), abs=0.05)


def test_more_columns_than_rows_and_rows_of_one_value_can_be_regressed() -> None:
    rows = table(20, 50)
    line, away = difference(rows, np.zeros(20))

    assert max(map(abs, line.weights)) == pytest.approx(0.0, abs=1e-12)
    assert not away.any()


def test_what_a_row_is_told_does_not_depend_on_its_own_label() -> None:
    rows = table(200, 6)
    gained = np.random.default_rng(6).choice([0.0, 1.0], 200)
    other = gained.copy()
    other[0] = 1 - other[0]
    same = rows.folds[0] == rows.folds[0, 0]

    before, after = difference(rows, gained)[1], difference(rows, other)[1]

    assert before[same] == pytest.approx(after[same], abs=1e-3)
    assert before[~same] != pytest.approx(after[~same], abs=1e-9)


def test_many_rows_are_fitted_at_one_strength() -> None:
    rows = table(MANY, 3)
    right = rows.values[:, 0] > 0

    head, _ = chance(rows, right)

    assert head.weights[0] > 5 * abs(head.weights[1])
    assert list(PENALTIES) == sorted(PENALTIES, reverse=True)


def test_one_assignment_to_folds_given_four_times_says_the_same_as_once() -> None:
    rows = table(300, 8)
    right = rows.values[:, 0] + np.random.default_rng(7).normal(size=300) > 0
    again = rows._replace(folds=np.repeat(rows.folds, 4, axis=0))

    assert chance(again, right)[1] == pytest.approx(chance(rows, right)[1], abs=2e-3)
    assert difference(again, right.astype(float))[1] == pytest.approx(difference(rows, right.astype(float))[1])


@pytest.mark.parametrize("regress", [chance, lambda rows, right: difference(rows, right.astype(float))])
def test_several_assignments_to_folds_err_less_than_each_alone(
    regress: Callable[[Table, Bools], tuple[Head, Floats]],
) -> None:
    rows = table(300, 30, assignments=4)
    true = 1 / (1 + np.exp(-1.5 * rows.values[:, 0]))
    right = np.random.default_rng(8).random(300) < true

    def error(folds: Folds) -> float:
        return float(((regress(rows._replace(folds=folds), right)[1] - true) ** 2).mean())

    assert error(rows.folds) < np.mean([error(fold[None]) for fold in rows.folds])
