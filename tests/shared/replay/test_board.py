"""Laying recorded answers out as a board."""

import numpy as np
import pytest
from tests.shared.replay.recorded import STRONG, STRONG_USD, WEAK, WEAK_USD, output, pair_board, pairs, row

from tierbus.replay.board import board
from tierbus.replay.errors import Unplayable


def test_a_board_has_every_task_with_the_answer_of_every_place() -> None:
    here = pair_board("ws")

    assert here.models == (WEAK, STRONG)
    assert here.correct.tolist() == [[True, False], [False, True]]
    assert here.usd.tolist() == [[WEAK_USD, STRONG_USD]] * 2
    assert [[one.place for one in answers] for answers in here.seens] == [[0, 1], [0, 1]]
    assert (here.seens[0][0].answer, here.seens[0][0].cost_usd) == ("4", WEAK_USD)
    assert here.cases[1].task_class == "sums"


def test_a_part_has_the_same_tasks_in_the_order_asked_for() -> None:
    part = pair_board("bws").part(np.array([2, 0]))

    assert [case.id for case in part.cases] == ["2", "0"]
    assert part.correct[:, 0].tolist() == [False, True]


def test_a_missing_cost_is_the_models_mean_and_never_nothing() -> None:
    rows = [
        row(name, {WEAK: output(usd=usd), STRONG: output(usd=1.0)})
        for name, usd in (("a", 0.2), ("b", 0.4), ("c", None))
    ]

    here = board(rows, (WEAK, STRONG))

    assert here.filled == 1
    assert here.usd[2, 0] == pytest.approx(0.3)
    assert here.seens[2][0].cost_usd == pytest.approx(0.3)


def test_null_tokens_count_as_none_used() -> None:
    rows = [row("a", {WEAK: output(), STRONG: output()})]
    rows[0].outputs[WEAK] = output().__class__(True, "4", None, None, None, WEAK_USD, None)

    seen = board(rows, (WEAK, STRONG)).seens[0][0]

    assert (seen.text, seen.input_tokens, seen.output_tokens) == ("", 0, 0)


def test_a_model_without_any_cost_is_refused_for_money_only() -> None:
    rows = [row("a", {WEAK: output(usd=None), STRONG: output()})]

    with pytest.raises(Unplayable, match=f"'{WEAK}' has no cost_usd on any line"):
        board(rows, (WEAK, STRONG))

    assert np.isnan(board(rows, (WEAK, STRONG), priced=False).usd[0, 0])


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ((WEAK, "huge"), "no model 'huge' in the records; there are large, small"),
        ((WEAK, WEAK), "'small' stands on the ladder twice"),
    ],
)
def test_a_ladder_that_is_not_in_the_records_is_refused(models: tuple[str, ...], told: str) -> None:
    with pytest.raises(Unplayable, match=told):
        board(pairs("b"), models)


def test_an_answer_that_is_missing_or_without_worth_is_refused_with_the_task() -> None:
    whole = {WEAK: output(), STRONG: output()}

    with pytest.raises(Unplayable, match="'large' has no answer to 'gap'"):
        board([row("a", whole), row("gap", {WEAK: output()})], (WEAK, STRONG))
    with pytest.raises(Unplayable, match=r"outputs\.large\.correct of 'gap' is null"):
        board([row("a", whole), row("gap", {**whole, STRONG: output(correct=None)})], (WEAK, STRONG))


def test_a_strong_model_that_costs_nothing_leaves_nothing_to_save() -> None:
    with pytest.raises(Unplayable, match="'large' cost \\$0"):
        board([row("a", {WEAK: output(), STRONG: output(usd=0.0)})], (WEAK, STRONG))
