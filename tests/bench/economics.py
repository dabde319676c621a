"""`python -m tests.bench.economics [--quick]`: what the learned policy costs and keeps, on recorded answers.

Real answers of real models with known worth, played offline: no model is asked. Dollars are shares of always asking the
strong model, every attempt counted. The data is expected beside the project and is no part of it.
"""

import argparse
import gc
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tierbus.policy.features import Features
from tierbus.policy.fit import fit
from tierbus.policy.learned import Learned
from tierbus.policy.moves import Case, Seen
from tierbus.policy.reading import read
from tierbus.replay.baselines import Prior, baselines, length
from tierbus.replay.board import Board, Floats, Ints, board
from tierbus.replay.play import Played, decisions_s, play, prepared
from tierbus.replay.records import Row
from tierbus.replay.records import read as recorded
from tierbus.replay.resample import Interval
from tierbus.replay.routellm import Pair, apgr_difference, route_figures

DATA = Path(__file__).parents[3] / "shared" / "data" / "replay"
SONNET, GPT4O = "claude-3-5-sonnet-20241022", "gpt-4o-2024-08-06"
FLASH, MINI = "gemini-1.5-flash", "gpt-4o-mini-2024-07-18"
HAIKUS = ("claude-3-haiku-20240307", "claude-3-5-haiku-20241022")
WEAK_PAIR = ("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview")
MARGIN = 0.01
BOUND = 1.02
TRAIN = 0.6
TIMED = 200
ROWS = 10_000
MOST_S = 30
"""Seconds that fitting on so many rows, with the texts of all answers, may take."""
DRAWS = 1000


@dataclass(frozen=True)
class Ladder:
    """A ladder on a set, and the cost shares (per cent) that it must reach and aims at."""

    data: str
    models: tuple[str, ...]
    must: float
    aim: float


LADDERS = (
    Ladder("gsm", (FLASH, MINI, SONNET), 18, 12),
    Ladder("gsm", (FLASH, MINI, GPT4O), 18, 12),
    Ladder("gsm", (MINI, GPT4O), 33, 13),
    Ladder("gsm", (*HAIKUS, SONNET), 70, 60),
    Ladder("crux", (FLASH, MINI, SONNET), 79, 54),
    Ladder("crux", (FLASH, MINI, GPT4O), 87, 60),
    Ladder("crux", (MINI, GPT4O), 100, 93),
    Ladder("crux", (*HAIKUS, SONNET), 98, 92),
    Ladder("function-calls", ("claude-3-haiku-20240307", "claude-3-sonnet-20240229", "claude-3-opus-20240229"), 30, 18),
    Ladder("function-calls", ("gpt-3.5-turbo-0125", MINI, "gpt-4-0613"), 15, 8),
)
MIXED = (LADDERS[0], LADDERS[4], LADDERS[8])
"""What `training` fits on: a ladder of each set."""
ROUTERS = (("gsm8k-pair", 0.60, 0.64, 0.70, 0.74), ("mmlu-pair", 0.69, 0.72, None, None))


class Reader:
    """Makes features once for every task and set of answers: re-splits read the same texts again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, tuple[int, ...]], Features] = {}

    def __call__(self, case: Case, seen: tuple[Seen, ...]) -> Features:
        key = (case.task_class, case.id, tuple(sorted(one.place for one in seen)))
        if key not in self._kept:
            self._kept[key] = read(case, seen)
        return self._kept[key]


@dataclass(frozen=True)
class Size:
    """How much is played."""

    resplits: int
    orders: int


def learned(lesson: Board, reader: Reader) -> Learned:
    """A policy fitted on these tasks."""
    return fit(lesson.cases, lesson.seens, lesson.correct.tolist(), lesson.models, reader=reader)


def share(played: Played, on: Board) -> float:
    """Dollars as a share of always asking the strong model."""
    return float(played.usd.sum() / on.usd[:, -1].sum())


def gained(played: Played, on: Board) -> float:
    """The difference to the strong model's accuracy."""
    return float(played.correct.mean() - on.correct[:, -1].mean())


def orders(policy: Learned, on: Board, count: int, rng: np.random.Generator) -> Floats:
    """Cost shares over random orders of arrival."""
    return np.array([share(play(policy.fresh(), on, rng.permutation(len(on))), on) for _ in range(count)])


