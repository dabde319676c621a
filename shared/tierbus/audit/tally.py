"""The sums of an audit: added to call by call, merged over processes. Pure; bounded in memory whatever the log holds."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from tierbus.audit.call import Call
from tierbus.audit.kinds import label_of, sort
from tierbus.audit.prices import BATCH_DIVISOR, DAY_S, Edges, Line, PriceBook, nearest_nano
from tierbus.audit.repeats import Prefixes, Repeats, digest, request_digest
from tierbus.telemetry.content import cut
from tierbus.tiers.catalog import Catalog

MOST_LABELS = 60
"""Task classes that a log may name; more are summed up as one."""
MOST_MODELS = 300
MOST_NAMES = 5_000
"""Tenants, users or keys that are counted one by one; the smallest give way beyond it."""
EXAMPLES = 3
SAMPLE_CHARS = 160
OTHER_LABELS, OTHER_MODELS = "other classes", "other models"


class Cell(NamedTuple):
    """What is summed separately: what a call was, the model it went to, and on which side of price steps it is."""

    kind: str
    band: str
    risky: bool
    model: str
    batch: bool
    bucket: int


@dataclass(slots=True)
class Sums:
    """Sums of one cell; `cost_nano_usd` is that of the calls whose cost is known."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost_nano_usd: int = 0
    unpriced: int = 0

    def add(self, other: "Sums") -> None:
        """Add another's."""
        self.calls += other.calls
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write
        self.cost_nano_usd += other.cost_nano_usd
        self.unpriced += other.unpriced

    @property
    def tokens(self) -> tuple[int, int, int, int, int]:
        """Calls and tokens as `Line.pico` takes them."""
        return self.calls, self.input, self.output, self.cache_read, self.cache_write


class Example(NamedTuple):
    """One unreadable row: which file, which piece of it, which row, and what is wrong."""

    file: int
    piece: int
    row: int
    detail: str


@dataclass(slots=True)
class Problem:
    """Rows that could not be read, by one reason."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, count: int, examples: Iterable[Example]) -> None:
        """More of the same; the first few are kept."""
        self.count += count
        self.examples = sorted([*self.examples, *examples])[:EXAMPLES]


class Spenders:
    """Calls and cost by name: exact up to `MOST_NAMES`, then the smallest give way and their sums go to the rest."""

    def __init__(self, cap: int = MOST_NAMES) -> None:
        self.rows: dict[str, list[int]] = {}
        self.rest = [0, 0, 0]
        self.given_way = 0
        self._cap = cap

    def add(self, name: str, calls: int, cost_nano_usd: int, unpriced: int) -> None:
        """So many calls, nano-dollars and calls without a price of this name."""
        found = self.rows.get(name)
        if found is None:
            if len(self.rows) >= 2 * self._cap:
                self._shrink()
            self.rows[name] = [calls, cost_nano_usd, unpriced]
        else:
            found[0] += calls
            found[1] += cost_nano_usd
            found[2] += unpriced

    def _shrink(self) -> None:
        kept = dict(heapq.nlargest(self._cap, self.rows.items(), key=lambda row: row[1][1]))
        for name, numbers in self.rows.items():
            if name not in kept:
                self.rest = _added(self.rest, numbers)
                self.given_way += 1
        self.rows = kept

    def merge(self, other: "Spenders") -> None:
        """Take over another process's."""
        for name, (calls, cost, unpriced) in other.rows.items():
            self.add(name, calls, cost, unpriced)
        self.rest = _added(self.rest, other.rest)
        self.given_way += other.given_way


def _added(some: list[int], others: list[int]) -> list[int]:
    return [a + b for a, b in zip(some, others, strict=True)]


class Known(NamedTuple):
    """What every process must know before it counts."""

    catalog: Catalog
    now: float
    samples: int = 0


