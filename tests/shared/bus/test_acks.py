"""The table from error to fate."""

import pytest

from tierbus import limits
from tierbus.bus.acks import TABLE, UNEXPECTED_DELIVERIES, Fate, Settlement, settle
from tierbus.errors import (
    Cancelled,
    Conflict,
    Malformed,
    Misconfigured,
    OverBudget,
    Rejected,
    TierbusError,
    Unavailable,
    UnknownVersion,
)

TRIED_AGAIN = [
    (Conflict("c"), limits.MAX_DELIVER, "conflict"),
    (Unavailable("u"), limits.MAX_DELIVER, "unavailable"),
    (Misconfigured("m"), limits.MAX_DELIVER, "misconfigured"),
    (OverBudget("o"), UNEXPECTED_DELIVERIES, "error"),
    (TierbusError("t"), UNEXPECTED_DELIVERIES, "error"),
    (ValueError("v"), UNEXPECTED_DELIVERIES, "error"),
    (TimeoutError(), UNEXPECTED_DELIVERIES, "error"),
]


@pytest.mark.parametrize("deliveries", [1, UNEXPECTED_DELIVERIES, limits.MAX_DELIVER, limits.MAX_DELIVER + 1])
def test_cancelled_work_is_done_however_often_it_came(deliveries: int) -> None:
    assert settle(Cancelled("c"), deliveries) == Settlement(Fate.ACK)


@pytest.mark.parametrize("deliveries", [1, limits.MAX_DELIVER + 1])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Rejected("no"), "rejected"),
        (Rejected("no", reason_code="cycle"), "cycle"),
        (Malformed("no"), "malformed"),
        (UnknownVersion("no"), "version"),
    ],
)
def test_what_the_sender_must_change_is_dead_at_once(error: Exception, reason: str, deliveries: int) -> None:
    assert settle(error, deliveries) == Settlement(Fate.DEAD, reason=reason)


@pytest.mark.parametrize(("error", "deliveries", "reason"), TRIED_AGAIN)
def test_everything_else_is_tried_again_until_it_is_exhausted(error: Exception, deliveries: int, reason: str) -> None:
    for delivery in range(1, deliveries):
        assert settle(error, delivery).fate is Fate.NAK, delivery
    for delivery in (deliveries, deliveries + 1, deliveries + 100):
        assert settle(error, delivery) == Settlement(Fate.DEAD, reason=reason)


@pytest.mark.parametrize(
    ("error", "delays"),
    [
        (Conflict("c"), [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 6.4]),
        (Misconfigured("m"), [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]),
        (RuntimeError("r"), [1.0, 2.0, 4.0, 8.0]),
    ],
)
def test_the_delay_doubles_up_to_a_bound(error: Exception, delays: list[float]) -> None:
    assert [settle(error, delivery).delay_s for delivery in range(1, len(delays) + 1)] == pytest.approx(delays)


@pytest.mark.parametrize("delay_s", [0.0, 0.5, 2.0, 61.0, 3600.0])
def test_unavailable_keeps_its_own_delay(delay_s: float) -> None:
    for delivery in (1, 2, 10, limits.MAX_DELIVER - 1):
        assert settle(Unavailable("the provider says when", delay_s), delivery) == Settlement(Fate.NAK, delay_s)


def test_the_table_ends_with_everything() -> None:
    assert TABLE[-1].error is Exception
    for place, rule in enumerate(TABLE):
        for later in TABLE[place + 1 :]:
            assert not issubclass(later.error, rule.error), f"{later.error} is never reached"
