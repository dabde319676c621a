import pytest
from tests.shared.policy.made import COSTS

from tierbus.policy.guard import LOSS_RATE, LOSS_START, RETRY_EVERY, TRUST_FROM, Agreement, Prices, Purse
from tierbus.policy.moves import Seen


def call(place: int, usd: float) -> Seen:
    return Seen(place, "x", "x", None, False, 1, 1, usd)


def test_a_purse_never_loses_more_than_its_start_and_a_share_of_what_the_strong_model_costs() -> None:
    purse = Purse()
    tries = 0
    for _ in range(500):
        stake = 0.6 if purse.allows(0.6) else 0.0
        tries += stake > 0
        purse.settle(1 + stake, 1)

    assert purse.lost <= LOSS_START + LOSS_RATE * 500
    assert tries == 9


def test_what_was_saved_may_be_spent_again() -> None:
    purse = Purse()
    for _ in range(10):
        purse.settle(0.1, 1)

    assert purse.allows(9)
    assert not purse.allows(11)


def test_agreement_is_not_judged_before_there_are_enough_tasks() -> None:
    assert Agreement(asked=TRUST_FROM - 1, agreed=0).pays(0.5)
    assert not Agreement(asked=TRUST_FROM, agreed=0).pays(0.5)


@pytest.mark.parametrize(
    ("agreed", "price", "pays"), [(80, 0.5, True), (55, 0.5, False), (58, 0.5, False), (100, 0.9, True)]
)
def test_two_cheap_models_pay_while_they_agree_more_often_than_their_price(
    agreed: int, price: float, pays: bool
) -> None:
    assert Agreement(asked=100, agreed=agreed).pays(price) == pays


def test_a_class_that_was_given_up_is_tried_again_now_and_then() -> None:
    assert [skipped for skipped in range(120) if Agreement(skipped=skipped).due()] == [
        RETRY_EVERY - 1,
        2 * RETRY_EVERY - 1,
    ]


def test_a_price_that_nobody_saw_is_unknown_and_no_share_of_a_strong_call() -> None:
    prices = Prices((0.0, 0.0))

    assert prices.usd(0) == 0
    assert prices.share(0) == float("inf")


def test_prices_known_from_training_move_slowly_with_what_is_seen() -> None:
    prices = Prices(COSTS)
    prices.see([call(0, 0.44)])

    assert prices.usd(0) == pytest.approx((20 * 0.02 + 0.44) / 21)


def test_what_the_strong_call_would_have_cost_follows_the_size_of_the_task() -> None:
    prices = Prices((0.0, 0.0, 0.0))
    prices.see([call(0, 1.0), call(1, 1.0), call(2, 40.0)])

    assert prices.strong_usd([call(0, 0.1), call(1, 0.1)]) == pytest.approx(4.0)
    assert prices.strong_usd([call(2, 7.0)]) == 7.0
