"""`tierbus trace` against a running bus: a task as a picture, or as OTLP JSON."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.flow.conftest import Lab
from tests.flow.test_cli import tierbus
from tests.flow.test_kill import until
from tests.scenarios import write

from tierbus.cli.jaeger import flat, shape
from tierbus.cli.output import usd
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, run_id
from tierbus.testing.sim.script import load_scenarios

TENANT = "drawn"
TASK = "board-minutes"
SLOW = "Take your time over this one."
SLOW_SCENARIO = {
    "name": "slow",
    "about": "an answer that is so long in coming that its task can be looked at meanwhile",
    "match": SLOW,
    "task": {"prompt": SLOW},
    "answers": [{"when": {"role": "executor"}, "text": "There.", "latency_s": 60}],
    "expect": {"route": "direct", "tier_path": {"answer": ["small"]}},
}
COST = re.compile(r"\$\d+\.\d{6}")


@pytest.fixture(scope="module")
def result(lab: Lab) -> Result:
    """A planned task, one step of which climbs a tier."""
    [scenario] = [scenario for scenario in load_scenarios() if scenario.name == TASK]
    return lab.result({**scenario.task_body(), "id": TASK}, TENANT)


@pytest.fixture(scope="module")
def slow_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A stack whose model takes a minute for one task."""
    folder = tmp_path_factory.mktemp("slow")
    scenarios = write(folder / "scenarios", [SLOW_SCENARIO])
    options = ("--scenarios", str(scenarios))
    with (folder / "log").open("w") as log, Stack(data=Path(folder), sim_options=options, logs=log) as stack:
        yield Lab(stack)


def spans_of(printed: str) -> list[dict[str, Any]]:
    return flat({"result": json.loads(printed)})


def test_a_finished_task_shows_every_step_attempt_and_verdict(lab: Lab, result: Result) -> None:
    done = tierbus(lab, "trace", TASK, "--tenant", TENANT)

    lines = done.stdout.splitlines()
    attempts = [attempt for step in result.steps for attempt in step.attempts]
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].startswith(f"{TASK} succeeded after ")
    assert lines[0].endswith("1 escalation")
    for step in result.steps:
        [line] = [line for line in lines if f" step {step.id} " in line]
        assert " → ".join(step.tier_path) in line
    assert len([line for line in lines if "rejected by checks" in line]) == 1
    assert len([line for line in lines if "accepted by" in line]) == len(result.steps)
    assert len([line for line in lines if re.search(r"attempt \d: answered", line)]) == len(attempts)


def test_the_costs_in_the_picture_are_those_of_the_ledger_and_add_up_to_the_result(lab: Lab, result: Result) -> None:
    lines = tierbus(lab, "trace", TASK, "--tenant", TENANT).stdout.splitlines()
    told = spans_of(tierbus(lab, "trace", TASK, "--tenant", TENANT, "--json").stdout)

    calls = [call for call in lab.ledger(TENANT) if call.run == result.run]
    [root] = [line for line in lines if line.startswith("task plan ")]
    drawn = [COST.findall(line) for line in lines if "chat " in line]
    exact = [span["attributes"]["tierbus.cost.nano_usd"] for span in told if span["name"].startswith("chat ")]
    assert COST.findall(root) == [usd(result.cost_nano_usd)]
    assert lines[1].startswith(usd(result.cost_nano_usd))
    assert sorted(drawn) == sorted([usd(call.cost_nano_usd)] for call in calls)
    assert sum(exact) == result.cost_nano_usd == sum(call.cost_nano_usd or 0 for call in calls)


def test_as_json_it_is_one_trace_with_one_root_of_all_services(lab: Lab, result: Result) -> None:
    done = tierbus(lab, "trace", TASK, "--tenant", TENANT, "--json")

    told = spans_of(done.stdout)
    found = shape(told)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
    assert (found.roots, found.orphans) == (1, 0)
    assert found.services == ("tierbus-executor", "tierbus-planner", "tierbus-reviewer", "tierbus-router")
    assert {span["traceId"] for span in told} == {result.trace_id}
    assert len({span["spanId"] for span in told}) == len(told)


