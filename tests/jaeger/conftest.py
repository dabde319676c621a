"""A real Jaeger, and a way to send spans to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from tierbus.cli.jaeger import find
from tierbus.cli.stack import Stack
from tierbus.errors import Misconfigured

SECOND_NS = 1_000_000_000
NOON_NS = 1_767_268_800 * SECOND_NS


class Jaeger(NamedTuple):
    """Where it answers, and where it takes spans."""

    url: str
    otlp_url: str


class Told(NamedTuple):
    """A span to send: `parent` 0 has none."""

    service: str
    name: str
    span: int
    parent: int = 0
    attributes: Mapping[str, str | int | float | bool | Sequence[str]] = MappingProxyType({})


Send = Callable[[int, Sequence[Told]], None]


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """One Jaeger on free ports for all these tests."""
    try:
        find()
    except Misconfigured as error:
        pytest.fail(f"{error}: run make jaeger")
    stack = Stack(data=tmp_path_factory.mktemp("jaeger"))
    try:
        stack.start_jaeger()
        assert stack.jaeger_url
        assert stack.otlp_url
        yield Jaeger(stack.jaeger_url, stack.otlp_url)
    finally:
        stack.stop()


@pytest.fixture
def send(jaeger: Jaeger) -> Send:
    """Send spans of a trace, as OTLP over HTTP."""

    def work(trace: int, spans: Sequence[Told]) -> None:
        exporter = OTLPSpanExporter(endpoint=f"{jaeger.otlp_url}/v1/traces")
        assert exporter.export([_readable(trace, span) for span in spans]) is SpanExportResult.SUCCESS
        exporter.shutdown()  # type: ignore[no-untyped-call]

    return work


def _readable(trace: int, told: Told) -> ReadableSpan:
    def at(span: int) -> SpanContext:
        return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        told.name,
        context=at(told.span),
        parent=at(told.parent) if told.parent else None,
        resource=Resource({"service.name": told.service}),
        attributes=told.attributes,
        start_time=NOON_NS,
        end_time=NOON_NS + SECOND_NS,
    )
