"""`python -m tests.bench.drift [--quick]`: how soon a class that is another is found, and how often one that is not.

Recorded answers, played offline. False alarms: policies fitted on one part of a set, played on the rest of it in random orders.
Found: policies fitted on one set, played on another one under the same class name. The data is no part of the project.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tests.bench.economics import DATA, LADDERS, TRAIN, Ladder, Reader, gained, learned, share
from tierbus.policy.drift import Drift
from tierbus.policy.learned import Learned
from tierbus.replay.board import Board, board
from tierbus.replay.play import play
from tierbus.replay.records import Row
from tierbus.replay.records import read as recorded

ELSEWHERE = (("gsm", "crux"), ("crux", "gsm"))
PERCENT = 1.0
"""Orders of arrival in a hundred that may raise a false alarm."""


def signs(policy: Learned, on: Board) -> list[float | None]:
    """The sign of every task where its course does what it would in training."""
    lesson = policy.lessons[on.cases[0].task_class]
    if lesson.course is None:
        return []
    places = lesson.course.cheap
    found = [
        policy.moment(case, tuple(row[place] for place in places)) for case, row in zip(on.cases, on.seens, strict=True)
    ]
    return [moment.sign if moment is not None else None for moment in found]


def found_after(policy: Learned, on: Board, seen: Sequence[float | None]) -> int | None:
    """The task after which the class was called another."""
    norm = policy.lessons[on.cases[0].task_class].norm
    drift = Drift()
    for number, sign in enumerate(seen, start=1):
        if sign is not None and norm is not None:
            drift = drift.after(sign, norm)
        if drift.away:
            return number
    return None


def false_alarms(wanted: Ladder, rows: Sequence[Row], resplits: int, orders: int) -> tuple[int, int]:
    """Orders of arrival that raised an alarm, of those that were played by policies with a norm."""
    whole, reader, alarms, held = board(rows, wanted.models), Reader(), 0, 0
    for seed in range(resplits):
        rng = np.random.default_rng(1000 + seed)
        order, cut = rng.permutation(len(whole)), round(TRAIN * len(whole))
        exam = whole.part(order[cut:])
        policy = learned(whole.part(np.sort(order[:cut])), reader)
        policy.prepare(exam.cases, exam.seens)
        found = signs(policy, exam)
        if policy.lessons[exam.cases[0].task_class].norm is None:
            continue
        held += orders
        mixed = [[found[at] for at in rng.permutation(len(found))] for _ in range(orders)]
        alarms += sum(found_after(policy, exam, one) is not None for one in mixed)
    return alarms, held


def elsewhere(wanted: Ladder, rows: Sequence[Row], others: Sequence[Row], orders: int) -> str:
    """A policy fitted on a set's train split, played on another set's test split as if that were its class."""
    lesson = board([row for row in rows if row.split == "train"], wanted.models)
    name = lesson.cases[0].task_class
    exam = board([replace(row, task=name) for row in others if row.split == "test"], wanted.models)
    policy = learned(lesson, Reader())
    policy.prepare(exam.cases, exam.seens)
    rng = np.random.default_rng(0)
    found = signs(policy, exam)
    after = [found_after(policy, exam, [found[at] for at in rng.permutation(len(found))]) for _ in range(orders)]
    hits = [number for number in after if number is not None]
    strange = np.mean([policy.abstains(case, ()) for case in exam.cases])
    with_it, without = play(policy.fresh(), exam), play(_blind(policy), exam)
    soon = f"{np.median(hits):.0f} (95 %: {np.percentile(hits, 95):.0f})" if hits else "-"
    return (
        f"found in {len(hits):3d}/{orders} orders after {soon:>16} of {len(exam)} tasks, {100 * strange:3.0f} % strange by themselves;"
        f" cost {100 * share(with_it, exam):5.1f} % {100 * gained(with_it, exam):+.2f} points,"
        f" without {100 * share(without, exam):5.1f} % {100 * gained(without, exam):+.2f}"
    )


def _blind(policy: Learned) -> Learned:
    """The same policy, holding nothing against its classes."""
    lessons = {name: replace(lesson, norm=None) for name, lesson in policy.lessons.items()}
    return Learned(policy.models, lessons, policy.target)


def lines(quick: bool) -> Iterator[tuple[str, int, int]]:
    """What to print, with the false alarms and the orders that are in it."""
    resplits, orders = (2, 20) if quick else (8, 40)
    sets = {name: recorded(DATA / f"{name}.jsonl.gz") for name in sorted({one.data for one in LADDERS})}
    for wanted in LADDERS:
        alarms, held = false_alarms(wanted, sets[wanted.data], resplits, orders)
        yield f"{_label(wanted)} {alarms} false alarms in {held} orders of {resplits} re-splits", alarms, held
    for fitted, played in ELSEWHERE:
        for wanted in LADDERS:
            if wanted.data == fitted:
                told = elsewhere(wanted, sets[fitted], sets[played], orders)
                yield f"{_label(wanted)} on {played}: {told}", 0, 0


def _label(wanted: Ladder) -> str:
    return f"{wanted.data:14} {' + '.join(name[:16] for name in wanted.models):54}"


def main(quick: bool) -> int:
    """Print the table; 1 where false alarms are too many, 2 where the data is absent."""
    if not DATA.is_dir():
        print(f"no recorded answers at {DATA}")
        return 2
    alarms = held = 0
    for line, more, of in lines(quick):
        print(line, flush=True)
        alarms, held = alarms + more, held + of
    print(f"\n{alarms} false alarms in {held} orders of arrival")
    return int(100 * alarms > PERCENT * held)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer re-splits")
    sys.exit(main(parser.parse_args().quick))
