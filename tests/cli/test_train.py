"""The command `train`."""

import gzip
import json
import re
from pathlib import Path

import pytest
from tests.cli.records import result, step
from tests.shared.policy.made import tasks, taught
from typer.testing import CliRunner, Result

from tierbus import contracts
from tierbus.cli import train as command
from tierbus.cli.main import app
from tierbus.cli.training.terminal import counts
from tierbus.contracts import Tier
from tierbus.policy.drift import Drift
from tierbus.policy.learned import Learned
from tierbus.policy.looks import ASSUMED_ERROR
from tierbus.policy.store import Made, add, stored
from tierbus.policy.tally import Counted, Tally
from tierbus.replay.records import Output, Row, write
from tierbus.tallies import SharedPolicy
from tierbus.testing.tallies import MemoryTallies

LADDER = ("--cheap", "small,other", "--strong", "strong")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl.gz"
    rows = []
    for at, (case, seen, right) in enumerate(zip(*tasks(500, 21), strict=True)):
        outputs = {
            name: Output(fine, one.answer, one.text, one.input_tokens, one.output_tokens, one.cost_usd, None)
            for name, one, fine in zip(("small", "other", "strong"), seen, right, strict=True)
        }
        rows.append(Row(case.id, case.task_class, None, "train" if at % 5 < 4 else "test", case.prompt, None, outputs))
    write(path, rows)
    return path


def train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_it_learns_keeps_a_version_and_tells_what_it_got_wrong(data: Path, tmp_path: Path) -> None:
    done = train(data, *LADDER, "--out", tmp_path / "p", "--report", tmp_path / "wrong.jsonl")

    assert done.exit_code == 0, done.output
    for part in (
        "sums: 400 labelled tasks",
        "% of the strong model's dollars",
        "test split: 100 tasks",
        "is off by",
        "about 1,350 can",
    ):
        assert part in done.stdout
    wrong = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines()]
    assert {"id", "task_class", "chose", "right_choice", "gains"} <= wrong[0].keys()
    assert stored(tmp_path / "p").made.rows == 400

    assert stored(tmp_path / "p").policy.review_error == ASSUMED_ERROR
    assert "verdict is taken to be wrong in 15.0 % of cases" in done.stdout

    again = train(data, *LADDER, "--out", tmp_path / "p", "--all", "--target", "0", "--review-error", "0.2")

    assert "the training tasks themselves: 500 tasks" in again.stdout
    assert stored(tmp_path / "p").policy.review_error == 0.2
    assert "policy-0002.json" in train("--list", "--out", tmp_path / "p").stdout.splitlines()[1]
    assert train("--rollback", "--out", tmp_path / "p").stdout == "in use: policy-0001.json\n"
    for name in ("2", "policy-0002", "policy-0002.json"):
        assert train("--rollback", name, "--out", tmp_path / "p").stdout == "in use: policy-0002.json\n"


def test_a_class_that_too_few_labels_made_forgotten_is_told_with_the_way_back(data: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    with gzip.open(data, "rt") as rows:
        few.write_text("".join(list(rows)[:100]))

    first = train(data, *LADDER, "--out", tmp_path / "p")
    second = train(few, *LADDER, "--out", tmp_path / "p")

    assert "warning" not in first.output
    assert "too few labels to learn from, 300 are enough" in second.stdout
    assert f"had learned sums from 400 labels, this one has not; `tierbus train --rollback --out {tmp_path / 'p'}`" in (
        second.stderr.replace("\n", " ")
    )


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ((), "name files of recorded answers", 2),
        (("--list", "--rollback"), "not --list with --rollback", 2),
        (("--list", "x.jsonl"), "not --list with x.jsonl", 2),
        (("DATA",), "must name the ladder", 2),
        (("DATA", "--cheap", "a", "--strong", "strong"), "no model 'a'", 2),
        (("none.jsonl", *LADDER), "cannot be read", 3),
        (("--rollback", "x"), "one version, as 2 or policy-0002.json, not 'x'", 2),
        (("--list",), "there is no policy in", 6),
        (("DATA", *LADDER, "--report", "/nowhere/x.jsonl"), "there is no folder", 2),
        (("--from-ledger", "--report", "/nowhere/x.jsonl"), "there is no folder", 2),
    ],
)
def test_wrong_use_is_told_in_one_line(
    data: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, code: int
) -> None:
    done = train(*(str(data) if part == "DATA" else part for part in arguments), "--out", tmp_path)

    assert done.exit_code == code
    assert said in done.output.replace("\n", " ")
    assert not list(tmp_path.glob("policy-*"))


