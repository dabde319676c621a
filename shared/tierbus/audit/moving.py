"""What moving a class to a cheaper tier would save, as a range, and which to move first. Pure; money in nano-dollars."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tierbus.audit.assumptions import (
    AUDIT,
    FIRST_SHARE,
    NOT_ROUTED,
    PRICE_GATE,
    TRIED_HIGH,
    TRIED_LOW,
    WEIGHT,
    WHOLE,
    evidence,
)
from tierbus.audit.kinds import HARD
from tierbus.audit.tally import Cell, Sums
from tierbus.contracts import Tier


class Path(NamedTuple):
    """A cell on a cheaper tier: which, what it would cost, and what that saves (0 where it stays)."""

    tier: Tier | None
    saved: int


STAYS = Path(None, 0)
TierCosts = Mapping[Tier, int | None]


def low(cell: Cell, today: int, costs: TierCosts) -> Path:
    """The cautious path of a cell that costs `today`; `costs` is what one answer to each of its calls costs on each tier."""
    if cell.kind in NOT_ROUTED or cell.risky or cell.band == HARD:
        return STAYS
    return _best(cell.kind, (Tier.SMALL, Tier.MID), today, costs, TRIED_LOW, most=True)


def high(cell: Cell, today: int, costs: TierCosts) -> Path:
    """The hopeful path of the same cell."""
    if cell.kind in NOT_ROUTED:
        return STAYS
    tiers = (Tier.MID,) if cell.risky or cell.band == HARD else (Tier.SMALL, Tier.MID)
    return _best(cell.kind, tiers, today, costs, TRIED_HIGH, most=False)


def _best(kind: str, tiers: Iterable[Tier], today: int, costs: TierCosts, tried: int, *, most: bool) -> Path:
    paths = [
        _path(kind, tier, today, cost, tried, most=most) for tier in tiers if (cost := costs.get(tier)) is not None
    ]
    return max(paths, key=lambda path: path.saved, default=STAYS)


def _path(kind: str, tier: Tier, today: int, cost: int, tried: int, *, most: bool) -> Path:
    up = evidence(kind).share(tier)[most]
    again = up * WHOLE + AUDIT * (WHOLE - up)
    then = tried * cost + today * again // WHOLE**2
    return Path(tier, today - then) if then * WHOLE < PRICE_GATE * today else STAYS


@dataclass(slots=True)
class Candidate:
    """A class that could move: its calls, today's cost and the range of what it saves."""

    kind: str
    band: str
    calls: int = 0
    today: int = 0
    low: int = 0
    high: int = 0
    tier: Tier = Tier.SMALL
    heaviest: int = 0

    @property
    def worth(self) -> float:
        """Nano-dollars saved for each first answer that goes up, weighed by complexity: the order of moving."""
        up = evidence(self.kind).share(self.tier)[1]
        return self.low * WHOLE / (self.calls * up * WEIGHT[self.band])


def candidates(cells: Mapping[Cell, tuple[Sums, int, TierCosts]]) -> list[Candidate]:
    """Classes that save money in the cautious path, most dollars for their risk first."""
    found: dict[tuple[str, str], Candidate] = {}
    for cell, (sums, today, costs) in cells.items():
        path = low(cell, today, costs)
        if path.tier is None:
            continue
        one = found.setdefault((cell.kind, cell.band), Candidate(cell.kind, cell.band))
        one.calls += sums.calls
        one.today += today
        one.low += path.saved
        one.high += max(path.saved, high(cell, today, costs).saved)
        if path.saved > one.heaviest:
            one.heaviest, one.tier = path.saved, path.tier
    return sorted(found.values(), key=lambda one: (-one.worth, one.kind, one.band))


def first(found: list[Candidate], all_calls: int) -> list[tuple[Candidate, int]]:
    """The candidates that make up the first fifth of all calls, the last of them in part: each with its calls to move."""
    left = all_calls * FIRST_SHARE // WHOLE
    picked = []
    for one in found:
        if left <= 0:
            break
        taken = min(left, one.calls)
        picked.append((one, taken))
        left -= taken
    return picked
