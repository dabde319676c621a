"""How strongly a sequence of passes and failures speaks against "it passes at least as often as the target". Pure.

A test by betting that may be looked at after every try. For an alternative pass rate q below the target t, each try
multiplies a stake by q/t where it passed and by (1-q)/(1-t) where it failed. If the chance of passing is t or more whatever
went before, a stake is not expected to grow, so a sum of stakes that begins at 1 reaches 1/alpha with a chance of alpha at
most, ever (Ville's inequality). The stake is spread over several alternatives (mixture likelihood ratio: Robbins 1970,
"Statistical methods related to the law of the iterated logarithm") and over several beginnings, so that a pilot that was good
for long and then is not is found too (Shin, Ramdas, Rinaldo, "E-detectors", arXiv 2203.03532, with shares of the stake
instead of restarts, which keeps the level alpha over the whole life). Overview: Ramdas, Gruenwald, Vovk, Shafer,
"Game-theoretic statistics and safe anytime-valid inference", Statistical Science 2023.
"""

from functools import lru_cache

from pydantic import Field

from tierbus.contracts import Model

ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Alternatives: the odds of failing, times the target's."""
BEGIN_EVERY = 25
"""A new part of the stake is put in after so many tries; the k-th part is 1/(k(k+1)), and all of them are 1."""


class Evidence(Model):
    """What was seen, and what the stake on each alternative has become."""

    seen: int = Field(default=0, ge=0)
    stakes: tuple[float, ...] = (0.0,) * len(ODDS)

    @property
    def value(self) -> float:
        """All stakes, with what is not put in yet; 1 at the beginning. At 1/alpha or more the target is missed."""
        begun = -(-self.seen // BEGIN_EVERY)
        return 1 / (begun + 1) + sum(self.stakes)

    def after(self, *, passed: bool, target: float) -> "Evidence":
        """The evidence after one more try."""
        fresh = 0.0
        if self.seen % BEGIN_EVERY == 0:
            part = self.seen // BEGIN_EVERY + 1
            fresh = 1 / (part * (part + 1)) / len(ODDS)
        factors = _factors(target)[passed]
        stakes = tuple((stake + fresh) * factor for factor, stake in zip(factors, self.stakes, strict=True))
        return self.model_copy(update={"seen": self.seen + 1, "stakes": stakes})


@lru_cache(maxsize=64)
def _factors(target: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What a failure, and what a pass, does to the stake on each alternative."""
    against = [odds * (1 - target) / target for odds in ODDS]
    fails = [odds / (1 + odds) for odds in against]
    return tuple(fail / (1 - target) for fail in fails), tuple((1 - fail) / target for fail in fails)
