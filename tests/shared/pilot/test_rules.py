import pytest
from pydantic import ValidationError

from tierbus.pilot.rules import DEFAULT_STEPS, Mode, PilotRules, RampStep


def test_a_ramp_without_steps_has_the_usual_ones() -> None:
    assert PilotRules(mode=Mode.RAMP).ramp == DEFAULT_STEPS


def test_a_canary_has_one_step_that_never_ends() -> None:
    [step] = PilotRules(percent=25, complexity_below=0.4).ramp
    assert (step.percent, step.complexity_below) == (25, 0.4)
    assert [step.percent for step in PilotRules().ramp] == [10]


def test_at_no_percent_nobody_is_drawn() -> None:
    assert PilotRules(percent=0).ramp == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mode": "ramp", "percent": 10}, "percent is for shadow and canary"),
        ({"mode": "ramp", "complexity_below": 0.3}, "complexity_below is for shadow and canary"),
        ({"mode": "canary", "steps": [{"percent": 1, "tries": 1}]}, "mode is 'canary'"),
        (
            {"mode": "ramp", "steps": [{"percent": 50, "tries": 1}, {"percent": 20, "tries": 1}]},
            "20 % stands after 50 %",
        ),
        ({"target": 1}, "target"),
        ({"alpha": 0}, "alpha"),
        ({"percent": 101}, "percent"),
        ({"tenants": {"a b": 5}}, "a b"),
        ({"tenants": {"acme": -1}}, "acme"),
        ({"mode": "ramp", "steps": [{"percent": 0, "tries": 1}]}, "percent"),
        ({"share": 5}, "share"),
    ],
)
def test_rules_that_do_not_fit_are_refused_with_the_value(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PilotRules.model_validate(given)


def test_what_is_tested_names_the_pilot_and_who_is_drawn_does_not() -> None:
    rules = PilotRules(target=0.9, percent=10)
    assert rules.id == PilotRules(target=0.9, percent=40, tenants={"acme": 1}, complexity_below=0.5).id
    others = [
        PilotRules(target=0.91),
        PilotRules(target=0.9, alpha=0.1),
        PilotRules(target=0.9, mode=Mode.SHADOW),
        PilotRules(target=0.9, judge_percent=10),
        PilotRules(target=0.9, mode=Mode.RAMP),
        PilotRules(target=0.9, mode=Mode.RAMP, steps=(RampStep(percent=10, tries=1),)),
    ]
    assert len({rules.id, *(other.id for other in others)}) == len(others) + 1


@pytest.mark.parametrize("rules", [PilotRules(), PilotRules(mode=Mode.RAMP), PilotRules(mode=Mode.SHADOW, percent=3)])
def test_rules_survive_being_kept(rules: PilotRules) -> None:
    assert PilotRules.model_validate_json(rules.model_dump_json(exclude_none=True)) == rules
