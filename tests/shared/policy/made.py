"""Made-up tasks: sums that a small model gets wrong when they are long, and says so by hesitating."""

import random
from functools import cache

from tierbus.policy.fit import fit
from tierbus.policy.learned import Learned
from tierbus.policy.moves import Ask, Case, Move, Seen

MODELS = ("small", "other", "strong")
COSTS = (0.02, 0.03, 1.0)

Tasks = tuple[tuple[Case, ...], tuple[tuple[Seen, ...], ...], tuple[tuple[bool, ...], ...]]


@cache
def tasks(count: int, seed: int, name: str = "sums", models: int = 3) -> Tasks:
    """Tasks with the answers of two cheap models (or one) and a strong one, and which of them are right."""
    rng = random.Random(seed)
    rows = [_task(rng, f"{name}-{seed}-{at}", name) for at in range(count)]
    keep = range(3) if models == 3 else (0, 2)
    cases = tuple(case for case, _, _ in rows)
    seens = tuple(tuple(answers[place]._replace(place=at) for at, place in enumerate(keep)) for _, answers, _ in rows)
    return cases, seens, tuple(tuple(right[place] for place in keep) for _, _, right in rows)


def _task(rng: random.Random, case_id: str, name: str) -> tuple[Case, tuple[Seen, ...], tuple[bool, ...]]:
    terms = rng.randint(2, 12)
    values = [rng.randint(1, 99) for _ in range(terms)]
    text = f"What is {' + '.join(map(str, values))}? Answer with a number."
    hard = terms / 16
    right = (rng.random() > hard, rng.random() > hard, rng.random() > 0.03)
    answers = tuple(_answer(rng, at, values, fine) for at, fine in enumerate(right))
    return Case(case_id, name, None, text), answers, right


def _answer(rng: random.Random, place: int, values: list[int], right: bool) -> Seen:
    said = sum(values) + (0 if right else rng.randint(1, 50))
    unsure = "maybe I assume, wait, " if not right and rng.random() < 0.7 else ""
    text = f"{unsure}the sum of {values[0]} and the rest is {said}"
    return Seen(
        place, text, str(said), None, False, 10 * len(values), len(text) // 4, COSTS[place] * rng.uniform(0.8, 1.2)
    )


@cache
def taught(models: int = 3) -> Learned:
    """A policy fitted on made-up tasks."""
    cases, seens, correct = tasks(700, 1, models=models)
    names = MODELS if models == 3 else ("small", "strong")
    return fit(cases, seens, correct, names)


def moves(policy: Learned, case: Case, answers: tuple[Seen, ...]) -> list[Move]:
    """All moves on one task, up to the one that takes an answer; the policy learns from it."""
    seen: tuple[Seen, ...] = ()
    made: list[Move] = []
    while not made or isinstance(made[-1], Ask):
        made.append(policy.next(case, seen))
        if isinstance(made[-1], Ask):
            seen = (*seen, answers[made[-1].place])
    policy.learn(case, seen)
    return made


def share(policy: Learned, played: Tasks) -> tuple[float, float]:
    """Dollars as a share of always asking the strong model, and the accuracy gained against it."""
    spent = strong = gained = 0.0
    for case, answers, right in zip(*played, strict=True):
        made = moves(policy, case, answers)
        spent += sum(answers[move.place].cost_usd for move in made if isinstance(move, Ask))
        strong += answers[-1].cost_usd
        gained += right[made[-1].place] - right[-1]
    return spent / strong, gained / len(played[0])
