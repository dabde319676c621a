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
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import structlog
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as OtelLink
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace import SpanKind as OtelKind
from opentelemetry.trace.status import Status, StatusCode

from tierbus.errors import Misconfigured
from tierbus.telemetry.names import SCOPE
from tierbus.telemetry.spans import Span, SpanKind

log = structlog.get_logger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
DELAY_MS = 500
"""Spans leave this often unless OTEL_BSP_SCHEDULE_DELAY says otherwise: a killed process loses what is younger."""
QUEUE_SPANS = 16_384
EXPORTED_WITHIN_S = 5.0
FLUSH_S = 5.0
_KINDS = {SpanKind.INTERNAL: OtelKind.INTERNAL, SpanKind.CLIENT: OtelKind.CLIENT, SpanKind.CONSUMER: OtelKind.CONSUMER}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FINE = Status(StatusCode.UNSET)


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


def exporter(environ: Mapping[str, str]) -> SpanExporter:
    """The exporter of the protocol asked for: `http/protobuf` (default) or `grpc`.

    Raises:
        Misconfigured: another protocol.
    """
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(PROTOCOL) or "http/protobuf"
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    raise Misconfigured(f"{PROTOCOL}={protocol!r} is none of http/protobuf, grpc")


class Watched(SpanExporter):
    """An exporter that counts what it has dealt with and says once that its collector is away."""

    def __init__(self, inner: SpanExporter, where: str) -> None:
        self._inner = inner
        self._where = where
        self._away = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.dealt_with = 0
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; what fails is dropped and counted."""
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, work goes on
            log.debug("telemetry.exporter_broke", error=repr(error))
            result = SpanExportResult.FAILURE
        self._tell(result, len(spans))
        return result

    def _tell(self, result: SpanExportResult, count: int) -> None:
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self.lost += count
        if failed and not self._away:
            log.warning("telemetry.collector_away", collector=self._where, spans=count)
        elif self._away and not failed:
            log.info("telemetry.collector_back", collector=self._where, spans_lost=self.lost)
        self._away = failed
        with self._lock:
            self.dealt_with += count
            done = [one for one in self._waiting if one[0] <= self.dealt_with]
            self._waiting = [one for one in self._waiting if one[0] > self.dealt_with]
        for _, loop, future in done:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, future)

    def when(self, count: int, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """A future that is done once `count` spans have been dealt with."""
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if count <= self.dealt_with:
                future.set_result(None)
            else:
                self._waiting.append((count, loop, future))
        return future

    def shutdown(self) -> None:
        """Close the inner exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the inner exporter."""
        return self._inner.force_flush(timeout_millis)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class OtlpSink:
    """Takes finished spans and sends them in batches."""

    def __init__(self, inner: SpanExporter, who: Resource, version: str, where: str = "") -> None:
        self._exporter = Watched(inner, where)
        self._resource = who
        self._scope = InstrumentationScope(SCOPE, version)
        self._sampler = TracerProvider(resource=who, shutdown_on_exit=False).sampler
        self._queue = BatchSpanProcessor(
            self._exporter,
            max_queue_size=int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS)),
            schedule_delay_millis=float(os.environ.get("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS)),
        )
        self._taken = 0

    def wants(self, trace_id: str) -> bool:
        """The sampler's word on a trace: it depends on the trace id alone, so that every service says the same."""
        return self._sampler.should_sample(None, int(trace_id, 16), SCOPE).decision is Decision.RECORD_AND_SAMPLE

    def emit(self, span: Span) -> None:
        """Queue a span; a full queue drops the oldest."""
        self._taken += 1
        self._queue.on_end(self._readable(span))

    async def exported(self) -> None:
        """Wait until everything taken so far was sent or given up, 5 s at most."""
        future = self._exporter.when(self._taken, asyncio.get_running_loop())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(future, EXPORTED_WITHIN_S)

    async def flush(self) -> None:
        """Send what is queued and stop; gives up after a few seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._queue.shutdown), FLUSH_S)

    def _readable(self, span: Span) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        parent = _context(trace_id, span.parent_id, remote=True) if span.parent_id else None
        return ReadableSpan(
            name=span.name,
            context=_context(trace_id, span.span_id, remote=False),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.attributes),
            events=[Event(event.name, dict(event.attributes), _nanos(event.at)) for event in span.events],
            links=[OtelLink(_context(int(link.trace_id, 16), link.span_id, remote=True)) for link in span.links],
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=_FINE if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=_nanos(span.start),
            end_time=_nanos(span.end),
        )


def _context(trace_id: int, span_id: str, *, remote: bool) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), remote, _SAMPLED)


def _nanos(at: float) -> int:
    return int(at * 1e9)


def quiet() -> None:
    """The SDK's own complaints: `Watched` says what a person needs, once."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def address(environ: Mapping[str, str], signal_endpoint: str) -> str:
    """Host and port of the collector, without what a URL may carry besides."""
    parts = urlsplit(environ.get(signal_endpoint) or environ.get(ENDPOINT, ""))
    return parts.netloc.rsplit("@", 1)[-1] or parts.path


def sink(service: str, version: str, environ: Mapping[str, str]) -> OtlpSink | None:
    """The process's sink, or None where no traces are to be sent.

    Raises:
        Misconfigured: the protocol is none that there is.
    """
    if not wanted("TRACES", environ):
        return None
    quiet()
    return OtlpSink(exporter(environ), resource(service, version), version, address(environ, TRACES_ENDPOINT))
