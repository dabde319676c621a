"""Draws the README's pictures anew: `python -m tests.pictures`. Needs Chromium, for the report's page."""

import asyncio
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.cli.test_report_browser import NAMES
from tests.scenarios import bodies, publish_all, write
from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.cli.trace import drawn, headline
from tierbus.contracts import Result, run_id
from tierbus.telemetry.spans import Story
from tierbus.telemetry.story import story_of, trace

FOLDER = Path(__file__).parents[1] / "deploy" / "pictures"
TENANT = "demo"
SHOWN = "escalation-mended"
WIDTH = 150
BUSY = {"when": {"role": "executor", "tier": "small"}, "times": 2, "status": 429, "retry_after_s": 6}
"""Both small models ask to wait longer than is waited for in place: the message goes back and comes again."""


def _scenarios() -> list[dict[str, Any]]:
    return [{**body, "faults": [BUSY]} if body["name"] == SHOWN else body for body in bodies()]


async def _work(stack: Stack) -> Story:
    async with client(stack.settings) as bus:
        warm = await bus.publish(
            {"id": "warm", "prompt": "Translate into French: good morning."}, TENANT, "normal", "warm"
        )
        async for event in bus.follow(warm.subjects, 90):
            if isinstance(event, Result):
                break
        await publish_all(stack.settings, TENANT)
        run = await bus.run(run_id(TENANT, SHOWN))
        assert run is not None
        return story_of(run, await bus.calls(run.id), time.time())


def _svg(story: Story) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(headline(story), highlight=False)
    console.print(drawn(trace(story)))
    drawing = console.export_svg(title=f"tierbus trace {SHOWN} (SIMULATED models)")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)  # no font from the network


def main() -> None:
    """Run the scenarios, draw one trace and the report."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        scenarios = write(Path(folder) / "scenarios", _scenarios())
        with Stack(data=Path(folder), sim_options=("--scenarios", str(scenarios)), logs=log) as stack:
            story = asyncio.run(_work(stack))
            page = Path(folder) / "report.html"
            command = [sys.executable, "-m", "tierbus.cli.entry", "report", "--since", "1h", "--html", str(page)]
            env = {"TIERBUS_NATS_URL": stack.nats_url, "PATH": "/usr/bin:/bin"}
            subprocess.run([*command, "--note", "SIMULATED models"], env=env, check=True)
        (FOLDER / "trace.svg").write_text(_svg(story), encoding="utf-8")
        shot = FOLDER / "report.png"
        chromium = next(path for name in NAMES if (path := shutil.which(name)))
        size = ["--window-size=1280,1500", "--hide-scrollbars", "--virtual-time-budget=10000"]
        headless = ["--headless=new", "--no-sandbox", "--disable-gpu", *size, f"--screenshot={shot}"]
        subprocess.run([chromium, *headless, page.as_uri()], check=True, capture_output=True)
    sys.stdout.write(f"{FOLDER}/trace.svg, {shot}\n")


if __name__ == "__main__":
    main()
