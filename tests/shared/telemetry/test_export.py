"""Sending: batched, bounded, never in the way, and two log lines for a collector that comes and goes."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped] # it ships no types
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from tests.collector import collecting

from tierbus.errors import Misconfigured
from tierbus.telemetry import export
from tierbus.telemetry.content import Capture
from tierbus.telemetry.export import OtlpSink, address, instance, line, resource, sink, wanted
from tierbus.telemetry.process import telemetry
from tierbus.telemetry.spans import Link, Span, SpanKind

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No `OTEL_*` variable but a short delay; the SDK's own log level as it was."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    theirs = logging.getLogger("opentelemetry")
    level = theirs.level
    yield
    theirs.setLevel(level)


@dataclass
class FakeLine:
    """A way to a collector that is up, away, broken or hanging."""

    up: bool = True
    breaks: bool = False
    free: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self.free.set()

    def send(self, request: bytes) -> bool:
        self.begun += 1
        assert self.free.wait(PATIENCE_S)
        if self.breaks:
            raise OSError("it broke")
        if self.up:
            self.requests.append(ExportTraceServiceRequest.FromString(request))
        return self.up

    def shutdown(self) -> None:
        self.closed = True

    @property
    def names(self) -> list[str]:
        return [
            span.name
            for request in self.requests
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]


def emit(out: OtlpSink, span: Span) -> None:
    """One delivery that has one span to tell."""
    out.later(lambda: (span,))


def a_span(name: str = "n", trace_id: str = TRACE, **more: Any) -> Span:
    return Span(
        **{"name": name, "trace_id": trace_id, "span_id": "ab" * 8, "parent_id": None, "start": 1.0, "end": 2.0, **more}
    )


@contextmanager
def sending(way: FakeLine, service: str = "router") -> Iterator[OtlpSink]:
    """A sink over a fake line, whose thread is gone afterwards."""
    made = OtlpSink(way, resource(service, "1.2.3"), "1.2.3", "collector:4318")
    try:
        yield made
    finally:
        way.free.set()
        made._queue.shutdown()  # type: ignore[no-untyped-call] # the SDK leaves it bare


async def soon(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


async def sent(out: OtlpSink, way: FakeLine, number: int, *, up: bool) -> None:
    """Tell one span, the `number`-th, while the collector is there or not."""
    way.up = up
    emit(out, a_span())
    await soon(lambda: out._exporter.dealt_with == number)


class TestSending:
    async def test_spans_leave_in_batches_in_the_order_told(self) -> None:
        way = FakeLine()
        with sending(way) as out:
            for number in range(300):
                emit(out, a_span(str(number)))
            await out.exported()

        assert way.names == [str(number) for number in range(300)]
        assert len(way.requests) < 30

    async def test_each_batch_says_who_sends_it(self) -> None:
        way = FakeLine()
        with sending(way) as out:
            emit(out, a_span())
            await out.exported()
        [group] = way.requests[0].resource_spans

        assert {one.key: one.value.string_value for one in group.resource.attributes}.items() >= {
            "service.name": "tierbus-router",
            "service.version": "1.2.3",
            "service.namespace": "tierbus",
        }.items()
        assert group.scope_spans[0].scope.version == "1.2.3"

    async def test_exported_waits_for_what_was_taken_and_not_for_what_comes_later(self) -> None:
        way = FakeLine()
        way.free.clear()
        with sending(way) as out:
            emit(out, a_span("one"))
            waiting = asyncio.ensure_future(out.exported())
            await soon(lambda: way.begun == 1)
            await asyncio.sleep(0.05)
            assert not waiting.done()
            way.free.set()
            await asyncio.wait_for(waiting, PATIENCE_S)
            assert way.names == ["one"]

    async def test_exported_is_not_over_when_only_what_came_earlier_was_sent(self) -> None:
        steps = threading.Semaphore(0)

        class OneByOne(FakeLine):
            def send(self, request: bytes) -> bool:
                sent = super().send(request)
                return steps.acquire(timeout=PATIENCE_S) and sent

        way = OneByOne()
        with sending(way) as out:
            emit(out, a_span("one"))
            await soon(lambda: way.begun == 1)
            emit(out, a_span("two"))
            waiting = asyncio.ensure_future(out.exported())
            await asyncio.sleep(0)
            steps.release()
            await soon(lambda: way.begun == 2)
            await asyncio.sleep(0.05)
            assert not waiting.done()
            steps.release()
            await asyncio.wait_for(waiting, 4.0)

    async def test_exported_has_nothing_to_wait_for_before_anything_was_told(self) -> None:
        with sending(FakeLine()) as out:
            await asyncio.wait_for(out.exported(), 1.0)

    @pytest.mark.parametrize(("up", "breaks"), [(False, False), (True, True)])
    async def test_exported_is_over_when_sending_failed(self, up: bool, breaks: bool) -> None:
        way = FakeLine(up, breaks)
        with sending(way) as out, structlog.testing.capture_logs():
            emit(out, a_span())
            await asyncio.wait_for(out.exported(), 4.0)
            assert out._exporter.lost == 1
        assert way.begun == 1

    async def test_exported_waits_only_so_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "EXPORTED_WITHIN_S", 0.1)
        way = FakeLine()
        way.free.clear()
        with sending(way) as out:
            emit(out, a_span())
            began = time.monotonic()
            await out.exported()
            assert 0.09 <= time.monotonic() - began < 5.0
            assert way.requests == []

    async def test_nobody_waits_for_a_collector_that_is_away(self) -> None:
        way = FakeLine(up=False)
        with sending(way) as out, structlog.testing.capture_logs():
            emit(out, a_span())
            await out.exported()
            way.free.clear()
            emit(out, a_span())
            await asyncio.wait_for(out.exported(), 1.0)

    async def test_several_may_wait_at_once(self) -> None:
        way = FakeLine()
        way.free.clear()
        with sending(way) as out:
            waiting = []
            for number in range(5):
                emit(out, a_span(str(number)))
                waiting.append(asyncio.ensure_future(out.exported()))
            await asyncio.sleep(0.05)
            assert not any(one.done() for one in waiting)
            way.free.set()
            await asyncio.wait_for(asyncio.gather(*waiting), 4.0)
        assert len(way.names) == 5

    async def test_what_is_queued_is_sent_when_the_process_stops(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        way = FakeLine()
        with sending(way) as out:
            for number in range(700):
                emit(out, a_span(str(number)))
            await out.flush()
            assert len(way.names) == 700
            assert way.closed
            await asyncio.wait_for(out.exported(), 1.0)

    async def test_a_process_that_stops_waits_only_so_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "FLUSH_S", 0.1)
        way = FakeLine()
        way.free.clear()
        with sending(way) as out:
            emit(out, a_span())
            began = time.monotonic()
            await out.flush()
            assert time.monotonic() - began < 5.0
            assert way.requests == []

    def test_a_hanging_collector_does_not_keep_the_process_alive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who waits for the flush is an event loop that ends with it."""
        monkeypatch.setattr(export, "FLUSH_S", 0.1)
        way = FakeLine()
        way.free.clear()
        with sending(way) as out:
            emit(out, a_span())
            began = time.monotonic()
            asyncio.run(out.flush())
            assert time.monotonic() - began < 5.0

    async def test_a_span_that_cannot_be_written_takes_no_other_with_it(self) -> None:
        way = FakeLine()
        with sending(way) as out, structlog.testing.capture_logs() as logs:
            emit(out, a_span("good"))
            emit(out, a_span("odd", attributes={"text": "\ud800"}))
            await out.exported()

        assert way.names == ["good", "odd"]
        assert logs == []


