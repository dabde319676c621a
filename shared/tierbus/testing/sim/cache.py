"""Prompt caching as the providers do it, simulated: what was sent before costs less the second time. Pure."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CHARS_PER_TOKEN = 4
CACHED_FROM_TOKENS = 1024
_STEP_CHARS = 128 * CHARS_PER_TOKEN


def tokens(text: str) -> int:
    """Simulated token count: a quarter of the characters, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


class Hit(NamedTuple):
    """Tokens of a prompt that were read from the cache, and written to it."""

    read: int = 0
    written: int = 0


class Cache:
    """Remembers beginnings of prompts, per model and for ever: an entry does not expire."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def marked(self, model: str, blocks: Sequence[str], marks: Sequence[int]) -> Hit:
        """Anthropic's way: the beginnings up to the marked blocks are kept, and found again whole."""
        if not marks:
            return Hit()
        ends = [
            (tokens(prefix), _digest(model, prefix)) for prefix in ("\n\n".join(blocks[: mark + 1]) for mark in marks)
        ]
        ends = [end for end in ends if end[0] >= CACHED_FROM_TOKENS]
        if not ends:
            return Hit()
        read = max((size for size, key in ends if key in self._known), default=0)
        self._known.update(key for _, key in ends)
        return Hit(read, ends[-1][0] - read)

    def longest(self, model: str, text: str) -> Hit:
        """OpenAI's way: the longest known beginning counts, in steps of 128 tokens from 1024 on."""
        read = 0
        for size, key in _beginnings(model, text):
            if key in self._known:
                read = size
            self._known.add(key)
        return Hit(read)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _digest(model: str, text: str) -> bytes:
    return hashlib.blake2b(f"marked {model}\n{text}".encode(), digest_size=16).digest()


def _beginnings(model: str, text: str) -> Iterator[tuple[int, bytes]]:
    first = CACHED_FROM_TOKENS * CHARS_PER_TOKEN
    if len(text) < first:
        return
    hashed = hashlib.blake2b(f"longest {model}\n{text[:first]}".encode(), digest_size=16)
    yield CACHED_FROM_TOKENS, hashed.digest()
    for end in range(first + _STEP_CHARS, len(text) + 1, _STEP_CHARS):
        hashed.update(text[end - _STEP_CHARS : end].encode())
        yield end // CHARS_PER_TOKEN, hashed.digest()
