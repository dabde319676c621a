"""Whether the day's cap has room for one more comparison. Pure.

A reservation is written before the day is summed, so two workers never both take the last room: at worst both leave it.
What a comparison costs more than was reserved for it is the only overrun: answers longer than the estimate, of the
comparisons that are under way at a time.
"""

from collections.abc import Iterable

from tierbus.contracts import QualityMeasured


def fits(reserved: QualityMeasured, of_day: Iterable[QualityMeasured], cap_nano_usd: int) -> bool:
    """Whether this reservation, which may be among the day's records already, keeps within the cap what its rules watch."""
    others = (
        record.own_nano_usd
        for record in of_day
        if record.rules == reserved.rules and (record.tenant, record.run) != (reserved.tenant, reserved.run)
    )
    return sum(others) + reserved.own_nano_usd <= cap_nano_usd
