"""What many comparisons show: the rules themselves, and how often their intervals hold what is true."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plans import NOW

from tierbus.contracts import Comparison, FeedbackGiven, QualityMeasured, Tier, WatchState
from tierbus.quality.measure import difference, measured, quality, rated, saving, wilson
from tierbus.quality.sample import day_of

DAY = 86_400.0


def compared(number: int = 0, comparison: Comparison | None = Comparison.TIE, **more: object) -> QualityMeasured:
    given: dict[str, object] = {
        "run": f"{number:032x}",
        "tenant": "acme",
        "task": f"t-{number}",
        "task_class": "letters",
        "rules": "letters",
        "day": day_of(NOW),
        "state": WatchState.MEASURED,
        "comparison": comparison,
        "task_nano_usd": 20,
        "frontier_nano_usd": 100,
        "estimated_nano_usd": 90,
        "own_nano_usd": 130,
        "tiers": (Tier.SMALL,),
        "ended_at": NOW,
        "at": NOW,
    }
    return QualityMeasured.model_validate({**given, **more})


def feedback(number: int, score: float, **more: object) -> FeedbackGiven:
    given: dict[str, object] = {
        "run": f"{number:032x}",
        "tenant": "acme",
        "task": f"t-{number}",
        "task_class": "letters",
        "score": score,
        "at": NOW,
    }
    return FeedbackGiven.model_validate({**given, **more})


def many(better: int = 0, ties: int = 0, worse: int = 0) -> list[QualityMeasured]:
    kinds = [Comparison.BETTER] * better + [Comparison.TIE] * ties + [Comparison.WORSE] * worse
    return [compared(number, kind) for number, kind in enumerate(kinds)]


def test_the_difference_is_wins_less_losses_over_all_comparisons() -> None:
    found = measured(many(better=2, ties=5, worse=3))

    assert (found.n, found.better, found.ties, found.worse) == (10, 2, 5, 3)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.1)


def test_the_interval_is_agresti_and_mins() -> None:
    """By hand: (20.5 - 10.5) / 102 and 1.96 * sqrt(31 - 100 / 102) / 102."""
    found = difference(20, 10, 100)

    assert found is not None
    half = 1.959964 * math.sqrt(31 - 100 / 102) / 102
    assert [found.low, found.high] == pytest.approx([10 / 102 - half, 10 / 102 + half])


def test_a_few_ties_do_not_prove_that_quality_is_equal() -> None:
    few, more = difference(0, 0, 3), difference(0, 0, 300)

    assert few is not None
    assert more is not None
    assert few.high > 0.3
    assert 0 < more.high < 0.01


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_the_interval_of_a_difference_holds_its_estimate_and_mirrors(better: int, ties: int, worse: int) -> None:
    n = better + ties + worse
    found, mirrored = difference(better, worse, n), difference(worse, better, n)
    if not n:
        assert found is None
        return

    assert found is not None
    assert mirrored is not None
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert [mirrored.low, mirrored.high] == pytest.approx([-found.high, -found.low])


@pytest.mark.parametrize(
    ("better", "worse", "n"), [(0.1, 0.1, 30), (0.05, 0.25, 30), (0.02, 0.02, 100), (0.3, 0.4, 20)]
)
def test_the_interval_holds_the_true_difference_as_often_as_it_says(better: float, worse: float, n: int) -> None:
    """Of 2,000 drawn samples; 93.5 % allow for the draws' own spread and the interval's approximation."""
    chance = random.Random(5)
    held = 0
    for _ in range(2000):
        drawn = chance.choices((1, -1, 0), weights=(better, worse, 1 - better - worse), k=n)
        found = difference(drawn.count(1), drawn.count(-1), n)
        assert found is not None
        held += found.low <= better - worse <= found.high

    assert held / 2000 >= 0.935


def test_the_saving_sets_what_tasks_cost_against_the_frontiers_own_answers_to_them() -> None:
    found = saving([compared(0, task_nano_usd=30, frontier_nano_usd=100), compared(1, frontier_nano_usd=300)])

    assert (found.pairs, found.task_nano_usd, found.frontier_nano_usd, found.estimated_nano_usd) == (2, 50, 400, 180)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1 - 50 / 400)
    assert found.ratio.low <= found.ratio.value <= found.ratio.high


def test_tasks_of_which_a_cost_is_not_known_are_left_out_of_the_saving_on_both_sides() -> None:
    records = [compared(0), compared(1, task_nano_usd=None), compared(2, frontier_nano_usd=None)]
    found = measured(records)

    assert (found.n, found.saving.pairs, found.saving.task_nano_usd, found.saving.frontier_nano_usd) == (3, 1, 20, 100)


def test_a_saving_is_negative_where_the_task_was_dearer() -> None:
    found = saving([compared(task_nano_usd=150)]).ratio

    assert found is not None
    assert (found.value, found.low, found.high) == (-0.5, -0.5, -0.5)


@pytest.mark.parametrize(
    "records", [[], [compared(frontier_nano_usd=0, task_nano_usd=0)], [compared(frontier_nano_usd=None)]]
)
def test_without_a_frontier_cost_the_saving_is_not_known(records: list[QualityMeasured]) -> None:
    assert saving(records).ratio is None


COSTS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**9)), min_size=1, max_size=40)


@given(COSTS, st.randoms(use_true_random=False))
def test_the_savings_interval_is_the_same_whatever_order_records_come_in(
    costs: list[tuple[int, int]], chance: random.Random
) -> None:
    records = [
        compared(number, task_nano_usd=task, frontier_nano_usd=frontier)
        for number, (task, frontier) in enumerate(costs)
    ]
    shuffled = list(records)
    chance.shuffle(shuffled)
    found = saving(records).ratio

    assert found == saving(shuffled).ratio
    assert found is not None
    assert found.low <= found.value <= found.high <= 1


def test_the_savings_interval_holds_the_true_saving_as_often_as_it_says() -> None:
    """Of 150 drawn samples of 60 tasks with unequal costs; 88 % is three standard errors below 95 %."""
    chance = random.Random(7)
    held = 0
    for _ in range(150):
        records = [
            compared(
                number,
                task_nano_usd=int(frontier * chance.uniform(0, 0.6)),
                frontier_nano_usd=frontier,
            )
            for number, frontier in enumerate(int(chance.uniform(1, 3) * 1000) for _ in range(60))
        ]
        found = saving(records).ratio
        assert found is not None
        held += found.low <= 0.7 <= found.high

    assert held / 150 >= 0.88


def test_feedback_has_wilsons_interval() -> None:
    """Newcombe's table (Statistics in Medicine 17, 1998): 81 of 263 give .2553 to .3662."""
    found = wilson(81, 263)

    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_scores_between_good_and_bad_keep_the_interval_in_bounds(scores: list[float]) -> None:
    found = rated([feedback(number, score) for number, score in enumerate(scores)]).score

    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_last_feedback_on_a_task_counts_and_so_does_the_last_record_of_it() -> None:
    said = [feedback(1, 0.0, at=NOW + 5), feedback(1, 1.0), feedback(2, 1.0)]
    records = [compared(1, Comparison.WORSE, at=NOW + 5), compared(1, None, state=WatchState.ASKING)]
    found = quality(records, said).all

    assert found is not None
    assert (found.feedback.n, found.feedback.score and found.feedback.score.value) == (2, 0.5)
    assert (found.measured.worse, found.measured.under_way) == (1, 0)


