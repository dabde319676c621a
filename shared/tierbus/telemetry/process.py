"""The telemetry of one service process, put together from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from tierbus.telemetry.content import Capture
from tierbus.telemetry.export import FLUSH_S, OtlpSink, aside, instance, sink
from tierbus.telemetry.meters import OtelMeters
from tierbus.telemetry.watch import Watch


@dataclass(frozen=True)
class Telemetry:
    """What a process tells through, and what must be flushed when it stops."""

    watch: Watch
    meters: OtelMeters
    sink: OtlpSink | None

    async def flush(self) -> None:
        """Send what is left; a few seconds at most."""
        if self.sink is not None:
            await self.sink.flush()
        await aside(self.meters.close, FLUSH_S)


def telemetry(service: str, capture: Capture, environ: Mapping[str, str]) -> Telemetry:
    """Set up traces and metrics for a service.

    Raises:
        Misconfigured: an `OTEL_*` variable asks for what there is not.
    """
    release = version("tierbus")
    out = sink(service, release, environ)
    meters = OtelMeters(service, release, environ)
    return Telemetry(Watch(out, meters, service=service, instance=instance(), capture=capture), meters, out)
