"""The commands about pilots against a bus."""

import asyncio
import json

import pytest
from nats.aio.client import Client
from tests.shared.pilot.parts import RAMP, counted, pilot
from typer.testing import CliRunner, Result

from tierbus.bus.pilots import JetPilots
from tierbus.bus.publish import Publisher
from tierbus.bus.stores import last
from tierbus.cli.main import app
from tierbus.contracts import PilotChange, PilotChanged, decode
from tierbus.pilot.progress import PilotState
from tierbus.pilot.rules import Mode, PilotRules


async def said(url: str, *words: str) -> Result:
    """What a command says; it runs an event loop of its own."""
    runner = CliRunner(env={"TIERBUS_NATS_URL": url, "NO_COLOR": "1", "TIERBUS_CLASSES": ""})
    return await asyncio.to_thread(lambda: runner.invoke(app, ["pilot", *words]))


async def state_of(nc: Client, rules: PilotRules = RAMP, task_class: str = "sums") -> PilotState:
    found = await JetPilots(Publisher(nc), nc).read(task_class, rules.id)
    assert found is not None
    return found[0]


@pytest.fixture
async def begun(nc: Client) -> JetPilots:
    """A ramp with thirty tries, a shadow with none, and one that was rolled back."""
    store = JetPilots(Publisher(nc), nc)
    shadow = PilotRules(mode=Mode.SHADOW, percent=20, target=0.9)
    await store.write(counted(pilot(), [True] * 30), 0)
    await store.write(pilot(shadow, task_class="notes"), 0)
    await store.write(counted(pilot(task_class="bad.one"), [False] * 20), 0)
    return store


async def test_status_says_of_each_class_what_was_tried_and_what_to_do(begun: JetPilots, nats_url: str) -> None:
    shown = await said(nats_url, "status")

    assert shown.exit_code == 0, shown.output
    assert "sums" in shown.output
    assert "100.0% (" in shown.output
    assert "90.0%" in shown.output
    assert "0 %, rolled back" in shown.output
    assert "bad.one: roll back: done: 0 of" in shown.output
    assert "notes: hold: nothing has been judged yet" in shown.output


async def test_status_as_json_has_every_figure(begun: JetPilots, nats_url: str) -> None:
    rows = {row["class"]: row for row in json.loads((await said(nats_url, "status", "--json")).output)}

    assert list(rows) == ["bad.one", "notes", "sums"]
    sums = rows["sums"]
    assert (sums["tried"], sums["passed"], sums["percent"], sums["step"], sums["steps"]) == (30, 30, 50, 2, 3)
    assert 0.7 < sums["pass_low"] < sums["pass_rate"] == sums["pass_high"] == 1
    assert sums["saving"] == pytest.approx(0.9)
    assert [change["change"] for change in sums["changes"]] == ["widened"]
    assert (rows["notes"]["saving"], rows["notes"]["agreed"], rows["notes"]["compared"]) == (None, 0, 0)
    assert (rows["bad.one"]["state"], rows["bad.one"]["advice"]) == ("rolled back", "roll back")


async def test_without_a_pilot_status_says_how_one_begins(nc: Client, nats_url: str) -> None:
    assert "no pilot has begun" in (await said(nats_url, "status")).output


async def test_pause_and_resume_stop_it_and_go_on(begun: JetPilots, nc: Client, nats_url: str) -> None:
    assert (await said(nats_url, "pause", "sums")).output == "sums: paused, at 0 %\n"
    assert (await state_of(nc)).paused
    assert (await said(nats_url, "pause", "sums")).exit_code == 0
    assert (await said(nats_url, "resume", "sums")).output == "sums: running, at 50 %\n"
    assert [change.change for change in (await state_of(nc)).changes] == ["widened", "paused", "resumed"]


async def test_what_an_operator_does_is_told_on_the_bus(begun: JetPilots, nc: Client, nats_url: str) -> None:
    await said(nats_url, "pause", "sums")
    found = await last(Publisher(nc), "PILOT", f"tierbus.pilot.change.sums.{RAMP.id}.2")
    assert found is not None
    assert decode(PilotChanged, found[0]).change is PilotChange.PAUSED


async def test_what_was_rolled_back_is_not_resumed_but_reset(begun: JetPilots, nc: Client, nats_url: str) -> None:
    refused = await said(nats_url, "resume", "bad.one", "--json")
    assert refused.exit_code == 3
    assert "`tierbus pilot reset bad.one`" in json.loads(refused.output)["error"]
    done = await said(nats_url, "reset", "bad.one", "--json")
    assert json.loads(done.output) == {"class": "bad.one", "state": "running", "percent": 10.0}
    state = await state_of(nc, task_class="bad.one")
    assert (state.generation, state.tries, state.rolled_back) == (2, 0, False)


async def test_a_class_without_a_pilot_is_named(begun: JetPilots, nats_url: str) -> None:
    refused = await said(nats_url, "pause", "translate", "--json")
    assert refused.exit_code == 2
    assert "there is no pilot of class 'translate'" in json.loads(refused.output)["error"]
