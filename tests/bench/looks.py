"""`python -m tests.bench.looks`: what a reviewer that may be asked saves the learned policy, on recorded answers.

Real answers of real models with known worth, played offline; the reviewer is SIMULATED: it knows their worth and errs by
chance, so often as is swept. Test split and re-splits; dollars are shares of always asking the strong model, looks counted.
"""

import sys
from collections.abc import Sequence
from itertools import product

import numpy as np

from tests.bench.economics import DATA, LADDERS, Ladder, Reader, gained, learned, share
from tierbus.policy.learned import Learned
from tierbus.replay.board import Board, board
from tierbus.replay.evaluate import ERRORS, TRAIN_SHARE
from tierbus.replay.play import Reviewer, play, prepared, told
from tierbus.replay.records import Row
from tierbus.replay.records import read as recorded

PRICES = (0.05, 0.1)
RESPLITS = 4
DRAWS = 10
DEARER = 0.005
"""A share of the strong model's dollars by which a reviewer may seem to cost more: its savings are counted, not known."""


def halves(whole: Board, rows: Sequence[Row]) -> list[tuple[Board, Board]]:
    """Tasks to learn from and to play: the file's own split first, then random ones."""
    train = np.array([row.split == "train" for row in rows])
    found = [(whole.part(np.flatnonzero(train)), whole.part(np.flatnonzero(~train)))]
    for seed in range(RESPLITS):
        order = np.random.default_rng(1000 + seed).permutation(len(whole))
        cut = round(TRAIN_SHARE * len(whole))
        found.append((whole.part(np.sort(order[:cut])), whole.part(order[cut:])))
    return found


def figures(policy: Learned, exam: Board, reviewer: Reviewer | None) -> tuple[float, float, float]:
    """Cost share, accuracy against the strong model, looks a task; means over draws of the reviewer's errors."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(DRAWS if reviewer is not None and reviewer.error else 1):
        luck = rng.random(exam.correct.shape)
        played = play(told(policy, exam, reviewer), exam, None, reviewer, luck)
        found.append((share(played, exam), gained(played, exam), float(played.looked.mean())))
    cost, gain, looked = np.mean(found, axis=0).tolist()
    return cost, gain, looked


def ladder(wanted: Ladder, rows: Sequence[Row]) -> list[str]:
    """The lines of one ladder; what is dearer than without a reviewer."""
    reader = Reader()
    parts = [
        (prepared(learned(lesson, reader), exam), exam) for lesson, exam in halves(board(rows, wanted.models), rows)
    ]
    reviewers = [None, *(Reviewer(error, price) for price, error in product(PRICES, ERRORS))]
    label = f"{wanted.data} {' + '.join(wanted.models[:-1])} -> {wanted.models[-1]}"
    dearer = []
    alone = None
    for reviewer in reviewers:
        found = np.array([figures(policy, exam, reviewer) for policy, exam in parts if isinstance(policy, Learned)])
        first, mean = found[0], found[1:].mean(axis=0)
        alone = alone if alone is not None else mean[0]
        name = "nobody" if reviewer is None else f"{reviewer.price:.0%}, errs {reviewer.error:.0%}"
        print(f"{label:90} | {name:13} | {_told(first)} | {_told(mean)}", flush=True)
        if mean[0] > alone + DEARER:
            dearer.append(f"{label}, {name}: {100 * mean[0]:.1f} % instead of {100 * alone:.1f} %")
    return dearer


def _told(found: "np.typing.NDArray[np.float64]") -> str:
    cost, gain, looked = (100 * found).tolist()
    return f"{cost:5.1f} % {gain:+6.2f} {looked:5.1f} %"


def main() -> int:
    """Print the table; 1 where a reviewer makes the policy dearer, 2 where the data is absent."""
    if not DATA.is_dir():
        print(f"no recorded answers at {DATA}")
        return 2
    print(f"cost, points against the strong model, tasks looked at: test split | mean of {RESPLITS} re-splits")
    dearer: list[str] = []
    for wanted in LADDERS:
        if len(wanted.models) > 2:
            dearer += ladder(wanted, recorded(DATA / f"{wanted.data}.jsonl.gz"))
    for line in dearer:
        print(f"dearer: {line}")
    return int(bool(dearer))


if __name__ == "__main__":
    sys.exit(main())
