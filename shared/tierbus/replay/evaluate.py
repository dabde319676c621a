"""All money figures of one policy: fit it, play it, play it again in other orders, splits and with a reviewer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierbus.replay.baselines import Kind, Player
from tierbus.replay.board import Board
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
from tierbus.replay.play import Played, Reviewer, asks_looks, decisions_s, fresh, play, prepared, stateless, told
from tierbus.replay.resample import Resample
from tierbus.replay.seats import Fold, Seat, played, seated, together

ERRORS = (0.0, 0.1, 0.2, 0.3)
"""Chances of a reviewer's error that are swept."""
TRAIN_SHARE = 0.6
TIMED_TASKS = 1000


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
class Line:
    """All money figures of one policy; what does not apply to it is None or empty.

    `asks_looks`: with a reviewer it says itself which answers that looks at; every other policy has all looked at.
    """

    policy: str
    about: str
    kind: Kind
    quality: Quality
    decision: Decision
    orders: Orders | None
    resplits: Resplits | None
    reviewed: tuple[Reviewed, ...]
    asks_looks: bool


class Judge:
    """Plays policies on the tasks of some folds, all with the same luck."""

    def __init__(self, board: Board, parts: Sequence[Fold], rules: Rules) -> None:
        self._board = board
        self._parts = parts
        self._rules = rules
        tasks = played(parts)
        self._strong = Outcome.always_strong(board.part(tasks))
        self._resample = Resample(len(tasks), rules.draws, rules.seed)

    def line(self, player: Player, *, resplit: bool = True, sweep: bool = True) -> Line:
        """The figures of a policy.

        Args:
            player: makes the policy.
            resplit: fit it anew on random splits of the whole board too, if it is fitted.
            sweep: play it with a reviewer behind it too.
        """
        seats = seated(player, self._board, self._parts)
        # before `prepare`: afterwards a decision may be a look into a table
        timed = [took for seat in seats for took in decisions_s(fresh(seat.policy), seat.board, TIMED_TASKS)]
        for seat in seats:
            prepared(seat.policy, seat.board)
        plays = self._plays(player, seats)
        return Line(
            policy=player.name,
            about=player.about,
            kind=player.kind,
            quality=quality(Outcome.mean(plays), self._strong, self._resample, self._rules.margin),
            decision=Decision(*np.percentile(np.concatenate(timed), [50, 99]).tolist()),
            orders=over_orders(plays, self._strong) if len(plays) > 1 else None,
            resplits=self._resplits(player) if resplit and player.fitted and self._rules.resplits else None,
            reviewed=self._sweep(player, seats) if sweep else (),
            asks_looks=all(asks_looks(seat.policy) for seat in seats),
        )

    def _plays(self, player: Player, seats: Sequence[Seat]) -> list[Played]:
        """One play in the board's order, or where the order matters one for every random order."""
        if all(stateless(seat.policy) for seat in seats) or not self._rules.orders:
            return [together(seats, lambda seat: play(fresh(seat.policy), seat.board, reviewer=player.reviewer))]
        rng = np.random.default_rng(self._rules.seed + 1)

        def once(seat: Seat) -> Played:
            return play(fresh(seat.policy), seat.board, rng.permutation(len(seat.board)), player.reviewer)

        return [together(seats, once) for _ in range(self._rules.orders)]

    def _resplits(self, player: Player) -> Resplits:
        rng = np.random.default_rng(self._rules.seed + 2)
        differences, shares = [], []
        for _ in range(self._rules.resplits):
            order = rng.permutation(len(self._board))
            cut = round(TRAIN_SHARE * len(self._board))
            test = self._board.part(order[cut:])
            policy = prepared(player.make(self._board.part(order[:cut])), test)
            done, strong = play(fresh(policy), test, reviewer=player.reviewer), Outcome.always_strong(test)
            differences.append(float(done.correct.mean() - strong.correct.mean()))
            shares.append(float(done.usd.sum() / strong.usd.sum()))
        missed = sum(not within(difference, self._rules.margin) for difference in differences)
        return Resplits(self._rules.resplits, missed, float(np.mean(differences)), float(np.mean(shares)))

    def _sweep(self, player: Player, seats: Sequence[Seat]) -> tuple[Reviewed, ...]:
        """The policy with a reviewer behind it, for every chance of error; the same luck for all policies."""
        if player.reviewer is not None or not self._rules.review_draws:
            return ()
        return tuple(self._reviewed(seats, error) for error in ERRORS)

    def _reviewed(self, seats: Sequence[Seat], error: float) -> Reviewed:
        rng = np.random.default_rng(self._rules.seed + 3)
        reviewer = Reviewer(error, self._rules.review_price)

        def once(seat: Seat) -> Played:
            luck = rng.random(seat.board.correct.shape)
            return play(told(seat.policy, seat.board, reviewer), seat.board, None, reviewer, luck)

        mean = Outcome.mean([together(seats, once) for _ in range(self._rules.review_draws if error else 1)])
        share = float(mean.usd.sum() / self._strong.usd.sum())
        return Reviewed(error, float(mean.correct.mean()), share, float(mean.strong.mean()), float(mean.looked.mean()))
