"""Our FastStream middleware: watches each delivered message from before it is decoded until it is settled."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from faststream import BaseMiddleware
from faststream.message import StreamMessage

from tierbus.bus.worker import Received
from tierbus.telemetry.watch import Watch


class Watching(BaseMiddleware):
    """Opens a span for each delivery; the worker ends it before it publishes what follows."""

    def __init__(self, msg: Any | None, /, *, context: Any, watch: Watch) -> None:
        super().__init__(msg, context=context)
        self._watch = watch

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> Any:
        """Handle one message while it is watched."""
        arrived = await msg.decode()
        if not isinstance(arrived, Received):
            return await call_next(msg)
        with self._watch.handling(arrived.delivery, arrived.msg.metadata.consumer):
            return await call_next(msg)


def watching(watch: Watch) -> Callable[..., Watching]:
    """The middleware in the form that a broker takes."""
    return partial(Watching, watch=watch)
