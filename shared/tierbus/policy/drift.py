"""Whether a class's tasks in use are still like those it was trained on: a test that may be looked at after every task.

Every task gives a sign, a number that needs no label. Where the course asks two cheap models, it is whether they agree (1
or 0), on the tasks where it asks both; where a reviewer looked instead, how often two agreed in training at such a gain, or
looks alone would change who is compared. Where it asks one, the sign is what a strong call is expected to add to that one's
answer. Training keeps the sign's mean (`Norm`) over tasks that the models were not fitted on.

Tasks of one category often come in a row, and categories differ; so what counts is by how much a sign is above the mean of its
own category.

In use the question is whether its mean has left what training leaves open: `REACH` of training's own standard errors and
`SLACK`. On either side a stake is bet on it: where it did not leave, a stake is not expected to grow, whatever went before, so it
reaches 1 / `LEVEL` with a chance of `LEVEL` at most, ever (Ville's inequality; Waudby-Smith, Ramdas, "Estimating means of
bounded random variables by betting", JRSS B 2024). Like a pilot's evidence it is spread over several sizes of bet and
several beginnings, so that a class that was fine for long is found too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

from tierbus.policy.choose import Course, Curve, Step
from tierbus.policy.features import agree, usable
from tierbus.policy.moves import Seen

REACH = 2.0
"""Standard errors of training's mean that a class may be away from it."""
SLACK = 0.01
"""How far it may be away besides: the models in use were fitted on more tasks than those that training's signs are from,
and a point more or less changes no decision worth a word."""
LEVEL = 0.0025
"""The chance, on each side, that a class which stays within reach is ever called another."""
BETS = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Shares of a stake that one task may cost."""
BEGIN_EVERY = 25
"""A new part of the stake is put in after so many tasks; the k-th part is 1/(k(k+1)), and all of them are 1."""
BLOCK = 50
"""A class that was called another is taken back when the mean of so many tasks in a row is what training leads to expect."""


@dataclass(frozen=True)
class Level:
    """The sign in training, of a class or of one of its categories.

    Args:
        rows: tasks that gave one.
        mean: of the sign.
        spread: its standard deviation.
    """

    rows: int
    mean: float
    spread: float

    @property
    def reach(self) -> float:
        """How far from the mean the truth may be, for all that training tells."""
        # where all tasks were of one kind, one of the other kind may only have been missed
        return SLACK + REACH * max(self.spread, 1 / sqrt(self.rows)) / sqrt(self.rows)


@dataclass(frozen=True)
class Norm(Level):
    """The sign of a class in training.

    Args:
        least: the least that it counts.
        most: the most that it counts.
        agreement: how often two cheap answers agreed, along the gain after the first; None where the course asks one.
        groups: the sign by category.
    """

    least: float = 0.0
    most: float = 1.0
    agreement: Curve | None = None
    groups: Mapping[str, Level] = field(default_factory=dict)

    def excess(self, sign: float, group: str | None) -> float:
        """By how much a task's sign is above what training leads to expect of its category, between -1 and 1.

        Where training tells less of the category than of the class, it counts less: what leaves open more of the one must not
        count as having left the other.
        """
        own = self.groups.get(group, self) if group is not None else self
        return self._excess(min(max(sign, self.least), self.most), own)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest excess that there may be."""
        levels = (self, *self.groups.values())
        least, most = (tuple(self._excess(sign, level) for level in levels) for sign in (self.least, self.most))
        return min(least), max(most)

    def _excess(self, sign: float, own: Level) -> float:
        return min(max((sign - own.mean) * min(1.0, self.reach / own.reach), -1.0), 1.0)


def sign(course: Course, gain: float, first: Seen, second: Seen | None, agreement: Curve | None) -> float | None:
    """The sign of a task on which the course asks its first model, between -1 and 1; None where it gives none.

    Args:
        course: of its class.
        gain: what a strong call is expected to add to the first answer alone.
        first: that answer, and whether it was looked at.
        second: the second model's; None: it was not asked for.
        agreement: how often two cheap answers agreed in training, along the gain; it stands in for a second answer after a look.
    """
    if course.second is None:
        return min(max(gain, -1.0), 1.0)  # half of it is a regression, which knows no bounds
    if course.step(gain, usable=usable(first)) is not Step.SECOND:
        return None
    if second is not None:
        return float(agree(first, second))
    return agreement.at(gain) if agreement is not None and first.judged is not None else None


@dataclass(frozen=True)
class Drift:
    """How far the signs in use speak against training; counted in the order in which they came.

    Args:
        seen: signs since the stakes began.
        below: stakes on a mean below what training leaves open, by size of bet.
        above: stakes on one above it.
        away: the class was called another and was not taken back.
        block: signs since then, of the block that is under way.
        total: the sum of their excess.
    """

    seen: int = 0
    below: tuple[float, ...] = ()
    above: tuple[float, ...] = ()
    away: bool = False
    block: int = 0
    total: float = 0.0

    def after(self, excess: float, trained: Norm) -> "Drift":
        """With one sign more, told by how much it is above what training leads to expect."""
        return self._back(excess, trained) if self.away else self._on(excess, trained)

    def _on(self, excess: float, trained: Norm) -> "Drift":
        fresh = 0.0
        part = self.seen // BEGIN_EVERY + 1
        if self.seen % BEGIN_EVERY == 0:
            fresh = 1 / (part * (part + 1)) / len(BETS)
        reach, (least, most) = trained.reach, trained.bounds
        below = _bet(self.below, fresh, (-reach - excess) / (most + reach) if least < -reach else 0.0)
        above = _bet(self.above, fresh, (excess - reach) / (reach - least) if most > reach else 0.0)
        if max(sum(below), sum(above)) >= 1 / LEVEL:
            return Drift(away=True)
        return Drift(self.seen + 1, below, above)

    def _back(self, excess: float, trained: Norm) -> "Drift":
        block, total = self.block + 1, self.total + excess
        if block < BLOCK:
            return Drift(away=True, block=block, total=total)
        error = 2 * trained.spread / sqrt(BLOCK)
        if abs(total / block) <= trained.reach + error:
            return Drift()
        return Drift(away=True)


def _bet(stakes: tuple[float, ...], fresh: float, gain: float) -> tuple[float, ...]:
    """The stakes after a task on which a whole stake would gain so many times itself (lose: negative, -1 at most)."""
    before = stakes or (0.0,) * len(BETS)
    return tuple([(stake + fresh) * (1 + bet * gain) for bet, stake in zip(BETS, before, strict=True)])
