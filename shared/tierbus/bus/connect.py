"""A connection to the bus, for services and for the command line."""

from typing import Any

import nats
import nats.errors
import structlog
from nats.aio.client import Client

from tierbus.errors import Unavailable
from tierbus.settings import Settings

log = structlog.get_logger(__name__)


def options(settings: Settings, name: str) -> dict[str, Any]:
    """What nats-py is told; a service never gives up reconnecting."""
    given: dict[str, Any] = {"name": f"tierbus-{name}", "max_reconnect_attempts": -1, "connect_timeout": 5}
    if settings.nats_user and settings.nats_password:
        given |= {"user": settings.nats_user, "password": settings.nats_password.get_secret_value()}
    if settings.nats_creds:
        given["user_credentials"] = settings.nats_creds
    return given


async def connect(settings: Settings, name: str) -> Client:
    """Connect once, for a command: no retries.

    Raises:
        Unavailable: nobody listens there; the text names the address.
    """
    errors: list[str] = []

    async def on_error(error: Exception) -> None:
        errors.append(str(error) or type(error).__name__)

    given = options(settings, name) | {
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,  # nats-py 2.16 would try for ever with -1, and with 0, before it first connects
        "reconnect_time_wait": 0.1,
        "error_cb": on_error,
    }
    try:
        return await nats.connect(settings.servers, **given)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        why = errors[0] if errors else str(error)
        raise Unavailable(f"no bus at {settings.nats_url}: {why}") from None


async def close(nc: Client) -> None:
    """Flush and close; `drain` would wait 30 s after a fetch that timed out."""
    if nc.is_connected:
        await nc.flush(timeout=2)
    await nc.close()
