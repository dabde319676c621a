"""What tracing costs: direct tasks per second with tracing off, on without a collector, on with one; part of `make bench`.

The three are measured in turn, several rounds, each on a stack of its own, and compared by their medians. The collector is a
Jaeger where there is one (`make jaeger`): it works on the same cores, so its own time is told apart.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from tests.bench.core import throughput
from tests.collector import collecting
from tierbus.cli import jaeger
from tierbus.cli.build import SERVICES
from tierbus.cli.stack import Stack
from tierbus.errors import Misconfigured

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
TASKS = int(os.environ.get("BENCH_TRACED", "1500"))
NOBODY = "http://127.0.0.1:9"
MOST_SHARE = 0.10
"""What tracing may take of the throughput."""


@contextmanager
def _stack(mode: str) -> Iterator[Stack]:
    env = {"TIERBUS_LOG_LEVEL": "warning"}
    real = mode == "collector" and _has_jaeger()
    with (
        tempfile.TemporaryDirectory(prefix="tierbus-bench-") as folder,
        (Path(folder) / "log").open("w") as log,
        collecting() as ours,
    ):
        if mode == "nobody":
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = NOBODY
        elif mode == "collector" and not real:
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = ours.url
        elif mode == "off":
            env["OTEL_SDK_DISABLED"] = "true"
        options = ("--bench", "--latency", "0")
        with Stack(
            data=Path(folder), sim_options=options, slots=32, logs=log, env=env, jaeger=real,
        ) as stack:  # fmt: skip
            yield stack


def _has_jaeger() -> bool:
    try:
        jaeger.find()
    except Misconfigured:
        return False
    return True


def _measure(mode: str) -> dict[str, float]:
    with _stack(mode) as stack:
        uvloop.run(throughput(stack, "direct", 200, "warm"))
        rate, cpu = uvloop.run(throughput(stack, "direct", TASKS, "traced"))
        own = sum(seconds for name, seconds in cpu.items() if name in SERVICES)
        rss = max(psutil.Process(one.popen.pid).memory_info().rss for one in stack.processes if one.name in SERVICES)
        return {
            "rate": rate,
            "cpu_ms": 1000 * own / rate,
            "collector_cores": cpu.get("jaeger", 0.0),
            "rss_mb": rss / 1e6,
        }


def main() -> None:
    """Measure and print, with the share that each mode costs."""
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in ("off", "nobody", "collector")}
    for _ in range(ROUNDS):
        for mode, rounds in found.items():
            rounds.append(_measure(mode))
    figures: dict[str, Any] = {"rounds": ROUNDS, "sent to": "Jaeger" if _has_jaeger() else "this driver"}
    for mode, rounds in found.items():
        figures[mode] = {name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]}
    off = figures["off"]["rate"]
    print(
        f"SIMULATED model server, zero latency; medians of {ROUNDS} rounds; cpu_ms is the four services', a task;"
        f" collector: {figures['sent to']}, on the same cores (collector_cores)"
    )
    for mode in found:
        share = 1 - figures[mode]["rate"] / off
        figures[mode]["cost"] = round(share, 3)
        told = (
            ""
            if mode == "off"
            else f"   (at most {MOST_SHARE:.2f}: {'reached' if share <= MOST_SHARE else 'NOT reached'})"
        )
        print(f"tracing {mode:<12} {json.dumps(figures[mode])}{told}")
    Path(".bench").mkdir(exist_ok=True)
    Path(".bench/tracing.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
