"""What both provider SDKs share: one call within its time, errors in three classes, how long a provider asks to wait."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from tierbus.llm.model import ProviderBusy, ProviderError, ProviderLost, ProviderRefused, Reply

T = TypeVar("T")

CONNECT_S = 10.0
_BUSY = {408, 409, 425, 429}
_SERVER_ERROR = 500
_TOLD_CHARS = 300
_NOT_CONNECTED = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
_NOT_SENDABLE = {"InvalidURL", "LocalProtocolError", "UnsupportedProtocol"}


class Client(NamedTuple):
    """An SDK's client: the module with its error classes, the method that asks, and the one that closes it.

    `batches` has the methods of the batch endpoint, where the SDK has one that we speak.
    """

    sdk: ModuleType
    send: Callable[..., Awaitable[Any]]
    close: Callable[[], Awaitable[None]]
    batches: Any = None


class Line:
    """One model's connection: an SDK client that is made when first asked.

    It is made in a thread, because importing an SDK takes a second or two, in which the event loop has heartbeats to send.
    `secret` is cut out of whatever a provider says.
    """

    def __init__(self, connect: Callable[[], Client], secret: str | None) -> None:
        self._connect = connect
        self._secret = secret
        self._client: Client | None = None
        self._making = asyncio.Lock()

    async def ask(self, request: dict[str, Any], read: Callable[[Any], Reply], timeout_s: float) -> Reply:
        """Send a request and read its answer, all within `timeout_s`.

        Raises:
            ProviderError: see `Model.ask`.
        """
        client = await self._made()
        limits = client.sdk.Timeout(None, connect=min(CONNECT_S, timeout_s / 2))
        answer = await self.within(timeout_s, lambda: client.send(**request, timeout=limits))
        try:
            return read(answer)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ProviderLost(f"the answer cannot be read ({type(error).__name__})", kind="unreadable") from None

    async def batches(self) -> Any:
        """The methods of the batch endpoint."""
        return (await self._made()).batches

    async def ready(self) -> None:
        """Make the client now."""
        await self._made()

    async def close(self) -> None:
        """Close the connections, if any were opened."""
        if self._client is not None:
            await self._client.close()

    async def _made(self) -> Client:
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
            return self._client

    async def within(self, timeout_s: float, call: Callable[[], Awaitable[T]]) -> T:
        """What a call of the SDK brings within its time, its errors as ours.

        Raises:
            ProviderError: see `Model.ask`.
        """
        client = await self._made()
        try:
            async with asyncio.timeout(timeout_s):
                return await call()
        except TimeoutError:
            raise ProviderLost(f"no answer within {timeout_s:g} s", kind="timeout") from None
        except json.JSONDecodeError:
            raise ProviderLost("the answer is not JSON", kind="unreadable") from None
        except client.sdk.APIStatusError as error:
            raise self._of_status(error) from None
        except client.sdk.APIConnectionError as error:
            raise _of_connection(error) from None

    def _of_status(self, error: Any) -> ProviderError:
        status = int(error.status_code)
        message = _message(error.body)
        if self._secret:
            message = message.replace(self._secret, "[key]")
        told = f"HTTP {status}: {message[:_TOLD_CHARS]}"
        if status in _BUSY or status >= _SERVER_ERROR:
            wait_s = retry_after_s(error.response.headers)
            return ProviderBusy(told, retry_after_s=wait_s, request_id=error.request_id, kind=str(status))
        return ProviderRefused(told, request_id=error.request_id, kind=str(status))


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a provider asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if text is None or seconds is not None:
        return None if seconds is None else max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now))
    except ValueError:
        return None


def in_words(schema: dict[str, Any]) -> str:
    """A JSON schema as an instruction, for a model whose API does not take it."""
    return "Answer with one JSON document that fits this JSON schema: " + json.dumps(schema, sort_keys=True)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _of_connection(error: Exception) -> ProviderError:
    """Nothing was sent if the connection could not be made; otherwise nobody knows."""
    cause = type(error.__cause__ or error).__name__
    if cause in _NOT_SENDABLE:
        return ProviderRefused(
            f"the request cannot be sent ({cause}): check the provider's address and key", kind="not-sendable"
        )
    if cause in _NOT_CONNECTED:
        return ProviderBusy(f"not reachable ({cause})", kind="unreachable")
    return ProviderLost(f"the connection was lost ({cause})", kind="connection-lost")


def _message(body: Any) -> str:
    """The provider's own words: its error type, code and message, wherever it puts them."""
    outer = body[0] if isinstance(body, list) and body else body
    inner = outer.get("error", outer) if isinstance(outer, dict) else outer
    if isinstance(inner, dict):
        told = [str(inner[name]) for name in ("type", "code", "message") if inner.get(name)]
        return ": ".join(dict.fromkeys(told)) or "no message"
    return "no message" if inner is None else str(inner)
