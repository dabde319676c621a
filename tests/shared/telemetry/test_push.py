"""Metrics that are pushed, to a collector that takes them as a real one does."""

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.collector import collecting

from tierbus.errors import Misconfigured
from tierbus.telemetry.meters import OtelMeters
from tierbus.telemetry.names import DEAD_LETTERS, Attr


def test_what_was_counted_is_pushed_when_a_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        meters = OtelMeters("router", "0", environ)
        meters.add(DEAD_LETTERS, 3, {Attr.SERVICE: "router", Attr.DEAD_REASON: "malformed"})
        meters.close()

    [body] = collector.metrics
    [group] = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert "service.instance.id" in {one.key for one in group.resource.attributes}, "two processes push two series"
    [found] = [metric for scope in group.scope_metrics for metric in scope.metrics if metric.name == DEAD_LETTERS.name]
    [point] = found.sum.data_points
    assert point.as_double == 3
    assert {one.key: one.value.string_value for one in point.attributes} == {
        "tierbus.service": "router",
        "tierbus.dead.reason": "malformed",
    }


def test_nothing_is_pushed_where_nobody_is_named() -> None:
    with collecting() as collector:
        meters = OtelMeters("router", "0", {})
        meters.close()

    assert collector.metrics == []


def test_a_protocol_that_there_is_not_is_named() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "carrier"}

    with pytest.raises(Misconfigured, match="'carrier'"):
        OtelMeters("router", "0", environ)
