"""What both provider SDKs share: errors into three classes, and how long a provider asks to wait."""

import time
from collections.abc import Awaitable, Mapping
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any, TypeVar

from tierbus.llm.model import ProviderBusy, ProviderError, ProviderLost, ProviderRefused

T = TypeVar("T")
_BUSY = {408, 409, 425, 429}
_SERVER_ERROR = 500
_TOLD_CHARS = 300


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a provider asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None and _number(milliseconds) is not None:
        return (_number(milliseconds) or 0.0) / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - (now if now is not None else time.time()))
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


async def guarded(sdk: ModuleType, call: Awaitable[T]) -> T:
    """Await an SDK call; what it raises becomes one of our three errors, without request, headers or key.

    Raises:
        ProviderError: see `Model.ask`.
    """
    try:
        return await call
    except sdk.APIStatusError as error:
        raise _of_status(error) from None
    except sdk.APITimeoutError as error:
        raise ProviderLost(f"no answer in time ({_cause(error)})") from None
    except sdk.APIConnectionError as error:
        raise _of_connection(error) from None
    except sdk.APIResponseValidationError as error:
        raise ProviderLost(f"the answer cannot be read: {type(error).__name__}") from None


def _of_status(error: Any) -> ProviderError:
    status = int(error.status_code)
    told = f"HTTP {status}: {_message(error.body)}"
    request_id = error.request_id
    if status in _BUSY or status >= _SERVER_ERROR:
        return ProviderBusy(told, retry_after_s=retry_after_s(error.response.headers), request_id=request_id)
    return ProviderRefused(told, request_id=request_id)


def _of_connection(error: Exception) -> ProviderError:
    """Nothing was sent if the connection could not be made; otherwise nobody knows."""
    cause = _cause(error)
    if cause in {"ConnectError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError"}:
        return ProviderBusy(f"not reachable ({cause})")
    return ProviderLost(f"the connection was lost ({cause})")


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__


def _message(body: Any) -> str:
    """The provider's own words: its error type and message."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        told = ": ".join(str(inner[name]) for name in ("type", "code", "message") if inner.get(name))
        return told[:_TOLD_CHARS] or "no message"
    return "no message" if inner is None else str(inner)[:_TOLD_CHARS]
