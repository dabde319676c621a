"""Repeated prompts and shared prefixes, counted in bounded memory. Pure.

Texts are kept as 64-bit hashes. A table that is full forgets what it saw only once, oldest first, so a count that is not
exact is too low, never too high; `forgotten` says so.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from tierbus.llm.prefixes import CACHE_LIFE_S

CAP = 100_000
"""Entries of one table: about 15 MB."""
_DIGEST = 8
_COUNT_BITS = 24
_COUNT_MASK = (1 << _COUNT_BITS) - 1
LEAST_CHARS = 4096
"""Shorter prefixes are not cached by the providers: 1,024 tokens, at four characters each."""
_CUTS = (4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 98304, 131072, 262144, 524288)
CHARS_PER_TOKEN = 4
_SYSTEMS = 128
_MOST_CHARS = 32_768
"""System parts of up to so many characters are hashed once and remembered, so many of them: 4 MB of English, twice."""
Prefix = tuple[int, int]
"""Tokens since the prefix before it, and its hash."""


def digest(text: str) -> int:
    """A 64-bit hash that is the same in every process."""
    return _number(blake2b(_bytes(text), digest_size=_DIGEST))


def request_digest(model: str, system: str, whole: str) -> int:
    """The hash of a request to a model, by all its text, which begins with its system part."""
    if not _remembered(system):
        return digest(f"{model}\0{whole}")
    state = _asked(model, system).copy()
    state.update(_bytes(whole[len(system) :]))
    return _number(state)


def _remembered(system: str) -> bool:
    return LEAST_CHARS <= len(system) <= _MOST_CHARS


@lru_cache(_SYSTEMS)
def _asked(model: str, system: str) -> blake2b:
    return blake2b(_bytes(f"{model}\0{system}"), digest_size=_DIGEST)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _number(state: blake2b) -> int:
    return int.from_bytes(state.digest(), "little")


class Table:
    """Hash → a count and a sum or a moment, packed into one integer; bounded."""

    def __init__(self, cap: int = CAP) -> None:
        self.rows: dict[int, int] = {}
        self.forgotten = 0
        self._cap = cap

    def room(self) -> None:
        """Forget what was seen once, oldest first, when the table is full; when that is not enough, the oldest quarter."""
        if len(self.rows) < self._cap:
            return
        goal = self._cap // 4
        gone = []
        for name, packed in self.rows.items():
            if packed & _COUNT_MASK <= 1:
                gone.append(name)
                if len(gone) >= goal:
                    break
        if len(gone) < goal // 2:
            gone = list(self.rows)[:goal]
        for name in gone:
            del self.rows[name]
        self.forgotten += len(gone)


class Top(NamedTuple):
    """A prompt that was sent again and again, by the first digits of its hash."""

    name: str
    sent: int
    cost_nano_usd: int


class Repeats:
    """How often whole requests were the same, and what answering them once would have saved."""

    def __init__(self, cap: int = CAP) -> None:
        self.table = Table(cap)

    def add(self, name: int, cost_nano_usd: int) -> None:
        """One request of this hash was paid."""
        rows = self.table.rows
        found = rows.get(name)
        if found is None:
            self.table.room()
            rows[name] = cost_nano_usd << _COUNT_BITS | 1
        elif found & _COUNT_MASK < _COUNT_MASK:
            rows[name] = found + (cost_nano_usd << _COUNT_BITS) + 1

    def merge(self, other: "Repeats") -> None:
        """Take over another process's counts."""
        self.table.forgotten += other.table.forgotten
        rows = self.table.rows
        for name, packed in other.table.rows.items():
            if name in rows:
                rows[name] += packed
            else:
                self.table.room()
                rows[name] = packed

    @property
    def exact(self) -> bool:
        """Whether nothing had to be forgotten."""
        return not self.table.forgotten

    def saving(self) -> tuple[int, int]:
        """Calls that repeated an earlier one, and their nano-dollars at the average of their prompt."""
        calls = nano = 0
        for count, cost in self._all():
            calls += count - 1
            nano += cost * (count - 1) // count
        return calls, nano

    def top(self, most: int) -> list[Top]:
        """The prompts whose repetition cost most."""
        found = [
            (cost * (count - 1) // count, name, count, cost)
            for name, (count, cost) in zip(self.table.rows, self._all(), strict=True)
            if count > 1
        ]
        return [Top(f"{name:016x}"[:8], count, cost) for _, name, count, cost in sorted(found, reverse=True)[:most]]

    def _all(self) -> Iterator[tuple[int, int]]:
        return ((packed & _COUNT_MASK, packed >> _COUNT_BITS) for packed in self.table.rows.values())


class Prefixes:
    """How much of the requests' beginnings was sent before, within the life of a provider's cache.

    A request is cut at the end of its system part and at fixed lengths; each piece that was seen within `CACHE_LIFE_S` is
    read from the cache, each that was seen earlier is written anew. A prefix seen once is not marked for caching.
    """

    def __init__(self, cap: int = CAP) -> None:
        self.table = Table(cap)
        self.hits = 0
        self.tokens_read = 0
        self.saved_pico = 0
        self._whole = True

    def add(self, whole: str, system: str, at: float, prices: tuple[int, int, int]) -> None:
        """One uncached request, which begins with its system part; `prices` are pico-dollars a token of input, cache read and cache write."""
        if len(whole) < LEAST_CHARS:
            return
        plain, read, written = prices
        hit, moment = False, int(at)
        for size, name in _prefixes(whole, system):
            seen = self._see(name, moment)
            if seen is None:
                continue
            count, last = seen
            if abs(moment - last) <= CACHE_LIFE_S:
                hit = True
                self.tokens_read += size
                self.saved_pico += size * (plain - read)
                self.saved_pico -= size * (written - plain) if count == 1 else 0
            else:
                self.saved_pico -= size * (written - plain)
        self.hits += hit

    def _see(self, name: int, moment: int) -> tuple[int, int] | None:
        rows = self.table.rows
        found = rows.get(name)
        if found is None:
            self.table.room()
            rows[name] = moment << _COUNT_BITS | 1
            return None
        count = found & _COUNT_MASK
        rows[name] = moment << _COUNT_BITS | min(count + 1, _COUNT_MASK)
        return count, found >> _COUNT_BITS

    def merge(self, other: "Prefixes") -> None:
        """Add another process's sums: requests that fell to different processes are not seen together, so this is too low."""
        self._whole = False
        self.hits += other.hits
        self.tokens_read += other.tokens_read
        self.saved_pico += other.saved_pico
        self.table.forgotten += other.table.forgotten

    @property
    def exact(self) -> bool:
        """Whether nothing had to be forgotten and one process saw it all."""
        return self._whole and not self.table.forgotten


def _prefixes(whole: str, system: str) -> Iterable[Prefix]:
    ends, chars = [cut for cut in _CUTS if cut <= len(whole)], len(system)
    if chars >= LEAST_CHARS and chars not in ends:
        ends = sorted([*ends, chars])
    if not _remembered(system):
        return _hashed(blake2b(digest_size=_DIGEST), whole, 0, ends)
    begun, state = _begun(system)
    return chain(begun, _hashed(state.copy(), whole, chars, [end for end in ends if end > chars]))


@lru_cache(_SYSTEMS)
def _begun(system: str) -> tuple[tuple[Prefix, ...], blake2b]:
    """The prefixes that end in a system part or with it, and the hash to go on from; whoever goes on copies it."""
    state = blake2b(digest_size=_DIGEST)
    ends = sorted({*(cut for cut in _CUTS if cut <= len(system)), len(system)})
    return tuple(_hashed(state, system, 0, ends)), state


def _hashed(state: blake2b, text: str, begin: int, ends: list[int]) -> Iterator[Prefix]:
    for end in ends:
        state.update(_bytes(text[begin:end]))
        yield (end - begin) // CHARS_PER_TOKEN, _number(state)
        begin = end
