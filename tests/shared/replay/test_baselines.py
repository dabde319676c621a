"""What a policy must beat."""

import numpy as np
import pytest
from tests.shared.replay.recorded import STRONG, WEAK, output, pair, pair_board, row

from tierbus.policy.moves import Ask, Take
from tierbus.replay.baselines import Kind, Prior, TwoAgree, baselines, chance, length, routed, single_best, threshold
from tierbus.replay.board import Board, board
from tierbus.replay.play import play

MARGIN = 0.01


def three(first: str, second: str) -> Board:
    answers = {"a": output(answer=first), "b": output(answer=second), "c": output(answer="4", usd=0.01)}
    return board([row("t", answers)], ("a", "b", "c"))


def test_two_that_agree_are_taken_and_two_that_differ_go_to_the_strong_model() -> None:
    assert play(TwoAgree(2), three("4", "4.0")).taken.tolist() == [0]
    assert play(TwoAgree(2), three("4", "5")).taken.tolist() == [2]
    assert play(TwoAgree(2), three("4", "5")).asked.tolist() == [3]


def test_a_router_asks_one_model_only() -> None:
    here = pair_board("ws")
    router = routed(length, here, MARGIN)

    assert play(router, here).asked.tolist() == [1, 1]
    assert isinstance(router.next(here.cases[0], here.seens[0][:1]), Take)


def test_a_threshold_is_the_cheapest_that_keeps_the_strong_models_accuracy() -> None:
    here = pair_board("bbsn")

    found = threshold(np.array([1.0, 2.0, 4.0, 3.0]), here, MARGIN)

    assert found == pytest.approx(4.0, abs=0.1)
    assert found > 3


def test_where_the_weak_model_is_as_good_nothing_is_sent_up() -> None:
    assert threshold(np.arange(4.0), pair_board("bbws"), MARGIN) == np.inf


def test_where_every_task_needs_the_strong_model_all_are_sent_up() -> None:
    here = pair_board("ssss")
    router = routed(length, here, MARGIN)

    assert [type(move) for move in (router.next(case, ()) for case in here.cases)] == [Ask] * 4
    assert play(router, here).strong.all()


def test_a_category_scores_what_the_strong_model_gains_there_and_an_unknown_one_the_average() -> None:
    rows = [pair(f"hard{at}", "5", group="hard") for at in range(20)] + [
        pair(f"easy{at}", "4", group="easy") for at in range(20)
    ]
    prior = Prior(board(rows, (WEAK, STRONG)))
    hard, easy, new = (
        board([pair("x", "4", group=group)], (WEAK, STRONG)).cases[0] for group in ("hard", "easy", "new")
    )

    assert prior(hard) == pytest.approx((20 + 5 * 0.5) / 25)
    assert prior(easy) == pytest.approx(5 * 0.5 / 25)
    assert prior(new) == pytest.approx(0.5)


def test_chance_depends_on_the_task_alone() -> None:
    cases = pair_board("b" * 500).cases

    assert [chance(case) for case in cases] == [chance(case) for case in cases]
    assert 0.4 < np.mean([chance(case) for case in cases]) < 0.6


def test_the_baselines_of_a_ladder_are_those_that_it_has_models_and_categories_for() -> None:
    def names(*models: str, grouped: bool) -> list[str]:
        return [player.name for player in baselines(models, MARGIN, grouped=grouped)]

    assert names("a", "b", grouped=False) == ["always-0", "always-strong", "random", "length", "perfect-review"]
    assert {"always-1", "category", "two-agree"} <= set(names("a", "b", "c", grouped=True))


def test_a_perfect_reviewer_is_a_bound_and_no_baseline() -> None:
    [bound] = [player for player in baselines(("a", "b"), MARGIN) if player.kind is Kind.BOUND]
    here = pair_board("bwsn")

    found = play(bound.make(here), here, reviewer=bound.reviewer)

    assert found.correct.tolist() == [True, True, True, False]
    assert found.strong.tolist() == [False, False, True, True]


def test_the_single_best_model_is_the_cheapest_on_train_that_is_as_good_as_the_strong_one() -> None:
    def line(name: str, *, cheap_right: bool) -> Board:
        answers = {
            "cheap": output(correct=cheap_right, usd=0.001),
            "middle": output(usd=0.002),
            "dear": output(usd=0.02),
            "strong": output(usd=0.01),
        }
        return board([row(name, answers)], ("cheap", "middle", "dear", "strong"))

    weak, good = line("a", cheap_right=False), line("a", cheap_right=True)

    assert play(single_best([], MARGIN).make(weak), weak).taken.tolist() == [1]
    assert play(single_best([], MARGIN).make(good), good).taken.tolist() == [0]
