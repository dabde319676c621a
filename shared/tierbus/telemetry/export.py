"""Sending spans by OTLP, as the standard `OTEL_*` variables say: batched, in a thread of its own, never in the way of work.

Tracing is on where a collector is named (`OTEL_EXPORTER_OTLP_ENDPOINT`, or the one for traces) and not switched off
(`OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER=none`). A collector that is away costs one log line when it goes and one when it is back.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext, TraceFlags

from tierbus.errors import Misconfigured
from tierbus.telemetry.names import SCOPE
from tierbus.telemetry.sinks import Make
from tierbus.telemetry.spans import Value
from tierbus.telemetry.wire import request

log = structlog.get_logger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
DELAY_MS = 500
"""Spans leave this often unless OTEL_BSP_SCHEDULE_DELAY says otherwise."""
QUEUE_DELIVERIES = 2048
BATCH_DELIVERIES = 128
AWAY_DELIVERIES = 512
"""Deliveries whose spans wait for a collector, and for one that does not answer; more are dropped before they are made."""
EXPORTED_WITHIN_S = 5.0
FLUSH_S = 5.0


def wanted(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether a signal (TRACES or METRICS) is to be sent."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get(f"OTEL_{signal}_EXPORTER") == "none":
        return False
    return bool(environ.get(ENDPOINT) or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


def resource(service: str, version: str) -> Resource:
    """Who sends; `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` have the last word."""
    own = {"service.name": f"tierbus-{service}", "service.version": version, "service.namespace": "tierbus"}
    return Resource(own).merge(OTELResourceDetector().detect())


def instance() -> str:
    """Which of several processes of a service. A span says it, not the resource: two that tell of one end use the same words."""
    return f"{socket.gethostname()}:{os.getpid()}"


def by_grpc(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether a signal (TRACES or METRICS) goes by `grpc` rather than by `http/protobuf`, the default.

    Raises:
        Misconfigured: another protocol is asked for.
    """
    protocol = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get(PROTOCOL) or "http/protobuf"
    if protocol not in ("http/protobuf", "grpc"):
        raise Misconfigured(f"{PROTOCOL}={protocol!r} is none of http/protobuf, grpc")
    return protocol == "grpc"


class Line(Protocol):
    """A way to a collector: the SDK's exporter of one protocol, given requests that are encoded already."""

    def send(self, request: bytes) -> bool:
        """Send, with the SDK's own retries; False where that failed."""
        ...

    def shutdown(self) -> None:
        """Close it; what is being sent is given up."""
        ...


def line(environ: Mapping[str, str]) -> Line:
    """The way of the protocol asked for: `http/protobuf` (default) or `grpc`.

    Raises:
        Misconfigured: another protocol.
    """
    if by_grpc("TRACES", environ):
        from tierbus.telemetry.lines import grpc_line

        return grpc_line()
    from tierbus.telemetry.lines import HttpLine

    return HttpLine()


class Queued:
    """Spans to be made, in the SDK's queue, which asks for nothing but whether they are sampled."""

    __slots__ = ("make",)
    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def __init__(self, make: Make) -> None:
        self.make = make


class Watched(SpanExporter):
    """An exporter that counts what it has dealt with and says once that its collector is away."""

    def __init__(self, line: Line, who: Mapping[str, Value], version: str, where: str) -> None:
        self._line = line
        self._who = who
        self._version = version
        self._where = where
        self.away = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.dealt_with = 0
        self.lost = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Make and send a batch of `Queued`; what fails is dropped and counted."""
        try:
            made = [span for queued in spans for span in queued.make()]
            sent = self._line.send(request(made, self._who, self._version))
        except Exception as error:  # noqa: BLE001 - whatever it is, work goes on
            log.warning("telemetry.exporter_broke", error=repr(error))
            sent = False
        self._tell(len(spans), failed=not sent)
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def _tell(self, count: int, *, failed: bool) -> None:
        if failed:
            self.lost += count
        if failed and not self.away:
            log.warning("telemetry.collector_away", collector=self._where, spans=count)
        elif self.away and not failed:
            log.info("telemetry.collector_back", collector=self._where, spans_lost=self.lost)
            self.lost = 0
        self.away = failed
        with self._lock:
            self.dealt_with += count
            done = [one for one in self._waiting if one[0] <= self.dealt_with]
            self._waiting = [one for one in self._waiting if one[0] > self.dealt_with]
        for _, loop, future in done:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, future)

    def when(self, count: int, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """A future that is done once `count` deliveries have been dealt with."""
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if count <= self.dealt_with:
                future.set_result(None)
            else:
                self._waiting.append((count, loop, future))
        return future

    def shutdown(self) -> None:
        """Close the way to the collector."""
        self._line.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing is kept here."""
        return True


