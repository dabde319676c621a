"""Where a pass rate lies, and how many tries it takes to know it better. Pure."""

from collections.abc import Callable
from math import ceil, lgamma, log
from statistics import NormalDist
from typing import NamedTuple

_HALVINGS = 60


class Interval(NamedTuple):
    """From where to where."""

    low: float
    high: float


def interval(tries: int, passes: int, alpha: float) -> Interval:
    """Where the pass rate lies with a confidence of 1 - alpha, however often one looks while tries come in.

    A confidence sequence: the rates p for which the uniform mixture's likelihood ratio B(k+1, n-k+1) / (p^k (1-p)^(n-k)) is
    below 1/alpha, k passes of n tries (Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon, Annals of Statistics 2021). It is wider
    than an interval for one look. It speaks of one rate: where the rate changes, of none.
    """
    if not tries:
        return Interval(0.0, 1.0)
    failures = tries - passes
    mixture = lgamma(passes + 1) + lgamma(failures + 1) - lgamma(tries + 2)

    def outside(rate: float) -> bool:
        likelihood = (passes * log(rate) if passes else 0.0) + (failures * log(1 - rate) if failures else 0.0)
        return mixture - likelihood >= log(1 / alpha)

    best = passes / tries
    low = 0.0 if not passes else _edge(inside=best if failures else 1 - 1e-12, outside=1e-12, is_outside=outside)
    high = 1.0 if not failures else _edge(inside=best if passes else 1e-12, outside=1 - 1e-12, is_outside=outside)
    return Interval(low, high)


def _edge(*, inside: float, outside: float, is_outside: Callable[[float], bool]) -> float:
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if is_outside(middle):
            outside = middle
        else:
            inside = middle
    return outside


def tries_for(rate: float, within: float, alpha: float) -> int:
    """Tries until a rate is known to be no more than `within` lower, by one look at level alpha.

    z^2 p(1-p) / d^2, the normal approximation: 0.95 within 0.01 at 5 % takes 1,286. Looking after every try takes more.
    """
    z = NormalDist().inv_cdf(1 - alpha)
    kept = min(max(rate, within), 1 - within)
    return ceil(z * z * kept * (1 - kept) / (within * within))