class TestRoom:
    async def test_a_hanging_collector_blocks_nobody_and_what_has_no_room_is_dropped_and_counted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "600")
        way = FakeLine()
        way.free.clear()
        with sending(way) as out:
            assert out.wants(TRACE)
            for number in range(5000):
                emit(out, a_span(str(number)))
            assert way.begun <= 1, "nobody waited for the collector to take anything"
            assert out._exporter.lost == 4400
            assert not out.wants(TRACE), "what has no room need not be made"
            assert out._exporter.lost == 4400, "and what is not made is not counted"
            way.free.set()
            await out.exported()
            assert out.wants(TRACE), "there is room again"
        assert way.names == [str(number) for number in range(600)]

    async def test_for_a_collector_that_is_away_less_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "AWAY_DELIVERIES", 10)
        way = FakeLine(up=False)
        with sending(way) as out, structlog.testing.capture_logs():
            emit(out, a_span("first"))
            await out.exported()
            way.free.clear()
            for number in range(50):
                emit(out, a_span(str(number)))
            assert out._exporter.lost == 1 + 40
            assert not out.wants(TRACE)
            way.up = True
            way.free.set()
            await soon(lambda: out.wants(TRACE))
        assert way.names == [str(number) for number in range(10)]

    async def test_the_room_may_be_smaller_than_a_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
        way = FakeLine()
        with sending(way) as out:
            emit(out, a_span())
            await out.exported()
        assert way.names == ["n"]

    @pytest.mark.parametrize("name", ["MAX_QUEUE_SIZE", "SCHEDULE_DELAY", "MAX_EXPORT_BATCH_SIZE"])
    @pytest.mark.parametrize("value", ["many", "0", "-1", "nan"])
    def test_a_setting_that_is_no_number_above_nothing_is_named(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(f"OTEL_BSP_{name}", value)
        with pytest.raises(Misconfigured, match=f"OTEL_BSP_{name}='{value}'"):
            OtlpSink(FakeLine(), resource("router", "1"), "1")

    def test_an_empty_setting_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "")
        with sending(FakeLine()) as out:
            assert out._room == export.QUEUE_DELIVERIES


