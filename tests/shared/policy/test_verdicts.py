import pytest
from tests.cli.records import MODELS, NOW, result, step

from tierbus.contracts import GENERAL, Outcome, Tier
from tierbus.policy.learned import Rate
from tierbus.policy.verdicts import REJECTED, overruled, tally

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
    found = tally([old, new], LADDER, after={"acme": NOW - 9})

    assert (found.results, found.until) == (1, {"acme": NOW - 5})
    assert tally([old, new], LADDER, after=found.until).rates == {}


def test_a_task_whose_first_answer_was_rejected_is_named_with_the_model_that_was_accepted() -> None:
    results = [
        result("bad", steps=[step(Tier.SMALL, Tier.MID, Tier.FRONTIER)]),
        result("good", steps=[step(Tier.SMALL)]),
    ]
    [found] = overruled(results, LADDER)

    assert (found.id, found.task_class, found.kind) == ("bad", GENERAL, REJECTED)
    assert (found.chose, found.asked, found.right_choice) == (LADDER[0], LADDER, LADDER[2])
    assert found.why == "answer: rejected by checks"


def test_where_no_answer_was_accepted_nothing_better_is_known() -> None:
    assert overruled([result(steps=[step(Tier.SMALL, Tier.FRONTIER, accepted=False)])], LADDER) == []


def test_a_provider_that_was_away_is_no_wrong_answer() -> None:
    assert overruled([result(steps=[step(Tier.SMALL, Tier.FRONTIER, outcome=Outcome.UNAVAILABLE)])], LADDER) == []


def test_mistakes_that_were_told_before_are_not_told_again() -> None:
    told = result("a", steps=[step(Tier.SMALL, Tier.MID)], at=NOW - 9)

    assert len(overruled([told], LADDER, after={"acme": NOW - 10})) == 1
    assert overruled([told], LADDER, after={"acme": NOW - 9}) == []


def test_what_one_tenant_had_counted_says_nothing_of_anothers_tasks() -> None:
    mine, theirs = (result("a", tenant=name, steps=[step(Tier.SMALL)], at=NOW - 9) for name in ("mine", "theirs"))
    first = tally([mine], LADDER)
    second = tally([mine, theirs], LADDER, after=first.until)

    assert (first.until, second.results) == ({"mine": NOW - 9}, 1)
    assert second.until == {"mine": NOW - 9, "theirs": NOW - 9}
    assert tally([mine, theirs], LADDER, after={"*": NOW - 9}).results == 0
