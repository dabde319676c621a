"""The sequential test: how often it is wrong, and how soon it finds a drop."""

import random
from collections.abc import Iterable
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus.pilot.evidence import BEGIN_EVERY, ODDS, Evidence

PILOTS = 1000
TRIES = 2000


def stopped_at(rates: Iterable[float], target: float, alpha: float, seed: int) -> int | None:
    """The try at which a pilot with these chances of passing is rolled back, or None."""
    luck = random.Random(seed)
    evidence = Evidence()
    for number, rate in enumerate(rates, 1):
        evidence = evidence.after(passed=luck.random() < rate, target=target)
        if evidence.value >= 1 / alpha:
            return number
    return None


@pytest.mark.parametrize(("target", "alpha"), [(0.9, 0.05), (0.95, 0.1)])
def test_of_1000_pilots_that_just_hold_the_target_no_more_than_alpha_are_rolled_back(
    target: float, alpha: float
) -> None:
    """2,000 looks each. Three standard errors of a binomial of 1,000 are the slack."""
    wrong = sum(stopped_at([target] * TRIES, target, alpha, seed) is not None for seed in range(PILOTS))

    assert wrong / PILOTS <= alpha + 3 * sqrt(alpha * (1 - alpha) / PILOTS)
    assert wrong > 0  # a test that never errs at its limit would not find anything either


@pytest.mark.parametrize(("good", "bad"), [(0.93, 0.83), (0.92, 0.8)])
def test_a_drop_of_ten_points_at_half_time_is_found(good: float, bad: float) -> None:
    found = [stopped_at([good] * 1000 + [bad] * 1000, 0.9, 0.05, seed) for seed in range(100)]

    assert sum(number is not None for number in found) >= 95
    assert sum(number is not None and number <= 1000 for number in found) <= 5


def test_a_pilot_that_is_bad_from_the_first_is_found_within_a_few_hundred_tries() -> None:
    found = sorted(stopped_at([0.8] * 2000, 0.9, 0.05, seed) or TRIES for seed in range(100))

    assert found[50] < 150
    assert found[90] < 400


def test_a_tier_that_breaks_is_found_within_a_dozen_tries_even_after_a_thousand_good_ones() -> None:
    assert stopped_at([1.0] * 1000 + [0.0] * 50, 0.9, 0.05, 1) in range(1001, 1013)


@given(
    st.floats(0.02, 0.98),
    st.floats(0, 1),
    st.lists(st.booleans(), max_size=3 * BEGIN_EVERY),
)
def test_where_the_target_is_held_the_stake_is_not_expected_to_grow(
    target: float, above: float, seen: list[bool]
) -> None:
    """Of every state: the mean over the next try is no more than what there is. That is what the level rests on."""
    rate = target + (1 - target) * above
    evidence = Evidence()
    for passed in seen:
        evidence = evidence.after(passed=passed, target=target)
    won, lost = evidence.after(passed=True, target=target), evidence.after(passed=False, target=target)

    assert rate * won.value + (1 - rate) * lost.value <= evidence.value * (1 + 1e-9)


def test_it_begins_with_a_stake_of_one() -> None:
    assert Evidence().value == 1
    assert len(Evidence().stakes) == len(ODDS)


def test_passes_alone_use_the_stake_up() -> None:
    evidence = Evidence()
    for _ in range(10 * BEGIN_EVERY):
        evidence = evidence.after(passed=True, target=0.9)
    assert 0 < evidence.value < 0.5


def test_it_survives_being_kept_to_the_last_digit() -> None:
    evidence = Evidence()
    for number in range(200):
        evidence = evidence.after(passed=number % 7 != 0, target=0.9)
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence
