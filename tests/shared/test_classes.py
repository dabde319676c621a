from pathlib import Path

import pytest

from tierbus.batch.rules import BatchRules
from tierbus.classes import ClassRules, load
from tierbus.errors import Misconfigured
from tierbus.pilot.rules import Mode
from tierbus.plans.rules import PlanRules


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
        ("classes: {a: {cache: {ttl_s: 0}}}", "cache.ttl_s"),
        ("classes: {a: {cache: {ttl_s: 345601}}}", "345601"),
        ("classes: {a: {cache: {}}}", "cache.ttl_s"),
        ("classes: {a: {plans: {keep_rate: 2}}}", "classes.a.plans.keep_rate"),
        ("classes: {a: {plans: {reuse: sometimes}}}", "sometimes"),
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


def test_plans_are_used_again_only_where_a_class_says_so(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("classes:\n  offers: {plans: {reuse: true, min_accepted: 2}}\n  sums: {}\n", encoding="utf-8")
    found = load(str(path))

    assert found.of("offers").plans == PlanRules(reuse=True, min_accepted=2)
    assert found.of("sums").plans is None
    assert not PlanRules().reuse


def test_a_class_may_wait_for_batches(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("classes: {night: {batch: {min_slack_s: 9000, max_wait_s: 300}}, day: {}}", encoding="utf-8")

    found = load(str(path))

    assert found.of("night").batch == BatchRules(min_slack_s=9000, max_wait_s=300)
    assert found.of("day").batch is None


def test_rules_for_batches_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("classes: {night: {batch: {min_slack_s: 60}}}", encoding="utf-8")

    with pytest.raises(Misconfigured, match="min_slack_s 60 is less than max_wait_s 600 and leave_slack_s 1800"):
        load(str(path))


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
