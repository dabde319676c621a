"""The reviewer's free judgement."""

import pytest

from tierbus.contracts import Content, Expects, Outcome, ReviewLevel, Tier, VerdictKind
from tierbus.reviewer.verdict import Place, Rung, agree, check, of_checks, of_judge, of_outcome, rungs

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
DIRECT = Place(planned=False, last=True, tier=Tier.SMALL)
LONG = Content.of("x" * 500)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.TRUNCATED, VerdictKind.ESCALATE),
        (Outcome.INVALID, VerdictKind.ESCALATE),
        (Outcome.REFUSED, VerdictKind.ESCALATE),
        (Outcome.UNAVAILABLE, VerdictKind.ESCALATE),
        (Outcome.OVER_BUDGET, VerdictKind.FAIL),
        (Outcome.CANCELLED, VerdictKind.FAIL),
    ],
)
def test_an_attempt_without_an_answer_has_its_verdict_at_once(outcome: Outcome, kind: VerdictKind) -> None:
    verdict = of_outcome(outcome, "the detail")

    assert verdict is not None
    assert (kind, True) == (verdict.kind, "the detail" in verdict.reason)


def test_an_answer_has_no_verdict_from_its_outcome() -> None:
    assert of_outcome(Outcome.ANSWERED, "") is None


@pytest.mark.parametrize(
    ("text", "expects", "failure"),
    [
        ("no json", Expects(json_schema=SCHEMA), "not JSON"),
        ('{"total": "x"}', Expects(json_schema=SCHEMA), "total: 'x' is not of type 'number'"),
        ("The sum is 12.", Expects(must_mention=("EUR 12",)), "'EUR 12' is not mentioned"),
        ("short", Expects(min_chars=10), "5 characters, at least 10"),
        ("much too long", Expects(max_chars=5), "13 characters, at most 5"),
    ],
)
def test_a_free_check_that_fails_names_the_value(text: str, expects: Expects, failure: str) -> None:
    checked = check(text, expects)

    assert any(failure in found for found in checked.failures), checked


def test_passing_a_schema_is_proof_but_criteria_need_a_reader() -> None:
    assert check('{"total": 1}', Expects(json_schema=SCHEMA)).sure
    assert not check('{"total": 1}', Expects(json_schema=SCHEMA, criteria=("is right",))).sure
    assert not check("a text", Expects()).sure


def test_a_failed_check_climbs_with_the_failure_as_critique() -> None:
    verdict = of_checks(check("short", Expects(min_chars=10)), (Rung.CHECKS, Rung.JUDGE))

    assert verdict is not None
    assert (verdict.kind, verdict.rung) == (VerdictKind.ESCALATE, "checks")
    assert "at least 10" in verdict.critique


@pytest.mark.parametrize(
    ("level", "place", "expects", "output", "expected"),
    [
        (ReviewLevel.LIGHT, DIRECT, Expects(), LONG, "checks"),
        (ReviewLevel.STRICT, DIRECT, Expects(json_schema=SCHEMA), Content.of('{"total": 1}', "json"), "checks judge"),
        (ReviewLevel.STANDARD, DIRECT, Expects(), Content.of("yes"), "checks agreement judge"),
        (ReviewLevel.STANDARD, DIRECT, Expects(), LONG, "checks judge"),
        (ReviewLevel.STANDARD, DIRECT._replace(tier=Tier.MID), Expects(), Content.of("yes"), "checks judge"),
        (ReviewLevel.STANDARD, DIRECT._replace(tier=Tier.FRONTIER), Expects(), LONG, "checks"),
        (ReviewLevel.STANDARD, Place(True, False, Tier.SMALL), Expects(json_schema=SCHEMA), Content.of('{"total": 1}', "json"), "checks"),
        (ReviewLevel.STANDARD, Place(True, False, Tier.SMALL), Expects(), LONG, "checks judge"),
        (ReviewLevel.STANDARD, Place(True, True, Tier.SMALL), Expects(), Content.of("yes"), "checks judge"),
        (ReviewLevel.STANDARD, Place(True, True, Tier.FRONTIER), Expects(), LONG, "checks judge"),
    ],
)  # fmt: skip
def test_the_rungs_follow_level_and_place(
    level: ReviewLevel, place: Place, expects: Expects, output: Content, expected: str
) -> None:
    climbed = rungs(level, place, check(output.text or "", expects), output, expects)

    assert expected == " ".join(climbed)


@pytest.mark.parametrize(
    ("first", "second", "media", "same"),
    [
        ("Paris.", " paris ", "text", True),
        ("Paris", "London", "text", False),
        ('{"a": 1, "b": [1.0]}', '{"b": [1], "a": 1}', "json", True),
        ('{"a": "X "}', '{"a": "x"}', "json", True),
        ('{"a": true}', '{"a": 1}', "json", False),
        ('{"a": 1}', "broken", "json", False),
    ],
)
def test_agreement_ignores_form_but_not_content(first: str, second: str, media: str, same: bool) -> None:
    assert same is agree(first, second, media)


def test_a_judges_rejection_carries_its_critique() -> None:
    verdict = of_judge({"verdict": "reject", "reason": "wrong sum", "critique": "add the tax"})

    assert (
        verdict.kind,
        verdict.reason,
        verdict.critique,
    ) == (VerdictKind.ESCALATE, "wrong sum", "add the tax")
