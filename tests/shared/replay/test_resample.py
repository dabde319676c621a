"""The bootstrap over tasks."""

import numpy as np
import pytest

from tierbus.replay.resample import Resample, interval


def test_an_interval_holds_the_middle_95_per_cent_of_the_draws() -> None:
    found = interval(0.5, np.arange(1001.0))

    assert (found.mean, found.low, found.high) == (0.5, 25.0, 975.0)


def test_a_mean_is_exact_and_its_interval_as_wide_as_theory_says() -> None:
    values = np.repeat([0.0, 1.0], 500)

    found = Resample(1000, 2000, 0).mean(values)

    assert found.mean == 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(1000), rel=0.1)


def test_differences_are_paired_so_equal_policies_differ_by_nothing_in_every_draw() -> None:
    values = np.random.default_rng(1).random(50)
    resample = Resample(50, 300, 0)

    assert (resample.means(values) == resample.means(values.copy())).all()
    assert len(resample.means(values)) == 300


def test_a_ratio_of_proportional_costs_has_no_spread() -> None:
    usd = np.random.default_rng(1).random(50)

    found = Resample(50, 300, 0).ratio(usd * 0.25, usd)

    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
