"""A whole run of `tierbus replay`: every policy's figures on one file of recorded answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tierbus.replay.baselines import Player, best_place, single_best
from tierbus.replay.board import Board, board
from tierbus.replay.evaluate import Judge, Line, Rules
from tierbus.replay.records import Row
from tierbus.replay.scored import Route, Scorer
from tierbus.replay.seats import Fold, folds, played, split, tested

SINGLE_BEST = "single-best"
Tell = Callable[[str], None]


class Lesson(NamedTuple):
    """Other recorded answers to fit on, and the ladder there, as long as the one that is played."""

    rows: Sequence[Row]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    `every`: play all tasks, each fifth with a policy fitted on the rest, instead of the test split. `priced`: money figures;
    without it only those that need no money. `single_best`: the best single model of the file too.
    """

    models: tuple[str, ...]
    players: tuple[Player, ...]
    rules: Rules
    every: bool = False
    priced: bool = True
    single_best: bool = True
    lesson: Lesson | None = None


@dataclass(frozen=True)
class Report:
    """What came of it. `filled_costs` are missing costs that were replaced by the model's mean."""

    models: tuple[str, ...]
    tasks: int
    fitted_on: str
    strong_accuracy: float
    strong_usd_per_1000: float | None
    filled_costs: int
    rules: Rules
    lines: tuple[Line, ...]
    routes: tuple[Route, ...]


def report(rows: Sequence[Row], wish: Wish, tell: Tell) -> Report:
    """Play everything; `tell` hears what is being worked on.

    Raises:
        Unplayable: the ladder or the split cannot be played.
        BadMove: a policy broke the rules.
    """
    here = board(rows, wish.models, priced=wish.priced)
    parts, fitted_on = _parts(rows, here, wish)
    tasks = here.part(played(parts))
    strong_usd = tasks.usd[:, tasks.strong].mean()
    return Report(
        models=wish.models,
        tasks=len(tasks),
        fitted_on=fitted_on,
        strong_accuracy=float(tasks.correct[:, tasks.strong].mean()),
        strong_usd_per_1000=None if np.isnan(strong_usd) else float(strong_usd * 1000),
        filled_costs=here.filled,
        rules=wish.rules,
        lines=tuple(_lines(rows, here, parts, wish, tell)) if wish.priced else (),
        routes=tuple(_routes(here, parts, wish, tell)),
    )


def _parts(rows: Sequence[Row], here: Board, wish: Wish) -> tuple[list[Fold], str]:
    if wish.lesson is not None:
        lesson = board(wish.lesson.rows, wish.lesson.models, priced=wish.priced)
        fitted_on = f"{len(lesson):,} tasks of the other file, {' → '.join(wish.lesson.models)}"
        return [Fold(lesson, tested(rows, every=wish.every))], fitted_on
    if wish.every:
        return folds(here, wish.rules.seed), "the other four fifths of the tasks"
    own = split(rows, here)
    return own, f"{len(own[0].train):,} tasks of the train split"


def _lines(rows: Sequence[Row], here: Board, parts: list[Fold], wish: Wish, tell: Tell) -> list[Line]:
    judge = Judge(here, parts, wish.rules)
    lines = []
    for player in wish.players:
        tell(player.name)
        lines.append(judge.line(player, resplit=wish.lesson is None))
    if wish.single_best and wish.lesson is None:
        tell(SINGLE_BEST)
        wide = board(rows, _playable(rows, wish.models[-1]))
        own, _ = _parts(rows, wide, wish)
        chosen = [wide.models[best_place(part.train, wish.rules.margin)] for part in own]
        lines.append(Judge(wide, own, wish.rules).line(single_best(chosen, wish.rules.margin), sweep=False))
    return lines


def _playable(rows: Sequence[Row], strong: str) -> tuple[str, ...]:
    """All models that answered every task with known worth and price, the strong one last."""
    models = [
        model
        for model in rows[0].outputs
        if all(model in row.outputs and row.outputs[model].correct is not None for row in rows)
        and any(row.outputs[model].cost_usd is not None for row in rows)
    ]
    return (*(model for model in models if model != strong), strong)


def _routes(here: Board, parts: list[Fold], wish: Wish, tell: Tell) -> list[Route]:
    scorer = Scorer(here, parts, wish.rules)
    if not scorer.comparable:
        return []
    found = []
    for player in wish.players:
        tell(f"{player.name} as a router")
        found += scorer.routes(player)
    return [*found, scorer.oracle()] if found else []
