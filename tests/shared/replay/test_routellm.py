"""APGR, CPT50 and CPT80."""

import numpy as np
import pytest
from tests.shared.replay.recorded import GPT4, MIXTRAL, real

from tierbus.replay.board import board
from tierbus.replay.routellm import Pair, apgr_difference, route_figures

HUNDRED = Pair(np.ones(100, bool), np.arange(100) >= 50)
"""The weak model is wrong on the first half."""
NEED = (np.arange(100) < 50).astype(float)


def test_scores_that_know_where_the_gain_is_recover_it_with_the_fewest_calls() -> None:
    found = route_figures(HUNDRED, NEED, seed=0)

    assert found.apgr == pytest.approx(0.75)
    assert (found.cpt50, found.cpt80) == pytest.approx((0.25, 0.4))


def test_scores_that_are_all_the_same_are_chance() -> None:
    found = route_figures(HUNDRED, np.zeros(100), seed=0, draws=2000)

    assert found.apgr == pytest.approx(0.5, abs=0.01)
    assert (found.cpt50, found.cpt80) == pytest.approx((0.5, 0.8), abs=0.02)


def test_scores_that_are_wrong_everywhere_are_worse_than_chance() -> None:
    assert route_figures(HUNDRED, -NEED, seed=0).apgr == pytest.approx(0.25)


def test_a_strong_model_that_is_not_better_cannot_be_compared_with() -> None:
    assert HUNDRED.comparable
    assert not Pair(HUNDRED.weak, HUNDRED.strong).comparable
    assert not Pair(HUNDRED.weak, HUNDRED.weak).comparable


def test_a_difference_of_apgr_is_paired_and_has_an_interval() -> None:
    better = apgr_difference(HUNDRED, NEED, np.zeros(100), 300, 0)
    equal = apgr_difference(HUNDRED, NEED, NEED, 300, 0)

    assert better.mean == pytest.approx(0.25, abs=0.02)
    assert 0 < better.low < better.mean < better.high
    assert equal.mean == 0
    assert abs(equal.low) < 0.05


@pytest.mark.parametrize(
    ("name", "length", "oracle"),
    [
        ("gsm8k-pair", (0.598, 0.370, 0.664), (1.115, 0.110, 0.176)),
        ("mmlu-pair", (0.583, 0.367, 0.694), (1.268, 0.063, 0.100)),
    ],
)
def test_the_published_tables_of_prompt_length_and_oracle_come_out(
    name: str, length: tuple[float, ...], oracle: tuple[float, ...]
) -> None:
    here = board(real(name), (MIXTRAL, GPT4), priced=False)
    pair = Pair(here.correct[:, 1], here.correct[:, 0])
    scores = np.array([float(len(case.prompt)) for case in here.cases])

    long, best = route_figures(pair, scores, seed=0), route_figures(pair, pair.gain, seed=0)

    assert (long.apgr, long.cpt50, long.cpt80) == pytest.approx(length, abs=0.003)
    assert (best.apgr, best.cpt50, best.cpt80) == pytest.approx(oracle, abs=0.001)
