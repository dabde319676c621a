"""One model call as a log tells it, and the two ways in which a row is not one."""

from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """A call. Tokens as `contracts.Usage` counts them: `input` includes what was read from or written to the cache.

    `cost_nano_usd` is what the log says, None where it says nothing; `at` is Unix seconds, 0 where unknown. `whole` is all
    text of the request in order, beginning with `system`; `prompt` is the last user message in it; all three may be empty.
    `fingerprint` names an identical request where the log has no text but a cache key.
    """

    model: str
    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    provider: str = ""
    cost_nano_usd: int | None = None
    at: float = 0.0
    tenant: str = ""
    user: str = ""
    key: str = ""
    label: str = ""
    operation: str = ""
    system: str = ""
    prompt: str = ""
    whole: str = ""
    fingerprint: str = ""
    tools: bool = False
    batch: bool = False
    estimated: bool = False


class Unreadable(ValueError):
    """A row that should be a call and cannot be read. `reason` is one of few, `detail` names the value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class NotACall(Unreadable):
    """A row that is fine and is no answered model call: a span of something else, a failed request."""
