"""What tracing costs: direct tasks per second without spans and with them, sent to nobody or to a collector; part of `make bench`.

Half of all traces are sampled, and a task's id says whether its trace is: bursts of the one kind and of the other take turns
in one running stack. Stacks of their own for each differ more from one another (261 to 340 tasks a second within an hour)
than tracing costs. The collector is a Jaeger where there is one (`make jaeger`): it works on the same cores.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import uvloop
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

from tests.bench.core import TENANT, Listener, cpu_s, publish_named
from tests.collector import collecting
from tests.plans import LEG, NOW, judged, new_run
from tierbus.bus.client import Client, client
from tierbus.cli import jaeger
from tierbus.cli.build import SERVICES
from tierbus.cli.stack import Stack
from tierbus.contracts import VerdictKind, run_id
from tierbus.errors import Misconfigured
from tierbus.run import advance, begin
from tierbus.telemetry.context import trace_of
from tierbus.telemetry.meters import OtelMeters
from tierbus.telemetry.names import LLM_COST
from tierbus.telemetry.spans import Span
from tierbus.telemetry.story import story_of, trace
from tierbus.telemetry.wire import request

TURNS = int(os.environ.get("BENCH_TURNS", "40"))
TASKS = int(os.environ.get("BENCH_TRACED", "400"))
WARM_UP = 2
HALF = 0.5
TRAILING_S = 0.6
"""What a burst's spans take to leave after its last result; it is not the next burst's."""
NOBODY = "http://127.0.0.1:9"
MOST_SHARE = 0.10
"""What tracing may take of the throughput."""


class Turn(NamedTuple):
    """One burst: tasks a second, and CPU milliseconds a task of the services and of the collector."""

    traced: bool
    rate: float
    cpu_ms: float
    collector_ms: float


@contextmanager
def _stack(mode: str) -> Iterator[Stack]:
    env = {"TIERBUS_LOG_LEVEL": "warning", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(HALF)}
    real = mode == "collector" and _has_jaeger()
    with (
        tempfile.TemporaryDirectory(prefix="tierbus-bench-") as folder,
        (Path(folder) / "log").open("w") as log,
        collecting() as ours,
    ):
        if not real:
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = NOBODY if mode == "nobody" else ours.url
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


class Names:
    """Task ids, sorted by whether the services' sampler takes their traces."""

    def __init__(self) -> None:
        self._count = 0
        self._sampler = TraceIdRatioBased(HALF)
        self._ready: dict[bool, list[str]] = {True: [], False: []}

    def take(self, count: int, *, traced: bool) -> list[str]:
        """So many that nobody had before."""
        ready = self._ready[traced]
        while len(ready) < count:
            self._count += 1
            task = f"traced-{self._count}"
            trace_id = int(trace_of(run_id(TENANT, task), None, join=False), 16)
            sampled = self._sampler.should_sample(None, trace_id, task).decision is Decision.RECORD_AND_SAMPLE
            self._ready[sampled].append(task)
        taken, ready[:] = ready[:count], ready[count:]
        return taken


async def _in_turns(stack: Stack) -> list[Turn]:
    """Bursts with and without spans in one running stack, so that what else the machine does falls on both alike."""
    names = Names()
    turns: list[Turn] = []
    async with client(stack.settings, TENANT) as bus:
        listener = Listener(bus)
        await listener.start()
        for number in range(WARM_UP + TURNS):
            for traced in (bool(number % 2), not number % 2):
                turn = await _turn(stack, bus, listener, names.take(TASKS, traced=traced), traced=traced)
                if number >= WARM_UP:
                    turns.append(turn)
    return turns


async def _turn(stack: Stack, bus: Client, listener: Listener, tasks: list[str], *, traced: bool) -> Turn:
    listener.results.clear()
    before = cpu_s(stack)
    begun = time.monotonic()
    await publish_named(bus, "direct", tasks)
    await listener.wait(tasks)
    took = time.monotonic() - begun
    await asyncio.sleep(TRAILING_S)
    own = {name: 1000 * (seconds - before[name]) / len(tasks) for name, seconds in cpu_s(stack).items()}
    return Turn(traced, len(tasks) / took, sum(own[name] for name in SERVICES), own.get("jaeger", 0.0))


