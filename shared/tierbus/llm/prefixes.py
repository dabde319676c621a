"""Which beginnings of prompts are sent again and again, so that a cache mark pays.

To write a beginning into a provider's cache costs a quarter more than to send it, to read it a tenth (Anthropic, prompt
caching with entries of five minutes). One that is sent once is dearer for its mark.
"""

import time
from collections.abc import Callable
from hashlib import blake2b

LASTS_S = 300.0
"""How long an entry lasts that nobody reads."""
MOST = 10_000
"""Beginnings that are remembered; the oldest go first."""


class Prefixes:
    """What one process sent lately, by digest: texts are not kept.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: dict[bytes, float] = {}

    def again(self, text: str) -> bool:
        """Whether this was sent within `LASTS_S` before; from now on it was."""
        now, key = self._clock(), blake2b(text.encode(), digest_size=16).digest()
        before = self._sent.pop(key, None)
        self._sent[key] = now
        oldest = next(iter(self._sent))
        if len(self._sent) > MOST or now - self._sent[oldest] >= LASTS_S:
            del self._sent[oldest]
        return before is not None and now - before < LASTS_S