async def aside(work: Callable[[], object], timeout_s: float) -> None:
    """Do blocking work in a thread that nobody waits for longer than this, not even at the process's end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            work()
        finally:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, done)

    threading.Thread(target=run, name="telemetry-flush", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done, timeout_s)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class OtlpSink:
    """Takes what deliveries have to tell and sends it in batches."""

    def __init__(self, line: Line, who: Resource, version: str, where: str = "") -> None:
        told = {name: value for name, value in who.attributes.items() if isinstance(value, str | int | float | bool)}
        self._exporter = Watched(line, told, version, where)
        self._sampler = TracerProvider(resource=who, shutdown_on_exit=False).sampler
        self._room = int(_number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_DELIVERIES))
        self._queue = BatchSpanProcessor(
            self._exporter,
            max_queue_size=self._room,
            schedule_delay_millis=_number("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS),
            max_export_batch_size=min(self._room, int(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_DELIVERIES))),
        )
        self._sampled = lru_cache(maxsize=4096)(self._sample)
        self._taken = 0
        self._crowded = False

    def wants(self, trace_id: str) -> bool:
        """Whether there is room, and the sampler's word: that depends on the trace id alone, so every service says the same."""
        return self._has_room() and self._sampled(trace_id)

    def _has_room(self) -> bool:
        """Says once in a while of congestion that there is none: spans that are not made cannot be counted."""
        full = self._full
        if full and not self._crowded and not self._exporter.away:
            log.warning("telemetry.no_room", waiting=self._taken - self._exporter.dealt_with)
        self._crowded = full
        return not full

    def _sample(self, trace_id: str) -> bool:
        return self._sampler.should_sample(None, int(trace_id, 16), SCOPE).decision is Decision.RECORD_AND_SAMPLE

    @property
    def _full(self) -> bool:
        return self._taken - self._exporter.dealt_with >= (AWAY_DELIVERIES if self._exporter.away else self._room)

    def later(self, make: Make) -> None:
        """Queue spans to be made, or drop them where there is no room."""
        if self._full:
            self._exporter.lost += 1
            return
        self._taken += 1
        self._queue.on_end(Queued(make))  # type: ignore[arg-type] # it is handed on to `Watched`, which knows it

    async def exported(self) -> None:
        """Wait until everything taken so far was sent or given up, 5 s at most."""
        if self._exporter.away:
            return
        future = self._exporter.when(self._taken, asyncio.get_running_loop())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(future, EXPORTED_WITHIN_S)

    async def flush(self) -> None:
        """Send what is queued and stop; gives up after a few seconds."""
        await aside(self._queue.shutdown, FLUSH_S)


def _number(name: str, usual: float) -> float:
    """A setting of the SDK's; unset and empty mean the same.

    Raises:
        Misconfigured: it is no number above 0.
    """
    text = os.environ.get(name, "").strip()
    try:
        number = float(text or usual)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise Misconfigured(f"{name}={text!r} is not a number above 0")
    return number


def quiet() -> None:
    """The SDK's own complaints: `Watched` says what a person needs, once."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def address(environ: Mapping[str, str], signal_endpoint: str) -> str:
    """Host and port of the collector, without what a URL may carry besides."""
    given = environ.get(signal_endpoint) or environ.get(ENDPOINT, "")
    return urlsplit(given if "//" in given else f"//{given}").netloc.rsplit("@", 1)[-1]


def sink(service: str, version: str, environ: Mapping[str, str]) -> OtlpSink | None:
    """The process's sink, or None where no traces are to be sent.

    Raises:
        Misconfigured: the protocol is none that there is.
    """
    if not wanted("TRACES", environ):
        return None
    quiet()
    return OtlpSink(line(environ), resource(service, version), version, address(environ, TRACES_ENDPOINT))