def test_it_learns_on_from_the_ledgers_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def results(_tenant: str) -> list[contracts.Result]:
        return [result(str(at), steps=[step(Tier.SMALL, Tier.MID)]) for at in range(30)]

    monkeypatch.setattr(command, "_results", results)
    done = train("--from-ledger", "--out", tmp_path, "--report", tmp_path / "wrong.jsonl")

    assert done.exit_code == 0, done.output
    assert "answer rejected, another model's accepted: 30" in done.stdout
    wrong = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines()]
    assert [one["id"] for one in wrong] == [str(at) for at in range(30)]
    assert "these labels are the reviewer's, not truth" in done.stdout
    assert "checks: rejected: 30" in done.stdout
    assert "small 0 of 30" in done.stdout
    assert stored(tmp_path).policy.lessons["general"].rates[0].rejected == 30

    assert stored(tmp_path).policy.review_error is None

    again = train("--from-ledger", "--out", tmp_path)

    assert again.exit_code == 1
    assert "nothing new to learn from" in again.output.replace("\n", " ")


@pytest.mark.parametrize(("given", "kept"), [((), 0.3), (("--review-error", "0.1"), 0.1)])
def test_learning_on_keeps_the_reviewers_error_unless_it_is_given(
    given: tuple[str, ...], kept: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def results(_tenant: str) -> list[contracts.Result]:
        return [result("1", steps=[step(Tier.SMALL, Tier.MID)])]

    monkeypatch.setattr(command, "_results", results)
    add(tmp_path, Learned(tuple(Tier), {}, 0.01, review_error=0.3), Made(0.0, "", 0))
    done = train("--from-ledger", *given, "--out", tmp_path)

    assert done.exit_code == 0, done.output
    assert stored(tmp_path).policy.review_error == kept


def test_what_the_policy_in_use_has_counted_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add(tmp_path / "p", taught(), Made(1_700_000_000.0, "ab" * 32, 700))
    tallies = MemoryTallies()

    async def counted(policy: Learned, digest: str) -> Learned:
        shared = SharedPolicy(policy, digest, tallies, keeps=False)
        await shared.start()
        for case, answers, _ in zip(*tasks(40, 15), strict=True):
            shared.next(case, answers[:1])
            shared.next(case, answers[:2])
            shared.learn(case, answers)
        await shared.stop()
        again = SharedPolicy(policy, digest, tallies, keeps=False)
        await again.start()
        await again.stop()
        return policy

    monkeypatch.setattr(command, "_counted", counted)
    done = train("--used", "--out", tmp_path / "p")

    assert done.exit_code == 0, done.output
    first, *rest = done.stdout.splitlines()
    assert re.fullmatch(
        r"sums: 40 tasks, two cheap models agreed on \d+ of 40, about \$\d+\.\d{6} more than the strong model alone",
        first,
    )
    assert rest == ["  given up for now: the stop-loss"]


def test_a_policy_that_has_counted_nothing_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add(tmp_path / "p", taught(), Made(1_700_000_000.0, "ab" * 32, 700))

    async def nothing(policy: Learned, _digest: str) -> Learned:
        return policy

    monkeypatch.setattr(command, "_counted", nothing)

    assert "nothing is counted yet" in train("--used", "--out", tmp_path / "p").stdout
    monkeypatch.setenv("TIERBUS_POLICY", str(tmp_path / "p"))
    assert "nothing is counted yet" in train("--used").stdout
    assert "cannot be read" in train("--used", "--out", tmp_path / "none").output


def test_a_class_that_drifted_is_shown_as_such() -> None:
    policy = taught().fresh()
    policy.resume({"sums": Counted(Tally(ended=3), Drift(away=True))})

    assert "no longer as in training" in "\n".join(counts(policy))
