"""Metrics through OpenTelemetry: scraped from `/metrics`, and pushed by OTLP where a collector is named."""

import os
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Histogram, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from tierbus.telemetry.export import by_grpc, instance, quiet, resource, wanted
from tierbus.telemetry.names import METRICS, SCOPE, Attr, Kind, Metric

TENANTS = 100
"""Tenants, and classes, that keep their name as a label; later ones are counted together, so that a metric stays small."""
OTHER = "other"
Reading = tuple[float, Mapping[Attr, str]]


class OtelMeters:
    """The instruments of one process."""

    def __init__(self, service: str, version: str, environ: Mapping[str, str] = os.environ) -> None:
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)]
        if wanted("METRICS", environ):
            quiet()
            readers.append(PeriodicExportingMetricReader(_exporter(environ)))
        self._provider = MeterProvider(
            readers,
            resource(service, version).merge(Resource({Attr.INSTANCE.value: instance()})),
            shutdown_on_exit=False,
            exemplar_filter=AlwaysOffExemplarFilter(),
        )
        self._tenants: set[str] = set()
        self._kept = {Attr.TENANT: self._tenants, Attr.CLASS: set[str]()}
        self._totals: dict[str, dict[tuple[str, ...], float]] = {}
        self._readings: dict[Metric, list[Callable[[], Iterable[Reading]]]] = {}
        self._labels = {metric.name: frozenset(metric.labels) for metric in METRICS}
        self._histograms = {metric.name: self._made(metric) for metric in METRICS if metric.kind is Kind.HISTOGRAM}
        for metric in METRICS:
            if metric.kind is not Kind.HISTOGRAM:
                self._observe(metric)

    def _made(self, metric: Metric) -> Histogram:
        meter = self._provider.get_meter(SCOPE)
        return meter.create_histogram(
            metric.name, metric.unit, metric.about, explicit_bucket_boundaries_advisory=list(metric.buckets)
        )

    def _observe(self, metric: Metric) -> None:
        """What is only read when asked for: gauges, and counters, which are summed here at a twentieth of the SDK's time."""
        meter = self._provider.get_meter(SCOPE)
        self._readings[metric] = []
        if metric.kind is Kind.GAUGE:
            meter.create_observable_gauge(metric.name, [self._observer(metric)], metric.unit, metric.about)
            return
        totals = self._totals[metric.name] = {}
        self._readings[metric].append(
            lambda: [(total, dict(zip(metric.labels, values, strict=True))) for values, total in list(totals.items())]
        )
        meter.create_observable_counter(metric.name, [self._observer(metric)], metric.unit, metric.about)

    def _observer(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            for read in self._readings[metric]:
                for value, labels in read():
                    yield Observation(value, {str(name): text for name, text in labels.items()})

        return observe

    def reserve(self, tenants: Iterable[str]) -> None:
        """Let these tenants keep their names whoever comes first."""
        self._tenants |= set(tenants)

    def watch(self, metric: Metric, read: Callable[[], Iterable[Reading]]) -> None:
        """Read a gauge whenever somebody asks for it."""
        self._readings[metric].append(read)

    def add(self, metric: Metric, amount: float, labels: Mapping[Attr, str]) -> None:
        """Count."""
        totals = self._totals[metric.name]
        self._check(metric, labels)
        key = tuple(self._bounded(name, labels[name]) for name in metric.labels)
        totals[key] = totals.get(key, 0.0) + amount

    def record(self, metric: Metric, value: float, labels: Mapping[Attr, str]) -> None:
        """Add to a distribution."""
        self._check(metric, labels)
        self._histograms[metric.name].record(value, {name: self._bounded(name, text) for name, text in labels.items()})

    def _check(self, metric: Metric, labels: Mapping[Attr, str]) -> None:
        if not self._labels[metric.name].issuperset(labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {tuple(labels)}")

    def _bounded(self, name: Attr, text: str) -> str:
        """The label's text; of tenants and classes only so many keep their name."""
        kept = self._kept.get(name)
        if kept is None or text in kept:
            return text
        if len(kept) < TENANTS:
            kept.add(text)
            return text
        return OTHER

    def scrape(self) -> bytes:
        """All metrics in Prometheus' text form."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Push what is left and stop."""
        self._provider.shutdown(timeout_millis=3000)


def _exporter(environ: Mapping[str, str]) -> MetricExporter:
    if by_grpc("METRICS", environ):
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()
