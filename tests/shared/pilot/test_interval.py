"""Where a pass rate lies."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus.pilot.interval import interval, tries_for


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_rate_that_was_seen_lies_inside(tries: int, share: float, alpha: float) -> None:
    passes = round(tries * share)
    found = interval(tries, passes, alpha)
    assert 0 <= found.low <= passes / tries <= found.high <= 1


def test_nothing_is_known_before_the_first_try() -> None:
    assert interval(0, 0, 0.05) == (0, 1)


def test_it_narrows_with_tries() -> None:
    widths = [interval(tries, tries * 9 // 10, 0.05) for tries in (20, 200, 2000, 20_000)]
    sizes = [found.high - found.low for found in widths]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.02


def test_all_passed_leaves_the_upper_end_at_one() -> None:
    found = interval(100, 100, 0.05)
    assert found.high == 1
    assert found.low == pytest.approx((20 * 101) ** (-1 / 100), abs=1e-6)  # p^100 = 1 / (101 / alpha)


def test_it_mirrors_passes_and_failures() -> None:
    one, other = interval(50, 5, 0.05), interval(50, 45, 0.05)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)


def test_it_holds_at_every_look_together_with_the_confidence_that_it_states() -> None:
    """200 pilots, looked at after every tenth of 500 tries: the true rate is outside at any look in no more than alpha."""
    missed = 0
    for seed in range(200):
        luck, passes = random.Random(seed), 0
        for tries in range(1, 501):
            passes += luck.random() < 0.9
            if tries % 10 == 0:
                found = interval(tries, passes, 0.1)
                if not found.low <= 0.9 <= found.high:
                    missed += 1
                    break
    assert missed / 200 <= 0.1


def test_to_tell_a_rate_to_a_point_takes_over_a_thousand_tries() -> None:
    assert tries_for(0.95, 0.01, 0.05) == 1286
    assert tries_for(0.9, 0.01, 0.05) == 2435
    assert tries_for(1.0, 0.01, 0.05) == tries_for(0.99, 0.01, 0.05) > 200
