import pytest
from tests.shared.policy.made import COSTS

from tierbus.policy.guard import LOSS_RATE, LOSS_START, RETRY_EVERY, TRUST_FROM, Prices, added, allows, due, pays
from tierbus.policy.tally import Moment, Tally

KNOWN = (0.0, 0.0, 0.0)


def test_a_purse_never_loses_more_than_its_start_and_a_share_of_what_the_strong_model_costs() -> None:
    tally = Tally()
    tries = 0
    for _ in range(500):
        stake = 0.6 if allows(tally, 0.6) else 0.0
        tries += stake > 0
        tally = tally.plus(Tally(lost=stake, worth=1))

    assert tally.lost <= LOSS_START + LOSS_RATE * 500
    assert tries == 9


def test_what_was_saved_may_be_spent_again() -> None:
    tally = Tally(lost=-9, worth=10)

    assert allows(tally, 9)
    assert not allows(tally, 11)


def test_agreement_is_not_judged_before_there_are_enough_tasks() -> None:
    assert pays(Tally(asked=TRUST_FROM - 1), 0.5)
    assert not pays(Tally(asked=TRUST_FROM), 0.5)


@pytest.mark.parametrize(
    ("agreed", "price", "enough"), [(80, 0.5, True), (55, 0.5, False), (58, 0.5, False), (100, 0.9, True)]
)
def test_two_cheap_models_pay_while_they_agree_more_often_than_their_price(
    agreed: int, price: float, enough: bool
) -> None:
    assert pays(Tally(asked=100, agreed=agreed), price) == enough


def test_a_class_that_was_given_up_is_tried_again_now_and_then() -> None:
    assert [skipped for skipped in range(120) if due(Tally(skipped=skipped))] == [
        RETRY_EVERY - 1,
        2 * RETRY_EVERY - 1,
    ]


def test_tasks_that_go_by_are_counted_from_the_last_two_cheap_answers_on() -> None:
    tally = Tally(skipped=30)
    tally = tally.plus(added(Moment(agreed=False), tally, KNOWN))
    for _ in range(RETRY_EVERY - 1):
        assert not due(tally)
        tally = tally.plus(added(Moment(calls=((2, 1.0),)), tally, KNOWN))

    assert due(tally)
    assert (tally.asked, tally.agreed, tally.ended) == (1, 0, RETRY_EVERY - 1)


def test_a_price_that_nobody_saw_is_unknown_and_no_share_of_a_strong_call() -> None:
    prices = Prices((0.0, 0.0))

    assert prices.usd(0) == 0
    assert prices.share(0) == float("inf")


def test_prices_known_from_training_move_slowly_with_what_is_seen() -> None:
    tally = added(Moment(calls=((0, 0.44),)), Tally(), COSTS)

    assert Prices(COSTS, tally).usd(0) == pytest.approx((20 * 0.02 + 0.44) / 21)


def test_what_the_strong_call_would_have_cost_follows_the_size_of_the_task() -> None:
    prices = Prices(KNOWN, added(Moment(calls=((0, 1.0), (1, 1.0), (2, 40.0))), Tally(), KNOWN))

    assert prices.strong_usd([(0, 0.1), (1, 0.1)]) == pytest.approx(4.0)
    assert prices.strong_usd([(2, 7.0)]) == 7.0


def test_a_task_that_ended_cheaply_counts_as_what_it_saved_in_strong_calls() -> None:
    saved = added(Moment(calls=((0, 0.02), (1, 0.03))), Tally(), COSTS)
    climbed = added(Moment(calls=((0, 0.02), (2, 1.0))), Tally(), COSTS)

    assert saved.lost == pytest.approx(0.05 - 1.0)
    assert climbed.lost == pytest.approx(0.02)
    assert (saved.skipped, climbed.skipped) == (0, 1), "one that shows no pair goes by"


def test_a_retry_that_brings_no_pair_is_over() -> None:
    """Its first answer failed a free check, say: the next try comes in its turn, not with the next task."""
    tally = Tally(asked=TRUST_FROM, skipped=RETRY_EVERY - 1)

    assert due(tally)
    assert not due(tally.plus(added(Moment(calls=((0, 0.02), (2, 1.0))), tally, COSTS)))


def test_while_no_price_is_known_nothing_is_lost() -> None:
    tally = added(Moment(calls=((0, 0.0), (2, 0.0))), Tally(), KNOWN)

    assert (tally.lost, tally.worth, tally.calls) == (0, 0, (1, 0, 1))
