"""Whether the day's cap has room for one more comparison. Pure.

A reservation is written before the day is summed, so two workers never both take the last room: at worst both leave it.
What a comparison costs more than was reserved for it is the only overrun: answers longer than the estimate, of the
comparisons that are under way at a time.
"""

from collections.abc import Iterable

from tierbus.contracts import QualityMeasured


def left(reserved: QualityMeasured, of_day: Iterable[QualityMeasured], cap_nano_usd: int) -> int:
    """Nano-dollars of the cap that the others of the day leave to this reservation, which may be among them already."""
    others = (
        record.own_nano_usd
        for record in of_day
        if record.rules == reserved.rules and (record.tenant, record.run) != (reserved.tenant, reserved.run)
    )
    return cap_nano_usd - sum(others)
