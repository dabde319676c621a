"""Our own protobuf, held against OpenTelemetry's reader field by field."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message  # type: ignore[import-untyped] # it ships no types
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped] # as above
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from tierbus.telemetry import wire
from tierbus.telemetry.names import SCOPE, Attr
from tierbus.telemetry.spans import Link, Span, SpanEvent, SpanKind, Value

KINDS = {
    SpanKind.INTERNAL: pb.Span.SPAN_KIND_INTERNAL,
    SpanKind.CLIENT: pb.Span.SPAN_KIND_CLIENT,
    SpanKind.CONSUMER: pb.Span.SPAN_KIND_CONSUMER,
}
WHO: dict[str, Value] = {"service.name": "tierbus-router", "service.version": "1.2.3", "shard": 7, "ratio": 0.5}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def hexes(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


times = st.floats(0, 4e9, allow_nan=False)
values: st.SearchStrategy[Value] = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.lists(texts, max_size=4),
    st.lists(texts, max_size=4).map(tuple),
    st.sampled_from(list(SpanKind)),
)
attributes = st.dictionaries(st.sampled_from(list(Attr)) | texts, values, max_size=6)
links = st.builds(Link, trace_id=hexes(32), span_id=hexes(16))
events = st.builds(SpanEvent, name=texts, at=times, attributes=attributes)
spans = st.builds(
    Span,
    name=texts,
    trace_id=hexes(32),
    span_id=hexes(16),
    parent_id=st.none() | hexes(16),
    start=times,
    end=times,
    kind=st.sampled_from(list(SpanKind)),
    attributes=attributes,
    links=st.lists(links, max_size=3).map(tuple),
    events=st.lists(events, max_size=3).map(tuple),
    error=st.none() | texts,
    service=texts,
)


def parsed(told: list[Span], who: Mapping[str, Value] = WHO, version: str = "1.2.3") -> ExportTraceServiceRequest:
    found: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(wire.request(told, who, version))
    return found


def read_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return ("array_value", [read_value(item) for item in value.array_value.values])
    return (kind, getattr(value, kind))


def expected_value(value: Value) -> Any:
    if isinstance(value, str):
        return ("string_value", str(value))
    if isinstance(value, bool):
        return ("bool_value", value)
    if isinstance(value, int):
        return ("int_value", value)
    if isinstance(value, float):
        return ("double_value", value)
    return ("array_value", [expected_value(item) for item in value])


def same(found: Any, expected: Any) -> bool:
    """Equality in which not-a-number equals itself."""
    (kind, one), (other_kind, other) = found, expected
    if kind == other_kind == "double_value":
        return bool(one == other and math.copysign(1, one) == math.copysign(1, other)) or (
            math.isnan(one) and math.isnan(other)
        )
    return bool(found == expected)


def assert_attributes(found: Any, told: Mapping[str, Value]) -> None:
    pairs: list[KeyValue] = list(found)
    assert [pair.key for pair in pairs] == [str(name) for name in told]
    for pair, value in zip(pairs, told.values(), strict=True):
        assert same(read_value(pair.value), expected_value(value)), (pair, value)


def assert_same(found: pb.Span, span: Span) -> None:
    assert found.trace_id.hex() == span.trace_id
    assert found.span_id.hex() == span.span_id
    assert found.parent_span_id.hex() == (span.parent_id or "")
    assert found.name == span.name
    assert found.kind == KINDS[span.kind]
    assert found.start_time_unix_nano == int(span.start * 1e9)
    assert found.end_time_unix_nano == int(span.end * 1e9)
    assert_attributes(found.attributes, span.attributes)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found.links] == [
        (link.trace_id, link.span_id) for link in span.links
    ]
    assert len(found.events) == len(span.events)
    for event, told in zip(found.events, span.events, strict=True):
        assert (event.name, event.time_unix_nano) == (told.name, int(told.at * 1e9))
        assert_attributes(event.attributes, told.attributes)
    failed = span.error is not None
    assert found.status.code == (pb.Status.STATUS_CODE_ERROR if failed else pb.Status.STATUS_CODE_UNSET)
    assert found.status.message == (span.error or "")
    assert found.flags == 1, "sampled; whether its parent is here is not said"
    assert found.trace_state == ""


def assert_all_known(message: Message) -> None:
    """No field that the reader does not know, at any depth."""
    assert len(UnknownFieldSet(message)) == 0, type(message).__name__
    for _field, value in message.ListFields():
        inside = [value] if isinstance(value, Message) else [] if isinstance(value, str | bytes) else value
        for one in inside if hasattr(inside, "__iter__") else []:
            if isinstance(one, Message):
                assert_all_known(one)


@settings(max_examples=300, deadline=None, phases=set(Phase) - {Phase.explain})
@given(told=st.lists(spans, max_size=4))
def test_any_span_is_read_as_it_was_told(told: list[Span]) -> None:
    request = parsed(told)

    [resource] = request.resource_spans
    [scope] = resource.scope_spans
    assert len(scope.spans) == len(told)
    for found, span in zip(scope.spans, told, strict=True):
        assert_same(found, span)
    assert_all_known(request)


@given(who=attributes, version=texts)
def test_it_says_who_sends_and_in_which_scope(who: dict[str, Value], version: str) -> None:
    [resource] = parsed([], who, version).resource_spans

    assert_attributes(resource.resource.attributes, who)
    [scope] = resource.scope_spans
    assert (scope.scope.name, scope.scope.version) == (SCOPE, version)


def span(**fields: Any) -> Span:
    given_: dict[str, Any] = {"name": "n", "trace_id": "0a" * 16, "span_id": "0b" * 8, "parent_id": None, "start": 1.0}
    return Span(**{**given_, "end": 2.0, **fields})


def test_a_truth_is_no_number_and_a_number_no_truth() -> None:
    [[found]] = [
        [list(scope.spans) for scope in group.scope_spans]
        for group in parsed(
            [span(attributes={"yes": True, "no": False, "one": 1, "zero": 0, "float": 1.0})]
        ).resource_spans
    ]

    assert [pair.value.WhichOneof("value") for pair in found[0].attributes] == [
        "bool_value",
        "bool_value",
        "int_value",
        "int_value",
        "double_value",
    ]


def test_an_empty_reason_is_still_an_error() -> None:
    [found] = parsed([span(error="")]).resource_spans[0].scope_spans[0].spans

    assert found.status.code == pb.Status.STATUS_CODE_ERROR


def test_a_text_told_under_two_names_is_not_mistaken() -> None:
    """Texts are encoded once; the same words under another name, or in an event, are others."""
    told = span(attributes={"a": "x", "b": "x"}, events=(SpanEvent("e", 1.5, {"a": "x", "b": "y"}),))

    for _ in range(2):
        assert_same(parsed([told]).resource_spans[0].scope_spans[0].spans[0], told)


def test_long_texts_and_many_spans_have_their_lengths_right() -> None:
    sizes: Callable[[int], Span] = lambda size: span(name="é" * size, attributes={"text": "n" * size})  # noqa: E731
    told = [sizes(size) for size in (0, 1, 63, 64, 127, 128, 129, 16_383, 16_384, 70_000)]

    for found, one in zip(parsed(told).resource_spans[0].scope_spans[0].spans, told, strict=True):
        assert_same(found, one)


def test_what_is_no_utf_8_is_written_as_well_as_it_can_be() -> None:
    told = span(attributes={"short": "a\ud800b", "long": "a\ud800b" * 100}, error="a\ud800b")
    [found] = parsed([told]).resource_spans[0].scope_spans[0].spans

    assert [pair.value.string_value for pair in found.attributes] == ["a?b", "a?b" * 100]
    assert found.status.message == "a?b"
