"""What a look of the services' reviewer costs."""

import pytest
from tests.policies import LADDER
from tests.shared.policy.made import tasks, taught

from tierbus.contracts import NANO, Tier
from tierbus.policy.learned import Learned
from tierbus.policy.looks import ANSWER_TOKENS, RULES_TOKENS, VERDICT_TOKENS, looks, with_reviewer
from tierbus.policy.moves import Case, Judge, Move, Seen
from tierbus.pricing.cost import estimate
from tierbus.tiers.catalog import Catalog, load

NOW = 1_790_000_000.0
CATALOG = load("default")
JUDGE = CATALOG.tiers[Tier.MID][0]
CASE = Case("one", "sums", None, "x" * 4000)


def now() -> float:
    return NOW


def said(place: int = 0, text: str = "y" * 400, given: int = 0, written: int = 0) -> Seen:
    return Seen(place, text, None, None, False, given, written, 0.01)


def priced(tokens: int) -> float:
    cost = estimate(JUDGE, RULES_TOKENS + tokens, VERDICT_TOKENS, NOW).nano_usd
    assert cost is not None
    return cost / NANO


@pytest.mark.parametrize(
    ("seen", "tokens"),
    [
        (said(given=5000, written=200), 5200),
        (said(), 1100),
        (None, 1000 + ANSWER_TOKENS),
    ],
    ids=["as billed, attachments and all", "by length", "not there yet"],
)
def test_a_look_costs_what_the_mid_tiers_first_model_takes_to_read_task_and_answer(
    seen: Seen | None, tokens: int
) -> None:
    found = looks(CATALOG, LADDER, 0.2, now)(CASE, seen)

    assert found is not None
    assert found.usd == pytest.approx(priced(tokens))
    assert found.error == 0.2


def test_a_model_does_not_judge_its_own_answer() -> None:
    ladder = (LADDER[0], JUDGE.id, LADDER[2])
    look = looks(CATALOG, ladder, 0.2, now)

    assert look(CASE, said(1)) is None
    assert look(CASE, said(0)) is not None


def test_a_policy_reckons_with_the_services_reviewer_if_it_says_how_often_that_errs() -> None:
    lesson = taught().lessons["sums"]
    cases, seens, _ = tasks(200, 2)
    asked = {}
    for error in (None, 0.0, 0.5):
        policy = Learned(LADDER, {"sums": lesson}, 0.01, review_error=error)
        told = with_reviewer(policy, _free(), now)
        made = [move for case, answers in zip(cases, seens, strict=True) for move in moves_of(told, case, answers)]
        asked[error] = sum(isinstance(move, Judge) for move in made)

    assert asked[None] == asked[0.5] == 0
    assert asked[0.0] > 20


def _free() -> Catalog:
    judge = JUDGE.model_copy(update={"price": "free"})
    return Catalog(**{**dict(CATALOG), "tiers": {**CATALOG.tiers, Tier.MID: (judge,)}})


def moves_of(policy: Learned, case: Case, answers: tuple[Seen, ...]) -> list[Move]:
    """The moves before any answer, after the first, and after both cheap ones."""
    return [policy.next(case, answers[:count]) for count in range(3)]


def test_where_the_judges_price_is_unknown_nobody_looks() -> None:
    unknown = JUDGE.model_copy(update={"id": "nobody-knows-it"})
    catalog = Catalog(**{**dict(CATALOG), "tiers": {**CATALOG.tiers, Tier.MID: (unknown,)}})

    assert looks(catalog, LADDER, 0.2, now)(CASE, said()) is None
