"""Which beginnings of prompts are sent again and again, so that a cache mark pays.

To write a beginning into a provider's cache costs a quarter more than to send it, to read it a tenth (Anthropic, prompt
caching with entries of five minutes). One that is sent once is dearer for its mark.
"""

import time
from collections.abc import Callable
from hashlib import blake2b
from math import inf

CACHE_LIFE_S = 300.0
"""A provider's cached prefix lives five minutes from its last use (Anthropic's default; OpenAI names 5 to 10)."""
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

    def add(self, text: str) -> None:
        """It was sent, and answered."""
        now, key = self._clock(), _digest(text)
        self._sent.pop(key, None)
        self._sent[key] = now
        oldest = next(iter(self._sent))
        if len(self._sent) > MOST or now - self._sent[oldest] >= CACHE_LIFE_S:
            del self._sent[oldest]

    def __contains__(self, text: str) -> bool:
        """Whether it was sent within `CACHE_LIFE_S`."""
        return self._clock() - self._sent.get(_digest(text), -inf) < CACHE_LIFE_S


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
