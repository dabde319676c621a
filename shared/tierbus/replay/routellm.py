"""APGR, CPT50 and CPT80 by RouteLLM's protocol (Ong et al. 2024, arXiv 2406.18665), to compare routers with its table.

It counts shares of strong calls, not dollars, and ignores what a cascade pays for the cheap answer.

PGR(x) = (r(x) - r_weak) / (r_strong - r_weak), where r(x) is the accuracy with the share x of tasks, those with the highest
scores, on the strong model. APGR is the area under PGR by trapezoid over 11 shares. CPT(p) is the smallest share with
PGR >= p, interpolated between those 11 as the published figures are.
"""

from dataclasses import dataclass

import numpy as np

from tierbus.replay.board import Bools, Floats, Ints
from tierbus.replay.resample import Interval, interval

SHARES = np.linspace(0.0, 1.0, 11)
TIE_DRAWS = 100
"""Tasks with the same score are ordered by chance; figures are means over so many orders."""


@dataclass(frozen=True)
class Pair:
    """Whether the strong and the weak model were right, task by task."""

    strong: Bools
    weak: Bools

    @property
    def gain(self) -> Floats:
        """What a strong call changes."""
        return self.strong.astype(float) - self.weak

    @property
    def comparable(self) -> bool:
        """APGR has no meaning where the strong model is not better."""
        return bool(self.gain.sum() > 0)


@dataclass(frozen=True)
class RouteFigures:
    """APGR and the shares of strong calls that recover 50 % and 80 % of the gap."""

    apgr: float
    cpt50: float
    cpt80: float


def route_figures(pair: Pair, scores: Floats, seed: int, draws: int = TIE_DRAWS) -> RouteFigures:
    """The figures of a router's scores; high ones go to the strong model. The pair must be comparable."""
    curves = tie_curves(pair, scores, seed, draws)
    cpt = [[_crossing(curve, level) for level in (0.5, 0.8)] for curve in curves]
    cpt50, cpt80 = np.mean(cpt, axis=0).tolist()
    return RouteFigures(float(_area(curves).mean()), cpt50, cpt80)


def tie_curves(pair: Pair, scores: Floats, seed: int, draws: int = TIE_DRAWS) -> Floats:
    """PGR at the 11 shares, once for every order of the ties."""
    rng = np.random.default_rng(seed)
    return np.stack([_curve(pair.gain, scores, rng.random(len(scores))) for _ in range(draws)])


def apgr_draws(pair: Pair, scores: Floats, picks: Ints, seed: int) -> Floats:
    """APGR of every bootstrap draw; `picks` are draws x tasks. Ties are broken by chance in each."""
    rng = np.random.default_rng(seed)
    gain = pair.gain
    curves = [_curve(gain[pick], scores[pick], rng.random(len(pick))) for pick in picks]
    return _area(np.stack(curves))


def apgr_difference(pair: Pair, mine: Floats, other: Floats, draws: int, seed: int) -> Interval:
    """By how much the APGR of one router's scores is above another's, paired over tasks."""
    rng = np.random.default_rng(seed)
    size = len(mine)
    picks = rng.integers(0, size, size=(draws, size), dtype=np.int64)
    picks = picks[pair.gain[picks].sum(axis=1) > 0]
    drawn = apgr_draws(pair, mine, picks, seed + 1) - apgr_draws(pair, other, picks, seed + 2)
    here = route_figures(pair, mine, seed).apgr - route_figures(pair, other, seed).apgr
    return interval(here, drawn)


def _curve(gain: Floats, scores: Floats, ties: Floats) -> Floats:
    order = np.lexsort((ties, -scores))
    summed = np.concatenate([[0.0], np.cumsum(gain[order])])
    return np.asarray(summed[np.round(SHARES * len(gain)).astype(int)] / summed[-1])


def _area(curves: Floats) -> Floats:
    return np.asarray(np.trapezoid(curves, SHARES, axis=-1))


def _crossing(curve: Floats, level: float) -> float:
    """Where the curve first reaches the level; it does at 1.0 at the latest."""
    at = int(np.argmax(curve >= level))
    below, above = curve[at - 1], curve[at]
    return float(SHARES[at - 1] + (SHARES[at] - SHARES[at - 1]) * (level - below) / (above - below))
