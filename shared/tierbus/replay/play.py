"""Playing a policy over a board, task after task in an order of arrival, counting every attempt's dollars.

A policy needs no more than `next` and `learn`. What it may offer besides, all of it looked up by name:

- `prepare(cases, seens)`: called once with everything that will be played, so that scores can be worked out together and
  kept by case id. It must not learn from them: it is what a service would do one by one, only sooner.
- `fresh()`: a policy with the same fit that has learned nothing in use; without it a copy made at the start is copied.
- `stateless = True`: what it decides does not depend on what went by, so one order of arrival is enough.
- `router_usd`, `planner_usd`: dollars a task that deciding itself costs.
- `score(case, seen)`: how much the strong model would gain after these answers, or None where it cannot say. Only the
  order of scores counts. With an empty `seen` that is a router's score, with the cheap answer a cascade's.
- `reviewed_by(look)`: a policy with the same fit, nothing learned in use, that knows what a reviewer's look costs and how it
  errs, and says `Judge` where it wants one. Only such a policy decides what the reviewer sees.
"""

import copy
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from tierbus.policy.moves import Ask, Case, Judge, Policy, Seen, Take
from tierbus.policy.review import Look, Reviewing
from tierbus.replay.board import Board, Bools, Floats, Ints
from tierbus.replay.errors import BadMove


@dataclass(frozen=True)
class Reviewer:
    """Looks at every answer below the strong model's that a policy takes; a rejected one goes up a place.

    A policy that can be `told` of it asks for looks itself, before it takes anything.

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
    looked: Ints
    """Answers that the reviewer looked at."""

    @staticmethod
    def joined(parts: list[tuple[Ints, "Played"]], size: int) -> "Played":
        """Parts of one board, each with the places of its tasks, as one."""
        whole = Played(
            np.zeros(size, bool),
            np.zeros(size),
            np.zeros(size, np.int64),
            np.zeros(size, np.int64),
            np.zeros(size, bool),
            np.zeros(size, np.int64),
        )
        for index, part in parts:
            for name in ("correct", "usd", "taken", "asked", "strong", "looked"):
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


def asks_looks(policy: Policy) -> bool:
    """Whether it can be told of a reviewer and says itself what that looks at."""
    return hasattr(policy, "reviewed_by")


def told(policy: Policy, board: Board, reviewer: Reviewer | None) -> Policy:
    """The policy as fitted, and where it can reckon with a reviewer told of this one; it has learned nothing in use."""
    if reviewer is None or not asks_looks(policy):
        return fresh(policy)
    return cast("Policy", cast("Any", policy).reviewed_by(_look(board, reviewer)))


def _look(board: Board, reviewer: Reviewer) -> Look:
    """What a look costs on average in a task's class: what the strong call on this very task would, nobody knows before it."""
    strong_usd: defaultdict[str, list[float]] = defaultdict(list)
    for case, usd in zip(board.cases, board.usd[:, board.strong].tolist(), strict=True):
        strong_usd[case.task_class].append(usd)
    known = {
        name: Reviewing(reviewer.price * sum(found) / len(found), reviewer.error) for name, found in strong_usd.items()
    }
    return lambda case, _seen: known.get(case.task_class)


class _Bench(NamedTuple):
    """What is there to be asked for one task: every place's answer, and what the reviewer would say to it and costs."""

    answers: tuple[Seen, ...]
    says: list[bool] | None
    look_usd: float = 0.0

    @property
    def strong(self) -> int:
        return len(self.answers) - 1


def play(
    policy: Policy,
    board: Board,
    order: Ints | None = None,
    reviewer: Reviewer | None = None,
    luck: Floats | None = None,
) -> Played:
    """Play a policy; it learns on the way, so give it `fresh` or `told`.

    Args:
        policy: says the moves.
        board: the tasks and answers.
        order: places of tasks in their order of arrival; as on the board without it.
        reviewer: looks at what the policy takes, or where it asks for it; nobody does without it.
        luck: a number in [0, 1) for every task and place; the reviewer errs where it is below its error.

    Raises:
        BadMove: the policy asks a place twice, one that is not there, or takes an answer that was not given; it asks for a look
            where there is no reviewer, or at an answer that was not given or looked at before.
    """
    picked = range(len(board)) if order is None else order.tolist()
    taken, masks, looked = ([0] * len(board) for _ in range(3))
    benches = _benches(board, reviewer, luck)
    asks = asks_looks(policy)
    for at in picked:
        case, bench = board.cases[at], benches[at]
        seen, place = _decide(policy, case, bench, ())
        looked[at] = sum(one.judged is not None for one in seen)
        if bench.says is not None and not asks:
            seen, place, looked[at] = _reviewed(bench.says, bench.answers, seen, place)
        policy.learn(case, seen)
        taken[at], masks[at] = place, sum([1 << one.place for one in seen])
    return _counted(policy, board, np.array(taken), np.array(masks), np.array(looked), reviewer)


