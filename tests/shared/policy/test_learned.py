import random
from dataclasses import replace

import pytest
from tests.shared.policy.made import MODELS, Tasks, moves, share, tasks, taught

from tierbus.policy.guard import LOSS_RATE, LOSS_START
from tierbus.policy.learned import Learned, Rate
from tierbus.policy.moves import Ask, Case, Seen, Take


def test_a_learned_policy_saves_most_of_the_money_and_holds_its_target() -> None:
    cost, gained = share(taught().fresh(), tasks(1000, 2))

    assert cost < 0.72
    assert gained > -0.025


def test_a_learned_policy_with_one_cheap_model_saves_too() -> None:
    cost, gained = share(taught(2).fresh(), tasks(1000, 2, models=2))

    assert cost < 0.9
    assert gained > -0.025


@pytest.mark.parametrize("name", ["sums", "unknown"])
def test_every_place_is_asked_once_at_most_and_the_strong_answer_is_always_taken(name: str) -> None:
    policy = taught().fresh()

    for case, answers, _ in zip(*tasks(300, 3, name), strict=True):
        made = moves(policy, case, answers)
        asked = [move.place for move in made if isinstance(move, Ask)]

        assert len(set(asked)) == len(asked)
        assert isinstance(made[-1], Take)
        assert made[-1].place in asked
        assert 2 not in asked or (asked[-1] == 2 and made[-1].place == 2)


def test_an_unknown_class_takes_what_two_cheap_models_agree_on() -> None:
    policy = taught().fresh()
    case = Case("one", "unknown", None, "Name a colour.")

    assert policy.next(case, ()) == Ask(0, "no lesson for this class; two cheap models are asked")
    assert isinstance(policy.next(case, (_said(0, "red"),)), Ask)
    assert isinstance(policy.next(case, (_said(0, "red"), _said(1, " Red"))), Take)
    assert policy.next(case, (_said(0, "red"), _said(1, "blue"))).place == 2


def test_an_unknown_class_with_one_cheap_model_goes_to_the_strong_one() -> None:
    assert taught(2).fresh().next(Case("one", "unknown", None, "Name a colour."), ()).place == 1


def test_a_task_unlike_all_in_training_is_not_judged_by_the_lesson() -> None:
    policy = taught().fresh()
    case = Case("odd", "sums", None, "def f(x):\n    return x.upper()[1:]\n" * 300)

    assert policy.abstains(case, ())
    assert "nothing like it" in policy.next(case, ()).why


def test_a_category_that_training_did_not_have_is_not_judged_by_the_lesson() -> None:
    lesson = replace(taught().lessons["sums"], groups=("short", "long"))
    policy = Learned(MODELS, {"sums": lesson}, 0.01)
    prompt = tasks(1, 1)[0][0].prompt

    assert policy.abstains(Case("a", "sums", "new", prompt), ())
    assert not policy.abstains(Case("a", "sums", "long", prompt), ())


@pytest.mark.parametrize("broken", [{"truncated": True}, {"valid": False}, {"text": " ", "answer": None}])
@pytest.mark.parametrize("name", ["sums", "unknown"])
def test_an_answer_that_a_free_check_refuses_is_never_taken(broken: dict[str, object], name: str) -> None:
    policy = taught().fresh()

    for case, answers, _ in zip(*tasks(60, 4, name), strict=True):
        spoilt = tuple(one._replace(**broken) for one in answers[:2])  # type: ignore[arg-type]
        made = moves(policy, case, (*spoilt, answers[2]))

        assert made[-1].place == 2


@pytest.mark.parametrize("policy", [taught(), Learned(MODELS, {}, 0.01)], ids=["taught", "untaught"])
@pytest.mark.parametrize("name", ["sums", "unknown"])
@pytest.mark.parametrize("dear", [False, True], ids=["cheap", "dear"])
def test_no_order_of_arrival_makes_a_class_dearer_than_the_strong_model_by_more_than_the_stop_loss(
    policy: Learned, name: str, dear: bool
) -> None:
    played = _priced(tasks(300, 5, name), 10.0 if dear else 1.0)
    bound = 1 + LOSS_RATE + (LOSS_START + 0.6) / 300 + 0.005
    for order in _orders(played):
        cost, _ = share(policy.fresh(), order)

        assert cost <= bound