class Tally:
    """Everything an audit counts."""

    def __init__(self, known: Known) -> None:
        self.cells: dict[Cell, Sums] = {}
        self.days: dict[int, list[int]] = {}
        self.spenders = {name: Spenders() for name in ("tenant", "user", "key")}
        self.problems: dict[str, Problem] = {}
        self.skipped: dict[str, int] = {}
        self.files: dict[int, list[int]] = {}
        self.pieces: dict[tuple[int, int], int] = {}
        self.repeats, self.prefixes = Repeats(), Prefixes()
        self.logged = self.listed = self.unpriced = 0
        self.with_text = self.with_key = self.estimated = self.batch = self.dated = self.labelled = 0
        self.cached_read = self.unpriced_prefix = 0
        self.unpriced_models: dict[str, int] = {}
        self.samples: dict[str, list[tuple[int, str]]] = {}
        self._wanted = known.samples
        self._now = known.now
        self._labels: set[str] = set()
        self._models: set[str] = set()
        self._book: PriceBook | None = PriceBook(known.catalog)
        self._edges: Edges | None = Edges(known.catalog, known.now)

    def add(self, call: Call) -> None:
        """Count one call."""
        if self._book is None or self._edges is None:
            raise RuntimeError("a tally that was handed over counts no more")
        named = self._book.named(call.model, call.provider)
        at = call.at or self._now
        line = self._book.line(named, at, call.input)
        cost = self._cost(call, line)
        kind, band, risky = sort(call)
        labelled = bool(label_of(call))
        self.labelled += labelled
        cell = Cell(
            self._bounded(kind, self._labels, MOST_LABELS, OTHER_LABELS) if labelled else kind,
            band,
            risky,
            self._bounded(named.name, self._models, MOST_MODELS, OTHER_MODELS),
            call.batch,
            self._edges.bucket(call.input),
        )
        self._sum(cell, call, cost)
        self._who(call, cost)
        self._again(call, cost or 0, line)
        if self._wanted and call.prompt:
            self._sample(cell.kind, call.prompt)

    def _cost(self, call: Call, line: Line | None) -> int | None:
        if call.cost_nano_usd is not None:
            self.logged += 1
            return call.cost_nano_usd
        if line is None:
            self.unpriced += 1
            return None
        self.listed += 1
        nano = nearest_nano(line.pico(1, call.input, call.output, call.cache_read, call.cache_write))
        return nano // BATCH_DIVISOR if call.batch else nano

    def _bounded(self, name: str, seen: set[str], most: int, rest: str) -> str:
        if name in seen:
            return name
        if len(seen) >= most:
            return rest
        seen.add(name)
        return name

    def _sum(self, cell: Cell, call: Call, cost: int | None) -> None:
        sums = self.cells.get(cell)
        if sums is None:
            sums = self.cells[cell] = Sums()
        sums.calls += 1
        sums.input += call.input
        sums.output += call.output
        sums.cache_read += call.cache_read
        sums.cache_write += call.cache_write
        if cost is None:
            sums.unpriced += 1
            self.unpriced_models[cell.model] = self.unpriced_models.get(cell.model, 0) + 1
        else:
            sums.cost_nano_usd += cost
        self.estimated += call.estimated
        self.batch += call.batch
        self.cached_read += call.cache_read

    def _who(self, call: Call, known: int | None) -> None:
        cost, unpriced = known or 0, known is None
        if call.at:
            self.dated += 1
            number = int(call.at // DAY_S)
            day = self.days.get(number) or self.days.setdefault(number, [0, 0])
            day[0] += 1
            day[1] += cost
        if call.tenant:
            self.spenders["tenant"].add(call.tenant, 1, cost, unpriced)
        if call.user:
            self.spenders["user"].add(call.user, 1, cost, unpriced)
        if call.key:
            self.spenders["key"].add(call.key, 1, cost, unpriced)

    def _again(self, call: Call, cost: int, line: Line | None) -> None:
        if not call.whole:
            if call.fingerprint:
                self.with_key += 1
                self.repeats.add(digest(call.fingerprint), cost)
            return
        self.with_text += 1
        self.repeats.add(request_digest(call.model, call.system, call.whole), cost)
        if not call.cache_read and not call.cache_write:
            if line is None:
                self.unpriced_prefix += 1
            else:
                self.prefixes.add(call.whole, call.system, call.at, (line.input, line.cache_read, line.cache_write))

    def _sample(self, kind: str, prompt: str) -> None:
        """The prompts with the smallest hashes: the same whatever order and number of processes."""
        kept = self.samples.setdefault(kind, [])
        place = digest(prompt[:1000])
        if len(kept) < self._wanted or place < kept[-1][0]:
            self.samples[kind] = sorted({*kept, (place, cut(" ".join(prompt.split()), SAMPLE_CHARS))})[: self._wanted]

    def unreadable(self, reason: str, where: Example) -> None:
        """A row that cannot be read."""
        self.problems.setdefault(reason, Problem()).add(1, [where])
        self.file(where.file)[2] += 1

    def skip(self, reason: str, file: int) -> None:
        """A row that is fine and no call."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        self.file(file)[1] += 1

    def file(self, number: int) -> list[int]:
        """Calls, skipped rows and unreadable rows of a file."""
        return self.files.setdefault(number, [0, 0, 0])

    def handed_over(self) -> "Tally":
        """Itself, ready to be sent to another process."""
        self._book = self._edges = None
        return self

    def merge(self, other: "Tally") -> None:
        """Add what another process counted."""
        for cell, sums in other.cells.items():
            self.cells.setdefault(cell, Sums()).add(sums)
        for mine, theirs in ((self.days, other.days), (self.files, other.files)):
            for key, numbers in theirs.items():
                mine[key] = _added(mine.get(key, [0] * len(numbers)), numbers)
        for name, spenders in other.spenders.items():
            self.spenders[name].merge(spenders)
        for reason, problem in other.problems.items():
            self.problems.setdefault(reason, Problem()).add(problem.count, problem.examples)
        for counts, more in ((self.skipped, other.skipped), (self.unpriced_models, other.unpriced_models)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        self.pieces.update(other.pieces)
        self.repeats.merge(other.repeats)
        self.prefixes.merge(other.prefixes)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, found in other.samples.items():
            self.samples[kind] = sorted({*self.samples.get(kind, []), *found})[: self._wanted]

    @property
    def calls(self) -> int:
        """Calls that were counted."""
        return sum(sums.calls for sums in self.cells.values())


_COUNTS = (
    "logged", "listed", "unpriced", "with_text", "with_key", "estimated", "batch", "dated", "labelled", "cached_read", "unpriced_prefix",
)  # fmt: skip


def hidden(name: str, kind: str) -> str:
    """A user, tenant or key by a short hash: the same in every audit, and not the name."""
    return f"{kind} {blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