def worst_first(on: Board) -> Ints:
    """The order in which every task whose cheap answers are all wrong comes first."""
    return np.argsort(on.correct[:, :-1].any(axis=1), kind="stable")


def ladder(wanted: Ladder, rows: Sequence[Row], size: Size, reader: Reader) -> list[str]:
    """One line of the table, and what missed."""
    whole = board(rows, wanted.models)
    train = np.array([row.split == "train" for row in rows])
    lesson, exam = whole.part(np.flatnonzero(train)), whole.part(np.flatnonzero(~train))
    policy = learned(lesson, reader)
    policy.prepare(exam.cases, exam.seens)
    first = play(policy.fresh(), exam)
    rng = np.random.default_rng(0)
    costs = orders(policy, exam, size.orders, rng)
    hard = share(play(policy.fresh(), exam, worst_first(exam)), exam)
    again = [_resplit(whole, seed, reader) for seed in range(size.resplits)]
    cost, gain = np.array(again).T
    untaught = Learned(wanted.models, {}, MARGIN)
    bare = orders(untaught, exam, max(10, size.orders // 20), rng)
    bare_hard = share(play(untaught.fresh(), exam, worst_first(exam)), exam)
    timed = decisions_s(Learned(policy.models, policy.lessons, policy.target), exam, TIMED)
    took, each = np.array([one.sum() for one in timed]), np.concatenate(timed)
    worst = max(costs.max(), hard, bare.max(), bare_hard, cost.max())
    agree = _agree(wanted, exam)
    print(
        f"{wanted.data:14} {' + '.join(name[:16] for name in wanted.models[:-1]):35} → {wanted.models[-1][:16]:16} |"
        f" {agree:>6} | {wanted.must:4.0f} {wanted.aim:4.0f} |"
        f" {100 * share(first, exam):6.1f} {100 * gained(first, exam):+6.2f} |"
        f" {100 * cost.mean():6.1f} {100 * gain.mean():+6.2f} {sum(gain < -MARGIN - 1e-9):3d}/{size.resplits} |"
        f" {100 * costs.mean():6.1f} {100 * costs.max():6.1f} {100 * hard:6.1f} |"
        f" {100 * bare.mean():6.1f} {100 * max(bare.max(), bare_hard):6.1f} |"
        f" {1e3 * np.percentile(took, 50):5.2f} {1e3 * np.percentile(took, 99):5.2f}"
        f" | {1e3 * np.percentile(each, 50):5.2f} {1e3 * np.percentile(each, 99):5.2f}",
        flush=True,
    )
    label = f"{wanted.data} {' + '.join(wanted.models)}"
    missed = []
    if 100 * share(first, exam) > wanted.must:
        missed.append(f"{label}: {100 * share(first, exam):.1f} % is above {wanted.must} % on the test split")
    if gained(first, exam) < -MARGIN:
        missed.append(f"{label}: {100 * gained(first, exam):+.2f} points on the test split")
    if 100 * cost.mean() > wanted.must:
        missed.append(f"{label}: {100 * cost.mean():.1f} % is above {wanted.must} %")
    if gain.mean() < -MARGIN:
        missed.append(f"{label}: {100 * gain.mean():+.2f} points on the mean of re-splits")
    if worst > BOUND:
        missed.append(f"{label}: {100 * worst:.1f} % in the worst order or split")
    return missed


def _resplit(whole: Board, seed: int, reader: Reader) -> tuple[float, float]:
    order = np.random.default_rng(1000 + seed).permutation(len(whole))
    cut = round(TRAIN * len(whole))
    lesson, exam = whole.part(np.sort(order[:cut])), whole.part(order[cut:])
    policy = prepared(learned(lesson, reader), exam)
    played = play(policy, exam)
    return share(played, exam), gained(played, exam)


def _agree(wanted: Ladder, exam: Board) -> str:
    """Two cheap models asked for every task, without a guard, for comparison."""
    if len(wanted.models) < 3:
        return "-"
    found = next(player for player in baselines(wanted.models, MARGIN, grouped=False) if player.name == "two-agree")
    return f"{100 * share(play(found.make(exam), exam), exam):.1f}"


def elsewhere(sets: dict[str, list[Row]], size: Size, reader: Reader) -> list[str]:
    """Each ladder played by a policy that was fitted on another set only: it must not be dearer than the strong model."""
    missed = []
    for wanted in LADDERS:
        other = next(one for one in LADDERS if one.data != wanted.data and len(one.models) == len(wanted.models))
        rows = sets[other.data]
        lesson = board([row for row in rows if row.split == "train"], other.models)
        policy = learned(lesson, reader)
        exam = board([row for row in sets[wanted.data] if row.split == "test"], wanted.models)
        costs = orders(policy, exam, max(10, size.orders // 50), np.random.default_rng(1))
        hard = share(play(policy.fresh(), exam, worst_first(exam)), exam)
        played = play(policy.fresh(), exam)
        print(
            f"{wanted.data:14} {' + '.join(name[:16] for name in wanted.models):54} fitted on {other.data:14} |"
            f" {100 * costs.mean():6.1f} {100 * max(costs.max(), hard):6.1f} {100 * gained(played, exam):+6.2f}",
            flush=True,
        )
        if max(costs.max(), hard) > BOUND:
            missed.append(f"{wanted.data} fitted on {other.data}: {100 * max(costs.max(), hard):.1f} %")
    return missed


def routers(resplits: int) -> list[str]:
    """RouteLLM's protocol on its own two sets: the test split, and the mean of re-splits, which varies less."""
    missed = []
    for data, must, aim, must_seen, aim_seen in ROUTERS:
        rows = recorded(DATA / f"{data}.jsonl.gz")
        whole = board(rows, WEAK_PAIR, priced=False)
        train = np.array([row.split == "train" for row in rows])
        reader = Reader()
        began = time.perf_counter()
        lesson = whole.part(np.flatnonzero(train))
        policy = learned(lesson, reader)
        took = time.perf_counter() - began
        exam = whole.part(np.flatnonzero(~train))
        pair = Pair(exam.correct[:, 1], exam.correct[:, 0])
        before = np.array([policy.score(case, ()) for case in exam.cases], float)
        apgr = route_figures(pair, before, 0).apgr
        told = f"{data:14} before the answer: APGR {apgr:.3f} (must {must}, aim {aim})"
        if apgr < must:
            missed.append(f"{data}: APGR {apgr:.3f} is below {must}")
        if must_seen is not None:
            after = np.array(
                [policy.score(case, seen[:1]) for case, seen in zip(exam.cases, exam.seens, strict=True)], float
            )
            seen_apgr = route_figures(pair, after, 0).apgr
            told += f"; with the weak answer seen: {seen_apgr:.3f} (must {must_seen}, aim {aim_seen})"
            if seen_apgr < must_seen:
                missed.append(f"{data}: APGR with the weak answer {seen_apgr:.3f} is below {must_seen}")
        print(f"{told}; fitted on {sum(train):,} tasks in {took:.1f} s", flush=True)
        for other, found in _over(pair, before, lesson, exam).items():
            print(f"{'':14} over {other}: {found.mean:+.3f}, 95 % {found.low:+.3f} to {found.high:+.3f}", flush=True)
        again = [_routed_again(whole, seed, reader) for seed in range(resplits)]
        means = {name: np.mean([one[name] for one in again]) for name in again[0]}
        told = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        print(f"{'':14} mean of {resplits} re-splits, before the answer: {told}", flush=True)
    return missed


def training(sets: dict[str, list[Row]], classes: int) -> list[str]:
    """How long fitting on many rows takes. Rows come several times, each time with texts of their own: nothing is kept of them.

    They are spread over so many classes, a multiple of the sets.
    """
    cases: list[Case] = []
    seens: list[tuple[Seen, ...]] = []
    correct: list[Sequence[bool]] = []
    boards = [board(sets[one.data], one.models) for one in MIXED]
    for serial in range(ROWS):
        on = boards[serial % len(boards)]
        at = serial // len(boards) % len(on)
        mark = f" {serial}"
        name = f"class-{serial % classes}"
        task = on.cases[at]
        cases.append(task._replace(id=f"{task.id}{mark}", prompt=task.prompt + mark, task_class=name))
        seens.append(tuple(one._replace(text=one.text + mark) for one in on.seens[at]))
        correct.append(on.correct[at].tolist())
    began, began_cpu = time.perf_counter(), time.process_time()
    fit(cases, seens, correct)
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    chars = sum(len(one.text) for row in seens for one in row) / 1e6
    names = ", ".join(one.data for one in MIXED)
    print(
        f"{len(cases):,} rows of {names} in {classes} classes with {chars:.1f} million characters of answers: {took:.1f} s, {cpu:.1f} s of",
        end=" ",
    )
    print(
        f"this process's processor time (limit {MOST_S} s: {'reached' if took < MOST_S else 'NOT reached'})", flush=True
    )
    return [] if took < MOST_S else [f"fitting on {len(cases):,} rows: {took:.1f} s is above {MOST_S} s"]


def _routed_again(whole: Board, seed: int, reader: Reader) -> dict[str, float]:
    """APGR before the answer on another split, beside what a router must beat."""
    order = np.random.default_rng(1000 + seed).permutation(len(whole))
    cut = round(TRAIN * len(whole))
    lesson, exam = whole.part(np.sort(order[:cut])), whole.part(order[cut:])
    policy = learned(lesson, reader)
    pair = Pair(exam.correct[:, 1], exam.correct[:, 0])
    told = {"learned": np.array([policy.score(case, ()) for case in exam.cases], float), **_rulers(lesson, exam)}
    return {name: route_figures(pair, scores, 0).apgr for name, scores in told.items()}


def _over(pair: Pair, scores: Floats, lesson: Board, exam: Board) -> dict[str, Interval]:
    """By how much the scores before the answer are above what any router must beat, paired over tasks."""
    return {name: apgr_difference(pair, scores, other, DRAWS, 0) for name, other in _rulers(lesson, exam).items()}


def _rulers(lesson: Board, exam: Board) -> dict[str, Floats]:
    rulers: dict[str, Callable[[Case], float]] = {"prompt length": length}
    if any(case.group is not None for case in exam.cases):
        rulers["category prior"] = Prior(lesson)
    return {name: np.array([ruler(case) for case in exam.cases]) for name, ruler in rulers.items()}


def main(quick: bool) -> int:
    """Print the table; 1 where a must is missed, 2 where the data is absent."""
    if not DATA.is_dir():
        print(f"no recorded answers at {DATA}")
        return 2
    began = time.perf_counter()
    size = Size(8, 50) if quick else Size(24, 1000)
    print(
        f"Python {platform.python_version()}, numpy {version('numpy')}, scikit-learn {version('scikit-learn')}, {platform.machine()}, {_cores()}"
    )
    names = sorted({one.data for one in LADDERS} | {one[0] for one in ROUTERS})
    print("data: " + ", ".join(f"{name} {_digest(name)}" for name in names))
    print("cost: % of always asking the strong model; acc: points against it; misses: re-splits below -1 point\n")
    print(
        f"{'set':14} {'ladder':54} | {'agree':>6} | must  aim | {'test':>6} {'acc':>6} | {'mean':>6} {'acc':>6} misses |"
        f" {'orders':>6} {'worst':>6} {'hard':>6} | {'no fit':>6} {'worst':>6} | a task's decisions p50 p99 ms | one's"
    )
    sets: dict[str, list[Row]] = {}
    missed: list[str] = []
    for wanted in LADDERS:
        if wanted.data not in sets:
            sets[wanted.data] = recorded(DATA / f"{wanted.data}.jsonl.gz")
        missed += ladder(wanted, sets[wanted.data], size, Reader())
        gc.collect()
    print("\nfitted on another set only: mean and worst cost, accuracy")
    missed += elsewhere(sets, size, Reader())
    print("\nRouteLLM's protocol, test split")
    missed += routers(size.resplits)
    print("\nfitting on many rows")
    missed += training(sets, len(MIXED))
    training(sets, 4 * len(MIXED))
    print(f"\n{len(missed)} musts missed, {time.perf_counter() - began:.0f} s")
    for line in missed:
        print(f"  {line}")
    return int(bool(missed))


def _digest(name: str) -> str:
    return sha256((DATA / f"{name}.jsonl.gz").read_bytes()).hexdigest()[:12]


def _cores() -> str:
    import os

    return f"{os.cpu_count()} cores"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer re-splits and orders of arrival")
    sys.exit(main(parser.parse_args().quick))
