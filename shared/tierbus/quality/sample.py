"""Which tasks are watched: drawn by the run's id alone, so that every worker draws the same, however often it is asked. Pure."""

import hashlib
from datetime import UTC, datetime

_DRAWS = 2**64


def drawn(run: str, share: float) -> bool:
    """Whether this run is one of the watched `share`; the draw is independent of every other use of the id."""
    digest = hashlib.sha256(f"quality-watch/{run}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _DRAWS


def day_of(at: float) -> str:
    """The day (UTC) of a moment: caps hold for the tasks that ended on one."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()
