"""A run of `tierbus replay`: fit on train, play on test, and work out every figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tierbus.policy.moves import Policy
from tierbus.replay.baselines import Player, baselines
from tierbus.replay.board import Board, Floats, Ints, Unplayable
from tierbus.replay.figures import (
    Decision,
    Orders,
    Outcome,
    Quality,
    Resplits,
    Reviewed,
    over_orders,
    quality,
    within,
)
from tierbus.replay.play import Played, Reviewer, decision_s, fresh, play, prepared, stateless
from tierbus.replay.records import Row
from tierbus.replay.resample import Interval, Resample
from tierbus.replay.routellm import Pair, RouteFigures, apgr_difference, route_figures

ERRORS = (0.0, 0.1, 0.2, 0.3)
"""Chances of a reviewer's error that are swept."""
TRAIN_SHARE = 0.6
FOLDS = 5
TIMED_TASKS = 1000
RULERS = ("length", "category")
"""What a router must beat."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Rules:
    """How a run is done.

    `margin` of accuracy (.01 is one point), bootstrap `draws`, random `orders` of arrival, random `resplits`, the price of
    a `review` as a share of the strong call, draws of its errors, and the seed that everything random comes from.
    """

    margin: float = 0.01
    draws: int = 1000
    orders: int = 1000
    resplits: int = 8
    review_price: float = 0.1
    review_draws: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Fold:
    """Tasks to play, by their places on the board, and those that a policy for them is fitted on."""

    train: Board
    test: Ints


@dataclass(frozen=True)
class Line:
    """All figures of one policy; what does not apply to it is None or empty."""

    policy: str
    about: str
    quality: Quality
    decision: Decision
    orders: Orders | None = None
    resplits: Resplits | None = None
    reviewed: tuple[Reviewed, ...] = ()


@dataclass(frozen=True)
class RouteLine:
    """A router by RouteLLM's protocol; `over_length` and `over_category` are paired differences of APGR."""

    policy: str
    sees_answer: bool
    figures: RouteFigures
    over_length: Interval | None = None
    over_category: Interval | None = None


@dataclass(frozen=True)
class Report:
    """What `tierbus replay` prints."""

    models: tuple[str, ...]
    tasks: int
    fitted_on: str
    strong_accuracy: float
    strong_usd_per_1000: float | None
    filled_costs: int
    rules: Rules
    lines: tuple[Line, ...] = ()
    routes: tuple[RouteLine, ...] = ()
    notes: tuple[str, ...] = field(default=())


def folds(rows: Sequence[Row], board: Board, *, every: bool, seed: int) -> list[Fold]:
    """The file's own split, or with `every` all tasks, each fifth with a policy fitted on the rest.

    Raises:
        Unplayable: one of the parts would be empty.
    """
    if every:
        part = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
        found = [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(FOLDS)]
    else:
        train = np.array([row.split == "train" for row in rows])
        found = [(np.flatnonzero(train), np.flatnonzero(~train))]
    for train_at, test_at in found:
        if not len(train_at) or not len(test_at):
            raise Unplayable(
                f"{len(rows)} tasks have {len(train_at)} to fit on and {len(test_at)} to play; both are needed"
            )
    return [Fold(board.part(train_at), test_at) for train_at, test_at in found]


@dataclass(frozen=True)
class _Seat:
    """A policy that was fitted, and the board it plays on; `at` are its tasks' places in the whole."""

    policy: Policy
    board: Board
    at: Ints


def _seats(player: Player, board: Board, parts: Sequence[Fold]) -> list[_Seat]:
    return [_Seat(player.make(part.train), board.part(part.test), part.test) for part in parts]


def _whole(seats: Sequence[_Seat], tasks: Ints, values: Callable[[_Seat], Played]) -> Played:
    """All seats' plays as one, in the order of `tasks`."""
    place = {at: here for here, at in enumerate(tasks.tolist())}
    parts = [(np.array([place[at] for at in seat.at.tolist()]), values(seat)) for seat in seats]
    return Played.joined(parts, len(tasks))


def evaluate(board: Board, parts: Sequence[Fold], players: Sequence[Player], rules: Rules, tell: Tell) -> list[Line]:
    """Play every policy on the tasks of these folds; `tell` hears what is being worked on."""
    tasks = np.sort(np.concatenate([part.test for part in parts]))
    strong = Outcome.always_strong(board.part(tasks))
    resample = Resample(len(tasks), rules.draws, rules.seed)
    lines = []
    for player in players:
        tell(player.name)
        lines.append(_line(player, board, parts, tasks, strong, resample, rules))
    return lines


def _line(
    player: Player,
    board: Board,
    parts: Sequence[Fold],
    tasks: Ints,
    strong: Outcome,
    resample: Resample,
    rules: Rules,
) -> Line:
    seats = _seats(player, board, parts)
    timed = np.concatenate([decision_s(fresh(seat.policy), seat.board, TIMED_TASKS) for seat in seats])
    for seat in seats:
        prepared(seat.policy, seat.board)
    played = _plays(player, seats, tasks, rules)
    return Line(
        policy=player.name,
        about=player.about,
        quality=quality(Outcome.mean(played), strong, resample, rules.margin),
        decision=Decision(*np.percentile(timed, [50, 99]).tolist()),
        orders=over_orders(played, strong) if len(played) > 1 else None,
        resplits=_resplits(player, board, rules) if player.fitted and rules.resplits else None,
        reviewed=_sweep(player, seats, tasks, strong, rules),
    )


