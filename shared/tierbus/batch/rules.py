"""Which steps may wait for a batch, and for how long. Pure."""

from typing import Self

from pydantic import Field, model_validator

from tierbus.contracts import Model, Priority, Tier

MOST_REQUESTS = 2000
"""Steps of one batch: what is known of it must fit into one message (the provider's own limit is 100,000)."""


class BatchRules(Model):
    """When low-priority tasks of a class go through the provider's batch endpoint, at half the price and within a day.

    A step waits if the deadline is at least `min_slack_s` away. A batch is sent when its first step has waited `max_wait_s`,
    or when there are `max_requests` of them. When the deadline comes as near as `leave_slack_s`, the step waits no longer.
    """

    min_slack_s: float = Field(default=7200.0, gt=0)
    max_wait_s: float = Field(default=600.0, ge=0)
    max_requests: int = Field(default=500, ge=1, le=MOST_REQUESTS)
    leave_slack_s: float = Field(default=1800.0, ge=0)

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.min_slack_s < self.max_wait_s + self.leave_slack_s:
            raise ValueError(
                f"min_slack_s {self.min_slack_s:g} is less than max_wait_s {self.max_wait_s:g} "
                f"and leave_slack_s {self.leave_slack_s:g} together: a step would leave before its batch is sent"
            )
        return self


def may_wait(rules: BatchRules | None, priority: Priority, deadline_at: float, now: float) -> bool:
    """Whether a step may wait for a batch; times are Unix seconds."""
    return rules is not None and priority is Priority.LOW and deadline_at - now >= rules.min_slack_s


def leave_at(rules: BatchRules, deadline_at: float) -> float:
    """When a step stops waiting, sent or not."""
    return deadline_at - rules.leave_slack_s


def lane_of(rules: BatchRules, tier: Tier) -> str:
    """Where steps of one tier wait together that are collected by the same rules: one subject token."""
    return f"{tier}-{round(rules.max_wait_s * 1000)}-{rules.max_requests}"
