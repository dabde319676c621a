"""The SDK's OTLP exporters with our encoding in front: their connections, retries, timeouts and `OTEL_*` variables."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExportResult

from tierbus.telemetry.export import Line


class HttpLine(OTLPSpanExporter):
    """OTLP over HTTP."""

    def send(self, request: bytes) -> bool:
        """Send, with the SDK's own retries; False where that failed."""
        return bool(self._client.export(request).success)


def grpc_line() -> Line:
    """OTLP over gRPC; its library is 20 MB in memory, so it is loaded only where it is asked for."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

    class GrpcLine(GrpcExporter):
        def send(self, request: bytes) -> bool:
            return self._export(ExportTraceServiceRequest.FromString(request)) is SpanExportResult.SUCCESS

        def _translate_data(self, data: Any) -> ExportTraceServiceRequest:
            encoded: ExportTraceServiceRequest = data
            return encoded

        def _count_data(self, data: Any) -> int:
            groups: Sequence[Any] = data.resource_spans
            return sum(len(scope.spans) for group in groups for scope in group.scope_spans)

    return GrpcLine()
