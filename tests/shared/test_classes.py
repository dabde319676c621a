from pathlib import Path

import pytest

from tierbus.classes import ClassRules, load
from tierbus.errors import Misconfigured
from tierbus.pilot.rules import Mode


def test_without_a_file_no_class_has_rules() -> None:
    assert load(None).of("translate") == ClassRules()


def test_a_class_that_is_not_named_has_the_rules_of_the_star(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text('classes:\n  translate: {}\n  "*": {}\n', encoding="utf-8")
    found = load(str(path))
    assert found.of("translate") is found.classes["translate"]
    assert found.of("sums") is found.classes["*"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("classes: {Translate: {}}", "'Translate' is not a class"),
        ("classes: {a: {cash: 1}}", "cash"),
        ("classes: [", "is not YAML"),
        ("- a", "valid dictionary"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_value(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"classes\.yaml") as raised:
        load(str(path))
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"TIERBUS_CLASSES='nowhere\.yaml'"):
        load("nowhere.yaml")


def test_a_class_may_have_a_pilot(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("classes: {sums: {pilot: {mode: shadow, percent: 20, tenants: {acme: 5}}}}", encoding="utf-8")
    rules = load(str(path)).of("sums").pilot
    assert rules is not None
    assert (rules.mode, rules.percent, rules.tenants) == (Mode.SHADOW, 20, {"acme": 5})


def test_a_pilot_that_does_not_fit_is_refused_with_class_and_value(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("classes: {sums: {pilot: {percent: 120}}}", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"classes\.sums\.pilot\.percent.*120"):
        load(str(path))
