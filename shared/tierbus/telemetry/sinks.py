"""Where spans and measurements go, as protocols; and a place that keeps nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from tierbus.telemetry.names import Attr, Metric
from tierbus.telemetry.spans import Span

Labels = Mapping[Attr, str]
Make = Callable[[], Iterable[Span]]


class Sink(Protocol):
    """Where finished spans go."""

    def wants(self, trace_id: str) -> bool:
        """Whether this trace is sampled."""
        ...

    def later(self, make: Make) -> None:
        """Take spans that are made when they are sent: a busy event loop has better things to do. Never waits, never raises."""
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

    def later(self, make: Make) -> None:
        """Nothing."""

    async def exported(self) -> None:
        """Nothing."""

    def add(self, metric: Metric, amount: float, labels: Labels) -> None:
        """Nothing."""

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Nothing."""