def _measure(mode: str) -> dict[str, float]:
    """What spans cost: each traced turn against the untraced one beside it."""
    with _stack(mode) as stack:
        turns = uvloop.run(_in_turns(stack))
        rss = max(psutil.Process(one.popen.pid).memory_info().rss for one in stack.processes if one.name in SERVICES)
    on, off = [turn for turn in turns if turn.traced], [turn for turn in turns if not turn.traced]
    shares = [1 - one.rate / other.rate for one, other in zip(on, off, strict=True)]
    return {
        "off_tasks_per_s": statistics.mean(turn.rate for turn in off),
        "on_tasks_per_s": statistics.mean(turn.rate for turn in on),
        "cost": statistics.mean(shares),
        "cost_within": 1.96 * statistics.stdev(shares) / len(shares) ** 0.5,
        "off_cpu_ms": statistics.mean(turn.cpu_ms for turn in off),
        "on_cpu_ms": statistics.mean(turn.cpu_ms for turn in on),
        "collector_cpu_ms": statistics.mean(turn.collector_ms for turn in on),
        "rss_mb": rss / 1e6,
    }


def span_for_bench() -> Span:
    """A `process` span with a verdict: neither the smallest nor the largest there is."""
    change = judged("answer", 1, VerdictKind.ACCEPT)._replace(executed=LEG, reviewed=LEG)
    run = advance(begin(new_run(), NOW).run, change, NOW).run
    return next(span for span in trace(story_of(run, (), NOW)) if span.name == "process tierbus.review")


def readable(span: Span) -> ReadableSpan:
    """The same span as the SDK has it."""
    trace_id = int(span.trace_id, 16)

    def at(identity: str) -> SpanContext:
        return SpanContext(trace_id, int(identity, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        span.name,
        context=at(span.span_id),
        parent=at(span.parent_id or "1"),
        resource=Resource({"service.name": "bench"}),
        attributes=span.attributes,
        instrumentation_scope=InstrumentationScope("tierbus"),
        start_time=int(span.start * 1e9),
        end_time=int(span.end * 1e9),
    )


def _parts() -> dict[str, dict[str, float]]:
    """Microseconds for encoding one span and for counting once: ours, and the SDK's way for the same."""
    one = span_for_bench()
    many = [one] * 512
    labels = dict.fromkeys(LLM_COST.labels, "x")
    ours = OtelMeters("bench", "0", {})
    reader = PrometheusMetricReader(registry=CollectorRegistry())
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("bench").create_counter("bench")
    texts = {str(label): text for label, text in labels.items()}
    return {
        "encode_us": {
            "ours": _us(lambda: request(many, {"service.name": "bench"}, "0"), 512),
            "sdk": _us(lambda: encode_spans([readable(span) for span in many]).SerializeToString(), 512),
        },
        "count_us": {
            "ours": _us(lambda: ours.add(LLM_COST, 1.0, labels)),
            "sdk": _us(lambda: counter.add(1.0, texts)),
        },
    }


def _us(work: Callable[[], object], units: int = 1) -> float:
    rounds = 20 if units > 1 else 20_000
    work()
    begun = time.perf_counter()
    for _ in range(rounds):
        work()
    return round((time.perf_counter() - begun) / rounds / units * 1e6, 2)


def main() -> None:
    """Measure and print, with the share that tracing costs."""
    sent_to = "Jaeger" if _has_jaeger() else "this driver"
    figures: dict[str, Any] = {"turns": TURNS, "tasks": TASKS, "sent to": sent_to}
    print(
        f"SIMULATED model server, zero latency; {TURNS} turns of {TASKS} tasks with and without spans, in one running stack;"
        f" cpu_ms is the four services', a task; collector: {sent_to}, on the same cores"
    )
    for mode in ("nobody", "collector"):
        found = {name: round(value, 3) for name, value in _measure(mode).items()}
        figures[mode] = found
        reached = "reached" if found["cost"] <= MOST_SHARE else "NOT reached"
        print(f"tracing, {mode:<12} {json.dumps(found)}   (cost at most {MOST_SHARE:.2f}: {reached})")
    parts = _parts()
    figures |= parts
    print(f"one span encoded, one count added, in microseconds: {json.dumps(parts)}")
    Path(".bench").mkdir(exist_ok=True)
    Path(".bench/tracing.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
