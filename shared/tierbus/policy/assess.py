"""How a policy does on tasks whose answers are known, class by class, and what it got wrong, task by task."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tierbus.policy.learned import Learned, stage_name
from tierbus.policy.moves import Case, Seen, Take
from tierbus.policy.reading import read

_BINS = 5


@dataclass(frozen=True)
class Played:
    """One task: the places asked in order, the place taken and why, whether that was right, and its dollars."""

    case: Case
    asked: tuple[int, ...]
    taken: int
    why: str
    right: bool
    usd: float


@dataclass(frozen=True)
class Mistake:
    """A task that could have been done better: a wrong answer where another was right, or a strong call for nothing.

    `gains` is what the models said a strong call would add, by the places that had answered then.
    """

    id: str
    task_class: str
    kind: str
    chose: str
    asked: tuple[str, ...]
    right_choice: str
    why: str
    gains: dict[str, float]


@dataclass(frozen=True)
class Assessment:
    """One class: accuracies, dollars as a share of always asking the strong model, and how the policy got there.

    `calibration` is the mean distance, over five bins of equally many tasks, between the chance that the first answer is
    right and how often it was; None where no model says one.
    """

    task_class: str
    tasks: int
    accuracy: float
    strong_accuracy: float
    cost_share: float | None
    asked_strong: float
    abstained: int
    calibration: float | None


def play(policy: Learned, case: Case, answers: Sequence[Seen], right: Sequence[bool]) -> Played:
    """The policy's moves on one task; it learns from what it saw."""
    seen: tuple[Seen, ...] = ()
    while not isinstance(move := policy.next(case, seen), Take):
        seen = (*seen, answers[move.place])
    policy.learn(case, seen)
    asked = tuple(one.place for one in seen)
    return Played(case, asked, move.place, move.why, bool(right[move.place]), sum(one.cost_usd for one in seen))


def assess(
    policy: Learned, cases: Sequence[Case], seens: Sequence[tuple[Seen, ...]], correct: Sequence[Sequence[bool]]
) -> tuple[list[Assessment], list[Mistake]]:
    """Play a fresh copy of the policy over these tasks in their order.

    Args:
        policy: the policy; it is not changed.
        cases: the tasks.
        seens: for each task the answer of every place.
        correct: for each task, place by place, whether the answer was right.
    """
    player = policy.fresh()
    played = [play(player, case, answers, right) for case, answers, right in zip(cases, seens, correct, strict=True)]
    every = list(zip(played, seens, correct, strict=True))
    mistakes = [found for one, answers, right in every if (found := _mistake(policy, one, answers, right)) is not None]
    names = sorted({case.task_class for case in cases})
    return [
        _assessed(policy, name, [row for row in every if row[0].case.task_class == name]) for name in names
    ], mistakes


_Row = tuple[Played, Sequence[Seen], Sequence[bool]]


def _assessed(policy: Learned, name: str, rows: list[_Row]) -> Assessment:
    count = len(rows)
    strong_usd = sum(answers[-1].cost_usd for _, answers, _ in rows)
    strong = len(policy.models) - 1
    return Assessment(
        name,
        count,
        sum(one.right for one, _, _ in rows) / count,
        sum(right[-1] for _, _, right in rows) / count,
        sum(one.usd for one, _, _ in rows) / strong_usd if strong_usd > 0 else None,
        sum(strong in one.asked for one, _, _ in rows) / count,
        sum(policy.abstains(one.case, ()) for one, _, _ in rows),
        _calibration(policy, name, rows),
    )


def _calibration(policy: Learned, name: str, rows: list[_Row]) -> float | None:
    lesson = policy.lessons.get(name)
    if lesson is None or not lesson.stages:
        return None
    place = lesson.course.first if lesson.course is not None else 0
    stage = lesson.stages[stage_name((place,))]
    pairs = sorted(
        (stage.chances(read(one.case, (answers[place],)))[str(place)], float(right[place]))
        for one, answers, right in rows
    )
    width = max(1, len(pairs) // _BINS)
    bins = [pairs[at : at + width] for at in range(0, len(pairs), width)]
    away = [abs(sum(chance - was for chance, was in part)) for part in bins]
    return sum(away) / len(pairs)


def _mistake(policy: Learned, one: Played, answers: Sequence[Seen], right: Sequence[bool]) -> Mistake | None:
    better = [place for place, fine in enumerate(right) if fine]
    strong = len(policy.models) - 1
    if not one.right and better:
        kind = "wrong answer taken"
    elif one.right and strong in one.asked and better[0] != strong:
        kind = "strong call not needed"
    else:
        return None
    return Mistake(
        one.case.id,
        one.case.task_class,
        kind,
        policy.models[one.taken],
        tuple(policy.models[place] for place in one.asked),
        policy.models[min(better, key=lambda place: answers[place].cost_usd)],
        one.why,
        dict(_gains(policy, one, answers)),
    )


def _gains(policy: Learned, one: Played, answers: Sequence[Seen]) -> Iterator[tuple[str, float]]:
    cheap = [place for place in one.asked if place != len(policy.models) - 1]
    for count in range(len(cheap) + 1):
        seen = tuple(answers[place] for place in cheap[:count])
        said = policy.gain(one.case, seen, cheap[0] if cheap else 0)
        if said is not None:
            yield stage_name(cheap[:count]), round(said.gain, 4)
