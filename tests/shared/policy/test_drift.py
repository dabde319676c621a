"""A class in use against its training: found when it is another, left alone when it is not."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shared.policy.made import MODELS, Tasks, moves, tasks, taught

from tierbus.policy.choose import Course, Curve
from tierbus.policy.drift import BLOCK, LEVEL, Drift, Level, Norm, sign
from tierbus.policy.fit import fit
from tierbus.policy.learned import PROBE_EVERY, Learned
from tierbus.policy.moves import Ask, Case, Judge, Seen, Take
from tierbus.policy.review import Reviewing
from tierbus.policy.tally import Counted, Tally

NORM = Norm(400, 0.85, 0.357)
GAINS = Norm(400, 0.05, 0.1, -0.35, 0.45)
FLAT = Curve((0.0,), (0.1,))
ONE = Course(0, None, 4.0, (0.1, 1.0), FLAT)
TWO = Course(1, 0, 4.0, (0.1, 0.1, 1.0), FLAT, Curve((0.0,), (0.2,)))
LIKELY = Curve((0.1, 0.3), (0.75, 0.25))


def agreements(rate: float, count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [float(rng.random() < rate) for _ in range(count)]


def found_after(norm: Norm, signs: list[float], group: str | None = None) -> int | None:
    drift = Drift()
    for number, one in enumerate(signs, start=1):
        drift = drift.after(norm.excess(one, group), norm)
        if drift.away:
            return number
    return None


def said(place: int, answer: str, valid: bool | None = None) -> Seen:
    return Seen(place, answer, answer, valid, False, 1, 1, 0.1)


@pytest.mark.parametrize("rate", [0.85, 0.83, 0.87])
def test_a_class_that_is_as_in_training_is_left_alone_however_long_it_is_watched(rate: float) -> None:
    alarms = [found_after(NORM, agreements(rate, 5000, seed)) for seed in range(40)]

    assert alarms == [None] * 40


def test_at_the_very_edge_of_what_training_leaves_open_it_is_called_another_as_seldom_as_promised() -> None:
    edge = NORM.mean - NORM.reach
    alarms = sum(found_after(NORM, agreements(edge, 400, seed)) is not None for seed in range(1000))

    assert alarms <= 1000 * 2 * LEVEL + 3 * (1000 * 2 * LEVEL) ** 0.5


@pytest.mark.parametrize(("rate", "most"), [(0.5, 90), (0.3, 40), (0.0, 15), (1.0, 150)])
def test_a_class_that_is_another_is_found_soon(rate: float, most: int) -> None:
    after = [found_after(NORM, agreements(rate, 400, seed)) for seed in range(30)]

    assert all(number is not None and number <= 2 * most for number in after)
    assert np.median([number for number in after if number is not None]) <= most


def test_a_class_that_was_fine_for_long_is_found_almost_as_soon() -> None:
    fine = agreements(0.85, 20_000, 1)
    after = [found_after(NORM, fine + agreements(0.4, 400, seed)) for seed in range(5)]

    assert all(number is not None and 20_000 < number < 20_200 for number in after)


@pytest.mark.parametrize("mean", [-0.1, 0.2])
def test_predicted_gains_that_are_other_than_in_training_are_found_on_either_side(mean: float) -> None:
    rng = random.Random(3)
    signs = [rng.gauss(mean, 0.1) for _ in range(200)]
    usual = [rng.gauss(0.05, 0.1) for _ in range(5000)]

    assert (found_after(GAINS, signs) or 999) < 60
    assert found_after(GAINS, usual) is None


def test_a_class_is_taken_back_when_it_is_as_in_training_again() -> None:
    drift = Drift(away=True)
    for one in agreements(0.4, 10 * BLOCK, 5):
        drift = drift.after(NORM.excess(one, None), NORM)
        assert drift.away
    for one in [1.0] * 42 + [0.0] * 8:
        assert drift.away
        drift = drift.after(NORM.excess(one, None), NORM)

    assert drift == Drift()


def test_where_all_pairs_agreed_in_training_one_that_does_not_is_no_alarm() -> None:
    always = Norm(100, 1.0, 0.0)
    rng = random.Random(1)

    assert found_after(always, [float(rng.random() > 0.01) for _ in range(2000)]) is None
    assert found_after(always, agreements(0.7, 100, 1)) is not None


@pytest.mark.parametrize(("gain", "counts"), [(0.125, 0.125), (1.5, 1.0), (-1.5, -1.0)])
def test_the_sign_of_a_course_with_one_cheap_model_is_the_gain_after_its_answer(gain: float, counts: float) -> None:
    assert sign(ONE, gain, said(0, "red"), None, None) == counts


def test_the_sign_of_a_course_with_two_is_their_agreement_where_it_asks_both() -> None:
    assert sign(TWO, 0.1, said(1, "red"), said(0, " Red"), LIKELY) == 1.0
    assert sign(TWO, 0.1, said(1, "red"), said(0, "blue"), LIKELY) == 0.0
    assert sign(TWO, 0.1, said(1, "red"), None, LIKELY) is None
    assert sign(TWO, 0.01, said(1, "red"), said(0, "red"), LIKELY) is None, "the first answer is taken at once"


@pytest.mark.parametrize("accepted", [True, False])
def test_where_a_reviewer_looked_instead_the_sign_is_what_two_would_have_shown_in_training(accepted: bool) -> None:
    looked = said(1, "red")._replace(judged=accepted)

    assert sign(TWO, 0.2, looked, None, LIKELY) == pytest.approx(0.5)
    assert sign(TWO, 0.01, looked, None, LIKELY) is None, "the first answer is taken at once"


@pytest.mark.parametrize("mean", [0.0, 0.4, 0.85, 0.97, 1.0])
@pytest.mark.parametrize("rows", [10, 400, 5000])
def test_a_category_that_is_as_in_training_is_on_average_as_expected(mean: float, rows: int) -> None:
    norm = replace(NORM, groups={"own": Level(rows, mean, (mean * (1 - mean)) ** 0.5)})

    assert mean * norm.excess(1.0, "own") + (1 - mean) * norm.excess(0.0, "own") == pytest.approx(0.0)


def test_tasks_without_a_category_or_of_an_unknown_one_are_held_against_the_class() -> None:
    norm = replace(NORM, groups={"own": Level(4000, 0.5, 0.5)})

    assert [norm.excess(1.0, group) for group in (None, "other", "own")] == pytest.approx([0.15, 0.15, 0.5])


@given(st.floats(-1, 1), st.floats(0, 1), st.integers(1, 500), st.floats(0, 1))
def test_no_excess_is_beyond_the_bounds_and_these_are_within_one(
    sign: float, mean: float, rows: int, own: float
) -> None:
    norm = Norm(300, mean, 0.3, groups={"own": Level(rows, own, 0.2)})
    least, most = norm.bounds

    assert -1 <= least <= norm.excess(sign, "own") <= most <= 1


def test_a_category_of_which_training_knows_little_is_held_to_less() -> None:
    """The truth may be .2 from the mean of so few tasks, and for a while there are no others."""
    few, many = (replace(NORM, groups={"own": Level(rows, 0.5, 0.5)}) for rows in (25, 4000))

    for seed in range(10):
        signs = agreements(0.69, 400, seed)
        assert found_after(few, signs, "own") is None
        assert found_after(many, signs, "own") is not None


def grouped(count: int, seed: int) -> Tasks:
    """Made-up tasks, those with more numbers to add, at which cheap models disagree more often, in a category of their own."""
    cases, seens, correct = tasks(count, seed)
    return tuple(one._replace(group="long" if one.prompt.count("+") > 6 else "short") for one in cases), seens, correct


@cache
def taught_by_group() -> Learned:
    return fit(*grouped(1000, 1), MODELS)


def test_tasks_that_come_category_by_category_are_no_drift() -> None:
    policy = taught_by_group().fresh()
    lesson = policy.lessons["sums"]
    assert lesson.norm is not None
    assert set(lesson.norm.groups) == {"long", "short"}
    blind = Learned(MODELS, {"sums": replace(lesson, norm=replace(lesson.norm, groups={}))}, 0.01)
    cases, seens, _ = grouped(1500, 41)
    order = sorted(range(1500), key=lambda at: cases[at].group or "")
    found = {"grouped": False, "blind": False}
    for name, one in (("grouped", policy), ("blind", blind)):
        for at in order:
            moves(one, cases[at], seens[at])
            found[name] |= one.counted("sums").drift.away

    assert found == {"grouped": False, "blind": True}


def test_a_category_that_is_another_is_found_among_the_others() -> None:
    policy = taught_by_group().fresh()
    course = policy.lessons["sums"].course
    assert course is not None
    assert course.second is not None
    for case, answers, _ in zip(*grouped(900, 42), strict=True):
        apart = list(answers)
        if case.group == "long":
            apart[course.second] = apart[course.second]._replace(answer="x")
        moves(policy, case, tuple(apart))
        if policy.counted("sums").drift.away:
            return
    pytest.fail("every pair of a category disagrees, and nobody saw it")


def test_a_policy_holds_its_own_kind_of_tasks_for_its_own_and_leaves_a_class_that_is_another() -> None:
    policy = taught().fresh()
    for case, answers, _ in zip(*tasks(1500, 31), strict=True):
        moves(policy, case, answers)
    assert policy.lessons["sums"].norm is not None
    assert not policy.counted("sums").drift.away

    course = policy.lessons["sums"].course
    assert course is not None
    assert course.second is not None
    for case, answers, _ in zip(*tasks(700, 32), strict=True):
        apart = list(answers)
        apart[course.second] = apart[course.second]._replace(answer="x")
        moves(policy, case, tuple(apart))

    assert policy.counted("sums").drift.away
    assert policy.standing("sums", policy.counted("sums")).away
    assert "no longer as in training" in policy.next(_plain(), ()).why


@pytest.mark.parametrize(
    ("models", "costs"), [(2, (0.02, 1.0)), (3, (0.4, 0.45, 1.0))], ids=["one cheap", "a dear pair"]
)
def test_a_class_that_cannot_ask_two_cheap_models_is_found_to_be_as_in_training_again(
    models: int, costs: tuple[float, ...]
) -> None:
    lesson = replace(taught(models).lessons["sums"], costs_usd=costs)
    policy = Learned(taught(models).models, {"sums": lesson}, 0.01)
    policy.resume({"sums": Counted(Tally(lost=-100.0), Drift(away=True))})
    asked = 0
    for case, answers, _ in zip(*tasks(8 * PROBE_EVERY * BLOCK, 35, models=models), strict=True):
        if not policy.counted("sums").drift.away:
            break
        seen = moves(policy, case, tuple(one._replace(cost_usd=costs[one.place]) for one in answers))
        asked += any(isinstance(move, Ask) and move.place < models - 1 for move in seen)

    assert not policy.counted("sums").drift.away
    assert asked <= 3 * BLOCK


def test_what_a_probe_is_told_is_never_taken() -> None:
    policy = taught(2).fresh()
    policy.resume({"sums": Counted(Tally(), Drift(away=True))})

    assert not [
        move
        for case, answers, _ in zip(*tasks(200, 36, models=2), strict=True)
        for move in moves(policy, case, answers)
        if isinstance(move, Take) and move.place == 0
    ]


@pytest.mark.parametrize("price", [0.03, 0.1])
@pytest.mark.parametrize("error", [0.05, 0.15])
def test_looks_at_some_of_the_answers_are_no_drift(price: float, error: float) -> None:
    """Tasks that are looked at have no second answer: those that have one agree more often, by some .1 here."""
    policy = taught().reviewed_by(lambda _case, _seen: Reviewing(price, error))
    looks = 0
    for case, answers, right in zip(*tasks(3000, 37), strict=True):
        seen: tuple[Seen, ...] = ()
        while not isinstance(move := policy.next(case, seen), Take):
            if isinstance(move, Judge):
                looks += 1
                fine = right[move.place]
                seen = tuple(
                    one._replace(judged=fine, judged_usd=price) if one.place == move.place else one for one in seen
                )
            else:
                seen = (*seen, answers[move.place])
        policy.learn(case, seen)
        assert not policy.counted("sums").drift.away

    assert looks > 300


def test_without_a_norm_nothing_is_held_against_a_class() -> None:
    lesson = replace(taught().lessons["sums"], norm=None)
    policy = Learned(MODELS, {"sums": lesson}, 0.01)
    for case, answers, _ in zip(*tasks(400, 33), strict=True):
        moves(policy, case, (answers[0]._replace(answer="x"), *answers[1:]))

    assert policy.counted("sums").drift == Drift()


def _plain() -> Case:
    return tasks(1, 34)[0][0]
