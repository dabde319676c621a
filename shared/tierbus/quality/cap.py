"""Whether the day's cap has room for one more comparison. Pure.

A reservation is written before the day is summed, so two workers never both take the last room: at worst both leave it.
What a comparison costs more than was reserved for it is the only overrun: answers longer than the estimate, of the
comparisons that are under way at a time.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tierbus.contracts import QualityMeasured


class Taken(NamedTuple):
    """What one comparison has taken of a cap, reserved or spent, and by whose rules."""

    rules: str
    nano_usd: int


def left(reserved: QualityMeasured, taken: Mapping[str, Taken], cap_nano_usd: int) -> int:
    """Nano-dollars of the cap that the others of the day, by subject, leave to this reservation; it may be among them."""
    others = (
        one.nano_usd for subject, one in taken.items() if one.rules == reserved.rules and subject != reserved.subject
    )
    return cap_nano_usd - sum(others)
