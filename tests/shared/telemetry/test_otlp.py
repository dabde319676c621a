"""OTLP JSON: the form that Jaeger's upload page and collectors read, and the same content as the protobuf."""

import base64
import json
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped] # it ships no types
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.shared.telemetry.test_wire import parsed, span, spans

from tierbus.telemetry.names import SCOPE
from tierbus.telemetry.otlp import document
from tierbus.telemetry.spans import Link, Span, SpanEvent

IDS = ("traceId", "spanId", "parentSpanId")


def only(told: Span) -> dict[str, Any]:
    [group] = document([told], "1")["resourceSpans"]
    [scope] = group["scopeSpans"]
    found: dict[str, Any]
    [found] = scope["spans"]
    return found


def in_base64(value: Any) -> Any:
    """OTLP writes ids as hexadecimal digits where protobuf's own JSON has base64."""
    if isinstance(value, list):
        return [in_base64(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64encode(bytes.fromhex(item)).decode() if name in IDS else in_base64(item)
        for name, item in value.items()
    }


def as_protobuf(document_: dict[str, Any]) -> ExportTraceServiceRequest:
    found = ExportTraceServiceRequest()
    json_format.ParseDict(in_base64(document_), found)
    return found


def test_spans_are_grouped_by_service_in_the_order_told() -> None:
    told = [span(name=name, service=service) for name, service in (("a", "x"), ("b", "y"), ("c", "x"))]

    groups = document(told, "1.2")["resourceSpans"]

    assert [group["resource"]["attributes"][0] for group in groups] == [
        {"key": "service.name", "value": {"stringValue": "x"}},
        {"key": "service.name", "value": {"stringValue": "y"}},
    ]
    assert [[one["name"] for one in group["scopeSpans"][0]["spans"]] for group in groups] == [["a", "c"], ["b"]]
    assert {json.dumps(group["scopeSpans"][0]["scope"]) for group in groups} == {
        json.dumps({"name": SCOPE, "version": "1.2"})
    }
    assert {"key": "service.version", "value": {"stringValue": "1.2"}} in groups[0]["resource"]["attributes"]


def test_nothing_told_is_an_empty_document() -> None:
    assert document([], "1") == {"resourceSpans": []}


def test_a_root_has_no_parent_field_and_a_child_has() -> None:
    assert "parentSpanId" not in only(span())
    assert only(span(parent_id="0c" * 8))["parentSpanId"] == "0c" * 8


def test_times_are_nanoseconds_as_text() -> None:
    found = only(span(start=1.5, end=2.25, events=(SpanEvent("e", 2.0, {}),)))

    assert (found["startTimeUnixNano"], found["endTimeUnixNano"]) == ("1500000000", "2250000000")
    assert found["events"][0]["timeUnixNano"] == "2000000000"


def test_every_type_of_value_has_its_own_field() -> None:
    told = {"int": -7, "float": 0.5, "yes": True, "text": "", "list": ["a", "b"], "tuple": ("c",), "none": []}

    found = {pair["key"]: pair["value"] for pair in only(span(attributes=told))["attributes"]}

    assert found == {
        "int": {"intValue": "-7"},
        "float": {"doubleValue": 0.5},
        "yes": {"boolValue": True},
        "text": {"stringValue": ""},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
        "tuple": {"arrayValue": {"values": [{"stringValue": "c"}]}},
        "none": {"arrayValue": {"values": []}},
    }


def test_an_error_has_its_code_and_its_words_and_nothing_else_a_status() -> None:
    assert only(span(error="away"))["status"] == {"code": 2, "message": "away"}
    assert only(span(error=""))["status"]["code"] == 2
    assert only(span())["status"] == {}


def test_links_name_trace_and_span() -> None:
    assert only(span(links=(Link("0d" * 16, "0e" * 8),)))["links"] == [{"traceId": "0d" * 16, "spanId": "0e" * 8}]


@settings(max_examples=150, deadline=None, phases=set(Phase) - {Phase.explain})
@given(told=st.lists(spans, max_size=3))
def test_both_writers_tell_the_same(told: list[Span]) -> None:
    """Over protobuf's own reader of JSON; the protobuf says besides that a span is sampled, and who its sender is."""
    told = [replaced_floats(one) for one in told]
    by_json = as_protobuf(json.loads(json.dumps(document(told, "1"))))
    by_wire = [one for group in parsed(told).resource_spans for scope in group.scope_spans for one in scope.spans]
    for one in by_wire:
        one.flags = 0
        one.status.SetInParent()

    found = [one for group in by_json.resource_spans for scope in group.scope_spans for one in scope.spans]
    expected = [by_wire[place] for place in by_service(told)]
    assert [one.SerializeToString(deterministic=True) for one in found] == [
        one.SerializeToString(deterministic=True) for one in expected
    ]


def by_service(told: list[Span]) -> list[int]:
    order = list(dict.fromkeys(one.service for one in told))
    return sorted(range(len(told)), key=lambda place: order.index(told[place].service))


def replaced_floats(told: Span) -> Span:
    """JSON has no infinity; no span of ours carries one."""
    return span(
        **{
            **{name: getattr(told, name) for name in Span.__slots__},
            "attributes": finite(told.attributes),
            "events": tuple(SpanEvent(event.name, event.at, finite(event.attributes)) for event in told.events),
        }
    )


def finite(attributes: Any) -> dict[str, Any]:
    return {
        name: 0.5 if isinstance(value, float) and not abs(value) < float("inf") else value
        for name, value in attributes.items()
    }
