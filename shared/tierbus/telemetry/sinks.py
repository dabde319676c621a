"""Where spans and measurements go, as protocols; and a place that keeps nothing."""

from collections.abc import Mapping
from typing import Protocol

from tierbus.telemetry.names import Attr, Metric
from tierbus.telemetry.spans import Span

Labels = Mapping[Attr, str]


class Sink(Protocol):
    """Where finished spans go."""

    def wants(self, trace_id: str) -> bool:
        """Whether this trace is sampled."""
        ...

    def emit(self, span: Span) -> None:
        """Take a span; never waits, never raises."""
        ...

    async def exported(self) -> None:
        """Wait until what was taken so far has been sent, or cannot be; a few seconds at most."""
        ...


class Meters(Protocol):
    """Where measurements go."""

    def add(self, metric: Metric, amount: float, labels: Labels) -> None:
        """Count."""
        ...

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Add to a distribution."""
        ...


class Nowhere:
    """Takes everything and keeps nothing: for tests, and for traces where no collector is named."""

    def wants(self, trace_id: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def emit(self, span: Span) -> None:
        """Nothing."""

    async def exported(self) -> None:
        """Nothing."""

    def add(self, metric: Metric, amount: float, labels: Labels) -> None:
        """Nothing."""

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Nothing."""
