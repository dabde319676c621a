import subprocess
import sys
from typing import Any

import pytest
from tests.shared.policy.made import COSTS, MODELS, share, tasks, taught
from tests.shared.replay.recorded import GEMINI, MINI, SONNET, real

from tierbus.policy import fit as fit_module
from tierbus.policy.assess import assess
from tierbus.policy.fit import AGAIN, Aim, Bools, Floats, fit
from tierbus.policy.fit import _taught as taught_here
from tierbus.policy.learned import LABELS, Lesson
from tierbus.policy.model import Head
from tierbus.policy.moves import Case
from tierbus.policy.regress import Table, chance
from tierbus.replay.board import board


def test_a_class_with_few_labels_gets_no_models_but_its_prices() -> None:
    lesson = fit(*tasks(LABELS - 1, 1)).lessons["sums"]

    assert not lesson.stages
    assert lesson.costs_usd == pytest.approx(COSTS, rel=0.1)


def test_fitting_twice_gives_the_same_policy() -> None:
    assert fit(*tasks(700, 1), MODELS).lessons == taught().lessons


@pytest.mark.parametrize(("labels", "assignments"), [(59, 1), (60, AGAIN), (89, AGAIN), (90, 1)])
def test_tasks_are_assigned_to_folds_several_times_where_one_assignment_is_an_accident(
    labels: int, assignments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: list[Table] = []

    def seen(table: Table, right: Bools) -> tuple[Head, Floats]:
        tables.append(table)
        return chance(table, right)

    for name, value in (("LABELS", 30), ("SMALL", 60), ("MANY", 90), ("chance", seen)):
        monkeypatch.setattr(fit_module, name, value)
    fit(*tasks(labels, 1), MODELS)

    assert {table.folds.shape for table in tables} == {(assignments, labels)}
    assert len({tuple(fold) for fold in tables[0].folds.tolist()}) == assignments


def test_classes_in_processes_of_their_own_learn_what_they_learn_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tasks(320, 4, "sums"), tasks(310, 5, "texts")
    cases, seens, correct = one[0] + other[0], one[1] + other[1], one[2] + other[2]
    inside: list[int] = []

    def counted(few: list[Case], *rest: Any) -> Lesson:
        inside.append(len(few))
        return taught_here(few, *rest)

    monkeypatch.setattr(fit_module, "_taught", counted)
    together = fit(cases, seens, correct, MODELS)
    assert inside == [320, 310]

    monkeypatch.setattr(fit_module, "_taught", taught_here)
    monkeypatch.setattr(fit_module, "APART", 630)
    monkeypatch.setattr(fit_module, "cpu_count", lambda: 2)
    monkeypatch.setattr(fit_module, "_lesson", None)  # so that nothing can be learned in this process
    apart = fit(cases, seens, correct, MODELS)

    assert list(apart.lessons) == ["sums", "texts"]
    assert apart.lessons == together.lessons


def test_a_target_of_less_lost_costs_more() -> None:
    loose = fit(*tasks(700, 1), MODELS, Aim(target=0.05)).lessons["sums"]

    assert loose.cost_share < taught().lessons["sums"].cost_share - 0.02


def test_labels_that_are_all_the_same_can_be_learned_from() -> None:
    cases, seens, _ = tasks(LABELS, 2)
    lesson = fit(cases, seens, [(True, True, True)] * LABELS).lessons["sums"]

    assert lesson.course is not None
    assert lesson.cost_share < 0.1


def test_answers_without_prices_give_scores_but_no_course() -> None:
    cases, seens, correct = tasks(LABELS, 3)
    free = [tuple(one._replace(cost_usd=0.0) for one in row) for row in seens]
    policy = fit(cases, free, correct)

    assert policy.lessons["sums"].course is None
    assert policy.score(cases[0], free[0][:1]) is not None
    assert policy.next(cases[0], ()).place == 2


@pytest.mark.parametrize("rows", [0, 2])
def test_tasks_that_do_not_match_their_answers_are_refused(rows: int) -> None:
    cases, seens, correct = tasks(LABELS, 3)

    with pytest.raises(ValueError, match="every task needs"):
        fit(cases[:rows], (seens[0], seens[1][:2])[:rows], correct[:rows])


def test_an_assessment_tells_what_went_wrong_without_prompts() -> None:
    played = tasks(400, 13)
    found, mistakes = assess(taught(), *played)

    assert [(one.task_class, one.tasks) for one in found] == [("sums", 400)]
    assert found[0].abstained < 8
    assert found[0].cost_share == pytest.approx(share(taught().fresh(), played)[0])
    assert found[0].calibration is not None
    assert found[0].calibration < 0.1
    assert {one.kind for one in mistakes} == {"wrong answer taken", "strong call not needed"}
    assert all("What is" not in repr(one) for one in mistakes)
    assert all(one.chose != one.right_choice for one in mistakes)


def test_a_service_that_plays_a_policy_loads_neither_numpy_nor_scikit_learn() -> None:
    code = "import sys, tierbus.policy.store, tierbus.policy.learned; print({'numpy', 'sklearn'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_on_recorded_answers_it_costs_a_sixth_and_holds_its_target() -> None:
    rows = real("gsm")
    lesson, exam = (
        board([row for row in rows if row.split == half], (GEMINI, MINI, SONNET)) for half in ("train", "test")
    )
    policy = fit(lesson.cases, lesson.seens, lesson.correct.tolist(), lesson.models)
    found, _ = assess(policy, exam.cases, exam.seens, exam.correct.tolist())

    assert found[0].cost_share is not None
    assert found[0].cost_share < 0.18
    assert found[0].accuracy >= found[0].strong_accuracy - 0.01
    assert policy.next(Case("x", "poems", None, "Write a poem."), ()).place == 0
