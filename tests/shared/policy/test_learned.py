import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.shared.policy.made import MODELS, Tasks, moves, share, tasks, taught

from tierbus.policy.guard import LOSS_RATE, LOSS_START, UNPRICED
from tierbus.policy.learned import Learned, Rate, Standing
from tierbus.policy.moves import Ask, Case, Judge, Seen, Take
from tierbus.policy.review import Reviewing
from tierbus.policy.tally import Counted, Tally
from tierbus.replay.board import Board
from tierbus.replay.play import Played, Reviewer, play, told


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


def test_two_dear_models_that_agree_are_found_out_though_nobody_knows_what_the_strong_one_costs() -> None:
    policy = Learned(MODELS, {}, 0.01)
    costs = (0.6, 0.9, 1.0)
    answers = tuple(_said(place, "red")._replace(cost_usd=usd) for place, usd in enumerate(costs))
    made = [moves(policy, Case(f"t{at}", "unknown", None, "Name a colour."), answers) for at in range(200)]
    asked = [move for task in made for move in task if isinstance(move, Ask)]

    assert [move.why for move in asked].count("no lesson for this class; to see what the strong model costs") == 1
    assert asked[2 * UNPRICED - 2].place == 2
    assert sum(costs[move.place] for move in asked) <= 1.02 * 200


def test_an_unknown_class_with_one_cheap_model_goes_to_the_strong_one() -> None:
    assert taught(2).fresh().next(Case("one", "unknown", None, "Name a colour."), ()).place == 1


def test_a_task_unlike_all_in_training_is_not_judged_by_the_lesson() -> None:
    policy = taught().fresh()
    case = Case("odd", "sums", None, "def f(x):\n    return x.upper()[1:]\n" * 300)

    assert policy.abstains(case, ())
    assert "nothing like it" in policy.next(case, ()).why


def test_a_task_that_was_strange_until_its_first_answer_came_asks_nobody_twice() -> None:
    lesson = taught().lessons["sums"]
    assert lesson.course is not None
    course = replace(lesson.course, first=1, second=0)
    strange = {**lesson.stages, "prompt": replace(lesson.stages["prompt"], limit=-1.0)}
    policy = Learned(MODELS, {"sums": replace(lesson, stages=strange, course=course)}, 0.01)

    asked = []
    for case, answers, _ in zip(*tasks(200, 16), strict=True):
        made = moves(policy, case, answers)
        asked.append([move.place for move in made if isinstance(move, Ask)])

    assert all(len(set(places)) == len(places) for places in asked)
    assert [0, 1] in [places[:2] for places in asked]


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


@pytest.mark.parametrize("made", [taught, partial(Learned, MODELS, {}, 0.01)], ids=["taught", "untaught"])
@pytest.mark.parametrize("name", ["sums", "unknown"])
@pytest.mark.parametrize("dear", [False, True], ids=["cheap", "dear"])
def test_no_order_of_arrival_makes_a_class_dearer_than_the_strong_model_by_more_than_the_stop_loss(
    made: Callable[[], Learned], name: str, dear: bool
) -> None:
    policy, played = made(), _priced(tasks(300, 5, name), 10.0 if dear else 1.0)
    bound = 1 + LOSS_RATE + (LOSS_START + 0.6) / 300 + 0.005
    for order in _orders(played):
        cost, _ = share(policy.fresh(), order)

        assert cost <= bound


def test_counts_that_are_gone_on_with_make_the_same_moves() -> None:
    played = tasks(300, 12)
    whole, first = taught().fresh(), taught().fresh()
    halves = [list(zip(*played, strict=True))[:150], list(zip(*played, strict=True))[150:]]
    for case, answers, _ in halves[0]:
        moves(whole, case, answers)
        moves(first, case, answers)
    second = taught().fresh()
    second.resume(first.used)

    assert second.used == whole.used
    for case, answers, _ in halves[1]:
        assert moves(second, case, answers) == moves(whole, case, answers)
    assert second.used == whole.used
    assert taught().fresh().used == {}


def test_a_class_that_saves_is_not_given_up_and_its_savings_are_told() -> None:
    policy = taught().fresh()
    share(policy, tasks(300, 13))

    assert policy.standing("sums", policy.counted("sums")) == Standing(None, away=False)
    assert policy.lost_usd("sums") < 0


