"""The command line against a running bus."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.flow.conftest import Lab
from tests.shared.bus.waiting import until

from tierbus.cli.stack import free_port


def tierbus(
    lab: Lab, *arguments: str, stdin: str | None = None, url: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", *arguments],
        env={**os.environ, "TIERBUS_NATS_URL": url or lab.stack.nats_url, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "large.txt").write_text("word " * 1_050_000)
    (folder / "broken.schema.json").write_text('{"type": "no such type"}')
    (folder / "note.txt").write_text("The meeting is on Friday at nine.")
    return folder


REFUSED = {
    "empty prompt": ([""], "prompt is empty"),
    "5 MB prompt": (["--file", "large.txt"], "prompt has 5250000 bytes, the limit is 4194304"),
    "unknown tier": (["x", "--tier", "giant"], "hints.tier"),
    "unknown risk": (["x", "--risk", "extreme"], "risk"),
    "broken schema": (["x", "--schema", "broken.schema.json"], "expects.json_schema is not a JSON schema"),
    "past deadline": (
        ["x", "--deadline", "2020-01-01T00:00:00"],
        "deadline_at 2020-01-01T00:00:00+00:00 is in the past",
    ),
    "no budget": (["x", "--budget", "0"], "budget_usd 0 must be above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_value_and_a_rejection_event(lab: Lab, files: Path, name: str) -> None:
    arguments, reason = REFUSED[name]
    tenant = f"refused-{name.replace(' ', '-')}"
    paths = [str(files / part) if (files / part).is_file() and part else part for part in arguments]

    done = tierbus(lab, "submit", *paths, "--tenant", tenant, "--wait")

    assert (done.returncode, reason in done.stderr) == (3, True), done.stderr
    assert sum(line.startswith("error:") for line in done.stderr.splitlines()) == 1
    events = lab.stack_events(f"tierbus.event.{tenant}.*.rejected")
    assert [any(reason in told for told in event["reasons"]) for event in events] == [True]


def test_a_priority_or_tenant_that_is_no_subject_is_wrong_use(lab: Lab) -> None:
    assert tierbus(lab, "submit", "x", "--tenant", "a.b").returncode == 2
    assert tierbus(lab, "submit", "x", "--priority", "very high").returncode == 2
    urgent = tierbus(lab, "submit", "x", "--priority", "urgent")
    assert (urgent.returncode, urgent.stderr) == (2, "error: priority 'urgent' is none of high, normal, low\n")
    assert tierbus(lab, "submit").returncode == 2
    assert tierbus(lab, "submit", "x", "--file", "y").returncode == 2


def test_without_a_bus_there_is_one_clear_line(lab: Lab) -> None:
    done = tierbus(lab, "submit", "x", url="nats://127.0.0.1:9")

    assert done.returncode == 4
    [line] = done.stderr.strip().splitlines()
    assert "no bus at nats://127.0.0.1:9" in line
    assert "tierbus up" in line


def test_submit_and_wait_prints_the_answer_alone_on_standard_output(lab: Lab, files: Path) -> None:
    done = tierbus(
        lab,
        "submit",
        "--wait",
        "Translate this note.",
        "--attach",
        str(files / "note.txt"),
        "--tenant",
        "cli",
        "--id",
        "note",
    )

    assert done.returncode == 0, done.stderr
    assert "SIMULATED" in done.stdout
    assert "routed" in done.stderr


def test_results_tasks_and_costs_agree(lab: Lab) -> None:
    done = tierbus(lab, "submit", "--wait", "--json", "-", "--tenant", "agree", "--id", "t", stdin="Translate: agree.")
    result = json.loads(tierbus(lab, "result", "t", "--tenant", "agree", "--json").stdout)
    [listed] = json.loads(tierbus(lab, "tasks", "--tenant", "agree", "--json").stdout)
    bills = [
        json.loads(tierbus(lab, "costs", "--tenant", "agree", "--by", by, "--json").stdout)
        for by in ("tier", "role", "model", "tenant", "day")
    ]
    csv = tierbus(lab, "costs", "--tenant", "agree", "--csv").stdout.splitlines()

    assert json.loads(done.stdout) == result
    assert {result["cost_nano_usd"]} == {listed["cost_nano_usd"], *(bill["cost_nano_usd"] for bill in bills)}
    assert "tier,calls," in csv[0]
    assert result["cost_nano_usd"] > 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--days", "0"], "--days 0 must be above 0"),
        (["--days", "-1"], "--days -1 must be above 0"),
        (["--json", "--csv"], "--json and --csv are two ways"),
        (["--explain", "--by", "role"], "not --by role"),
    ],
)
def test_a_bill_that_cannot_be_printed_so_is_refused(lab: Lab, given: list[str], told: str) -> None:
    done = tierbus(lab, "costs", *given)

    assert (done.returncode, told in done.stdout + done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_up_that_is_told_to_end_stops_everything_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tierbus.cli.entry", "up", "--port", str(free_port()), "--data", str(tmp_path)]
    with (tmp_path / "log").open("w") as log, psutil.Popen(command, stdout=log, stderr=log) as stack:
        asyncio.run(until(lambda: "ready" in (tmp_path / "log").read_text()))
        started = stack.children(recursive=True)
        stack.send_signal(number)
        stack.wait(timeout=30)

    assert len(started) >= 6
    assert [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def test_a_running_task_can_be_cancelled_and_its_calls_stay_on_the_bill(lab: Lab) -> None:
    long = "Write about it. " * 40
    executor = next(process.popen for process in lab.stack.processes if process.name == "executor")
    executor.send_signal(signal.SIGSTOP)  # however long the commands take to start, the task has not ended
    try:
        tierbus(lab, "submit", long, "--tenant", "cancel", "--id", "long", "--route", "plan")
        done = tierbus(lab, "cancel", "long", "--tenant", "cancel", "--json")
    finally:
        executor.send_signal(signal.SIGCONT)

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["reason"]) == ("cancelled", "cancelled by the client")
    assert result["cost_nano_usd"] == sum(call.cost_nano_usd or 0 for call in lab.ledger("cancel"))


def test_a_task_past_its_deadline_expires_with_the_reason(lab: Lab) -> None:
    body = {"id": "short", "prompt": "Write. " * 50, "deadline_at": time.time() + 0.3, "hints": {"route": "plan"}}

    result = lab.result(body, "expiring")

    assert result.status == "expired"
    assert "deadline" in str(result.reason)
    assert result.cost_nano_usd == sum(call.cost_nano_usd or 0 for call in lab.ledger("expiring"))


def test_a_budget_that_does_not_reach_ends_the_task_before_the_call(lab: Lab) -> None:
    result = lab.result({"id": "poor", "prompt": "Translate: poor.", "budget_usd": "0.0000001"}, "poor")

    assert (result.status, len(lab.ledger("poor"))) == ("failed", 0)
    assert "budget" in str(result.reason)


def test_a_dead_letter_can_be_listed_shown_and_driven_again(lab: Lab, tmp_path: Path) -> None:
    tierbus(lab, "submit", "", "--tenant", "dead", "--id", "d")
    letters = [
        one for one in json.loads(tierbus(lab, "dead", "list", "--json").stdout) if one["from"].endswith(".dead")
    ]
    shown = json.loads(tierbus(lab, "dead", "show", letters[0]["id"]).stdout)
    mended = tmp_path / "mended.json"
    mended.write_text(json.dumps({"id": "d", "prompt": "Translate: mended."}))
    driven = tierbus(lab, "dead", "redrive", letters[0]["id"], "--body", str(mended))
    result = tierbus(lab, "result", "d", "--tenant", "dead", "--wait", "30")

    assert "prompt is empty" in shown["error"]
    assert driven.returncode == 0
    assert (result.returncode, "SIMULATED" in result.stdout) == (0, True)
    assert tierbus(lab, "dead", "show", "TASKS-0").returncode == 2


def test_the_bus_is_as_declared_and_says_what_waits(lab: Lab) -> None:
    assert tierbus(lab, "bus", "apply", "--check").returncode == 0
    rows = json.loads(tierbus(lab, "bus", "status", "--json").stdout)
    assert {"router", "planner", "executor", "reviewer"} == {row["service"] for row in rows}
    document = json.loads(tierbus(lab, "bus", "docs").stdout)
    assert {"Task", "Result"} <= set(document["components"]["schemas"])


def test_doctor_names_what_is_missing(lab: Lab) -> None:
    done = tierbus(lab, "doctor", "--json")

    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0
    assert findings["bus"]["ok"]
    assert findings["nats-server"]["ok"]


def test_an_unknown_tier_file_or_service_is_misconfigured(lab: Lab) -> None:
    tiers = tierbus(lab, "tiers", "nowhere")
    service = tierbus(lab, "serve", "cook")

    assert (tiers.returncode, "unknown tier file 'nowhere'" in tiers.stderr) == (6, True)
    assert (service.returncode, "unknown service 'cook'" in service.stderr) == (6, True)
