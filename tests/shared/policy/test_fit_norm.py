"""What training keeps of the signs by which classes are held against it."""

import numpy as np
import pytest

from tierbus.policy.choose import Course, Curve
from tierbus.policy.drift import Level
from tierbus.policy.fit_norm import ENOUGH, trained
from tierbus.policy.moves import Seen

FLAT = Curve((0.0,), (0.1,))
ONE = Course(0, None, 4.0, (0.1, 1.0), FLAT)
TWO = Course(1, 0, 4.0, (0.1, 0.1, 1.0), FLAT, Curve((0.0,), (0.2,)))


def said(place: int, answer: str) -> Seen:
    return Seen(place, answer, answer, None, False, 1, 1, 0.1)


def test_it_keeps_how_often_two_agree_where_both_are_asked() -> None:
    seens = [(said(0, "red"), said(1, "red" if number % 4 else "blue"), said(2, "red")) for number in range(80)]
    gains = {(): {1: np.zeros(80)}, (1,): {1: np.array([0.1] * 60 + [0.01] * 20)}}

    norm = trained(TWO, gains, seens, [None] * len(seens))

    assert norm is not None
    assert norm.agreement is not None
    assert norm.rows == 60, "where the first answer is taken at once, no second one is asked for"
    assert norm.mean == 0.75
    assert norm.spread == pytest.approx((0.75 * 0.25) ** 0.5)
    assert norm.agreement.at(0.1) == 0.75


def test_agreement_is_kept_along_the_gain() -> None:
    seens = [(said(0, "red"), said(1, "red" if number < 300 else "blue"), said(2, "red")) for number in range(400)]
    gains = {(): {1: np.zeros(400)}, (1,): {1: np.linspace(0.08, 0.2, 400)}}

    norm = trained(TWO, gains, seens, [None] * len(seens))

    assert norm is not None
    assert norm.agreement is not None
    assert norm.agreement.at(0.09) == 1.0
    assert norm.agreement.at(0.2) == 0.0


def test_every_category_has_its_own_level_among_the_tasks_that_gave_a_sign() -> None:
    seens = [(said(0, "red"), said(1, "red" if number < 50 else "blue"), said(2, "red")) for number in range(80)]
    gains = {(): {1: np.zeros(80)}, (1,): {1: np.array([0.1] * 60 + [0.01] * 20)}}
    groups = ["colours"] * 40 + ["shades"] * 15 + [None] * 5 + ["hues"] * 20

    norm = trained(TWO, gains, seens, groups)

    assert norm is not None
    assert norm.rows == 60
    assert set(norm.groups) == {"colours", "shades"}
    assert norm.groups["colours"] == Level(40, 1.0, 0.0)
    assert norm.groups["shades"].rows == 15
    assert norm.groups["shades"].mean == pytest.approx(2 / 3)
    assert norm.groups["shades"].spread == pytest.approx(2**0.5 / 3)


def test_the_sign_of_one_cheap_model_counts_within_four_standard_deviations() -> None:
    gains = np.array([0.1, -0.1] * 500 + [5.0])

    norm = trained(
        ONE, {(): {0: np.zeros(1001)}, (0,): {0: gains}}, [(said(0, "red"), said(1, "red"))] * 1001, [None] * 1001
    )

    assert norm is not None
    assert norm.agreement is None
    assert norm.most == pytest.approx(norm.mean + 4 * norm.spread, abs=0.02)
    assert norm.most < 1


def test_a_category_whose_signs_all_count_the_most_is_not_above_it() -> None:
    """Three times the same number make a mean beside it for some numbers."""
    for rows in range(1001, 1030):
        gains = np.array([0.1, -0.1] * 500 + [5.0] * (rows - 1000))
        groups = ["usual"] * 1000 + ["odd"] * (rows - 1000)
        norm = trained(
            ONE, {(): {0: np.zeros(rows)}, (0,): {0: gains}}, [(said(0, "red"), said(1, "red"))] * rows, groups
        )

        assert norm is not None
        assert norm.groups["odd"].mean == norm.most


@pytest.mark.parametrize("course", [ONE, TWO])
def test_too_few_signs_are_held_against_nothing(course: Course) -> None:
    few = ENOUGH - 1
    gains = {(): {course.first: np.zeros(few)}, (course.first,): {course.first: np.full(few, 0.1)}}
    seens = [tuple(said(place, "red") for place in range(len(course.costs_usd)))] * few

    assert trained(course, gains, seens, [None] * few) is None