def _decide(policy: Policy, case: Case, bench: _Bench, seen: tuple[Seen, ...]) -> tuple[tuple[Seen, ...], int]:
    """The answers that were asked for, and the place whose answer is taken; the strong one's always is."""
    while True:
        move = policy.next(case, seen)
        if type(move) is Take:
            if all(one.place != move.place for one in seen):
                raise BadMove(_blame(policy, case, f"takes place {move.place}, which gave no answer"))
            return seen, move.place
        if type(move) is Judge:
            seen = _looked(policy, case, bench, seen, move)
            continue
        if type(move) is not Ask or not 0 <= move.place <= bench.strong:
            raise BadMove(_blame(policy, case, f"says {move!r}; places are 0 to {bench.strong}"))
        if any(one.place == move.place for one in seen):
            raise BadMove(_blame(policy, case, f"asks place {move.place} twice"))
        seen = (*seen, bench.answers[move.place])
        if move.place == bench.strong:
            return seen, bench.strong


def _looked(policy: Policy, case: Case, bench: _Bench, seen: tuple[Seen, ...], move: Judge) -> tuple[Seen, ...]:
    """What was seen, with the reviewer's word on the answer of this place."""
    if bench.says is None:
        raise BadMove(_blame(policy, case, f"asks for a look at place {move.place}, but there is no reviewer"))
    if not any(one.place == move.place and one.judged is None for one in seen):
        raise BadMove(
            _blame(policy, case, f"asks for a look at place {move.place}, which has no answer or had its look")
        )
    said = bench.says[move.place]
    return tuple(
        one._replace(judged=said, judged_usd=bench.look_usd) if one.place == move.place else one for one in seen
    )


def _blame(policy: Policy, case: Case, what: str) -> str:
    return f"policy {type(policy).__name__} {what} (task {case.id!r})"


def _benches(board: Board, reviewer: Reviewer | None, luck: Floats | None) -> list[_Bench]:
    """For every task its answers, and what the reviewer would say to each."""
    if reviewer is None:
        return [_Bench(answers, None) for answers in board.seens]
    errs = np.zeros(board.correct.shape, bool) if luck is None else luck < reviewer.error
    says = cast("list[list[bool]]", (board.correct ^ errs).tolist())
    look_usd = (reviewer.price * board.usd[:, board.strong]).tolist()
    return [_Bench(*bench) for bench in zip(board.seens, says, look_usd, strict=True)]


def _reviewed(
    says: list[bool], answers: tuple[Seen, ...], seen: tuple[Seen, ...], place: int
) -> tuple[tuple[Seen, ...], int, int]:
    """Climb until the reviewer accepts or the strong model has answered; places asked already are passed over."""
    looked, strong = 0, len(answers) - 1
    while place < strong:
        looked += 1
        if says[place]:
            break
        place = max(one.place for one in seen) + 1
        seen = (*seen, answers[place])
    return seen, place, looked


def _counted(policy: Policy, board: Board, taken: Ints, masks: Ints, looked: Ints, reviewer: Reviewer | None) -> Played:
    asked = (masks[:, None] >> np.arange(len(board.models))) & 1 == 1
    usd = np.where(asked, board.usd, 0.0).sum(axis=1)
    usd += getattr(policy, "router_usd", 0.0) + getattr(policy, "planner_usd", 0.0)
    if reviewer is not None:
        usd += looked * reviewer.price * board.usd[:, board.strong]
    every = np.arange(len(board))
    return Played(board.correct[every, taken], usd, taken, asked.sum(axis=1), asked[:, board.strong], looked)


def decisions_s(policy: Policy, board: Board, most: int) -> list[Floats]:
    """Seconds of each decision of one task, for the first `most` tasks. Give it a policy that was not prepared."""
    took = []
    for case, answers in list(zip(board.cases, board.seens, strict=True))[:most]:
        clock = _Timed(policy)
        seen, _ = _decide(cast("Policy", clock), case, _Bench(answers, None), ())
        policy.learn(case, seen)
        took.append(np.array(clock.took_ns) / 1e9)
    return took


class _Timed:
    """A policy whose decisions are timed."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.took_ns: list[int] = []

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Any:
        began = time.perf_counter_ns()
        move = self._policy.next(case, seen)
        self.took_ns.append(time.perf_counter_ns() - began)
        return move
