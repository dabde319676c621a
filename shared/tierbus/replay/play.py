"""Playing a policy over a board, task after task in an order of arrival, counting every attempt's dollars.

A policy needs no more than `next` and `learn`. What it may offer besides, all of it looked up by name:

- `prepare(cases, seens)`: called once with everything that will be played, so that scores can be worked out together and
  kept by case id. It must not learn from them: it is what a service would do one by one, only sooner.
- `fresh()`: a policy with the same fit that has learned nothing in use; without it a copy made at the start is copied.
- `stateless = True`: what it decides does not depend on what went by, so one order of arrival is enough.
- `router_usd`, `planner_usd`: dollars a task that deciding itself costs.
- `score(case, seen)`: how much the strong model would gain after these answers, or None where it cannot say. Only the
  order of scores counts. With an empty `seen` that is a router's score, with the cheap answer a cascade's.
"""

import copy
import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tierbus.policy.moves import Ask, Case, Policy, Seen, Take
from tierbus.replay.board import Board, Bools, Floats, Ints
from tierbus.replay.errors import BadMove


@dataclass(frozen=True)
class Reviewer:
    """Looks at every answer below the strong model's that a policy takes; a rejected one goes up a place.

    `error` is its chance to accept a wrong answer and to reject a right one; `price` is its cost as a share of the
    strong model's call on the same task.
    """

    error: float
    price: float


@dataclass(frozen=True)
class Played:
    """What came of every task, by its place on the board, whatever the order of arrival was."""

    correct: Bools
    usd: Floats
    taken: Ints
    asked: Ints
    strong: Bools
    """Whether the strong model was asked."""

    @staticmethod
    def joined(parts: list[tuple[Ints, "Played"]], size: int) -> "Played":
        """Parts of one board, each with the places of its tasks, as one."""
        whole = Played(
            np.zeros(size, bool),
            np.zeros(size),
            np.zeros(size, np.int64),
            np.zeros(size, np.int64),
            np.zeros(size, bool),
        )
        for index, part in parts:
            for name in ("correct", "usd", "taken", "asked", "strong"):
                getattr(whole, name)[index] = getattr(part, name)
        return whole


def stateless(policy: Policy) -> bool:
    """Whether one order of arrival is as good as another."""
    return bool(getattr(policy, "stateless", False))


def prepared(policy: Policy, board: Board) -> Policy:
    """The policy, after it was shown what will be played."""
    prepare = getattr(policy, "prepare", None)
    if prepare is not None:
        prepare(board.cases, board.seens)
    return policy


def fresh(policy: Policy) -> Policy:
    """The policy as fitted, without what it learned in use."""
    again = getattr(policy, "fresh", None)
    return cast("Policy", again()) if again is not None else copy.deepcopy(policy)


def play(
    policy: Policy,
    board: Board,
    order: Ints | None = None,
    reviewer: Reviewer | None = None,
    luck: Floats | None = None,
) -> Played:
    """Play a policy; it learns on the way, so give it `fresh`.

    Args:
        policy: says the moves.
        board: the tasks and answers.
        order: places of tasks in their order of arrival; as on the board without it.
        reviewer: looks at what the policy takes; nobody does without it.
        luck: a number in [0, 1) for every task and place; the reviewer errs where it is below its error.

    Raises:
        BadMove: the policy asks a place twice, one that is not there, or takes an answer that was not given.
    """
    picked = range(len(board)) if order is None else order.tolist()
    taken, masks, reviews = ([0] * len(board) for _ in range(3))
    judge = _judge(board, reviewer, luck)
    cases, seens, strong = board.cases, board.seens, board.strong
    for at in picked:
        case, answers = cases[at], seens[at]
        seen, place = _decide(policy, case, answers, strong, ())
        if reviewer is not None:
            seen, place, reviews[at] = _reviewed(judge[at], answers, seen, place)
        policy.learn(case, seen)
        taken[at], masks[at] = place, sum([1 << one.place for one in seen])
    return _counted(policy, board, np.array(taken), np.array(masks), np.array(reviews), reviewer)


def _decide(
    policy: Policy, case: Case, answers: tuple[Seen, ...], strong: int, seen: tuple[Seen, ...]
) -> tuple[tuple[Seen, ...], int]:
    """The answers that were asked for, and the place whose answer is taken; the strong one's always is."""
    while True:
        move = policy.next(case, seen)
        if type(move) is Take:
            if all(one.place != move.place for one in seen):
                raise BadMove(_blame(policy, case, f"takes place {move.place}, which gave no answer"))
            return seen, move.place
        if type(move) is not Ask or not 0 <= move.place <= strong:
            raise BadMove(_blame(policy, case, f"says {move!r}; places are 0 to {strong}"))
        if any(one.place == move.place for one in seen):
            raise BadMove(_blame(policy, case, f"asks place {move.place} twice"))
        seen = (*seen, answers[move.place])
        if move.place == strong:
            return seen, strong


def _blame(policy: Policy, case: Case, what: str) -> str:
    return f"policy {type(policy).__name__} {what} (task {case.id!r})"


def _judge(board: Board, reviewer: Reviewer | None, luck: Floats | None) -> list[list[bool]]:
    """What the reviewer would say to every answer."""
    if reviewer is None:
        return []
    errs = np.zeros(board.correct.shape, bool) if luck is None else luck < reviewer.error
    return cast("list[list[bool]]", (board.correct ^ errs).tolist())


def _reviewed(
    says: list[bool], answers: tuple[Seen, ...], seen: tuple[Seen, ...], place: int
) -> tuple[tuple[Seen, ...], int, int]:
    """Climb until the reviewer accepts or the strong model has answered; places asked already are passed over."""
    reviews, strong = 0, len(answers) - 1
    while place < strong:
        reviews += 1
        if says[place]:
            break
        place = max(one.place for one in seen) + 1
        seen = (*seen, answers[place])
    return seen, place, reviews


def _counted(
    policy: Policy, board: Board, taken: Ints, masks: Ints, reviews: Ints, reviewer: Reviewer | None
) -> Played:
    asked = (masks[:, None] >> np.arange(len(board.models))) & 1 == 1
    usd = np.where(asked, board.usd, 0.0).sum(axis=1)
    usd += getattr(policy, "router_usd", 0.0) + getattr(policy, "planner_usd", 0.0)
    if reviewer is not None:
        usd += reviews * reviewer.price * board.usd[:, board.strong]
    every = np.arange(len(board))
    return Played(board.correct[every, taken], usd, taken, asked.sum(axis=1), asked[:, board.strong])


def decision_s(policy: Policy, board: Board, most: int) -> Floats:
    """Seconds that the decisions of one task take together, for the first `most` tasks. Give it a policy that was not prepared."""
    took = []
    for case, answers in list(zip(board.cases, board.seens, strict=True))[:most]:
        clock = _Timed(policy)
        seen, _ = _decide(cast("Policy", clock), case, answers, board.strong, ())
        policy.learn(case, seen)
        took.append(clock.spent_ns / 1e9)
    return np.array(took)


class _Timed:
    """A policy whose decisions are timed."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.spent_ns = 0

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Any:
        began = time.perf_counter_ns()
        move = self._policy.next(case, seen)
        self.spent_ns += time.perf_counter_ns() - began
        return move