def test_in_a_terminal_of_eighty_columns_verdicts_and_costs_are_still_there(lab: Lab, result: Result) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        [sys.executable, "-m", "tierbus.cli.entry", "trace", TASK, "--tenant", TENANT],
        env={**environment, "TIERBUS_NATS_URL": lab.stack.nats_url, "NO_COLOR": "1", "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as command:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    lines = shown.decode().splitlines()

    assert command.returncode == 0
    assert max(len(line) for line in lines) <= 80
    [root] = [line for line in lines if line.startswith("task plan ")]
    assert COST.findall(root) == [usd(result.cost_nano_usd)]
    assert len([line for line in lines if "accepted by" in line]) == len(result.steps)


def test_a_task_that_nobody_knows_is_one_clear_line(lab: Lab) -> None:
    done = tierbus(lab, "trace", "no-such-task")
    told = tierbus(lab, "trace", "no-such-task", "--json")

    [line] = done.stderr.strip().splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("error: no task 'no-such-task' of tenant 'default' is known")
    assert (told.returncode, json.loads(told.stdout)["exit"]) == (2, "usage")


def test_a_task_is_looked_for_at_its_tenant_only(lab: Lab, result: Result) -> None:
    lab.result({"id": "plain", "prompt": "Translate: plain.", "risk": "low"}, "default")

    assert tierbus(lab, "trace", "plain").returncode == 0
    assert tierbus(lab, "trace", "plain", "--tenant", TENANT).returncode == 2
    assert tierbus(lab, "trace", TASK).returncode == 2
    assert tierbus(lab, "trace", TASK, "-t", TENANT).returncode == 0


def test_without_a_bus_there_is_one_clear_line(lab: Lab) -> None:
    done = tierbus(lab, "trace", TASK, url="nats://127.0.0.1:9")

    [line] = done.stderr.strip().splitlines()
    assert (done.returncode, done.stdout) == (4, "")
    assert "no bus at nats://127.0.0.1:9" in line


def test_a_task_that_was_cancelled_before_it_came_is_named_by_its_run(lab: Lab) -> None:
    tierbus(lab, "cancel", "never", "--tenant", TENANT)

    done = tierbus(lab, "trace", "never", "--tenant", TENANT)

    assert done.returncode == 0
    assert done.stdout.startswith(f"{run_id(TENANT, 'never')} cancelled after ")


async def test_a_running_task_shows_how_far_it_is_and_its_open_call(slow_lab: Lab) -> None:
    task = "[red]slow[/]"
    tierbus(slow_lab, "submit", SLOW, "--tenant", TENANT, "--id", task, "--route", "direct", "--tier", "small")
    await until(lambda: bool(slow_lab.served(role="executor", state="open")), "the executor's call")

    running = tierbus(slow_lab, "trace", task, "--tenant", TENANT)
    told = spans_of(tierbus(slow_lab, "trace", task, "--tenant", TENANT, "--json").stdout)
    tierbus(slow_lab, "cancel", task, "--tenant", TENANT)
    ended = tierbus(slow_lab, "trace", task, "--tenant", TENANT)

    assert (running.returncode, running.stderr) == (0, "")
    assert running.stdout.startswith(f"{task} running after ")
    [call] = [line for line in running.stdout.splitlines() if "chat " in line]
    assert "open, charged by estimate" in call
    assert COST.findall(call)
    assert (shape(told).roots, shape(told).orphans) == (1, 0)
    [root] = [span for span in told if not span.get("parentSpanId")]
    assert root["attributes"]["tierbus.task.outcome"] == "running"
    assert ended.stdout.startswith(f"{task} cancelled after ")
    assert "interrupted: " in ended.stdout
    assert "open" not in ended.stdout
