"""The command `report` against a bus."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nats.aio.client import Client
from tests.cli.records import call, rejection, result, step
from typer.testing import CliRunner

from tierbus.bus.publish import Publisher
from tierbus.cli.main import app
from tierbus.contracts import TaskStatus, Tier, encode

NOWHERE = "nats://127.0.0.1:9"


def report(*arguments: str, url: str = NOWHERE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", "report", *arguments],
        env={**os.environ, "TIERBUS_NATS_URL": url, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def _fill(nc: Client) -> None:
    """Two tenants: one task succeeded, one failed, one was rejected; one call is from last week."""
    now = time.time()
    publisher = Publisher(nc)
    facts = (
        call("good", cost=4_000_000, at=now - 60),
        call("bad", tenant="globex", tier=Tier.MID, cost=2_000_000, at=now - 60),
        call("old", cost=1_000_000, at=now - 6 * 86400),
        result("good", steps=[step(Tier.SMALL)], baseline=9_000_000, at=now - 30),
        result("bad", tenant="globex", status=TaskStatus.FAILED, reason="no way", at=now - 30),
        rejection("prompt is empty", at=now - 20),
    )
    for fact in facts:
        await publisher.put(fact.subject, encode(fact), {})


async def test_the_report_reads_ledger_results_and_rejections(nc: Client, nats_url: str, tmp_path: Path) -> None:
    await _fill(nc)
    target = tmp_path / "report.html"

    told = json.loads(report("--json", url=nats_url).stdout)
    mine = json.loads(report("--json", "--tenant", "acme", "--since", "12h", url=nats_url).stdout)
    summary = report("--note", "a note", url=nats_url)
    written = report("--html", str(target), "--jaeger", "http://localhost:16686", url=nats_url)

    assert (told["spent_nano_usd"], told["tasks"], told["rejected"]) == (7_000_000, 3, 1)
    assert told["compared"]["saving_nano_usd"] == 9_000_000 - 6_000_000
    assert (mine["spent_nano_usd"], mine["tenant"], mine["tenants"]) == (4_000_000, "acme", ["acme"])
    assert (summary.returncode, summary.stdout.splitlines()[0]) == (0, "a note")
    assert "33.3 % less than on the frontier alone" in summary.stdout
    assert "no way" in summary.stdout
    assert (written.returncode, written.stdout.strip()) == (0, str(target))
    assert "33.3 % less than on the frontier alone" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--since", "yesterday"), "'yesterday'"),
        (("--since", "0h"), "'0h'"),
        (("--since", "2999-01-01"), "'2999-01-01'"),
        (("--html", "/no/such/folder/report.html"), "'/no/such/folder/report.html'"),
        (("--tenant", "a.b"), "'a.b'"),
        (("--jaeger", "javascript:alert(1)"), "'javascript:alert(1)'"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_value(arguments: tuple[str, ...], named: str) -> None:
    done = CliRunner().invoke(app, ["report", *arguments])
    in_json = CliRunner().invoke(app, ["report", *arguments, "--json"])

    [line] = done.stderr.strip().splitlines()
    assert (done.exit_code, line.startswith("error: ")) == (2, True)
    assert named in line
    failure = json.loads(in_json.stdout)
    assert (in_json.exit_code, failure["exit"], named in failure["error"]) == (2, "usage", True)


async def test_a_page_that_cannot_be_written_is_one_line_too(nc: Client, nats_url: str, tmp_path: Path) -> None:
    await _fill(nc)

    done = report("--html", str(tmp_path), url=nats_url)

    assert done.returncode == 2
    assert "cannot be written: Is a directory" in done.stderr


def test_without_a_bus_there_is_one_clear_line() -> None:
    done = report()

    assert done.returncode == 4
    assert "no bus at" in done.stderr
