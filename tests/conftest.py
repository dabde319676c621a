"""A real nats-server for the tests that need a bus, and a connection to one that is as empty as on its first day."""

import itertools
import os
import random
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator

import nats
import pytest
from nats.aio.client import Client

from tierbus.bus import topology
from tierbus.bus.apply import apply, request
from tierbus.bus.connect import close
from tierbus.cli import stack

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes are started: the first compiles for all

START_S = 30.0
NAMES = (*(stream.name for stream in topology.STREAMS), f"OBJ_{topology.BLOBS}")
PORTS = range(20_000, 30_000)
"""Below those that systems hand out by themselves, to connections too."""


@pytest.fixture(scope="session", autouse=True)
def ports() -> Iterator[None]:
    """Ports that no other worker of pytest-xdist takes between the choice of one and its use."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = PORTS[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    start = random.randrange(len(mine))
    turn = itertools.cycle([*mine[start:], *mine[:start]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "free_port", lambda: next(filter(stack._is_free, turn)))
        yield


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A nats-server with JetStream of this test session's own."""
    folder = tmp_path_factory.mktemp("nats")
    port = stack.free_port()
    command = [stack.nats_server(), "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder / "data")]
    with (folder / "nats.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait(process, port)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
async def nc(nats_url: str) -> AsyncIterator[Client]:
    """A connection to a bus that is as declared and holds nothing."""
    connection = await nats.connect(nats_url, allow_reconnect=False, connect_timeout=10)
    try:
        await _empty(connection)
        while await _left(connection):
            await _empty(connection)
        yield connection
    finally:
        await close(connection)


async def _empty(connection: Client) -> None:
    for name in NAMES:
        await request(connection, f"STREAM.DELETE.{name}")
    await apply(connection)


async def _left(connection: Client) -> bool:
    """Whether a stream goes on with what it held: made anew at once, the server may find files that were not yet gone."""
    states = [(await request(connection, f"STREAM.INFO.{name}"))["state"] for name in NAMES]
    return any(state["last_seq"] for state in states)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, f"nats-server ended with exit code {process.returncode}"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"nats-server did not listen on {port} within {START_S:.0f} s")
