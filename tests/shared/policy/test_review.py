"""What a look is worth before it is paid for."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus.policy.review import Odds, Reviewing

chances = st.floats(0, 1)
worths = st.floats(0, 300)
"""Strong calls that a right answer more is worth; a strong call costs 1 here."""


def by_hand(reviewing: Reviewing, odds: Odds, worth: float) -> float:
    """Dollars of a look and the best that can follow, from the four cases: this answer right or not, the strong one right or not.

    After each verdict the answer is taken or the strong model asked, whichever is cheaper.
    """
    both = odds.right - odds.spoil
    cases = {
        (True, True): both,
        (True, False): odds.spoil,
        (False, True): odds.mend,
        (False, False): 1 - both - odds.spoil - odds.mend,
    }
    total = reviewing.usd
    for accepted in (True, False):
        said = {
            (right, strong): chance * ((1 - reviewing.error) if right == accepted else reviewing.error)
            for (right, strong), chance in cases.items()
        }
        gain = sum(part * (strong - right) for (right, strong), part in said.items())
        total += min(worth * gain, sum(said.values()))
    return total


@given(chances, chances)
def test_what_a_strong_call_mends_and_spoils_are_chances_and_their_difference_is_its_gain(
    right: float, strong: float
) -> None:
    odds = Odds(right, strong)

    assert -1e-12 <= odds.spoil <= min(right, 1 - strong) + 1e-12
    assert -1e-12 <= odds.mend <= min(1 - right, strong) + 1e-12
    assert odds.mend - odds.spoil == pytest.approx(strong - right)


@given(chances, chances, worths, st.floats(0, 1), st.floats(0, 0.5))
def test_a_look_that_pays_is_reckoned_as_bayes_has_it_and_no_look_that_would_pay_is_missed(
    right: float, strong: float, worth: float, usd: float, error: float
) -> None:
    odds, reviewing = Odds(right, strong), Reviewing(usd, error)
    told, best = reviewing.expected_usd(odds, worth, 1.0), by_hand(reviewing, odds, worth)
    without = min(worth * (strong - right), 1.0)

    assert told >= best - 1e-9
    if best < without - 1e-9:
        assert told == pytest.approx(best)


@given(chances, chances, worths, st.floats(0, 1), st.floats(0.5, 1))
def test_a_reviewer_that_is_wrong_half_the_time_or_more_never_pays(
    right: float, strong: float, worth: float, usd: float, error: float
) -> None:
    look = Reviewing(usd, error).expected_usd(Odds(right, strong), worth, 1.0)

    assert look >= min(worth * (strong - right), 1.0) - 1e-9


@given(chances, chances, worths)
def test_a_free_reviewer_that_never_errs_pays_wherever_the_strong_model_mends_enough(
    right: float, strong: float, worth: float
) -> None:
    odds = Odds(right, strong)
    look = Reviewing(0.0, 0.0).expected_usd(odds, worth, 1.0)

    assert look <= 1.0 + 1e-9
    if odds.mend * worth > (1 - right) * 1.0:
        assert look <= worth * (strong - right) + 1e-9


def test_a_dearer_look_never_pays_more() -> None:
    odds = Odds(0.8, 0.95)
    found = [Reviewing(usd, 0.1).expected_usd(odds, 10.0, 1.0) for usd in (0.0, 0.05, 0.5)]

    assert found == sorted(found)


def test_a_look_at_an_answer_that_is_likely_wrong_is_worth_the_strong_call_it_saves() -> None:
    reviewing = Reviewing(0.05, 0.0)
    odds = Odds(0.5, 1.0)

    assert (odds.mend, odds.spoil) == (0.5, 0.0)
    assert reviewing.accepts(odds) == 0.5
    assert reviewing.expected_usd(odds, 10.0, 1.0) == pytest.approx(0.05 + 0.5)
    assert Reviewing(0.05, 0.1).expected_usd(odds, 10.0, 1.0) == pytest.approx(0.05 + 10 * 0.5 * 0.1 + 0.5)


@pytest.mark.parametrize(
    ("usd", "error"), [*product((-0.01, float("nan"), float("inf")), (0.1,)), (0.1, -0.1), (0.1, 1.1)]
)
def test_what_is_no_price_or_no_chance_is_refused_with_the_values(usd: float, error: float) -> None:
    with pytest.raises(ValueError, match=r"Reviewing\(usd="):
        Reviewing(usd, error)