def test_two_cheap_models_that_never_agree_are_given_up() -> None:
    cases, seens, correct = tasks(400, 6, "unknown")
    apart = tuple((a._replace(answer="x", text="x"), b._replace(answer="y", text="y"), c) for a, b, c in seens)
    policy = Learned(MODELS, {}, 0.01)
    share(policy, (cases, apart, correct))

    assert policy.next(cases[0], ()).place == 2


def test_verdicts_against_the_cheap_models_keep_a_class_from_them() -> None:
    policy = Learned(MODELS, {}, 0.01)
    case = Case("one", "poems", None, "Write a poem.")

    assert policy.next(case, ()).place == 0

    bad = policy.taught({"poems": [Rate(1, 80), Rate(0, 0), Rate(0, 0)]}, {"poems": [0.02, 0.03, 1.0]})

    assert bad.next(case, ()).place == 2
    assert (
        policy.taught({"poems": [Rate(80, 1), Rate(), Rate()]}, {"poems": [0.02, 0.03, 1.0]}).next(case, ()).place == 0
    )


def test_verdicts_add_up_and_fill_in_prices_that_were_unknown() -> None:
    once = Learned(MODELS, {}, 0.01).taught({"poems": [Rate(3, 1), Rate(), Rate()]}, {"poems": [0.02, 0.0, 1.0]})
    twice = once.taught({"poems": [Rate(1, 1), Rate(), Rate()]}, {"poems": [0.09, 0.03, 9.0]})

    assert twice.lessons["poems"].rates[0] == Rate(4, 2)
    assert twice.lessons["poems"].costs_usd == (0.02, 0.03, 1.0)


def test_what_was_prepared_changes_no_move() -> None:
    cases, seens, _ = tasks(200, 7)
    plain, ready = taught().fresh(), taught().fresh()
    ready.prepare(cases, seens)

    for case, answers in zip(cases, seens, strict=True):
        assert moves(plain, case, answers) == moves(ready, case, answers)


def test_a_score_is_higher_where_the_strong_model_adds_more() -> None:
    policy = taught().fresh()
    cases, seens, correct = tasks(600, 8)
    scored = sorted(
        zip(
            ((policy.score(case, one[:1]) or 0.0) for case, one in zip(cases, seens, strict=True)), correct, strict=True
        )
    )
    low, high = scored[:200], scored[-200:]

    assert sum(right[2] - right[0] for _, right in high) > 2 * sum(right[2] - right[0] for _, right in low)
    assert policy.score(Case("x", "unknown", None, "?"), ()) is None


def test_a_ladder_of_one_model_asks_it() -> None:
    assert Learned(("only",), {}, 0.01).next(Case("x", "any", None, "?"), ()) == Ask(0, "there is one model only")


def _said(place: int, answer: str) -> Seen:
    return Seen(place, answer, answer, None, False, 10, 2, 0.01)


def _priced(played: Tasks, factor: float) -> Tasks:
    cases, seens, correct = played
    dear = tuple(
        (a._replace(cost_usd=a.cost_usd * factor), b._replace(cost_usd=b.cost_usd * factor), c) for a, b, c in seens
    )
    return cases, dear, correct


def _orders(played: Tasks) -> list[Tasks]:
    """Random ones, and those in which the tasks on which cheap models differ come first or last."""
    rows = list(zip(*played, strict=True))
    shuffled = random.Random(9).sample(rows, len(rows))
    worst = sorted(rows, key=lambda row: row[1][0].answer == row[1][1].answer)
    return [tuple(zip(*order, strict=True)) for order in (rows, shuffled, worst, worst[::-1])]  # type: ignore[misc]