def test_the_same_run_id_of_two_tenants_is_two_tasks() -> None:
    found = quality([compared(1), compared(1, tenant="other")], []).all

    assert found is not None
    assert found.measured.n == 2


def test_classes_and_days_are_told_apart_and_add_up() -> None:
    records = [
        compared(0, Comparison.BETTER),
        compared(1, Comparison.WORSE, day=day_of(NOW + DAY)),
        compared(2, Comparison.WORSE, task_class="sums"),
    ]
    found = quality(records, [feedback(0, 1.0, at=NOW + DAY), feedback(9, 0.0, task_class="talk")])

    assert [one.task_class for one in found.classes] == ["letters", "sums", "talk"]
    assert [(day.day, day.measured.n, day.feedback.n) for day in found.classes[0].days] == [
        (day_of(NOW), 1, 0),
        (day_of(NOW + DAY), 1, 1),
    ]
    assert found.all is not None
    assert sum(one.measured.n for one in found.classes) == found.all.measured.n == 3
    assert sum(day.measured.n for day in found.all.days) == 3


def test_what_was_not_compared_is_counted_apart_with_what_it_cost() -> None:
    records = [
        compared(0),
        compared(1, None, state=WatchState.OVER_CAP, own_nano_usd=0),
        compared(2, None, state=WatchState.FAILED, own_nano_usd=70, own_complete=False),
        compared(3, None, state=WatchState.ASKING, own_nano_usd=999),
    ]
    found = measured(records)

    assert (found.n, found.over_cap, found.failed, found.under_way) == (1, 1, 1, 1)
    assert (found.own_nano_usd, found.own_complete) == (200, False)


def test_a_judge_that_prefers_a_place_is_seen() -> None:
    both = (Comparison.BETTER, Comparison.WORSE)
    records = [compared(0, orders=both), compared(1, orders=both[::-1]), compared(2, orders=(Comparison.TIE, both[0]))]

    assert measured(records).split == 2


def test_nothing_is_known_of_nothing() -> None:
    assert quality([], []).empty
    assert measured([]).difference is None
    assert rated([]).score is None


def test_ten_thousand_tasks_are_reckoned_in_bounded_time() -> None:
    """Fewer draws are made of more tasks; the figure is there, and within a few seconds even on a slow machine."""
    found = saving([compared(number, task_nano_usd=number % 7) for number in range(10_000)]).ratio

    assert found is not None
    assert found.high - found.low < 0.01
