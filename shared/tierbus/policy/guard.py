"""What keeps a class from costing more than the strong model alone: no labels, only costs and agreement.

Three rules. The price gate: a cheap path too near the strong price is not tried. The money guard: two cheap answers are
asked for only while they agree often enough to pay for themselves. The stop-loss: what was spent beyond the strong model
alone never grows past a small share of it, whatever the order in which tasks arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

from tierbus.policy.moves import Seen

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
RETRY_EVERY = 50
"""A class that was given up is tried again on every so many tasks."""


@dataclass
class Purse:
    """What a class has spent beyond (or below, then negative) the strong model alone, in strong calls."""

    lost: float = 0.0
    tasks: float = 0.0

    def allows(self, stake: float) -> bool:
        """Whether a cheap call of this price may be lost. The price is a share of a strong call."""
        return self.lost + stake <= LOSS_START + LOSS_RATE * self.tasks

    def settle(self, spent: float, strong: float) -> None:
        """A task is done: what it cost, and what the strong call alone would have, both in mean strong calls."""
        self.lost += spent - strong
        self.tasks += strong


@dataclass
class Agreement:
    """How often two cheap answers agreed, and how many tasks went by since the class was given up."""

    asked: int = 0
    agreed: int = 0
    skipped: int = 0

    def pays(self, price: float) -> bool:
        """The money guard: agreement less its standard error exceeds the pair's price by the margin, or it is too early to say.

        `price` is the pair's cost as a share of a strong call.
        """
        if self.asked < TRUST_FROM:
            return True
        rate = self.agreed / self.asked
        error = sqrt(max(rate * (1 - rate), 1 / self.asked) / self.asked)
        return rate - error > price + MARGIN

    def due(self) -> bool:
        """A class that was given up is due to be tried again."""
        return self.skipped % RETRY_EVERY == RETRY_EVERY - 1


@dataclass
class Prices:
    """Mean dollars of a call by place, as seen in use, from what is known before."""

    known: tuple[float, ...]
    spent: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    strong: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.beside = self.beside or [0.0] * len(self.known)
        self.strong = self.strong or [0.0] * len(self.known)
        self.spent = self.spent or [0.0] * len(self.known)
        self.calls = self.calls or [0] * len(self.known)

    def usd(self, place: int) -> float:
        """Dollars that a call at this place is expected to cost; 0 where nothing is known."""
        prior = PRIOR_CALLS if self.known[place] > 0 else 0
        calls = self.calls[place] + prior
        return (self.spent[place] + prior * self.known[place]) / calls if calls else 0.0

    def share(self, place: int) -> float:
        """The same as a share of a strong call; infinite where the strong model is free or unknown."""
        strong = self.usd(len(self.known) - 1)
        return self.usd(place) / strong if strong > 0 else float("inf")

    def see(self, seen: Sequence[Seen]) -> None:
        """Count what these calls cost."""
        strong = len(self.known) - 1
        for one in seen:
            self.spent[one.place] += one.cost_usd
            self.calls[one.place] += 1
        paid = next((one.cost_usd for one in seen if one.place == strong), None)
        for one in seen if paid is not None else ():
            self.beside[one.place] += one.cost_usd
            self.strong[one.place] += paid or 0.0

    def strong_usd(self, seen: Sequence[Seen]) -> float:
        """What the strong call cost, or would have cost: by its ratio to the cheap calls on tasks that had both.

        The mean of strong calls seen would be too high, because long tasks are the ones that climb.
        """
        strong = len(self.known) - 1
        for one in seen:
            if one.place == strong:
                return one.cost_usd
        told = [
            one.cost_usd * self.strong[one.place] / self.beside[one.place] for one in seen if self.beside[one.place] > 0
        ]
        return sum(told) / len(told) if told else self.usd(strong)
