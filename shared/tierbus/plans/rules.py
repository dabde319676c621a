"""When a plan may be used again: what an operator says of a class in the classes file."""

from pydantic import Field

from tierbus.contracts import Model


class PlanRules(Model):
    """The rules of plan reuse; without `reuse` every task is planned by the frontier, and nothing is kept.

    ```yaml
    classes:
      offer-comparison:
        plans: {reuse: true, min_accepted: 3, keep_rate: 0.8, min_tries: 5, ttl_s: 604800}
    ```
    """

    reuse: bool = False
    min_accepted: int = Field(default=3, ge=1)
    """Frontier plans of a shape that must have been accepted before the first of them is used again."""
    keep_rate: float = Field(default=0.8, gt=0, le=1)
    """A kept plan is dropped where fewer of its last tries than this part were accepted."""
    min_tries: int = Field(default=5, ge=1)
    """Tries of a kept plan before its rate says anything."""
    ttl_s: float = Field(default=7 * 24 * 3600.0, ge=60, le=365 * 24 * 3600.0)
    """Seconds for which a plan is used after it was made; then the frontier plans anew. Its task's text is kept as long."""
