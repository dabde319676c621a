import pytest
from tests.cli.records import MODELS, NOW, result, step

from tierbus.contracts import GENERAL, Outcome, Tier
from tierbus.policy.learned import Rate
from tierbus.policy.verdicts import tally

LADDER = tuple(MODELS.values())


def test_a_rejected_attempt_is_a_wrong_answer_and_an_accepted_one_a_right_one() -> None:
    found = tally([result(steps=[step(Tier.SMALL, Tier.FRONTIER)]), result("u", steps=[step(Tier.SMALL)])], LADDER)

    assert found.rates == {GENERAL: [Rate(1, 1), Rate(), Rate(1, 0)]}
    assert found.rungs == {"checks: rejected": 1, "checks: accepted": 2}
    assert found.costs_usd(GENERAL) == pytest.approx((1e-9, 0.0, 1e-9))


def test_a_ladder_may_name_tiers() -> None:
    assert tally([result(steps=[step(Tier.MID)])], tuple(Tier)).rates == {GENERAL: [Rate(), Rate(1, 0), Rate()]}


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.OVER_BUDGET, Outcome.CANCELLED])
def test_an_attempt_without_an_answer_says_nothing_about_its_model(outcome: Outcome) -> None:
    found = tally([result(steps=[step(Tier.SMALL, accepted=False, outcome=outcome)])], LADDER)

    assert found.rates == {}
    assert found.results == 1


def test_attempts_of_models_that_are_not_on_the_ladder_are_counted_apart() -> None:
    found = tally([result(steps=[step(Tier.SMALL)])], ("a", "b"))

    assert (found.rates, found.elsewhere) == ({}, 1)


def test_what_was_counted_before_is_not_counted_again() -> None:
    old, new = result("a", steps=[step(Tier.SMALL)], at=NOW - 9), result("b", steps=[step(Tier.SMALL)], at=NOW - 5)
    found = tally([old, new], LADDER, after=NOW - 9)

    assert (found.results, found.until) == (1, NOW - 5)
    assert tally([old, new], LADDER, after=found.until).rates == {}