def test_a_class_that_is_given_up_says_why() -> None:
    policy = Learned(MODELS, {}, 0.01)
    dear = Tally((1.0, 1.0, 2.0), (2, 2, 2), asked=2)
    apart = Tally((0.1, 0.1, 2.0), (30, 30, 2), asked=30)
    lost = Tally((0.1, 0.1, 2.0), (2, 2, 2), asked=2, lost=2.0, worth=2.0)

    assert [policy.standing("poems", Counted(tally)).given_up for tally in (Tally(), dear, apart, lost)] == [
        None,
        "two cheap models do not pay",
        "two cheap models do not pay",
        "the stop-loss",
    ]
    assert Learned(("only",), {}, 0.01).standing("poems", Counted(Tally((1.0,), (1,)))).given_up is None


def test_a_class_that_the_strong_model_does_at_once_is_not_given_up() -> None:
    lesson = replace(taught().lessons["sums"], course=None)
    policy = Learned(MODELS, {"sums": lesson}, 0.01)
    share(policy, tasks(30, 14))

    assert policy.standing("sums", policy.counted("sums")).given_up is None


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


def test_a_reviewer_that_is_told_of_makes_it_cheaper_and_loses_nothing() -> None:
    here = made_board(tasks(1000, 2))
    alone = play(taught().fresh(), here)
    for error in (0.0, 0.1, 0.2):
        looked = looking(here, error, 0.05)

        assert looked.looked.mean() > 0.05
        assert looked.usd.sum() < alone.usd.sum()
        assert looked.correct.mean() > alone.correct.mean() - 0.01


@pytest.mark.parametrize(("error", "price"), [(0.5, 0.0), (0.1, 1.0)])
def test_a_reviewer_that_knows_nothing_or_is_as_dear_as_the_strong_model_changes_no_move(
    error: float, price: float
) -> None:
    here = made_board(tasks(300, 2))
    alone, looked = play(taught().fresh(), here), looking(here, error, price)

    assert not looked.looked.any()
    assert looked.usd.tolist() == alone.usd.tolist()
    assert looked.taken.tolist() == alone.taken.tolist()


def test_a_free_reviewer_that_never_errs_leaves_nothing_wrong_that_the_strong_model_has_right() -> None:
    here = made_board(tasks(1000, 2))

    found = looking(here, 0.0, 0.0)

    cheap = found.taken != here.strong
    assert cheap.mean() > 0.5
    assert found.correct[cheap & (found.looked > 0)].all()
    assert found.correct.mean() >= here.correct[:, here.strong].mean()


def test_a_look_that_only_buys_accuracy_is_paid_by_what_looks_have_saved() -> None:
    policy = taught().reviewed_by(lambda _case, _seen: Reviewing(0.05, 0.0))
    alone = taught().fresh()
    rows = list(zip(*tasks(300, 2), strict=True))

    def kind(which: Learned, row: tuple[Case, tuple[Seen, ...], tuple[bool, ...]]) -> type:
        return type(which.next(row[0], row[1][:2]))

    def looked(row: tuple[Case, tuple[Seen, ...], tuple[bool, ...]], said: bool) -> tuple[Seen, ...]:
        return row[1][0]._replace(judged=said, judged_usd=0.05), row[1][1]

    taken = [row for row in rows if kind(alone, row) is Take]
    sent_up = next(row for row in rows if kind(alone, row) is Ask and kind(policy, row) is Judge)
    assert not any(kind(policy, row) is Judge for row in taken)

    for _ in range(5):
        policy.learn(sent_up[0], looked(sent_up, said=True))
    bought = [row for row in taken if kind(policy, row) is Judge]
    assert bought

    for _ in range(10):
        policy.learn(bought[0][0], (*looked(bought[0], said=False), bought[0][1][2]))
    assert kind(policy, bought[0]) is Take


@pytest.mark.parametrize("price", [0.02, 0.1])
@pytest.mark.parametrize("error", [0.0, 0.1, 0.3])
def test_no_order_of_arrival_makes_a_class_dearer_for_its_reviewer(price: float, error: float) -> None:
    for order in _orders(tasks(300, 12)):
        here = made_board(order)
        strong_usd = here.usd[:, here.strong].sum()

        assert looking(here, error, price).usd.sum() <= play(taught().fresh(), here).usd.sum() + 0.01 * strong_usd


