"""The seam to the learned policy."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.shared.replay.recorded import pair_board

from tierbus.errors import Misconfigured
from tierbus.replay.baselines import Always
from tierbus.replay.learned import fitted, stored


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    made = ModuleType(name)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)


def test_a_policy_is_fitted_on_cases_answers_and_their_worth_with_the_margin_as_its_aim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[object] = []

    def fit(*arguments: object) -> Always:
        given.extend(arguments)
        return Always(0)

    module(monkeypatch, "tierbus.policy.fit", fit=fit, Aim=lambda target: ("aim", target))
    here = pair_board("ws")

    assert fitted(here, 0.02) == Always(0)
    assert given == [here.cases, here.seens, ((True, False), (False, True)), here.models, ("aim", 0.02)]


def test_a_policy_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module(monkeypatch, "tierbus.policy.store", load={tmp_path: Always(1)}.get)

    assert stored(tmp_path) == Always(1)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("tierbus.policy.fit", "this release has no tierbus.policy.fit"),
        ("sklearn.linear_model", "no library sklearn.*make learn"),
    ],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str, told: str) -> None:
    def absent(_name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr("tierbus.replay.learned.import_module", absent)

    with pytest.raises(Misconfigured, match=told):
        fitted(pair_board("b"), 0.01)
