"""What the README prints is what the programs do."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.flow.conftest import Lab

from tierbus.cli.build import SERVICES
from tierbus.cli.main import app
from tierbus.contracts import Role, Tier
from tierbus.settings import Settings
from tierbus.telemetry.names import Attr

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SUBJECTS = {"tierbus.task", "tierbus.review", "tierbus.step.mid"}
_TIMES = re.compile(r"\d+\.\d+ s\b")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo keeps what it needs: others may run one at the same time."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", "demo"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "TMPDIR": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _lines(text: str) -> list[str]:
    """Lines without spaces around and without times, which differ from run to run."""
    return [re.sub(r"\s+", " ", _TIMES.sub("– s", line)).strip() for line in text.splitlines() if line.strip()]


def test_every_line_of_the_cost_tables_is_what_the_demo_prints(demo: str) -> None:
    printed = set(_lines(demo))
    shown = [line for block in blocks("text") for line in _lines(block)]

    assert 40 > len(shown) > 20
    assert [line for line in shown if line not in printed] == []


def test_the_totals_are_what_the_demo_prints(demo: str) -> None:
    for line in _lines(demo):
        if line.startswith(("17 tasks,", "The succeeded ones", "Cache reads")):
            assert line in _lines(README)


def test_the_demo_leaves_nothing_running(demo: str, folder: Path) -> None:
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]]

    assert demo
    assert [line for line in left if any(str(folder) in part for part in line)] == []
    assert list(folder.iterdir()) == []


def test_the_service_table_names_every_service_with_what_it_hears() -> None:
    from tests.test_twice import Bench

    bench = Bench()
    rows = {row.split("|")[1].strip(): row.split("|")[2] for row in README.splitlines() if row.startswith("| ")}
    heard = {
        service.name: {kind.kind for kind in service.handlers}
        for service in (bench.router, bench.planner, bench.executor, bench.reviewer)
    }

    assert heard == {name: set(re.findall(r"`([a-z-]+)`", rows[name])) for name in SERVICES}


def test_every_command_in_the_command_table_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}
    table = README.split("| command | does |")[1].split("Exit codes")[0]
    named = {
        cell for row in table.splitlines() for cell in re.findall(r"`([a-z]+)", row.split("|")[1] if "|" in row else "")
    }

    assert known | {str(name) for name in groups} == named


def test_every_setting_in_the_settings_table_exists_with_its_default() -> None:
    rows = re.findall(r"^\| `TIERBUS_([A-Z_]+)` \|.*\| (.+) \|$", README, re.MULTILINE)
    fields = Settings.model_fields

    assert len(rows) >= 8
    for name, default in rows:
        given = fields[name.lower()].default
        assert default.strip("`") == (
            "unset"
            if given in (None, "")
            else f"{given:g}"
            if isinstance(given, float)
            else str(given).lower()
            if isinstance(given, bool)
            else str(given)
        )


def test_every_attribute_that_the_readme_sends_a_person_to_is_one_that_spans_have() -> None:
    section = README.split("## Read the trace")[1].split("\n## ")[0]
    told = set(re.findall(r"`((?:tierbus|messaging|gen_ai)\.[a-z_.]+)", section))
    named = {attribute.value for attribute in Attr}
    by_kind = {f"tierbus.cost.{tier}_usd" for tier in Tier} | {f"tierbus.cost.role.{role}_usd" for role in Role}
    places = set(re.findall(r"(?:process|wait) (tierbus[a-z.]+)", section))

    assert len(told) > 10
    assert told - (named | by_kind) == set()
    assert places <= SUBJECTS


def test_every_picture_and_link_in_the_readme_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)

    assert [path for path in linked if not (ROOT / path).exists()] == []
    assert [path for path in linked if path.endswith(".svg")]


async def test_the_nats_py_example_runs_as_printed(lab: Lab, tmp_path: Path) -> None:
    [example] = blocks("python")
    script = tmp_path / "example.py"
    script.write_text(example.replace("nats://127.0.0.1:4222", lab.stack.nats_url))

    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), timeout=90)

    assert (process.returncode, b"SIMULATED" in out) == (0, True)


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) <= targets
