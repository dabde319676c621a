"""The commands `feedback` and `quality` against a bus on which no service runs."""

import json
import os
import subprocess
import sys
import time

import pytest
from nats.aio.client import Client
from tests.plans import NOW, judged, new_run
from tests.shared.quality.test_measure import compared

from tierbus.bus.publish import Publisher
from tierbus.bus.stores import JetMeasures, JetRuns, replay
from tierbus.bus.topology import QUALITY
from tierbus.cli.quality import NOTE_CHARS, score_of
from tierbus.contracts import Comparison, FeedbackGiven, VerdictKind, decode, run_id
from tierbus.quality.sample import day_of
from tierbus.run import Run, advance, begin

SECRET = "sk-ant-api03-ABCDEFGHIJKLMNOP1234"


def tierbus(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", *arguments],
        env={**os.environ, "TIERBUS_NATS_URL": url, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(task: str = "t-1", tenant: str = "acme", *, done: bool = True) -> Run:
    opened = begin(new_run(id=run_id(tenant, task), tenant=tenant, task=task, task_class="letters"), NOW).run
    return advance(opened, judged("answer", 1, VerdictKind.ACCEPT), NOW).run if done else opened


async def kept(nc: Client) -> list[FeedbackGiven]:
    return [decode(FeedbackGiven, data) async for data in replay(nc, QUALITY, "tierbus.feedback.>")]


async def test_feedback_needs_the_bus_alone_and_the_last_word_counts(nc: Client, nats_url: str) -> None:
    await JetRuns(Publisher(nc), nc).write(run(), 0)
    for options in (("--bad",), ("--score", "0.25"), ("--good",)):
        done = tierbus("feedback", "t-1", "--tenant", "acme", *options, url=nats_url)
        assert done.returncode == 0, done.stderr
    [said] = await kept(nc)

    assert (said.task, said.tenant, said.task_class, said.score) == ("t-1", "acme", "letters", 1.0)
    assert "letters" in done.stdout


async def test_a_note_is_kept_without_keys_and_printed_nowhere(nc: Client, nats_url: str) -> None:
    await JetRuns(Publisher(nc), nc).write(run(), 0)
    note = f"the total is wrong, see {SECRET} " + "and so on " * 500
    arguments = ("feedback", "t-1", "--tenant", "acme", "--bad", "--note", note, "--json")
    done = tierbus(*arguments, url=nats_url)
    told = tierbus("quality", "--json", url=nats_url)
    [said] = await kept(nc)

    assert done.returncode == 0, done.stderr
    assert said.note.startswith("the total is wrong, see [redacted]")
    assert len(said.note) <= NOTE_CHARS
    for printed in (done.stdout, done.stderr, told.stdout):
        assert "the total is wrong" not in printed


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("t-9", "--good"), 2, "no task 't-9' of tenant 'acme'"),
        (("t-1", "--good", "--tenant", "globex"), 2, "of tenant 'globex'"),
        (("open", "--good"), 3, "task 'open' has not ended"),
        (("t-1",), 2, "exactly one of --good, --bad and --score"),
        (("t-1", "--good", "--bad"), 2, "exactly one of --good, --bad and --score"),
        (("t-1", "--good", "--score", "1"), 2, "exactly one of --good, --bad and --score"),
        (("t-1", "--score", "1.5"), 2, "1.5 is not between 0 and 1"),
    ],
)
async def test_what_cannot_be_judged_is_refused_by_name(
    nc: Client, nats_url: str, arguments: tuple[str, ...], code: int, why: str
) -> None:
    for state in (run(), run("open", done=False)):
        await JetRuns(Publisher(nc), nc).write(state, 0)
    tenant = () if "--tenant" in arguments else ("--tenant", "acme")
    done = tierbus("feedback", *arguments, *tenant, url=nats_url)

    assert (done.returncode, why in done.stderr) == (code, True), done.stderr
    assert await kept(nc) == []


@pytest.mark.parametrize(("given", "score"), [({"good": True}, 1.0), ({"bad": True}, 0.0), ({"score": 0.0}, 0.0)])
def test_options_say_a_score(given: dict[str, bool | float], score: float) -> None:
    assert score_of(**{"good": False, "bad": False, "score": None, **given}) == score  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1])
def test_a_score_that_is_none_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        score_of(good=False, bad=False, score=score)


async def test_quality_shows_comparisons_and_feedback_of_the_period_by_class(nc: Client, nats_url: str) -> None:
    now = time.time()
    publisher, measures = Publisher(nc), JetMeasures(Publisher(nc), nc)
    today = {"day": day_of(now), "ended_at": now - 60, "at": now}
    for number, kind in enumerate([Comparison.WORSE] * 9 + [Comparison.TIE]):
        await measures.write(compared(number, kind, **today), 0)
    await measures.write(compared(50, Comparison.BETTER, day="2026-01-01", ended_at=now - 9 * 86_400, at=now), 0)
    await measures.write(compared(51, Comparison.BETTER, tenant="globex", task_class="[sums]", **today), 0)
    said = FeedbackGiven(run="f" * 32, tenant="acme", task="t", task_class="talk", score=0.5, at=now)
    await publisher.say(said)
    shown = tierbus("quality", "--since", "1d", url=nats_url)
    days = tierbus("quality", "--since", "1d", "--by-day", url=nats_url)
    mine = json.loads(tierbus("quality", "--since", "1d", "--tenant", "acme", "--json", url=nats_url).stdout)

    assert shown.returncode == 0, shown.stderr
    assert "−90.0 %" in shown.stdout
    assert "+80.0 %" in shown.stdout
    assert "[sums]" in shown.stdout
    assert (day_of(now - 60) in days.stdout, "letters" in days.stdout) == (True, False)
    assert [(one["task_class"], one["measured"]["n"], one["feedback"]["n"]) for one in mine["classes"]] == [
        ("letters", 10, 0),
        ("talk", 0, 1),
    ]


async def test_quality_of_nothing_says_how_to_begin(nc: Client, nats_url: str) -> None:
    assert nc.is_connected
    done = tierbus("quality", url=nats_url)

    assert (done.returncode, "TIERBUS_CLASSES" in done.stdout) == (0, True)


@pytest.mark.parametrize(("option", "value"), [("--since", "yesterday"), ("--tenant", "a.b")])
def test_a_period_or_tenant_that_is_none_is_named(option: str, value: str) -> None:
    done = tierbus("quality", option, value, url="nats://127.0.0.1:9")

    assert (done.returncode, value in done.stderr) == (2, True)


def test_without_a_bus_it_says_so() -> None:
    done = tierbus("feedback", "t", "--good", url="nats://127.0.0.1:9")

    assert (done.returncode, "no bus at" in done.stderr) == (4, True)
