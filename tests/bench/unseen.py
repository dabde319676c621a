"""`python -m tests.bench.unseen [COUNT]`: the learned policy on ladders that none of its settings was chosen on.

Ladders are drawn by chance from all models of the recorded sets, those of `economics` left out: one or two cheaper models below a
strong one that is not worse than they are. Each is fitted on the train split and played on the test split, in the file's order
(where a set has categories they come one after the other), in random orders, and without a fit.
"""

import random
import sys
from dataclasses import dataclass

import numpy as np

from tests.bench.economics import BOUND, DATA, LADDERS, MARGIN, Reader, gained, learned, orders, share, worst_first
from tierbus.policy.learned import Learned
from tierbus.replay.board import board
from tierbus.replay.play import play
from tierbus.replay.records import Row
from tierbus.replay.records import read as recorded

COUNT = 40
ORDERS = 10
SETS = ("gsm", "crux", "function-calls")


@dataclass(frozen=True)
class Model:
    """What a model cost a task of a set, and how often it was right."""

    name: str
    usd: float
    right: float


def models(rows: list[Row]) -> list[Model]:
    """The models that answered every task of a set at a known price, from the cheapest."""
    found = []
    for name in rows[0].outputs:
        outputs = [row.outputs[name] for row in rows if name in row.outputs]
        usd = [one.cost_usd for one in outputs if one.cost_usd is not None and one.correct is not None]
        if len(usd) == len(rows):
            found.append(Model(name, sum(usd) / len(rows), sum(bool(one.correct) for one in outputs) / len(rows)))
    return sorted(found, key=lambda one: one.usd)


def drawn(sets: dict[str, list[Row]], count: int) -> list[tuple[str, tuple[Model, ...]]]:
    """So many ladders, each once."""
    rng = random.Random(0)
    known = {(one.data, one.models) for one in LADDERS}
    priced = {name: models(rows) for name, rows in sets.items()}
    found: list[tuple[str, tuple[Model, ...]]] = []
    while len(found) < count:
        data = rng.choice(SETS)
        ladder = tuple(sorted(rng.sample(priced[data], rng.choice([2, 3, 3])), key=lambda one: one.usd))
        names = (data, tuple(one.name for one in ladder))
        if names not in known and ladder[-1].right >= max(one.right for one in ladder[:-1]):
            known.add(names)
            found.append((data, ladder))
    return found


def played(rows: list[Row], ladder: tuple[Model, ...]) -> tuple[float, float, float, float]:
    """Of one ladder the cost share and accuracy gained in the file's order, the mean cost share of random orders, the worst."""
    names = tuple(one.name for one in ladder)
    lesson, exam = (board([row for row in rows if row.split == split], names) for split in ("train", "test"))
    taught, untaught = learned(lesson, Reader()), Learned(names, {}, MARGIN)
    taught.prepare(exam.cases, exam.seens)
    first = play(taught.fresh(), exam)
    cost, rng = share(first, exam), np.random.default_rng(0)
    mixed, bare = (orders(policy, exam, ORDERS, rng) for policy in (taught, untaught))
    hard = (share(play(policy.fresh(), exam, worst_first(exam)), exam) for policy in (taught, untaught))
    return cost, gained(first, exam), float(mixed.mean()), max(cost, *mixed, *bare, *hard)


def main(count: int) -> int:
    """Print a line for each ladder; 1 where one costs more than it may, 2 where the data is absent."""
    if not DATA.is_dir():
        print(f"no recorded answers at {DATA}")
        return 2
    sets = {name: recorded(DATA / f"{name}.jsonl.gz") for name in SETS}
    print(
        "models with their price (% of the strong one's) and accuracy | test: cost, points | random orders | worst of all"
    )
    found = []
    for data, ladder in drawn(sets, count):
        cost, gain, mixed, worst = played(sets[data], ladder)
        found.append((cost, gain, mixed, worst))
        told = ", ".join(
            f"{one.name[:20]} {100 * one.usd / ladder[-1].usd:.0f} % {100 * one.right:.0f}" for one in ladder
        )
        print(f"{data:14} {told:86} | {100 * cost:5.1f} {100 * gain:+5.2f} | {100 * mixed:5.1f} | {100 * worst:5.1f}")
        sys.stdout.flush()
    cost, gain, mixed, worst = np.array(found).T
    dear = cost > mixed + 0.05  # the file's order costs clearly more than chance
    print(
        f"\n{count} ladders: mean {100 * cost.mean():.1f} % at {100 * gain.mean():+.2f} points, in random orders"
        f" {100 * mixed.mean():.1f} %; {sum(gain < -MARGIN - 1e-9)} below -1 point, the least {100 * gain.min():+.2f};"
        f" {sum(dear)} dearer in the file's order; worst {100 * worst.max():.1f} % (limit {100 * BOUND:.0f} %:"
        f" {'reached' if worst.max() <= BOUND else 'NOT reached'})"
    )
    return int(worst.max() > BOUND)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
