"""Policies that score: RouteLLM's figures, differences to what a router must beat, and curves of cost and quality."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierbus.replay.baselines import Player, baselines
from tierbus.replay.board import Board, Floats
from tierbus.replay.evaluate import Rules
from tierbus.replay.play import prepared
from tierbus.replay.resample import Interval
from tierbus.replay.routellm import SHARES, Pair, RouteFigures, apgr_difference, route_figures
from tierbus.replay.seats import Fold, Seat, played, seated

RULERS = ("length", "category")
"""What a router must beat."""
_CURVE_DRAWS = 20


@dataclass(frozen=True)
class Route:
    """A router between the first and the last place of the ladder; differences of APGR are paired.

    `curve` is (share of the strong model's dollars, accuracy) at 11 shares of strong calls, empty without prices.
    """

    policy: str
    sees_answer: bool
    figures: RouteFigures
    over_length: Interval | None = None
    over_category: Interval | None = None
    curve: tuple[tuple[float, float], ...] = ()


class Scorer:
    """Compares routers on the tasks of some folds."""

    def __init__(self, board: Board, parts: Sequence[Fold], rules: Rules) -> None:
        self._board, self._parts, self._rules = board, parts, rules
        self._here = board.part(played(parts))
        self._pair = Pair(self._here.correct[:, board.strong], self._here.correct[:, 0])
        grouped = any(case.group is not None for case in self._here.cases)
        known = {player.name: player for player in baselines(board.models, rules.margin, grouped=grouped)}
        self._rulers = {
            name: scores
            for name in RULERS
            if name in known and (scores := self._scores(seated(known[name], board, parts), sees=False)) is not None
        }

    @property
    def comparable(self) -> bool:
        """The strong model is better than the first of the ladder on these tasks."""
        return self._pair.comparable

    def routes(self, player: Player) -> list[Route]:
        """How well its scores route, before the cheap answer and after it; empty where it does not score."""
        seats = seated(player, self._board, self._parts)
        both = ((sees, self._scores(seats, sees=sees)) for sees in (False, True))
        return [self._route(player.name, scores, sees=sees) for sees, scores in both if scores is not None]

    def oracle(self) -> Route:
        """The router that knows both answers."""
        return Route("oracle", sees_answer=True, figures=route_figures(self._pair, self._pair.gain, self._rules.seed))

    def _route(self, name: str, scores: Floats, *, sees: bool) -> Route:
        differences = {
            f"over_{other}": apgr_difference(self._pair, scores, theirs, self._rules.draws, self._rules.seed)
            for other, theirs in self._rulers.items()
            if other != name
        }
        figures = route_figures(self._pair, scores, self._rules.seed)
        return Route(name, sees, figures, **differences, curve=() if sees else self._curve(scores))

    def _scores(self, seats: Sequence[Seat], *, sees: bool) -> Floats | None:
        """Every task's score; None where a policy does not score. Scores of different folds are compared as they are."""
        scores = np.zeros(len(self._here))
        for seat in seats:
            score = getattr(seat.policy, "score", None)
            if score is None:
                return None
            prepared(seat.policy, seat.board)
            told = [
                score(case, answers[:1] if sees else ())
                for case, answers in zip(seat.board.cases, seat.board.seens, strict=True)
            ]
            if any(value is None for value in told):
                return None
            scores[seat.at] = told
        return scores

    def _curve(self, scores: Floats) -> tuple[tuple[float, float], ...]:
        """Each point sends so many tasks with the highest scores to the strong model; ties go by chance."""
        weak_usd, strong_usd = self._here.usd[:, 0], self._here.usd[:, self._here.strong]
        if np.isnan(weak_usd).any() or np.isnan(strong_usd).any():
            return ()
        rng = np.random.default_rng(self._rules.seed)
        orders = [np.lexsort((rng.random(len(scores)), -scores)) for _ in range(_CURVE_DRAWS)]
        size = len(scores)
        points = []
        for share in SHARES:
            cut = round(share * size)
            usd = np.mean([strong_usd[order[:cut]].sum() + weak_usd[order[cut:]].sum() for order in orders])
            right = np.mean(
                [self._pair.strong[order[:cut]].sum() + self._pair.weak[order[cut:]].sum() for order in orders]
            )
            points.append((float(usd / strong_usd.sum()), float(right / size)))
        return tuple(points)
