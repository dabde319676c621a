"""Repeated prompts and shared prefixes, counted in bounded memory. Pure.

Texts are kept as 64-bit hashes. A table that is full forgets what it saw only once, oldest first, so a count that is not
exact is too low, never too high; `forgotten` says so.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

CAP = 100_000
"""Entries of one table: about 15 MB."""
_DIGEST = 8
_COUNT_BITS = 24
_COUNT_MASK = (1 << _COUNT_BITS) - 1
CACHE_LIFE_S = 300.0
"""A provider's cached prefix lives five minutes from its last use (Anthropic's default; OpenAI names 5 to 10)."""
LEAST_CHARS = 4096
"""Shorter prefixes are not cached by the providers: 1,024 tokens, at four characters each."""
_CUTS = (4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 98304, 131072, 262144, 524288)
CHARS_PER_TOKEN = 4


def digest(text: str) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest(), "little")


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

    def add(self, whole: str, system_chars: int, at: float, prices: tuple[int, int, int]) -> None:
        """One uncached request; `prices` are pico-dollars a token of input, cache read and cache write."""
        if len(whole) < LEAST_CHARS:
            return
        plain, read, written = prices
        state, before, hit = blake2b(digest_size=_DIGEST), 0, False
        moment = int(at)
        for end in _ends(len(whole), system_chars):
            state.update(whole[before:end].encode("utf-8", "surrogatepass"))
            size = (end - before) // CHARS_PER_TOKEN
            before = end
            seen = self._see(int.from_bytes(state.copy().digest(), "little"), moment)
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


def _ends(size: int, system_chars: int) -> list[int]:
    ends = [cut for cut in _CUTS if cut <= size]
    if system_chars >= LEAST_CHARS and system_chars not in ends:
        ends = sorted([*ends, system_chars])
    return ends
