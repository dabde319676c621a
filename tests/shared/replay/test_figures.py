"""Figures against always asking the strong model."""

import pytest
from tests.shared.replay.recorded import STRONG_USD, WEAK_USD, pair_board

from tierbus.replay.baselines import Always
from tierbus.replay.figures import Outcome, Quality, over_orders, quality, within
from tierbus.replay.play import Reviewer, play
from tierbus.replay.resample import Resample

HERE = pair_board("b" * 98 + "sw")
STRONG_ALONE = Outcome.always_strong(HERE)


def of(place: int) -> Quality:
    return quality(Outcome.mean([play(Always(place), HERE)]), STRONG_ALONE, Resample(100, 500, 0), 0.01)


def test_the_strong_model_alone_saves_nothing_and_differs_from_itself_by_nothing() -> None:
    found = of(1)

    assert (found.saving_low, found.cost_share.mean, found.against_strong.low) == (0, 1, 0)
    assert found.usd_per_1000 == pytest.approx(1000 * STRONG_USD)


def test_a_cheap_model_as_good_as_the_strong_one_saves_the_difference() -> None:
    found = of(0)

    assert found.accuracy == 0.99
    assert found.equal_quality
    assert found.saving_low == pytest.approx(1 - WEAK_USD / STRONG_USD)
    assert found.against_strong.low < 0 < found.against_strong.high


def test_the_saving_is_the_lower_end_of_its_interval() -> None:
    here = pair_board("s" * 50 + "b" * 50)
    knowing = play(Always(0), here, reviewer=Reviewer(0.0, 0.0))

    found = quality(Outcome.mean([knowing]), Outcome.always_strong(here), Resample(100, 500, 0), 0.01)

    assert found.saving_low == 1 - found.cost_share.high
    assert found.saving_low < 1 - found.cost_share.mean - 0.05


def test_a_policy_below_the_margin_has_no_saving_at_equal_quality() -> None:
    here = pair_board("b" * 97 + "sss")
    found = quality(Outcome.mean([play(Always(0), here)]), Outcome.always_strong(here), Resample(100, 500, 0), 0.01)

    assert not found.equal_quality
    assert found.saving_low is None


@pytest.mark.parametrize(
    ("difference", "equal"), [(-0.01, True), (-0.0100001, False), (0.97 - 0.98, True), (0.5, True)]
)
def test_exactly_one_point_below_is_still_equal(difference: float, equal: bool) -> None:
    assert within(difference, 0.01) is equal


def test_the_mean_of_plays_is_a_chance_for_every_task() -> None:
    mean = Outcome.mean([play(Always(0), pair_board("ws")), play(Always(1), pair_board("ws"))])

    assert mean.correct.tolist() == [0.5, 0.5]
    assert mean.strong.tolist() == [0.5, 0.5]
    assert mean.usd == pytest.approx([(WEAK_USD + STRONG_USD) / 2] * 2)


def test_the_worst_order_is_the_dearest_and_the_least_accurate() -> None:
    here = pair_board("bbbs")

    found = over_orders([play(Always(0), here), play(Always(1), here)], Outcome.always_strong(here))

    assert (found.orders, found.accuracy, found.worst_accuracy) == (2, 0.875, 0.75)
    assert (found.cost_share, found.worst_cost_share) == pytest.approx((0.55, 1.0))
