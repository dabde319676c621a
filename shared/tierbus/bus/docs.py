"""The AsyncAPI document of the bus, generated from the contracts and the topology."""

import json
from typing import Any

from faststream.nats import JStream, NatsBroker
from faststream.specification import AsyncAPI

from tierbus.bus.topology import CONSUMERS, STREAMS
from tierbus.contracts import MESSAGES, SCHEMA_VERSION, Message

_DESCRIPTION = """Tasks are published on `tierbus.task.<priority>.<tenant>`; everything about a run is told on
`tierbus.event.<tenant>.<run>.<kind>`, the result included. A run's id is the first 32 hexadecimal digits of the SHA-256
of `<tenant>/<task id>`. Consumers read schema versions {current} and {previous}."""


def asyncapi() -> str:
    """The document as JSON."""
    broker = NatsBroker("nats://localhost:4222", logger=None)
    streams = {stream.name: JStream(stream.name, declare=False) for stream in STREAMS}
    for consumer in CONSUMERS:
        _heard(broker, consumer.filter, consumer.name, streams[consumer.stream], consumer.message)
    for kind in MESSAGES:
        broker.publisher(kind.pattern, title=kind.kind, description=kind.__doc__, schema=kind)
    specification = AsyncAPI(
        broker,
        title="Tierbus",
        version=str(SCHEMA_VERSION),
        description=_DESCRIPTION.format(current=SCHEMA_VERSION, previous=SCHEMA_VERSION - 1),
    )
    document = json.loads(specification.to_specification().to_json())
    return json.dumps(document, indent=2, sort_keys=True)


def _heard(broker: NatsBroker, subject: str, name: str, stream: JStream, kind: type[Message]) -> None:
    async def handler(body: Any) -> None:
        """Heard by a service."""

    handler.__annotations__["body"] = kind
    handler.__doc__ = kind.__doc__
    subscriber = broker.subscriber(
        subject, durable=name, stream=stream, pull_sub=True, title=name, description=kind.__doc__
    )
    subscriber(handler)