def _plays(player: Player, seats: Sequence[_Seat], tasks: Ints, rules: Rules) -> list[Played]:
    """One play in the file's order, or where the order matters one for every random order."""
    if all(stateless(seat.policy) for seat in seats) or not rules.orders:
        return [_whole(seats, tasks, lambda seat: play(fresh(seat.policy), seat.board, reviewer=player.reviewer))]
    rng = np.random.default_rng(rules.seed + 1)

    def once(seat: _Seat) -> Played:
        return play(fresh(seat.policy), seat.board, rng.permutation(len(seat.board)), player.reviewer)

    return [_whole(seats, tasks, once) for _ in range(rules.orders)]


def _resplits(player: Player, board: Board, rules: Rules) -> Resplits:
    rng = np.random.default_rng(rules.seed + 2)
    differences, shares = [], []
    for _ in range(rules.resplits):
        order = rng.permutation(len(board))
        cut = round(TRAIN_SHARE * len(board))
        test = board.part(order[cut:])
        policy = prepared(player.make(board.part(order[:cut])), test)
        played, strong = play(fresh(policy), test, reviewer=player.reviewer), Outcome.always_strong(test)
        differences.append(float(played.correct.mean() - strong.correct.mean()))
        shares.append(float(played.usd.sum() / strong.usd.sum()))
    missed = sum(not within(difference, rules.margin) for difference in differences)
    return Resplits(rules.resplits, missed, float(np.mean(differences)), float(np.mean(shares)))


def _sweep(player: Player, seats: Sequence[_Seat], tasks: Ints, strong: Outcome, rules: Rules) -> tuple[Reviewed, ...]:
    """The policy with a reviewer behind it, for every chance of error; the same luck for all policies."""
    if player.reviewer is not None or not rules.review_draws:
        return ()
    found = []
    for error in ERRORS:
        rng = np.random.default_rng(rules.seed + 3)
        reviewer = Reviewer(error, rules.review_price)

        def once(seat: _Seat, rng: np.random.Generator = rng, reviewer: Reviewer = reviewer) -> Played:
            luck = rng.random(seat.board.correct.shape)
            return play(fresh(seat.policy), seat.board, None, reviewer, luck)

        mean = Outcome.mean([_whole(seats, tasks, once) for _ in range(rules.review_draws if error else 1)])
        share = float(mean.usd.sum() / strong.usd.sum())
        found.append(Reviewed(error, float(mean.correct.mean()), share, float(mean.strong.mean())))
    return tuple(found)


def routes(board: Board, parts: Sequence[Fold], players: Sequence[Player], rules: Rules) -> list[RouteLine]:
    """Every policy that scores, by RouteLLM's protocol, between the first and the last place of the ladder."""
    tasks = np.sort(np.concatenate([part.test for part in parts]))
    here = board.part(tasks)
    pair = Pair(here.correct[:, here.strong], here.correct[:, 0])
    if not pair.comparable:
        return []
    known = {player.name: player for player in baselines(board.models, rules.margin, grouped=_grouped(here))}
    rulers = {name: _scores(_seats(known[name], board, parts), tasks, sees=False) for name in RULERS if name in known}
    lines = []
    for player in players:
        seats = _seats(player, board, parts)
        for sees in (False, True):
            scores = _scores(seats, tasks, sees=sees)
            if scores is not None:
                over = {name: other for name, other in rulers.items() if name != player.name and other is not None}
                lines.append(_route(player.name, pair, scores, over, rules, sees=sees))
    return [*lines, RouteLine("oracle", sees_answer=True, figures=route_figures(pair, pair.gain, rules.seed))]


def _grouped(board: Board) -> bool:
    return any(case.group is not None for case in board.cases)


def _scores(seats: Sequence[_Seat], tasks: Ints, *, sees: bool) -> Floats | None:
    """What the policies score their tasks, in the order of `tasks`; None where one of them does not score.

    Scores of policies that were fitted on different folds are compared with each other as they are.
    """
    place = {at: here for here, at in enumerate(tasks.tolist())}
    scores = np.zeros(len(tasks))
    for seat in seats:
        score = getattr(seat.policy, "score", None)
        if score is None:
            return None
        prepared(seat.policy, seat.board)
        for case, answers, at in zip(seat.board.cases, seat.board.seens, seat.at.tolist(), strict=True):
            value = score(case, answers[:1] if sees else ())
            if value is None:
                return None
            scores[place[at]] = value
    return scores


def _route(name: str, pair: Pair, scores: Floats, over: dict[str, Floats], rules: Rules, *, sees: bool) -> RouteLine:
    differences = {
        f"over_{other}": apgr_difference(pair, scores, theirs, rules.draws, rules.seed)
        for other, theirs in over.items()
    }
    return RouteLine(name, sees, route_figures(pair, scores, rules.seed), **differences)
