"""`python -m tierbus.testing.sim.serve`: run the stand-in model server.

Prints `{"url": ...}` as one JSON line as soon as it can be asked. Ends by SIGTERM with code 0.
"""

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from tierbus.errors import Misconfigured
from tierbus.testing.sim.app import Sim, application
from tierbus.testing.sim.script import Book, Scenario, bench_scenarios, load_scenarios

MISCONFIGURED = 6
"""Exit code, the same as the command line's."""
BACKLOG = 2048
ZERO_ENV = "TIERBUS_SIM_ZERO"


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    given = options().parse_args(arguments)
    try:
        sim = simulator(given)
    except Misconfigured as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(MISCONFIGURED) from None
    serve(sim, given.host, given.port)


def options() -> argparse.ArgumentParser:
    """What the command understands."""
    parser = argparse.ArgumentParser(prog="python -m tierbus.testing.sim.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--scenarios", metavar="DIR", help="a folder of your own scenario files; none: no scenarios at all"
    )
    parser.add_argument("--bench", action="store_true", help="only the benchmark's scenarios")
    parser.add_argument("--zero", action="store_true", help=f"--bench --latency 0; so does {ZERO_ENV}=1")
    parser.add_argument("--latency", type=float, metavar="S", help="seconds that every call takes")
    parser.add_argument("--latency-scale", type=float, default=1.0, metavar="X", help="times the tiers' own times")
    parser.add_argument("--batch", type=float, default=3.0, metavar="S", help="seconds that a batch takes")
    return parser


def simulator(given: argparse.Namespace) -> Sim:
    """The server's state for the options of a command line.

    Raises:
        Misconfigured: there is no such folder, or a scenario in it does not fit.
    """
    zero = given.zero or os.environ.get(ZERO_ENV, "") not in ("", "0")
    latency_s = given.latency if given.latency is not None or not zero else 0.0
    sim = Sim(Book(_scenarios(given.scenarios, bench=given.bench or zero)), latency_s, given.latency_scale)
    sim.batches.timing.takes_s = given.batch
    return sim


def _scenarios(folder: str | None, *, bench: bool) -> list[Scenario]:
    if folder == "none":
        return []
    return bench_scenarios() if bench and folder is None else load_scenarios(folder)


def serve(sim: Sim, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SystemExit: the address is taken or not ours.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        sys.stderr.write(f"error: cannot listen on {host}:{port}: {error.strerror}\n")
        raise SystemExit(MISCONFIGURED) from None
    listening.listen(BACKLOG)
    for ended in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ended, lambda *_: None)  # uvicorn raises it again when it has stopped: that is no failure
    config = uvicorn.Config(
        application(sim),
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="critical",
        lifespan="off",
        backlog=BACKLOG,
        timeout_graceful_shutdown=1,
    )
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - only compared
    sys.stdout.write(json.dumps({"url": f"http://{shown}:{listening.getsockname()[1]}"}) + "\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
