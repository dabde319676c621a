"""Spans as OTLP JSON, which Jaeger's upload page and every OpenTelemetry collector read. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tierbus.telemetry.names import SCOPE
from tierbus.telemetry.spans import Span, SpanKind, Value

_KINDS = {SpanKind.INTERNAL: 1, SpanKind.CLIENT: 3, SpanKind.CONSUMER: 5}
_ERROR = 2


def document(spans: Iterable[Span], version: str) -> dict[str, Any]:
    """One document, grouped by service."""
    services: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        services[span.service].append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": name, "service.version": version})},
                "scopeSpans": [
                    {"scope": {"name": SCOPE, "version": version}, "spans": [_span(span) for span in group]}
                ],
            }
            for name, group in services.items()
        ]
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        **({"parentSpanId": span.parent_id} if span.parent_id else {}),
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": _nanos(span.start),
        "endTimeUnixNano": _nanos(span.end),
        "attributes": _attributes(span.attributes),
        "links": [{"traceId": link.trace_id, "spanId": link.span_id} for link in span.links],
        "events": [
            {"name": event.name, "timeUnixNano": _nanos(event.at), "attributes": _attributes(event.attributes)}
            for event in span.events
        ],
        "status": {} if span.error is None else {"code": _ERROR, "message": span.error},
    }


def _attributes(attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": str(name), "value": _value(value)} for name, value in attributes.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case Sequence():
            return {"arrayValue": {"values": [_value(item) for item in value]}}


def _nanos(at: float) -> str:
    return str(int(at * 1e9))
