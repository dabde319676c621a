"""Anthropic's Message Batches through its own SDK (https://platform.claude.com/docs/en/build-with-claude/batch-processing)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from tierbus.llm.anthropic import AnthropicModel, reply_of
from tierbus.llm.batches import Answer, Progress, Request
from tierbus.llm.model import ProviderLost, ProviderRefused

CREATE_S = 300.0
"""A batch may be 64 MB of text on its way."""
LOOK_S = 60.0
PAGE = 100
_TOLD_CHARS = 300
T = TypeVar("T")


class AnthropicBatches:
    """`/v1/messages/batches` for one model, over its connection."""

    def __init__(self, model: AnthropicModel) -> None:
        self._model = model
        self._line = model.line

    async def create(self, requests: Sequence[Request]) -> str:
        """Have a batch made. See `Batches` for these methods."""
        body = [{"custom_id": one.custom_id, "params": self._model.request(one.question)} for one in requests]
        made = await self._ask(CREATE_S, lambda batches: batches.create(requests=body, timeout=CREATE_S))
        return str(made.id)

    async def made_since(self, at: float, requests: int, not_these: Collection[str]) -> list[str]:
        """Batches that may be ours: the API tells a batch's size and time, and its custom ids only when it has ended."""

        async def look(batches: Any) -> list[str]:
            found: list[str] = []
            async for batch in await batches.list(limit=PAGE, timeout=LOOK_S):
                if batch.created_at.timestamp() < at:
                    break
                counts = batch.request_counts
                total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                if total == requests and batch.id not in not_these:
                    found.append(batch.id)
            return found

        return await self._ask(LOOK_S, look)

    async def progress(self, batch: str) -> Progress:
        """How far a batch is."""
        found = await self._ask(LOOK_S, lambda batches: batches.retrieve(batch, timeout=LOOK_S))
        if found.processing_status != "ended":
            return Progress(None)
        return Progress((found.ended_at or found.created_at).timestamp())

    async def answers(self, batch: str) -> AsyncGenerator[Answer, None]:
        """The answers of a batch, one line after the other; only one is held at a time."""
        import anthropic
        import httpx2

        try:
            lines = await self._ask(LOOK_S, lambda batches: batches.results(batch, timeout=LOOK_S))
        except anthropic.AnthropicError as error:  # the SDK's own: the batch has no results, or has them no longer
            raise ProviderRefused(f"batch {batch} has no results", kind="no-results") from error
        try:
            while (line := await self._line.within(LOOK_S, lambda: anext(lines, None))) is not None:
                yield _answer(line)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ProviderLost(f"the results cannot be read ({type(error).__name__})", kind="unreadable") from None
        except httpx2.HTTPError as error:  # not the SDK's own: it reads a stream's lines as they come
            raise ProviderLost(f"the results broke off ({type(error).__name__})", kind="connection-lost") from None
        finally:
            await lines.close()

    async def cancel(self, batch: str) -> None:
        """Stop a batch."""
        await self._ask(LOOK_S, lambda batches: batches.cancel(batch, timeout=LOOK_S))

    async def _ask(self, timeout_s: float, call: Callable[[Any], Awaitable[T]]) -> T:
        batches = await self._line.batches()
        return await self._line.within(timeout_s, lambda: call(batches))


def _answer(line: Any) -> Answer:
    result = line.result
    match result.type:
        case "succeeded":
            return _succeeded(line.custom_id, result.message)
        case "errored":
            error = result.error.error
            return Answer(line.custom_id, error=f"{error.type}: {error.message}"[:_TOLD_CHARS], error_type=error.type)
        case kind:
            return Answer(line.custom_id, error=f"the provider says {kind}", error_type=str(kind))


def _succeeded(custom_id: str, message: Any) -> Answer:
    """A reply; one that cannot be read was carried out all the same."""
    try:
        return Answer(custom_id, reply=reply_of(message))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        told = f"the answer cannot be read ({type(error).__name__})"
        return Answer(custom_id, error=told, error_type="unreadable", lost=True)
