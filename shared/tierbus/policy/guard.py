"""What keeps a class from costing more than the strong model alone: no labels, only costs and agreement.

Three rules. The price gate: a cheap path too near the strong price is not tried. The money guard: two cheap answers are
asked for only while they agree often enough to pay for themselves. The stop-loss: what was spent beyond the strong model
alone never grows past a small share of it, whatever the order in which tasks arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

from tierbus.policy.tally import Moment, Tally

GATE = 0.8
"""A cheap path that costs this share of the strong call or more is not tried."""
LOSS_RATE = 0.01
"""Share of the strong model's spend that may be lost on cheap answers that were not taken."""
LOSS_START = 1.0
"""Strong calls' worth that may be lost before any saving."""
TRUST_FROM = 20
"""Tasks of a class from which on its agreement is judged."""
MARGIN = 0.05
"""By how much agreement must exceed its price."""
PRIOR_CALLS = 20
"""Calls that a price known from training counts as."""
UNPRICED = 5
"""While what a strong call costs is not known, one is made instead of every so many pairs: two dear models could agree for long,
and nobody would see what they cost more.
"""
RETRY_EVERY = 50
"""A class that was given up is tried again on every so many tasks."""

Calls = Sequence[tuple[int, float]]
"""Places that were asked, with the dollars of each call."""


def allows(tally: Tally, stake: float) -> bool:
    """The stop-loss: whether a cheap call of this price may be lost. The price is a share of a strong call."""
    return tally.lost + stake <= LOSS_START + LOSS_RATE * tally.worth


def pays(tally: Tally, price: float) -> bool:
    """The money guard: agreement less its standard error exceeds the pair's price by the margin, or it is too early to say.

    `price` is the pair's cost as a share of a strong call.
    """
    if tally.asked < TRUST_FROM:
        return True
    rate = tally.agreed / tally.asked
    error = sqrt(max(rate * (1 - rate), 1 / tally.asked) / tally.asked)
    return rate - error > price + MARGIN


def unseen(tally: Tally) -> bool:
    """Enough pairs were asked without knowing what the strong call costs. Many tasks in flight do not all make it."""
    return tally.asked % UNPRICED == UNPRICED - 1


def due(tally: Tally) -> bool:
    """A class that was given up is due to be tried again: so many tasks went by since two cheap answers came in."""
    return max(0, tally.skipped - tally.skipped_at) % RETRY_EVERY == RETRY_EVERY - 1


@dataclass(frozen=True)
class Prices:
    """Mean dollars of a call by place: as counted in use, from what was known before."""

    known: tuple[float, ...]
    tally: Tally = field(default_factory=Tally)

    def usd(self, place: int) -> float:
        """Dollars that a call at this place is expected to cost; 0 where nothing is known."""
        prior = PRIOR_CALLS if self.known[place] > 0 else 0
        seen, spent = (self.tally.calls[place], self.tally.spent_usd[place]) if self.tally.calls else (0, 0.0)
        calls = seen + prior
        return (spent + prior * self.known[place]) / calls if calls else 0.0

    def share(self, place: int) -> float:
        """The same as a share of a strong call; infinite where the strong model is free or unknown."""
        strong = self.usd(len(self.known) - 1)
        return self.usd(place) / strong if strong > 0 else float("inf")

    def strong_usd(self, calls: Calls) -> float:
        """What the strong call cost, or would have cost: by its ratio to the cheap calls on tasks that had both.

        The mean of strong calls seen would be too high, because long tasks are the ones that climb.
        """
        strong = len(self.known) - 1
        for place, usd in calls:
            if place == strong:
                return usd
        beside, paid = self.tally.beside_usd, self.tally.strong_usd
        told = [usd * paid[place] / beside[place] for place, usd in calls if beside and beside[place] > 0]
        return sum(told) / len(told) if told else self.usd(strong)


def added(moment: Moment, before: Tally, known: tuple[float, ...]) -> Tally:
    """What a moment of a task adds to its class's counts.

    Args:
        moment: what it shows.
        before: what was counted before it: a task is worth what strong calls cost so far.
        known: mean dollars of a call by place, from training; 0 where unknown.
    """
    ended = _ended(moment, before, known) if moment.calls else Tally()
    if moment.agreed is None:
        return ended
    return ended.plus(Tally(asked=1, agreed=int(moment.agreed), skipped_at=before.skipped))


def _ended(moment: Moment, before: Tally, known: tuple[float, ...]) -> Tally:
    calls, places, strong = moment.calls, len(known), len(known) - 1
    spent, count, beside, paid = [0.0] * places, [0] * places, [0.0] * places, [0.0] * places
    strong_usd = next((usd for place, usd in calls if place == strong), None)
    for place, usd in calls:
        spent[place] += usd
        count[place] += 1
        if strong_usd is not None:
            beside[place] += usd
            paid[place] += strong_usd
    skipped = int(sum(place != strong for place, _ in calls) < 2)  # noqa: PLR2004 - a pair
    bought = Tally(
        tuple(spent),
        tuple(count),
        tuple(beside),
        tuple(paid),
        looks_saved_usd=moment.looks_saved_usd,
        ended=1,
        skipped=skipped,
    )
    prices = Prices(known, before.plus(bought))
    mean_usd = prices.usd(strong)
    if mean_usd <= 0:
        return bought
    worth = prices.strong_usd(calls) / mean_usd
    spent_usd = sum([usd for _, usd in calls]) + moment.looks_usd
    return replace(bought, lost=spent_usd / mean_usd - worth, worth=worth)
