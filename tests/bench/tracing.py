"""What tracing costs: direct tasks per second with tracing off, on without a collector, on with one; part of `make bench`.

The three are measured in turn, several rounds, each on a stack of its own, and compared by their medians. The collector is a
Jaeger where there is one (`make jaeger`): it works on the same cores, so its own time is told apart.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

from tests.bench.core import throughput
from tests.collector import collecting
from tests.plans import LEG, NOW, judged, new_run
from tierbus.cli import jaeger
from tierbus.cli.build import SERVICES
from tierbus.cli.stack import Stack
from tierbus.contracts import VerdictKind
from tierbus.errors import Misconfigured
from tierbus.run import advance, begin
from tierbus.telemetry.meters import OtelMeters
from tierbus.telemetry.names import LLM_COST
from tierbus.telemetry.spans import Span
from tierbus.telemetry.story import story_of, trace
from tierbus.telemetry.wire import request

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
    parts = _parts()
    figures |= parts
    print(f"one span encoded, one count added, in microseconds: {json.dumps(parts)}")
    Path(".bench").mkdir(exist_ok=True)
    Path(".bench/tracing.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
