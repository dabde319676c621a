"""What an operator says about the quality watch of a class of tasks."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from tierbus.contracts import NANO, Model, Tier


class CheckRules(Model):
    """A program of the operator's that says whether an answer is good; it takes the judge's place.

    It gets one JSON object on standard input (`task`, `attachments` by name, `answer`) and ends with 0 for a good answer and
    1 for a bad one; any other end says that the check itself is broken. It is started without a shell, with PATH alone of the
    service's environment.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout_s: float = Field(default=30.0, gt=0, le=600)


class WatchRules(Model):
    """How much of a class is watched, and what that may cost."""

    share: float = Field(ge=0, le=1)
    """Part of the succeeded tasks that is compared."""
    max_usd_per_day: Decimal = Field(gt=0)
    """What the comparisons of tasks that ended on one day (UTC) may cost together; those beyond it are left out. The rules of
    `*` have one cap for all the classes that they stand for."""
    judge_tier: Tier = Tier.MID
    """Who compares the two answers."""
    check: CheckRules | None = None
    """Compares instead of the judge, and costs nothing."""

    @property
    def cap_nano_usd(self) -> int:
        """The day's cap in nano-dollars."""
        return int(self.max_usd_per_day * NANO)