class TestAway:
    async def test_a_collector_that_goes_and_comes_back_is_told_once_each(self) -> None:
        way = FakeLine(up=False)
        with sending(way) as out, structlog.testing.capture_logs() as logs:
            for number, up in enumerate((False, False, False, True, True), 1):
                await sent(out, way, number, up=up)

        assert logs == [
            {"event": "telemetry.collector_away", "log_level": "warning", "collector": "collector:4318", "spans": 1},
            {"event": "telemetry.collector_back", "log_level": "info", "collector": "collector:4318", "spans_lost": 3},
        ]

    async def test_a_collector_that_was_never_away_is_not_told_to_be_back(self) -> None:
        with sending(FakeLine()) as out, structlog.testing.capture_logs() as logs:
            for _ in range(3):
                emit(out, a_span())
                await out.exported()

        assert logs == []

    async def test_each_absence_counts_its_own_spans(self) -> None:
        way = FakeLine()
        with sending(way) as out, structlog.testing.capture_logs() as logs:
            for number, up in enumerate((False, True, False, True), 1):
                await sent(out, way, number, up=up)

        assert [one["spans_lost"] for one in logs if one["event"] == "telemetry.collector_back"] == [1, 1]

    async def test_a_line_that_breaks_says_how(self) -> None:
        with sending(FakeLine(breaks=True)) as out, structlog.testing.capture_logs() as logs:
            emit(out, a_span())
            await out.exported()

        assert [one["event"] for one in logs] == ["telemetry.exporter_broke", "telemetry.collector_away"]
        assert "it broke" in logs[0]["error"]


