"""Commands about tasks: submit, watch, result, cancel, tasks."""

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tierbus.bus.client import Client, Published, client
from tierbus.cli import taskform
from tierbus.cli.output import Exit, err, fail, out, run, usd
from tierbus.cli.show import line, step_tree
from tierbus.contracts import Message, Priority, Result, TaskRejected, TaskRouted, TaskStatus, run_id
from tierbus.settings import Settings

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose task it is: letters, digits, _ and -.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TAKEN_WITHIN_S = 10.0


def submit(
    prompt: Annotated[str | None, typer.Argument(help="What is to be done; - reads standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the prompt from a file.")] = None,
    attach: Annotated[list[str] | None, typer.Option("--attach", "-a", help="PATH or NAME=PATH; repeat.")] = None,
    schema: Annotated[Path | None, typer.Option("--schema", help="JSON schema that the answer must fit.")] = None,
    criteria: Annotated[list[str] | None, typer.Option("--criteria", help="What a reviewer checks; repeat.")] = None,
    must_mention: Annotated[
        list[str] | None, typer.Option("--must-mention", help="Text that must occur; repeat.")
    ] = None,
    task_class: Annotated[
        str | None, typer.Option("--class", help="The kind of work it is, for what is learned and allowed by class.")
    ] = None,
    risk: Annotated[str | None, typer.Option("--risk", help="low, normal or high.")] = None,
    priority: Annotated[str, typer.Option("--priority", "-p", help="high, normal or low.")] = "normal",
    deadline: Annotated[str | None, typer.Option("--deadline", help="15m, 2h, or an ISO date with time.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="The most it may cost, in dollars.")] = None,
    tier: Annotated[str | None, typer.Option("--tier", help="Force small, mid or frontier.")] = None,
    route: Annotated[str | None, typer.Option("--route", help="Force direct or plan.")] = None,
    fresh: Annotated[bool, typer.Option("--no-cache", help="Do not answer from an earlier task.")] = False,
    meta: Annotated[list[str] | None, typer.Option("--meta", help="KEY=VALUE kept with the result; repeat.")] = None,
    task: Annotated[str | None, typer.Option("--id", help="Your own id: the same id is the same task.")] = None,
    tenant: Tenant = "default",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Show progress and wait for the result.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait with --wait.")] = 600.0,
    as_json: Json = False,
) -> None:
    """Publish a task; with --wait, follow it to its result."""
    body: dict[str, Any] = {"id": task or uuid.uuid4().hex, "prompt": taskform.prompt(prompt, file)}
    expects = {
        "json_schema": taskform.schema(schema) if schema else None,
        "criteria": criteria,
        "must_mention": must_mention,
    }
    optional = {
        "attachments": [taskform.attachment(item) for item in attach or []],
        "expects": {name: value for name, value in expects.items() if value},
        "task_class": task_class,
        "risk": risk,
        "deadline_at": taskform.deadline(deadline) if deadline else None,
        "budget_usd": budget,
        "hints": {name: value for name, value in (("tier", tier), ("route", route), ("fresh", fresh)) if value},
        "metadata": taskform.pairs(meta or []),
    }
    body |= {name: value for name, value in optional.items() if value not in (None, [], {})}
    _check_subject(tenant, priority, as_json)
    run(_submit(body, tenant, priority, wait, timeout, as_json), as_json=as_json)


def _check_subject(tenant: str, priority: str, as_json: bool) -> None:
    """Only what would make another subject of it; the rest is the router's."""
    if not _token(tenant):
        fail(f"tenant {tenant!r} may have letters, digits, _ and - only", Exit.USAGE, as_json=as_json)
    if priority not in list(Priority):
        fail(f"priority {priority!r} is none of high, normal, low", Exit.USAGE, as_json=as_json)


def _token(text: str) -> bool:
    return 0 < len(text) <= 64 and all(char.isascii() and (char.isalnum() or char in "_-") for char in text)  # noqa: PLR2004 - the contract's tenant length


async def _submit(body: dict[str, Any], tenant: str, priority: str, wait: bool, timeout: float, as_json: bool) -> None:
    async with client(Settings.read()) as bus:
        published = await bus.publish(body, tenant, priority, body["id"])
        if not as_json:
            again = " (known already: this is the same task)" if published.duplicate else ""
            err.print(f"published {published.task} as run {published.run}{again}")
        result = await _follow(bus, published, timeout if wait else TAKEN_WITHIN_S, wait, as_json)
    _finish(published, result, wait, as_json)


async def _follow(bus: Client, published: Published, timeout: float, wait: bool, as_json: bool) -> Message | None:
    """The event that ends the wait: the result, a rejection, or without --wait that a router took the task."""
    last: Message | None = None
    async for event in bus.follow(published.subjects, timeout):
        if not as_json and not isinstance(event, TaskRejected):
            err.print(f"  {line(event)}", soft_wrap=True)
        last = event
        if isinstance(event, Result | TaskRejected) or (not wait and isinstance(event, TaskRouted)):
            return event
    return last if isinstance(last, Result | TaskRejected) else None


def _finish(published: Published, event: Message | None, wait: bool, as_json: bool) -> None:
    match event:
        case TaskRejected():
            fail(f"the task was rejected: {'; '.join(event.reasons)}", Exit.REJECTED, as_json=as_json)
        case Result() if wait:
            _print_result(event, as_json)
        case None if wait:
            fail(
                f"no result of {published.task} yet; ask later with `tierbus result {published.task}`",
                Exit.TIMEOUT,
                as_json=as_json,
            )
        case None:
            fail(
                f"published, but no router took {published.task} within {TAKEN_WITHIN_S:.0f} s: is one running?",
                Exit.TIMEOUT,
                as_json=as_json,
            )
        case _:
            if as_json:
                print(json.dumps({"task": published.task, "run": published.run, "tenant": published.tenant}))
            else:
                print(published.task)


def _print_result(result: Result, as_json: bool, answer: str | None = None) -> None:
    if as_json:
        print(result.model_dump_json(exclude_none=True))
    elif result.answer is not None:
        print(answer if answer is not None else result.answer.text or f"(in the object store: {result.answer.ref})")
    else:
        err.print(f"[red]{result.status}[/red]: {result.reason}", soft_wrap=True)
    if result.status is not TaskStatus.SUCCEEDED:
        raise typer.Exit(int(Exit.NOT_SUCCEEDED))


def result(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    tenant: Tenant = "default",
    steps: Annotated[bool, typer.Option("--steps", help="Show every step and attempt.")] = False,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for it.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Print a task's result."""

    async def work() -> tuple[Result | None, str | None]:
        async with client(Settings.read()) as bus:
            identity = run_id(tenant, task)
            found = await bus.result(tenant, identity)
            if found is None and wait:
                async for event in bus.follow([f"tierbus.event.{tenant}.{identity}.result"], wait):
                    found = event if isinstance(event, Result) else None
                    break
            text = await bus.texts.read(found.answer) if found and found.answer else None
            return found, text

    found, text = run(work(), as_json=as_json)
    if found is None:
        fail(f"there is no result of task {task!r} of tenant {tenant!r} (yet)", Exit.TIMEOUT, as_json=as_json)
    if steps and not as_json:
        out.print(step_tree(found))
    _print_result(found, as_json, text)


def watch(
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Only this tenant.")] = "*",
    seconds: Annotated[float, typer.Option("--for", help="Stop after this many seconds.")] = 86400.0,
    as_json: Json = False,
) -> None:
    """Show what happens on the bus, as it happens."""

    async def work() -> None:
        async with client(Settings.read()) as bus:
            async for event in bus.live(f"tierbus.event.{tenant}.>", seconds):
                if as_json:
                    print(
                        json.dumps({"event": event.kind, **event.model_dump(mode="json", exclude_none=True)}),
                        flush=True,
                    )
                else:
                    about = getattr(event, "task", None) or getattr(event, "run", "")
                    out.print(
                        f"[dim]{event.subject.split('.')[2]}/{str(about)[:12]}[/dim] {line(event)}",
                        soft_wrap=True,
                    )

    run(work(), as_json=as_json)


def cancel(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    tenant: Tenant = "default",
    reason: Annotated[str, typer.Option("--reason", help="Kept in the result.")] = "cancelled by the client",
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the end.")] = 30.0,
    as_json: Json = False,
) -> None:
    """End a task early; what it has cost so far stays on the bill."""

    async def work() -> Result | None:
        async with client(Settings.read()) as bus:
            identity = run_id(tenant, task)
            await bus.cancel(tenant, identity, reason)
            async for event in bus.follow([f"tierbus.event.{tenant}.{identity}.result"], timeout):
                return event if isinstance(event, Result) else None
            return None

    found = run(work(), as_json=as_json)
    if found is None:
        fail(f"task {task!r} has not ended within {timeout:.0f} s", Exit.TIMEOUT, as_json=as_json)
    if as_json:
        print(found.model_dump_json(exclude_none=True))
    else:
        print(f"{found.status}, {usd(found.cost_nano_usd)}")
    if found.status is not TaskStatus.CANCELLED:
        raise typer.Exit(int(Exit.NOT_SUCCEEDED))


def tasks(
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Only this tenant.")] = "*",
    limit: Annotated[int, typer.Option("--limit", "-n", help="The newest so many.")] = 30,
    as_json: Json = False,
) -> None:
    """List the tasks of the last 72 hours, newest first."""

    async def work() -> tuple[dict[str, TaskRouted], dict[str, Result]]:
        routed: dict[str, TaskRouted] = {}
        ended: dict[str, Result] = {}
        async with client(Settings.read()) as bus:
            async for event in bus.events(f"tierbus.event.{tenant}.*.routed"):
                if isinstance(event, TaskRouted):
                    routed[event.run] = event
            async for event in bus.events(f"tierbus.event.{tenant}.*.result"):
                if isinstance(event, Result):
                    ended[event.run] = event
        return routed, ended

    routed, ended = run(work(), as_json=as_json)
    newest = sorted({**routed, **ended}.values(), key=lambda event: event.at, reverse=True)[:limit]
    rows = [_row(event.run, routed.get(event.run), ended.get(event.run)) for event in newest]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table()
    for name in ("task", "tenant", "status", "route", "cost", "escalations"):
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("task", "tenant", "status", "route", "cost", "escalations")))
    out.print(table)


def _row(run: str, routed: TaskRouted | None, ended: Result | None) -> dict[str, Any]:
    known = ended or routed
    return {
        "task": known.task if known else "",
        "run": run,
        "tenant": known.tenant if known else "",
        "status": ended.status.value if ended else "running",
        "route": routed.decision.route.value if routed else "–",
        "cost": usd(ended.cost_nano_usd) if ended else "–",
        "cost_nano_usd": ended.cost_nano_usd if ended else None,
        "escalations": ended.escalations if ended else 0,
    }
