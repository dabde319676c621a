"""Whole runs of a replay, on made-up answers and on real ones."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from tests.shared.policy.made import MODELS, tasks, taught
from tests.shared.replay.recorded import GEMINI, GPT4, MINI, MIXTRAL, SONNET, STRONG, WEAK, output, pair, real, row

from tierbus.policy.moves import Ask, Case, Move, Policy, Seen, Take
from tierbus.replay.baselines import Kind, Player, Router, baselines
from tierbus.replay.board import Board
from tierbus.replay.errors import Unplayable
from tierbus.replay.evaluate import Judge, Rules
from tierbus.replay.learned import fitted
from tierbus.replay.records import Row
from tierbus.replay.report import Lesson, Report, Wish, report
from tierbus.replay.seats import Fold

QUICK = Rules(draws=200, orders=20, resplits=4, review_draws=5)


def nothing(_name: str) -> None:
    """Nobody listens."""


def rows(tasks: int = 60) -> list[Row]:
    """Every third is hard for the weak model; categories say which; long prompts do not."""
    return [
        pair(f"{at:03}", "5" if at % 3 == 0 else "4", split="train" if at % 5 < 3 else "test", group=f"{at % 3}")
        for at in range(tasks)
    ]


def run(recorded: list[Row], *players: Player, models: tuple[str, ...] = (WEAK, STRONG), **wish: object) -> Report:
    asked = Wish(models, players or tuple(baselines(models, 0.01)), QUICK)
    return report(recorded, replace(asked, **wish), nothing)  # type: ignore[arg-type]


@dataclass
class Patient:
    """Stateful: asks the weak model until it has seen so many tasks, the strong one afterwards; scores by category."""

    seen: int = 0

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        if seen:
            return Take(seen[0].place, "")
        return Ask(1 if self.seen >= 6 and case.group == "0" else 0, "")

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        self.seen += len(seen) and 1 + 0 * len(case.id)

    def score(self, case: Case, seen: tuple[Seen, ...]) -> float | None:
        return float(case.group == "0") + len(seen)


def patient(train: Board) -> Policy:
    return Patient(seen=0 * len(train))


PATIENT = Player("patient", "gets to know its tasks", patient, Kind.POLICY, fitted=True)


def test_every_baseline_is_reported_with_the_tasks_of_the_test_split_only() -> None:
    found = run(rows())

    assert (found.tasks, found.fitted_on) == (24, "36 tasks of the train split")
    assert found.strong_accuracy == 1.0
    names = ["always-0", "always-strong", "random", "length", "category", "perfect-review", "single-best"]
    assert [line.policy for line in found.lines] == names


def test_a_category_that_says_it_all_is_routed_by() -> None:
    found = {line.policy: line.quality for line in run(rows()).lines}

    assert found["category"].accuracy == found["perfect-review"].accuracy == 1.0
    assert found["category"].strong_share == pytest.approx(1 / 3)
    assert found["category"].saving_low is not None
    assert found["always-0"].saving_low is None


def test_all_tasks_are_played_out_of_fold_on_wish() -> None:
    found = run(rows(), every=True)

    assert (found.tasks, found.fitted_on) == (60, "the other four fifths of the tasks")


def test_another_file_can_be_fitted_on_and_then_nothing_of_this_one_is() -> None:
    other = [replace(one, group="9" if one.group == "0" else one.group) for one in rows()]

    found = run(rows(), lesson=Lesson(other, (WEAK, STRONG)))
    lines = {line.policy: line for line in found.lines}

    assert "60 tasks of the other file" in found.fitted_on
    assert lines["category"].quality.accuracy < 1.0
    assert lines["category"].resplits is None
    assert "single-best" not in lines


def test_a_policy_that_learns_in_use_is_played_in_many_orders() -> None:
    [always, mine] = run(rows(), baselines((WEAK, STRONG), 0.01)[0], PATIENT, single_best=False).lines

    assert always.orders is None
    assert mine.orders is not None
    assert mine.orders.orders == 20
    assert mine.orders.worst_accuracy <= mine.orders.accuracy == pytest.approx(mine.quality.accuracy)
    assert mine.orders.worst_cost_share >= mine.orders.cost_share
    assert mine.orders.worst_accuracy < mine.orders.accuracy
    assert 0.85 < mine.orders.accuracy < 0.96, "every order begins with a policy that has learned nothing"


def test_what_is_fitted_is_fitted_anew_on_other_splits() -> None:
    lines = {line.policy: line for line in run(rows(), single_best=False).lines}

    assert lines["always-0"].resplits is None
    assert lines["category"].resplits is not None
    assert (lines["category"].resplits.splits, lines["category"].resplits.missed) == (4, 0)
    assert lines["random"].resplits is not None
    assert lines["random"].resplits.cost_share > lines["category"].resplits.cost_share


def test_what_was_learned_by_heart_is_of_no_use_on_other_splits() -> None:
    def by_heart(train: Board) -> Policy:
        hard = {case.id for case, right in zip(train.cases, train.correct[:, 0], strict=True) if not right}
        return Router(train.strong, lambda case: float(case.id in hard), 1.0)

    [line] = run(rows(), Player("by-heart", "", by_heart, fitted=True), single_best=False).lines

    assert line.resplits is not None
    assert line.resplits.missed == 4
    assert line.quality.accuracy == pytest.approx(2 / 3)


def test_a_reviewer_that_errs_more_costs_more_or_leaves_more_wrong() -> None:
    [cheap] = run(rows(), baselines((WEAK, STRONG), 0.01)[0], single_best=False).lines
    accuracies = [one.accuracy for one in cheap.reviewed]

    assert [one.error for one in cheap.reviewed] == [0.0, 0.1, 0.2, 0.3]
    assert accuracies[0] == 1.0
    assert accuracies == sorted(accuracies, reverse=True)
    assert cheap.reviewed[0].cost_share == pytest.approx(0.1 + 0.1 + 1 / 3)


def test_a_learned_policy_asks_the_reviewer_where_it_pays_and_is_never_worse_off_for_it() -> None:
    cases, seens, correct = tasks(700, 1)
    here = Board(MODELS, cases, seens, np.array(correct), np.array([[one.cost_usd for one in row] for row in seens]))
    parts = [Fold(here, np.arange(len(here)))]
    worth = taught().lessons["sums"].course
    assert worth is not None

    for price in (0.05, 0.1):
        rules = replace(QUICK, review_price=price, orders=0)
        line = Judge(here, parts, rules).line(
            Player("learned", "", lambda _board: taught(), Kind.POLICY), resplit=False
        )

        assert line.asks_looks
        assert [one.error for one in line.reviewed] == [0.0, 0.1, 0.2, 0.3]
        looked = [one.looked for one in line.reviewed]
        assert looked == sorted(looked, reverse=True)
        assert looked[0] > 0.1
        calls = worth.worth_usd / worth.costs_usd[-1]
        alone = line.quality.cost_share.mean - calls * line.quality.accuracy
        for one in line.reviewed:
            assert one.cost_share <= line.quality.cost_share.mean + 0.005
            assert one.cost_share - calls * one.accuracy <= alone + 0.01


def test_on_real_answers_a_reviewer_never_makes_the_learned_policy_dearer_or_worse() -> None:
    learned = Player("learned", "", lambda train: fitted(train, 0.01), Kind.POLICY)
    wish = Wish((GEMINI, MINI, SONNET), (learned,), replace(QUICK, orders=0, review_price=0.05), single_best=False)

    [line] = report(real("gsm"), wish, nothing).lines

    assert line.reviewed[0].looked > 0.1
    assert line.reviewed[0].accuracy > line.quality.accuracy + 0.003
    for one in line.reviewed:
        assert one.cost_share <= line.quality.cost_share.mean + 0.001
        assert one.accuracy > line.quality.accuracy - 0.004


def test_a_policy_that_knows_of_no_reviewer_has_all_it_takes_looked_at() -> None:
    [always] = run(rows(), baselines((WEAK, STRONG), 0.01)[0], single_best=False).lines

    assert not always.asks_looks
    assert {one.looked for one in always.reviewed} == {1.0}


def test_a_policy_that_scores_is_compared_with_length_and_category() -> None:
    found = run(rows(), PATIENT, single_best=False)
    [before, after, oracle] = found.routes

    assert (before.policy, before.sees_answer, after.sees_answer) == ("patient", False, True)
    assert before.over_length is not None
    assert before.over_length.low > 0
    assert before.over_category is not None
    assert before.figures.apgr == pytest.approx(oracle.figures.apgr)
    assert before.curve[0] == pytest.approx((0.1, 2 / 3))
    assert before.curve[-1] == pytest.approx((1.0, 1.0))
    assert after.curve == ()


def test_without_money_routers_are_compared_and_nothing_is_played() -> None:
    free = [
        replace(one, outputs={name: replace(each, cost_usd=None) for name, each in one.outputs.items()})
        for one in rows()
    ]

    found = run(free, priced=False)

    assert (found.lines, found.strong_usd_per_1000) == ((), None)
    assert [route.policy for route in found.routes] == ["random", "length", "category", "oracle"]
    assert found.routes[2].curve == ()


def test_where_the_strong_model_is_not_better_no_router_is_compared() -> None:
    same = [pair(f"{at}", "4", split="train" if at % 2 else "test") for at in range(20)]

    assert run(same, single_best=False).routes == ()


def test_the_best_single_model_is_looked_for_among_all_in_the_file() -> None:
    recorded = [
        row(one.id, {**one.outputs, "third": output(usd=0.002), "unknown": output(correct=None)}, one.split)
        for one in rows()
    ]

    found = {line.policy: line for line in run(recorded).lines}["single-best"]

    assert found.quality.cost_share.mean == pytest.approx(0.2)
    assert found.quality.saving_low == pytest.approx(0.8)
    assert found.about.startswith("third: the cheapest model")
    assert found.reviewed == ()


def test_a_run_is_the_same_again() -> None:
    first, again = (run(rows(), PATIENT, baselines((WEAK, STRONG), 0.01)[2]) for _ in range(2))

    assert first.routes == again.routes
    assert [line.quality for line in first.lines] == [line.quality for line in again.lines]
    assert [line.reviewed for line in first.lines] == [line.reviewed for line in again.lines]


def test_a_ladder_of_unknown_models_is_refused() -> None:
    with pytest.raises(Unplayable, match="no model 'huge'"):
        run(rows(), models=(WEAK, "huge"))


@pytest.mark.parametrize(
    ("name", "right", "cost", "strong"), [("gsm", 0.9689, 0.180, 0.092), ("crux", 0.8338, 0.471, 0.355)]
)
def test_two_that_agree_do_on_real_answers_what_was_measured_before(
    name: str, right: float, cost: float, strong: float
) -> None:
    models = (MINI, GEMINI, SONNET)
    agree = next(player for player in baselines(models, 0.01) if player.name == "two-agree")

    [line] = run(real(name), agree, models=models, every=True, single_best=False).lines

    assert line.quality.accuracy == pytest.approx(right, abs=0.0001)
    assert line.quality.cost_share.mean == pytest.approx(cost, abs=0.0005)
    assert line.quality.strong_share == pytest.approx(strong, abs=0.0006)


def test_a_category_prior_does_on_real_answers_what_was_measured_before() -> None:
    models = (MIXTRAL, GPT4)
    players = [player for player in baselines(models, 0.01) if player.name in {"length", "category"}]

    found = run(real("mmlu-pair"), *players, models=models, priced=False)
    length, category, _ = found.routes

    assert length.figures.apgr == pytest.approx(0.577, abs=0.002)
    assert category.figures.apgr == pytest.approx(0.694, abs=0.002)
    assert category.over_length is not None
    assert category.over_length.low > 0.05