class TestSampling:
    @pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio"])
    def test_every_service_says_the_same_of_a_trace(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
        traces = [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for number in range(1, 401)]
        with sending(FakeLine(), "router") as one, sending(FakeLine(), "executor") as other:
            found = [one.wants(trace) for trace in traces]
            assert found == [other.wants(trace) for trace in traces]
            assert found == [one.wants(trace) for trace in traces], "and again"
        assert 140 < sum(found) < 260

    @pytest.mark.parametrize(
        ("name", "ratio", "wants"),
        [
            (None, None, True),
            ("always_on", None, True),
            ("always_off", None, False),
            ("traceidratio", "0", False),
            ("traceidratio", "1", True),
        ],
    )
    def test_all_or_none_are_wanted(
        self, monkeypatch: pytest.MonkeyPatch, name: str | None, ratio: str | None, wants: bool
    ) -> None:
        for variable, value in (("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", ratio)):
            if value is not None:
                monkeypatch.setenv(variable, value)
        with sending(FakeLine()) as out:
            assert {out.wants(trace) for trace in (TRACE, "f" * 32, f"{1:032x}")} == {wants}


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}


class TestWanted:
    @pytest.mark.parametrize(
        ("environ", "traces", "metrics"),
        [
            ({}, False, False),
            (ENDPOINT, True, True),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, False),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True, False),
            ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False, True),
            ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False, False),
            ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False, False),
            ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True, True),
            ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False, True),
            ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, True, False),
            ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True, True),
        ],
    )
    def test_a_signal_is_sent_where_a_collector_is_named_and_it_is_not_switched_off(
        self, environ: dict[str, str], traces: bool, metrics: bool
    ) -> None:
        assert (wanted("TRACES", environ), wanted("METRICS", environ)) == (traces, metrics)

    def test_where_no_traces_are_wanted_there_is_no_sink(self) -> None:
        assert sink("router", "1", {}) is None
        assert sink("router", "1", {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}) is None

    @pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
    def test_a_protocol_that_there_is_not_is_named(self, variable: str) -> None:
        with pytest.raises(Misconfigured, match="'http/json' is none of http/protobuf, grpc"):
            line({variable: "http/json"})
        with pytest.raises(Misconfigured, match="http/json"):
            telemetry("router", Capture.NONE, {**ENDPOINT, variable: "http/json"})

    async def test_a_process_without_a_collector_can_be_flushed(self) -> None:
        made = telemetry("router", Capture.NONE, {})

        assert made.sink is None
        assert not made.watch.sink.wants(TRACE)
        await made.flush()


