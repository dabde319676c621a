"""A collector in this process: takes OTLP over HTTP, as a real one does, and keeps the spans."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

ERROR = 2


@dataclass(frozen=True)
class Seen:
    """A span as it came. Times are nanoseconds; `parent` is empty for a root."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    start: int
    end: int
    kind: int
    status: int
    message: str
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]
    events: tuple[str, ...]

    @property
    def words(self) -> str:
        """All of it as text, for equality."""
        return repr(self)


@dataclass
class Collector:
    """Spans by trace."""

    url: str = ""
    taken: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    metrics: list[bytes] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[Seen]:
        """The spans of a trace; one told twice in the same words is one, as in Jaeger."""
        return list({seen.words: seen for seen in list(self.taken) if seen.trace == trace_id}.values())

    def whole(self, trace_id: str, timeout_s: float = 20.0) -> list[Seen]:
        """The spans of a trace once its root is there, and no more have come for a second."""
        until = time.monotonic() + timeout_s
        before = -1
        while time.monotonic() < until:
            found = self.trace(trace_id)
            if len(found) == before and any(is_root(seen, found) and seen.name.startswith("task") for seen in found):
                return found
            before = len(found)
            time.sleep(1.0)
        raise AssertionError(f"trace {trace_id} has no root: {sorted(seen.name for seen in self.trace(trace_id))}")


def is_root(seen: Seen, trace: list[Seen]) -> bool:
    """Whether its parent is not in the trace."""
    return seen.parent not in {other.span for other in trace}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


def _read(body: bytes) -> Iterator[Seen]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {one.key: _value(one.value) for one in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service=resource["service.name"],
                    name=span.name,
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    kind=span.kind,
                    status=span.status.code,
                    message=span.status.message,
                    attributes={one.key: _value(one.value) for one in span.attributes},
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    events=tuple(event.name for event in span.events),
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for as long as the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.bodies.append(body)
                collector.taken += _read(body)
            elif self.path == "/v1/metrics":
                collector.metrics.append(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
