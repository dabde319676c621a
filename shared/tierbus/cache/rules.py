"""What an operator allows for a class about answers that are there already."""

from pydantic import Field

from tierbus import limits
from tierbus.contracts import Model


class CacheRules(Model):
    """Tasks of the class that ask exactly the same may share an answer: within one tenant, never across.

    `ttl_s` is how long after its task's end an answer is used; the upper limit is what `limits.CACHE_TTL_S` says.
    `coalesce` lets a task wait for one that asks the same and runs now, instead of paying for it twice.
    """

    ttl_s: float = Field(gt=0, le=limits.CACHE_TTL_S)
    coalesce: bool = True
