"""Commands about pilots: pilot status, pilot pause, pilot resume, pilot reset."""

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table

from tierbus.bus.client import Client, client
from tierbus.bus.pilots import JetPilots
from tierbus.classes import load
from tierbus.cli.output import Exit, fail, out, run, usd
from tierbus.contracts import NANO, PilotArm
from tierbus.errors import Conflict, Rejected, Unavailable
from tierbus.pilot.advice import WITHIN, Agreement, advise, agreement, overhead_nano_usd, pass_interval, saved
from tierbus.pilot.interval import tries_for
from tierbus.pilot.progress import PilotState, pause, reset, resume, told
from tierbus.pilot.rules import Mode
from tierbus.settings import Settings

pilot = typer.Typer(no_args_is_help=True, help="Pilots: a class of tasks that goes the cheap way bit by bit.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ClassName = Annotated[str, typer.Argument(metavar="CLASS", help="The class of tasks.")]
WRITES = 16
"""Tries to write a state that services write too."""


@pilot.command("status")
def status(as_json: Json = False) -> None:
    """Show for each class what was tried, how often it passed, what it saves, and what to do."""
    rows = run(_rows(), as_json=as_json)
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        out.print("no pilot has begun: one begins with the first task of a class whose rules have a `pilot`")
        return
    table = Table()
    for name in ("class", "mode", "at", "tried", "passed", "target", "saving", "overhead"):
        table.add_column(name, justify="left" if name in ("class", "mode") else "right")
    for row in rows:
        table.add_row(*_cells(row))
    out.print(table)
    for row in rows:
        out.print(f"{row['class']}: {row['advice']}: {row['why']}", markup=False, soft_wrap=True)


@pilot.command("pause")
def paused(task_class: ClassName, as_json: Json = False) -> None:
    """Draw nobody: every task of the class goes to the frontier tier until `resume`."""
    _operate(task_class, pause, as_json=as_json)


@pilot.command("resume")
def resumed(task_class: ClassName, as_json: Json = False) -> None:
    """Go on after `pause`, as wide as before; a pilot that was rolled back needs `reset`."""
    _operate(task_class, resume, as_json=as_json)


@pilot.command("reset")
def anew(task_class: ClassName, as_json: Json = False) -> None:
    """Begin anew at the first step, with nothing counted."""
    _operate(task_class, reset, as_json=as_json)


def _operate(task_class: str, change: Callable[[PilotState, float], PilotState], *, as_json: bool) -> None:
    settings = Settings.read()

    async def work() -> PilotState | None:
        async with client(settings) as bus:
            return await _written(bus, settings, task_class, change)

    state = run(work(), as_json=as_json)
    if state is None:
        fail(
            f"there is no pilot of class {task_class!r}; `tierbus pilot status` shows them", Exit.USAGE, as_json=as_json
        )
    if as_json:
        print(json.dumps({"class": state.task_class, "state": _standing(state), "percent": state.percent}))
    else:
        print(f"{state.task_class}: {_standing(state)}, at {state.percent:g} %")


async def _written(
    bus: Client, settings: Settings, task_class: str, change: Callable[[PilotState, float], PilotState]
) -> PilotState | None:
    """The state after an operator's word, which is said on the bus too.

    Raises:
        Unavailable: services wrote it over and over meanwhile.
    """
    store = JetPilots(bus.publisher, bus.nc)
    rules = await _rules_id(store, settings, task_class)
    for _ in range(WRITES):
        found = await store.read(task_class, rules) if rules else None
        if found is None:
            return None
        before, revision = found
        if change is resume and before.rolled_back:
            raise Rejected(
                f"the pilot of {task_class!r} was rolled back: mend it, then `tierbus pilot reset {task_class}`"
            )
        after = change(before, time.time())
        if after is before:
            return after
        try:
            await store.write(after, revision)
        except Conflict:
            continue
        await bus.publisher.say(told(after, after.changes[-1]))
        return after
    raise Unavailable(f"the pilot of {task_class!r} changed {WRITES} times while it was being written: try again")


async def _rules_id(store: JetPilots, settings: Settings, task_class: str) -> str | None:
    """Which pilot of a class is meant: the one under this process's rules, else the one that changed last."""
    given = load(settings.classes).of(task_class).pilot
    if given is not None and await store.read(task_class, given.id) is not None:
        return given.id
    return next((state.rules.id for state in await store.all() if state.task_class == task_class), None)


async def _rows() -> list[dict[str, Any]]:
    async with client(Settings.read()) as bus:
        store = JetPilots(bus.publisher, bus.nc)
        return [_row(state, await _agreement(store, state)) for state in await store.all()]


async def _agreement(store: JetPilots, state: PilotState) -> Agreement | None:
    if state.rules.mode is not Mode.SHADOW:
        return None
    return agreement(await store.outcomes(state.task_class, state.rules.id), state.generation)


def _row(state: PilotState, agreed: Agreement | None) -> dict[str, Any]:
    rate, advice, saving = pass_interval(state), advise(state), saved(state)
    frontier = state.bill(PilotArm.OUTSIDE, PilotArm.SHADOWED)
    return {
        "class": state.task_class,
        "mode": state.rules.mode.value,
        "state": _standing(state),
        "generation": state.generation,
        "percent": state.percent,
        "step": state.step + 1 if state.rules.ramp else 0,
        "steps": len(state.rules.ramp),
        "target": state.rules.target,
        "alpha": state.rules.alpha,
        "tried": state.tries,
        "passed": state.passes,
        "unjudged": state.unjudged,
        "pass_rate": state.passes / state.tries if state.tries else None,
        "pass_low": rate.low,
        "pass_high": rate.high,
        "saving": saving,
        "saving_is": "reckoned" if state.rules.mode is Mode.SHADOW else "measured",
        "cheap_runs": state.bill(PilotArm.CANARY, PilotArm.SHADOW).runs,
        "cheap_usd": state.bill(PilotArm.CANARY, PilotArm.SHADOW).cost_nano_usd / NANO,
        "frontier_runs": frontier.runs,
        "frontier_usd": frontier.cost_nano_usd / NANO,
        "overhead_usd": overhead_nano_usd(state) / NANO,
        "agreed": agreed.same if agreed else None,
        "compared": agreed.compared if agreed else None,
        "tries_for_one_point": tries_for(state.rules.target, WITHIN, state.rules.alpha),
        "advice": advice.do,
        "why": advice.why,
        "changes": [change.model_dump(mode="json") for change in state.changes],
    }


def _standing(state: PilotState) -> str:
    return "rolled back" if state.rolled_back else "paused" if state.paused else "running"


def _cells(row: dict[str, Any]) -> list[str]:
    passed = "–"
    if row["tried"]:
        passed = f"{row['pass_rate']:.1%} ({row['pass_low']:.1%}–{row['pass_high']:.1%})"
    saving = "–" if row["saving"] is None else f"{row['saving']:.1%}"
    if row["saving"] is not None and row["saving_is"] == "reckoned":
        saving += " reckoned"
    place = f"{row['percent']:g} %"
    if row["state"] != "running":
        place = f"{place}, {row['state']}"
    overhead = usd(round(row["overhead_usd"] * NANO)) if row["mode"] == Mode.SHADOW else "–"
    return [row["class"], row["mode"], place, str(row["tried"]), passed, f"{row['target']:.1%}", saving, overhead]
