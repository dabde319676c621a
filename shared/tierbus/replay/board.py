"""A ladder of models over recorded answers, laid out so that policies can be played on it many times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tierbus.policy.moves import Case, Seen
from tierbus.replay.errors import Unplayable
from tierbus.replay.records import Output, Row

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Board:
    """Tasks and, for every place of the ladder, the answer that is given there. Arrays are tasks x places.

    `usd` is dollars a call, NaN without any price; `filled` is how many missing costs got the model's mean.
    """

    models: tuple[str, ...]
    cases: tuple[Case, ...]
    seens: tuple[tuple[Seen, ...], ...]
    correct: Bools
    usd: Floats
    filled: int = 0

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def strong(self) -> int:
        """The last place."""
        return len(self.models) - 1

    def part(self, index: Ints) -> "Board":
        """The same ladder over some of the tasks."""
        picked = index.tolist()
        return Board(
            self.models,
            tuple(self.cases[at] for at in picked),
            tuple(self.seens[at] for at in picked),
            self.correct[index],
            self.usd[index],
            self.filled,
        )


def board(rows: Sequence[Row], models: Sequence[str], *, priced: bool = True) -> Board:
    """The board of these models, cheapest first, the strong one last.

    Args:
        rows: the recorded answers.
        models: names as in the records.
        priced: refuse models without any cost; without it all costs may be unknown.

    Raises:
        Unplayable: a model is unknown, named twice, lacks an answer or its worth, or has no cost.
    """
    _check(rows, models)
    columns = [[row.outputs[model] for row in rows] for model in models]
    filled = 0
    prices: list[Floats] = []
    for model, column in zip(models, columns, strict=True):
        known, missing = _prices(column, model, priced=priced)
        prices.append(known)
        filled += missing
    usd = np.stack(prices, axis=1)
    if priced and not usd[:, -1].any():
        raise Unplayable(f"all recorded calls of {models[-1]!r} cost $0, so there is nothing to save against")
    seens = tuple(
        tuple(_seen(place, column[at], usd[at, place]) for place, column in enumerate(columns))
        for at in range(len(rows))
    )
    cases = tuple(Case(row.id, row.task, row.group, row.prompt) for row in rows)
    correct = np.array([[bool(column[at].correct) for column in columns] for at in range(len(rows))])
    return Board(tuple(models), cases, seens, correct, usd, filled)


def _check(rows: Sequence[Row], models: Sequence[str]) -> None:
    known = sorted({model for row in rows for model in row.outputs})
    for model in models:
        if model not in known:
            raise Unplayable(f"no model {model!r} in the records; there are {', '.join(known)}")
        if list(models).count(model) > 1:
            raise Unplayable(f"model {model!r} stands on the ladder twice")
        for row in rows:
            if model not in row.outputs:
                raise Unplayable(f"model {model!r} has no answer to {row.id!r}; a ladder needs one to every task")
            if row.outputs[model].correct is None:
                raise Unplayable(
                    f"outputs.{model}.correct of {row.id!r} is null; a ladder needs to know it for every task"
                )


def _prices(column: list[Output], model: str, *, priced: bool) -> tuple[Floats, int]:
    """Dollars a call; a missing one is the mean of the known, because $0 would flatter the model."""
    usd = np.array([np.nan if output.cost_usd is None else output.cost_usd for output in column])
    missing = np.isnan(usd)
    if missing.all():
        if priced:
            raise Unplayable(
                f"model {model!r} has no cost_usd on any line, so it cannot be played for money; "
                "--apgr-only compares routers without money"
            )
        return usd, 0
    usd[missing] = usd[~missing].mean()
    return usd, int(missing.sum())


def _seen(place: int, output: Output, usd: float) -> Seen:
    return Seen(
        place=place,
        text=output.response or "",
        answer=output.answer,
        valid=None,
        truncated=False,
        input_tokens=output.input_tokens or 0,
        output_tokens=output.output_tokens or 0,
        cost_usd=0.0 if np.isnan(usd) else float(usd),
    )
