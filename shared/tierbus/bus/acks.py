"""What happens to a message when its handler ends: one table from error class to fate."""

from enum import StrEnum
from typing import NamedTuple

from tierbus import limits
from tierbus.errors import Cancelled, Conflict, Misconfigured, Rejected, Unavailable

UNEXPECTED_DELIVERIES = 5
"""A message whose handler fails for a reason nobody foresaw is tried this often."""


class Fate(StrEnum):
    """Gone as done, back to the queue after a delay, or out of the queue into the dead letters."""

    ACK = "ack"
    NAK = "nak"
    DEAD = "dead"


class Settlement(NamedTuple):
    """What to do; `delay_s` for a nak, `reason` for a dead letter."""

    fate: Fate
    delay_s: float = 0.0
    reason: str = ""


class Rule(NamedTuple):
    """How one error class is settled; after `deliveries` the message is dead for `reason`."""

    error: type[BaseException]
    fate: Fate
    delay_s: float
    deliveries: int
    reason: str


TABLE: tuple[Rule, ...] = (
    Rule(Cancelled, Fate.ACK, 0.0, 0, ""),
    Rule(Rejected, Fate.DEAD, 0.0, 0, ""),
    Rule(Conflict, Fate.NAK, 0.2, limits.MAX_DELIVER, "conflict"),
    Rule(Unavailable, Fate.NAK, 2.0, limits.MAX_DELIVER, "unavailable"),
    Rule(Misconfigured, Fate.NAK, 5.0, limits.MAX_DELIVER, "misconfigured"),
    Rule(Exception, Fate.NAK, 1.0, UNEXPECTED_DELIVERIES, "error"),
)


def settle(error: Exception, deliveries: int) -> Settlement:
    """The fate of a message whose handler raised `error` on its `deliveries`-th delivery."""
    rule = next(rule for rule in TABLE if isinstance(error, rule.error))
    if rule.fate is Fate.ACK:
        return Settlement(Fate.ACK)
    if isinstance(error, Rejected):
        return Settlement(Fate.DEAD, reason=error.reason_code)
    if deliveries >= rule.deliveries:
        return Settlement(Fate.DEAD, reason=rule.reason)
    delay = error.delay_s if isinstance(error, Unavailable) else rule.delay_s * 2 ** min(deliveries - 1, 5)
    return Settlement(Fate.NAK, delay_s=min(delay, 60.0) if not isinstance(error, Unavailable) else delay)
