"""What a policy must beat: one tier always, chance, length, category, agreement of two cheap models, a perfect reviewer.

Routers get the threshold that was cheapest on train among those within the margin of the strong model's accuracy there.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from zlib import crc32

import numpy as np

from tierbus.policy.moves import Ask, Case, Move, Policy, Seen, Take
from tierbus.replay.answers import same
from tierbus.replay.board import Board, Floats
from tierbus.replay.play import Reviewer

CATEGORY = "category"
"""The baseline that needs tasks with a group."""
SMOOTHING = 5.0
"""So many tasks of the average are added to every category, so that one with few tasks is not believed at once."""
THRESHOLDS = 101
"""Shares of strong calls that are tried for a threshold: every percent."""


class Kind(StrEnum):
    """What a policy is there for."""

    TIER = "tier"
    BASELINE = "baseline"
    BOUND = "bound"
    POLICY = "policy"


@dataclass(frozen=True)
class Player:
    """A policy by name, made anew from the tasks it may be fitted on.

    `fitted`: what it is fitted on matters. `reviewer`: always plays with it.
    """

    name: str
    about: str
    make: Callable[[Board], Policy]
    kind: Kind = Kind.BASELINE
    fitted: bool = False
    reviewer: Reviewer | None = None


class _Stateless:
    """Learns nothing in use."""

    stateless = True

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Always(_Stateless):
    """One place for every task."""

    place: int

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:  # noqa: ARG002 - the protocol's argument
        return Take(self.place, "always") if seen else Ask(self.place, "always")


@dataclass(frozen=True)
class TwoAgree(_Stateless):
    """Ask the two cheapest; take the first one's answer if they agree, else ask the strong model."""

    strong: int

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:  # noqa: ARG002 - the protocol's argument
        if len(seen) < 2:  # noqa: PLR2004 - two cheap models
            return Ask(len(seen), "two cheap answers first")
        return Take(0, "they agree") if same(seen[0], seen[1]) else Ask(self.strong, "they differ")


@dataclass(frozen=True)
class Router(_Stateless):
    """The strong model where a score of the task alone is at least the threshold, else the cheapest."""

    strong: int
    scores: Callable[[Case], float]
    threshold: float = field(default=np.inf)

    def score(self, case: Case, seen: tuple[Seen, ...]) -> float | None:
        """The score, before any answer; afterwards it has nothing to add."""
        return None if seen else self.scores(case)

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        if seen:
            return Take(seen[0].place, "routed there")
        score = self.scores(case)
        if score >= self.threshold:
            return Ask(self.strong, f"score {score:.3g} is at least {self.threshold:.3g}")
        return Ask(0, f"score {score:.3g} is below {self.threshold:.3g}")


class ChanceRouter(Router):
    """A router by chance. Its scores are all the same: APGR breaks ties by chance, many times over."""

    def score(self, case: Case, seen: tuple[Seen, ...]) -> float | None:  # noqa: ARG002 - as its base has it
        return None if seen else 0.0


def length(case: Case) -> float:
    """Characters of the prompt."""
    return float(len(case.prompt))


def chance(case: Case) -> float:
    """A number in [0, 1) that depends on the task's id alone, so that a run can be repeated."""
    return crc32(case.id.encode()) / 2**32


class Prior:
    """How much the strong model gained on the tasks of a category, P_strong - P_weak; on all where it is unknown."""

    def __init__(self, train: Board) -> None:
        gains = train.correct[:, train.strong].astype(float) - train.correct[:, 0]
        self._all = float(gains.mean())
        groups: defaultdict[tuple[str, str | None], list[float]] = defaultdict(list)
        for case, gain in zip(train.cases, gains.tolist(), strict=True):
            groups[case.task_class, case.group].append(gain)
        self._gain = {
            group: (sum(found) + SMOOTHING * self._all) / (len(found) + SMOOTHING) for group, found in groups.items()
        }

    def __call__(self, case: Case) -> float:
        return self._gain.get((case.task_class, case.group), self._all)


def threshold(scores: Floats, train: Board, margin: float) -> float:
    """The cheapest threshold on train whose accuracy is at least the strong model's less the margin.

    Cheapest is fewest strong calls, because a strong call costs more. Tasks with one score go together.
    """
    gain = train.correct[:, train.strong].astype(float) - train.correct[:, 0]
    cuts = np.unique(np.quantile(scores, np.linspace(0, 1, THRESHOLDS)))[::-1]
    floor = gain.mean() - margin
    for cut in (np.inf, *cuts.tolist()):
        if np.where(scores >= cut, gain, 0.0).mean() >= floor:
            return float(cut)
    return -np.inf


def routed(scores: Callable[[Case], float], train: Board, margin: float, kind: type[Router] = Router) -> Router:
    """A router with its threshold from train."""
    return kind(train.strong, scores, threshold(np.array([scores(case) for case in train.cases]), train, margin))


def baselines(models: tuple[str, ...], margin: float, *, grouped: bool = True) -> list[Player]:
    """All baselines on a ladder.

    Args:
        models: the ladder, cheapest first, the strong one last.
        margin: how far below the strong model's accuracy a router may be on train; .01 is one point.
        grouped: whether tasks have a category.
    """
    strong = len(models) - 1
    found = [
        Player(
            "always-strong" if place == strong else f"always-{place}",
            f"{model} for every task",
            _always(place),
            Kind.TIER,
        )
        for place, model in enumerate(models)
    ]
    found.append(
        Player("random", "a share of the tasks, by chance", _router(chance, margin, ChanceRouter), fitted=True)
    )
    found.append(Player("length", "long prompts to the strong model", _router(length, margin), fitted=True))
    if grouped:
        about = "categories where the strong model gains most"
        found.append(Player(CATEGORY, about, _category(margin), fitted=True))
    if strong > 1:
        about = f"{models[0]} and {models[1]}; {models[-1]} where they differ"
        found.append(Player("two-agree", about, lambda board: TwoAgree(board.strong)))
    about = "cheapest first, with a free reviewer that never errs"
    found.append(Player("perfect-review", about, _always(0), Kind.BOUND, reviewer=Reviewer(0.0, 0.0)))
    return found


def _always(place: int) -> Callable[[Board], Policy]:
    return lambda _board: Always(place)


def _router(scores: Callable[[Case], float], margin: float, kind: type[Router] = Router) -> Callable[[Board], Policy]:
    return lambda train: routed(scores, train, margin, kind)


def _category(margin: float) -> Callable[[Board], Policy]:
    return lambda train: routed(Prior(train), train, margin)


def best_place(train: Board, margin: float) -> int:
    """The cheapest model on train among those whose accuracy there is at least the strong one's less the margin."""
    accuracy = train.correct.mean(axis=0)
    good = np.flatnonzero(accuracy >= accuracy[-1] - margin)
    return int(good[train.usd.mean(axis=0)[good].argmin()])


def single_best(names: Sequence[str], margin: float) -> Player:
    """The one model to use for everything, chosen on train from a board of all recorded models, the strong one last.

    Args:
        names: those that were chosen, one for every fold.
        margin: of accuracy, as for routers.
    """
    about = f"{', '.join(dict.fromkeys(names))}: the cheapest model in the records with equal quality on train"
    return Player("single-best", about, lambda train: Always(best_place(train, margin)), fitted=True)
