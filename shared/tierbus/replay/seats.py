"""Who plays what: which tasks a policy is fitted on, and which it plays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tierbus.policy.moves import Policy
from tierbus.replay.baselines import Player
from tierbus.replay.board import Board, Ints
from tierbus.replay.errors import Unplayable
from tierbus.replay.play import Played
from tierbus.replay.records import Row

FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """Tasks to play, by their places on the board, and those that a policy for them is fitted on."""

    train: Board
    test: Ints


@dataclass(frozen=True)
class Seat:
    """A policy that was fitted, and the board it plays on; `at` are the places of its tasks among all that are played."""

    policy: Policy
    board: Board
    at: Ints


def split(rows: Sequence[Row], board: Board) -> list[Fold]:
    """The file's own split.

    Raises:
        Unplayable: no task is there for fitting or none for playing.
    """
    train = np.array([row.split == "train" for row in rows])
    return [_fold(board, np.flatnonzero(train), np.flatnonzero(~train))]


def tested(rows: Sequence[Row], *, every: bool) -> Ints:
    """The places of the tasks to play where nothing of the file is fitted on.

    Raises:
        Unplayable: there is none.
    """
    found = np.flatnonzero([every or row.split == "test" for row in rows])
    if not len(found):
        raise Unplayable(f"none of {len(rows)} tasks is of the test split")
    return found


def folds(board: Board, seed: int) -> list[Fold]:
    """All tasks, each fifth with a policy that is fitted on the rest.

    Raises:
        Unplayable: there are too few tasks.
    """
    part = np.random.default_rng(seed).permutation(len(board)) % FOLDS
    return [_fold(board, np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(FOLDS)]


def _fold(board: Board, train: Ints, test: Ints) -> Fold:
    if not len(train) or not len(test):
        raise Unplayable(
            f"of {len(board)} tasks {len(train)} are there to fit on and {len(test)} to play; both are needed"
        )
    return Fold(board.part(train), test)


def played(parts: Sequence[Fold]) -> Ints:
    """The places of all tasks that are played, in the board's order."""
    return np.sort(np.concatenate([part.test for part in parts]))


def seated(player: Player, board: Board, parts: Sequence[Fold]) -> list[Seat]:
    """The policy, fitted once for every fold."""
    tasks = played(parts)
    return [Seat(player.make(part.train), board.part(part.test), np.searchsorted(tasks, part.test)) for part in parts]


def together(seats: Sequence[Seat], values: Callable[[Seat], Played]) -> Played:
    """What all seats played, as one."""
    return Played.joined([(seat.at, values(seat)) for seat in seats], sum(len(seat.at) for seat in seats))