class TestWho:
    def told(self, who: Resource) -> Mapping[str, Any]:
        return who.attributes

    def test_a_service_names_itself(self) -> None:
        assert resource("router", "1.2.3").attributes == {
            "service.name": "tierbus-router",
            "service.version": "1.2.3",
            "service.namespace": "tierbus",
        }

    def test_the_environment_has_the_last_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=9")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")

        assert resource("router", "1.2.3").attributes == {
            "service.name": "mine",
            "service.version": "9",
            "service.namespace": "tierbus",
            "deployment.environment.name": "test",
        }

    async def test_what_the_environment_says_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=blue")
        way = FakeLine()
        with sending(way) as out:
            emit(out, a_span())
            await out.exported()

        told = {one.key: one.value.string_value for one in way.requests[0].resource_spans[0].resource.attributes}
        assert told["team"] == "blue"

    def test_an_instance_is_a_process_of_a_host(self) -> None:
        assert instance().endswith(f":{os.getpid()}")
        assert len(instance()) > len(f":{os.getpid()}")


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("http://collector:4318", "collector:4318"),
            ("http://collector:4318/v1/traces?key=hunter2", "collector:4318"),
            ("https://ada:hunter2@collector.example.org", "collector.example.org"),
            ("https://ada:hunter2@collector:4317/path", "collector:4317"),
            ("https://ada:hunter2%40x@collector:4317", "collector:4317"),
            ("https://hunter2@collector:4317", "collector:4317"),
            ("https://ada:hunt@er2@collector:4317", "collector:4317"),
            ("http://[::1]:4318", "[::1]:4318"),
        ],
    )
    def test_it_is_host_and_port_and_nothing_else(self, url: str, told: str) -> None:
        assert address({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, export.TRACES_ENDPOINT) == told

    def test_the_signals_own_endpoint_comes_first(self) -> None:
        environ = {**ENDPOINT, export.TRACES_ENDPOINT: "http://other:4318/v1/traces"}

        assert address(environ, export.TRACES_ENDPOINT) == "other:4318"

    @pytest.mark.parametrize("url", ["collector:4317", "ada:hunter2@collector:4317"])
    def test_an_endpoint_without_a_scheme_is_host_and_port_too(self, url: str) -> None:
        assert address({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, export.TRACES_ENDPOINT) == "collector:4317"

    @given(user=st.text("abcXYZ019.-_~%!$&'()*+,;=:", max_size=20))
    def test_no_credentials_are_told(self, user: str) -> None:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://u{user}@collector:4317/"}

        assert address(environ, export.TRACES_ENDPOINT) == "collector:4317"


class TestLines:
    async def test_over_http_a_collector_gets_what_was_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with collecting() as collector:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            out = sink("router", "1.2.3", os.environ)
            assert out is not None
            told = a_span(
                "chat",
                parent_id="cd" * 8,
                kind=SpanKind.CLIENT,
                attributes={"cost": 7, "known": True, "list": ["a"], "why": "Grüße"},
                links=(Link(TRACE, "ef" * 8),),
                error="away",
            )
            emit(out, told)
            await out.exported()
            [seen] = collector.trace(TRACE)
            await out.flush()

        assert (seen.service, seen.name, seen.parent, seen.span) == ("tierbus-router", "chat", "cd" * 8, "ab" * 8)
        assert (seen.start, seen.end, seen.status, seen.message) == (1_000_000_000, 2_000_000_000, 2, "away")
        assert seen.attributes == {"cost": 7, "known": True, "list": ["a"], "why": "Grüße"}
        assert seen.links == ((TRACE, "ef" * 8),)

    async def test_over_grpc_a_collector_gets_what_was_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with grpc_collecting() as (url, taken):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            out = sink("router", "1.2.3", os.environ)
            assert out is not None
            for number in range(3):
                emit(out, a_span(str(number)))
            await out.exported()
            await out.flush()

        spans = [
            span
            for request in taken
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        assert [span.name for span in spans] == ["0", "1", "2"]
        assert {span.trace_id.hex() for span in spans} == {TRACE}

    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    async def test_a_collector_that_refuses_is_away_and_nothing_is_raised(
        self, monkeypatch: pytest.MonkeyPatch, protocol: str
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setattr(export, "EXPORTED_WITHIN_S", PATIENCE_S)
        with structlog.testing.capture_logs() as logs:
            out = sink("router", "1.2.3", os.environ)
            assert out is not None
            emit(out, a_span())
            await out.exported()
            await out.flush()

        assert [(one["event"], one["collector"]) for one in logs] == [("telemetry.collector_away", "127.0.0.1:9")]

    @pytest.mark.parametrize(
        ("environ", "name"),
        [
            ({}, "HttpLine"),
            ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "HttpLine"),
            ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "GrpcLine"),
            (
                {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
                "HttpLine",
            ),
        ],
    )
    def test_the_protocol_of_traces_comes_before_the_one_of_all(self, environ: dict[str, str], name: str) -> None:
        way = line(environ)
        way.shutdown()

        assert type(way).__name__ == name


@contextmanager
def grpc_collecting() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector of ours that speaks gRPC."""
    taken: list[ExportTraceServiceRequest] = []

    def export_(request: ExportTraceServiceRequest, _context: Any) -> ExportTraceServiceResponse:
        taken.append(request)
        return ExportTraceServiceResponse()

    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    handler = grpc.unary_unary_rpc_method_handler(
        export_,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}", taken
        finally:
            server.stop(None).wait()