def test_the_reviewers_word_decides() -> None:
    policy, case = taught().fresh(), Case("one", "unknown", None, "Name a colour.")
    red = _said(0, "red")

    assert policy.next(case, (red._replace(judged=True),)) == Take(0, "the reviewer accepts it")
    assert policy.next(case, (red._replace(judged=False), _said(1, "red"))) == Ask(2, "the reviewer rejects it")


@pytest.mark.parametrize("broken", [{"truncated": True}, {"valid": False}, {"text": " ", "answer": None}])
def test_an_answer_that_a_free_check_refuses_is_not_looked_at(broken: dict[str, object]) -> None:
    policy = taught().reviewed_by(lambda _case, _seen: Reviewing(0.0, 0.0))

    for case, answers, _ in zip(*tasks(60, 4), strict=True):
        spoilt = tuple(one._replace(**broken) for one in answers[:2])  # type: ignore[arg-type]

        assert not any(isinstance(move, Judge) for move in moves(policy, case, (*spoilt, answers[2])))


def test_where_nobody_can_look_nothing_changes() -> None:
    here = made_board(tasks(300, 2))

    nobody = play(taught().reviewed_by(lambda _case, _seen: None), here)

    assert nobody.taken.tolist() == play(taught().fresh(), here).taken.tolist()


def test_what_was_prepared_changes_no_look() -> None:
    here = made_board(tasks(200, 7))
    ready = taught().fresh()
    ready.prepare(here.cases, here.seens)

    assert looking(here, 0.1, 0.05, ready).looked.tolist() == looking(here, 0.1, 0.05).looked.tolist()


@pytest.mark.parametrize("dear", [1.0, 10.0], ids=["cheap", "dear"])
@pytest.mark.parametrize(("error", "price"), [(0.0, 0.3), (0.3, 0.1), (1.0, 0.3)])
def test_looks_count_towards_the_stop_loss_whatever_the_reviewer_really_does(
    dear: float, error: float, price: float
) -> None:
    bound = 1 + LOSS_RATE + (LOSS_START + 0.6) / 300 + 0.005
    for order in _orders(_priced(tasks(300, 5), dear)):
        here = made_board(order)
        told = taught().reviewed_by(lambda _case, _seen: Reviewing(price, 0.0))
        luck = np.full(here.correct.shape, 0.5)
        found = play(told, here, None, Reviewer(error, price), luck)

        assert found.usd.sum() / here.usd[:, here.strong].sum() <= bound


def test_a_look_that_the_stop_loss_forbids_is_not_asked_for() -> None:
    policy = taught().reviewed_by(lambda _case, _seen: Reviewing(0.05, 0.0))
    rows = zip(*tasks(300, 2)[:2], strict=True)
    case, answers = next((case, row) for case, row in rows if isinstance(policy.next(case, row[:2]), Judge))

    policy.learn(case, (answers[0]._replace(cost_usd=0.97), answers[2]._replace(cost_usd=1.0)))

    assert policy.next(case, answers[:2]) == Ask(2, "likely wrong, with two answers seen")


def test_what_a_look_cost_is_in_the_purse() -> None:
    policy = taught().fresh()
    case, answers = tasks(1, 2)[0][0], tasks(1, 2)[1][0]
    for _ in range(20):
        policy.learn(case, (answers[0]._replace(judged=True, judged_usd=2.0),))

    assert policy.next(case, ()) == Ask(2, "the stop-loss: this class has cost more than the strong model alone")


def made_board(played: Tasks) -> Board:
    cases, seens, correct = played
    return Board(MODELS, cases, seens, np.array(correct), np.array([[one.cost_usd for one in row] for row in seens]))


def looking(here: Board, error: float, price: float, policy: Learned | None = None) -> Played:
    """The policy played with a reviewer that it was told of."""
    reviewer = Reviewer(error, price)
    luck = np.random.default_rng(3).random(here.correct.shape)
    return play(told(policy or taught(), here, reviewer), here, None, reviewer, luck)


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
