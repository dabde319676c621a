import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.shared.policy.made import MODELS, moves, tasks, taught

from tierbus.errors import Misconfigured
from tierbus.policy.drift import Level
from tierbus.policy.learned import Rate
from tierbus.policy.store import Made, add, dump, fingerprint, load, parse, roll_back, save, stored, versions

MADE = Made(1_700_000_000.0, "ab" * 32, 700)


def test_a_policy_read_back_makes_the_same_moves(tmp_path: Path) -> None:
    save(tmp_path / "p.json", taught(), MADE)
    back = load(tmp_path / "p.json", MODELS)
    before = taught().fresh()

    assert stored(tmp_path / "p.json").made == MADE
    for case, answers, _ in zip(*tasks(200, 11), strict=True):
        assert moves(before, case, answers) == moves(back, case, answers)


def test_a_policy_read_back_and_written_again_is_the_same_text() -> None:
    text = dump(taught().taught({"poems": [Rate(1, 2)] * 3}, {"poems": [0.1, 0.2, 0.3]}), MADE)

    assert dump(parse(text, "here").policy, MADE) == text


@pytest.mark.parametrize("error", [None, 0.2])
def test_how_often_the_reviewer_errs_is_kept(error: float | None) -> None:
    policy = taught().fresh()
    policy.review_error = error

    assert parse(dump(policy.taught({}, {}), MADE), "here").policy.fresh().review_error == error


def test_what_was_counted_of_the_ledger_is_kept_by_tenant(tmp_path: Path) -> None:
    made = replace(MADE, ledger_until={"acme": 5.0})
    save(tmp_path / "p.json", taught(), made)

    assert stored(tmp_path / "p.json").made == made


def test_a_norm_is_kept_and_a_file_without_one_knows_none() -> None:
    body = json.loads(dump(taught(), MADE))
    norm = taught().lessons["sums"].norm

    assert norm is not None
    assert parse(json.dumps(body), "here").policy.lessons["sums"].norm == norm
    grouped = replace(norm, groups={"long": Level(40, norm.mean, 0.2)})
    body["classes"]["sums"]["norm"]["groups"] = {"long": {"rows": 40, "mean": norm.mean, "spread": 0.2}}
    assert parse(json.dumps(body), "here").policy.lessons["sums"].norm == grouped
    del body["classes"]["sums"]["norm"]
    assert parse(json.dumps(body), "here").policy.lessons["sums"].norm is None


def test_every_file_is_another_policy() -> None:
    first, again = (parse(dump(taught(), made), "here").digest for made in (MADE, MADE))
    later = parse(dump(taught(), Made(1_700_000_001.0, "ab" * 32, 700)), "here").digest

    assert first == again != later
    assert len(first) == 16


def test_a_policy_for_other_models_is_refused_with_their_names(tmp_path: Path) -> None:
    save(tmp_path / "p.json", taught(), MADE)

    with pytest.raises(Misconfigured, match=r"trained for the models small, other, strong, not for a, b"):
        load(tmp_path / "p.json", ("a", "b"))


def _without(body: dict[str, Any], *path: Any) -> None:
    for part in path[:-1]:
        body = body[part]
    del body[path[-1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.update(schema_version=0), "schema_version 0, this release reads 5"),
        (lambda body: body.update(format="other"), "its format is not 'tierbus-policy'"),
        (lambda body: body.update(models=["a", "a", "b"]), "not distinct"),
        (lambda body: body.update(models=["a", "b"]), "3 numbers where 2 belong"),
        (lambda body: body.update(target="one"), "'one' is no number"),
        (lambda body: body.update(review_error=1.5), "review_error 1.5 is not between 0 and 1"),
        (lambda body: body.update(review_error="often"), "'often' is no number"),
        (lambda body: _without(body, "classes", "sums", "stages", "prompt"), "KeyError"),
        (lambda body: _without(body, "classes", "sums", "stages", "prompt", "heads", "strong"), "no head 'strong'"),
        (
            lambda body: body["classes"]["sums"]["stages"]["prompt"]["scales"].__setitem__(0, 0),
            "a scale is not above 0",
        ),
        (lambda body: body["classes"]["sums"]["stages"]["prompt"]["means"].pop(), "numbers where"),
        (lambda body: body["classes"]["sums"]["course"].update(first=2), "course over places"),
        (lambda body: body["classes"]["sums"]["norm"].update(mean=1.5), "norm .* is of no signs"),
        (lambda body: body["classes"]["sums"]["norm"].update(rows=0), "norm .* is of no signs"),
        (
            lambda body: body["classes"]["sums"]["norm"].update(groups={"a": {"rows": 9, "mean": 1.5, "spread": 0}}),
            "norm .* is of no signs",
        ),
        (lambda body: _without(body, "classes", "sums", "norm", "spread"), "KeyError"),
        (lambda body: body["classes"]["sums"]["course"]["after_prompt"]["gains"].reverse(), "do not rise"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(change: Any, said: str) -> None:
    body = json.loads(dump(taught(), MADE))
    change(body)

    with pytest.raises(Misconfigured, match=f"here.*{said}"):
        parse(json.dumps(body), "here")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": "tierbus-policy", "schema_version": 1}', "[" * 100_000])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="here"):
        parse(text, "here")


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(tmp_path / "none.json")
    with pytest.raises(Misconfigured, match="there is no policy in"):
        load(tmp_path)


def test_versions_are_numbered_and_the_last_is_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    add(folder, taught(), MADE)
    add(folder, taught(), MADE)

    assert versions(folder) == (["policy-0001.json", "policy-0002.json"], "policy-0002.json")


def test_an_earlier_version_can_be_used_again(tmp_path: Path) -> None:
    for _ in range(3):
        add(tmp_path, taught(), MADE)

    assert roll_back(tmp_path) == "policy-0002.json"
    assert roll_back(tmp_path) == "policy-0001.json"
    with pytest.raises(Misconfigured, match="oldest policy"):
        roll_back(tmp_path)
    assert roll_back(tmp_path, 3) == "policy-0003.json"
    with pytest.raises(Misconfigured, match="no version 9"):
        roll_back(tmp_path, 9)
    assert versions(tmp_path)[1] == "policy-0003.json"


def test_a_damaged_version_is_not_put_into_use(tmp_path: Path) -> None:
    add(tmp_path, taught(), MADE).write_text("{}")
    add(tmp_path, taught(), MADE)

    with pytest.raises(Misconfigured, match=r"policy-0001.json is no policy"):
        roll_back(tmp_path)
    assert versions(tmp_path)[1] == "policy-0002.json"


def test_a_pointer_to_a_version_that_is_gone_is_named(tmp_path: Path) -> None:
    add(tmp_path, taught(), MADE)
    add(tmp_path, taught(), MADE).unlink()

    with pytest.raises(Misconfigured, match=r"names 'policy-0002.json', which is not there"):
        load(tmp_path)
    assert roll_back(tmp_path, 1) == "policy-0001.json"


def test_other_data_has_another_fingerprint() -> None:
    cases, seens, correct = tasks(50, 12)
    flipped = (tuple(not one for one in correct[0]), *correct[1:])

    assert fingerprint(cases, correct, seens) == fingerprint(cases, correct, seens)
    assert fingerprint(cases, flipped, seens) != fingerprint(cases, correct, seens)
