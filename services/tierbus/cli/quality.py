"""The commands `feedback` and `quality`: what people say of results, and what the quality watch found."""

import json
import math
import time
from typing import Annotated

import typer

from tierbus.bus.client import Client, client
from tierbus.cli.output import Exit, fail, out, run
from tierbus.cli.report import beginning
from tierbus.cli.reporting.findings import watch_findings
from tierbus.cli.reporting.terminal import watched
from tierbus.contracts import FeedbackGiven, QualityMeasured, TenantName, run_id
from tierbus.errors import Rejected
from tierbus.quality.measure import Quality
from tierbus.quality.measure import quality as measured
from tierbus.settings import Settings
from tierbus.telemetry.content import cut

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NOTE_CHARS = 2000
GOOD, BAD = 1.0, 0.0


def feedback(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    good: Annotated[bool, typer.Option("--good", help="The result was right: a score of 1.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="The result was wrong: a score of 0.")] = False,
    score: Annotated[float | None, typer.Option("--score", help="From 0 (bad) to 1 (good).")] = None,
    note: Annotated[str, typer.Option("--note", help="Why; kept on the bus without keys, printed nowhere.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose task it is.")] = "default",
    as_json: Json = False,
) -> None:
    """Say whether a task's result was good; the last word counts. Only the bus must be up."""
    try:
        given = score_of(good=good, bad=bad, score=score)
    except ValueError as error:
        fail(str(error), Exit.USAGE, as_json=as_json)
    said = run(_give(task, tenant, given, cut(note, NOTE_CHARS)), as_json=as_json)
    if said is None:
        fail(
            f"no task {task!r} of tenant {tenant!r} is known (runs are kept for a week; `tierbus tasks` lists them)",
            Exit.USAGE,
            as_json=as_json,
        )
    if as_json:
        print(said.model_dump_json(exclude={"note"}))
    else:
        print(f"{task}: {given:g} (class {said.task_class})")


def score_of(*, good: bool, bad: bool, score: float | None) -> float:
    """The score that the options say.

    Raises:
        ValueError: none of them, more than one, or a score that is not between 0 and 1.
    """
    if good + bad + (score is not None) != 1:
        raise ValueError("say exactly one of --good, --bad and --score")
    if score is None:
        return GOOD if good else BAD
    if math.isnan(score) or not BAD <= score <= GOOD:
        raise ValueError(f"--score {score:g} is not between 0 and 1")
    return score


async def _give(task: str, tenant: TenantName, score: float, note: str) -> FeedbackGiven | None:
    """Say it, or None where there is no such task.

    Raises:
        Rejected: the task has not ended.
    """
    async with client(Settings.read()) as bus:
        known = await _class_of(bus, tenant, run_id(tenant, task))
        if known is None:
            return None
        said = FeedbackGiven(
            run=run_id(tenant, task),
            tenant=tenant,
            task=task,
            task_class=known,
            score=score,
            note=note,
            at=time.time(),
        )
        await bus.give(said)
        return said


async def _class_of(bus: Client, tenant: str, identity: str) -> str | None:
    """The class of a task that has ended."""
    state = await bus.run(identity)
    if state is None or state.tenant != tenant:
        return None
    if state.status is None:
        raise Rejected(f"task {state.task!r} has not ended: there is no result to judge yet")
    return state.task_class


def quality(
    since: Annotated[str, typer.Option("--since", help="12h, 7d, or an ISO date (UTC without a zone).")] = "7d",
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Only this tenant.")] = "*",
    by_day: Annotated[bool, typer.Option("--by-day", help="One row a day (UTC) instead of one a class.")] = False,
    as_json: Json = False,
) -> None:
    """Show how answers compare with the frontier's own, what was truly saved, and what feedback says, by class."""
    now = time.time()
    try:
        start = beginning(since, now)
    except ValueError as error:
        fail(str(error), Exit.USAGE, as_json=as_json)
    if tenant != "*" and not all(char.isascii() and (char.isalnum() or char in "_-") for char in tenant):
        fail(f"--tenant {tenant!r} may have letters, digits, _ and - only", Exit.USAGE, as_json=as_json)
    found = run(_read(start, tenant), as_json=as_json)
    if as_json:
        print(json.dumps({"since": start, "until": now, **found.model_dump(mode="json")}))
    elif found.empty:
        print(f"nothing was compared and nobody gave feedback since {since}; `watch` rules stand in TIERBUS_CLASSES")
    else:
        out.print(watched(found, by_day=by_day))
        for line in watch_findings(found):
            out.print(line, soft_wrap=True, markup=False)


async def _read(start: float, tenant: str) -> Quality:
    async with client(Settings.read()) as bus:
        records: list[QualityMeasured] = [one async for one in bus.measured(tenant) if one.ended_at >= start]
        said = [one async for one in bus.feedback(tenant) if one.at >= start]
    return measured(records, said)
