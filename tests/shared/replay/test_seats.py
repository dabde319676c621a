"""Which tasks a policy is fitted on, and which it plays."""

import numpy as np
import pytest
from tests.shared.replay.recorded import STRONG, WEAK, pair, pair_board

from tierbus.policy.moves import Policy
from tierbus.replay.baselines import Always, Player
from tierbus.replay.board import Board, board
from tierbus.replay.errors import Unplayable
from tierbus.replay.play import play
from tierbus.replay.seats import folds, played, seated, split, together
from tierbus.replay.seats import tested as played_alone

ROWS = [pair(name, "4", split=part) for name, part in (("a", "train"), ("b", "test"), ("c", "train"), ("d", "test"))]
HERE = board(ROWS, (WEAK, STRONG))


def test_the_files_own_split_fits_on_train_and_plays_test() -> None:
    [fold] = split(ROWS, HERE)

    assert [case.id for case in fold.train.cases] == ["a", "c"]
    assert fold.test.tolist() == [1, 3]


def test_folds_play_every_task_once_and_never_fit_on_it() -> None:
    here = pair_board("bwsn" * 5)
    parts = folds(here, seed=0)

    assert played(parts).tolist() == list(range(20))
    for part in parts:
        fitted_on = {case.id for case in part.train.cases}
        assert fitted_on.isdisjoint(here.cases[at].id for at in part.test)
        assert len(fitted_on) == 16


@pytest.mark.parametrize("parts", ["train", "test"])
def test_a_file_without_one_of_its_parts_is_refused(parts: str) -> None:
    rows = [pair("a", "4", split=parts)]

    with pytest.raises(Unplayable, match="both are needed"):
        split(rows, board(rows, (WEAK, STRONG)))


def test_without_fitting_on_a_file_its_test_split_is_played_or_all_of_it() -> None:
    assert played_alone(ROWS, every=False).tolist() == [1, 3]
    assert played_alone(ROWS, every=True).tolist() == [0, 1, 2, 3]
    with pytest.raises(Unplayable, match="none of 1 tasks is of the test split"):
        played_alone(ROWS[:1], every=False)


def test_what_each_fold_played_is_put_together_in_the_boards_order() -> None:
    here = pair_board("wswswswsws")
    fitted_on: list[int] = []

    def make(train: Board) -> Policy:
        fitted_on.append(len(train))
        return Always(0)

    seats = seated(Player("p", "", make), here, folds(here, seed=3))
    found = together(seats, lambda seat: play(seat.policy, seat.board))

    assert fitted_on == [8] * 5
    assert (found.correct == np.array([True, False] * 5)).all()
