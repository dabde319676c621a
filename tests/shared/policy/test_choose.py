import numpy as np
import pytest

from tierbus.policy.choose import Course, Curve, Step
from tierbus.policy.search import Floats, Outlook, search

FLAT = Curve((0.0,), (0.5,))
COURSE = Course(0, 1, 10.0, (0.1, 0.2, 1.0), Curve((0.0, 0.1), (0.2, 1.2)), Curve((0.0, 0.2), (0.1, 0.9)))


@pytest.mark.parametrize(("gain", "dollars"), [(-1.0, 0.2), (0.0, 0.2), (0.05, 0.7), (0.1, 1.2), (9.0, 1.2)])
def test_a_curve_is_linear_between_its_points_and_flat_outside(gain: float, dollars: float) -> None:
    assert COURSE.after_prompt.at(gain) == pytest.approx(dollars)


def test_a_cheap_model_is_not_started_where_it_is_expected_to_cost_more_than_the_strong_one() -> None:
    assert COURSE.starts_cheap(0.0)
    assert not COURSE.starts_cheap(0.1)


@pytest.mark.parametrize(("gain", "step"), [(0.01, Step.TAKE), (0.06, Step.SECOND), (0.2, Step.STRONG)])
def test_the_step_of_least_expected_cost_is_chosen(gain: float, step: Step) -> None:
    assert COURSE.step(gain, usable=True) is step


def test_an_answer_that_is_not_usable_is_never_taken() -> None:
    assert COURSE.step(-1.0, usable=False) is Step.SECOND
    assert Course(0, None, 10.0, (0.1, 1.0), FLAT).step(-1.0, usable=False) is Step.STRONG


@pytest.mark.parametrize(
    ("gain", "alone", "look_usd", "step"),
    [
        (0.01, True, 0.05, Step.JUDGE),
        (0.01, True, 0.2, Step.TAKE),
        (0.06, True, 0.4, Step.JUDGE),
        (0.06, True, 0.56, Step.SECOND),
        (0.06, False, 0.5, Step.JUDGE),
        (0.06, False, 0.7, Step.TAKE),
        (0.2, False, 0.9, Step.JUDGE),
        (0.2, False, 1.0, Step.STRONG),
    ],
)
def test_a_look_is_asked_for_only_where_it_costs_less_than_everything_else(
    gain: float, alone: bool, look_usd: float, step: Step
) -> None:
    assert COURSE.step(gain, usable=True, alone=alone, look_usd=look_usd) is step


def test_an_answer_that_is_not_usable_is_not_looked_at() -> None:
    assert COURSE.step(0.0, usable=False, look_usd=0.0) is Step.SECOND


def test_a_reviewer_lets_a_cheap_model_start_that_alone_would_not_pay() -> None:
    assert COURSE.starts_cheap(0.1, 0.8)
    assert not COURSE.starts_cheap(0.1, 0.95)


def outlook(cheap_right: float, knows: bool, cost: float, count: int = 1000) -> Outlook:
    """Two cheap models, right so often; the models' gains know the truth or nothing."""
    rng = np.random.default_rng(0)
    correct = np.column_stack([rng.random((count, 2)) < cheap_right, np.ones(count, bool)])
    gains = 1.0 - correct if knows else np.full((count, 3), 1 - cheap_right)
    usd = np.tile([cost, cost, 1.0], (count, 1))
    by_places: dict[tuple[int, ...], dict[int, Floats]] = {
        (): {0: gains[:, 0] * 0 + 1 - cheap_right, 1: gains[:, 1] * 0 + 1 - cheap_right}
    }
    by_places |= {(place,): {place: gains[:, place]} for place in (0, 1)}
    by_places |= {(0, 1): {0: gains[:, 0], 1: gains[:, 1]}}
    return Outlook(by_places, correct, usd, np.ones((count, 3), bool))


def test_a_cheap_model_whose_mistakes_are_known_is_used() -> None:
    found = search(outlook(0.7, knows=True, cost=0.05), 0.01, 1.0, 1.0)

    assert found is not None
    assert found.cost_share < 0.4
    assert found.quality >= -0.01


def test_a_cheap_model_whose_mistakes_nobody_sees_is_not_used() -> None:
    assert search(outlook(0.7, knows=False, cost=0.05), 0.01, 1.0, 1.0) is None


def test_a_cheap_model_that_is_hardly_cheaper_is_not_used() -> None:
    assert search(outlook(0.3, knows=True, cost=0.9), 0.01, 1.0, 1.0) is None


def test_a_lower_target_costs_less() -> None:
    strict = search(outlook(0.9, knows=False, cost=0.05), 0.0, 1.0, 1.0)
    loose = search(outlook(0.9, knows=False, cost=0.05), 0.2, 1.0, 1.0)

    assert strict is None
    assert loose is not None
    assert loose.cost_share == pytest.approx(0.05)
