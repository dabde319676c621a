"""The numbers of an audit, from its tally: every table of the report, also as JSON. Pure."""

from collections.abc import Mapping, Sequence

from tierbus.audit import moving
from tierbus.audit.assumptions import evidence, told
from tierbus.audit.detect import Container
from tierbus.audit.kinds import BANDS
from tierbus.audit.prices import BATCH_DIVISOR, DAY_S, Edges, Line, fitting, line, nearest_nano
from tierbus.audit.scan import FileRead
from tierbus.audit.tally import Cell, Known, Spenders, Sums, Tally, hidden
from tierbus.contracts import Model, Tier

MOST_ROWS = 10


class FileRow(Model):
    """A file as it was read."""

    name: str
    container: str | None
    format: str | None
    calls: int
    skipped: int
    unreadable: int
    trouble: str


class ProblemRow(Model):
    """Rows that cannot be read, for one reason, with the first few places."""

    reason: str
    count: int
    examples: tuple[str, ...]


class TierCost(Model):
    """What one answer to each call costs on a tier. None: no known price. `too_long` calls fit no model of the tier."""

    tier: Tier
    cost_nano_usd: int | None
    too_long: int


class Row(Model):
    """Calls of one kind, model, tenant, user or key. `unpriced` calls are not in the cost."""

    name: str
    calls: int
    cost_nano_usd: int
    unpriced: int = 0
    input: int = 0
    output: int = 0


class KindRow(Row):
    """A kind of task: its complexity, its risk, its cost on each tier, and the range that moving it saves."""

    bands: Mapping[str, int]
    risky: int
    tiers: tuple[TierCost, ...]
    low_nano_usd: int
    high_nano_usd: int


class Mover(Model):
    """One of the classes to move first: calls of how many, today's cost, the range saved, first answers that go up, why.

    `saved_per_up_nano_usd` is the low saving for each answer that goes up at most: what the order is made of.
    """

    kind: str
    band: str
    tier: Tier
    calls: int
    of_calls: int
    today_nano_usd: int
    low_nano_usd: int
    high_nano_usd: int
    up_low: int
    up_high: int
    saved_per_up_nano_usd: int
    why: str


class Again(Model):
    """What answering the same twice cost. `exact` False: at least this much."""

    comparable: int
    repeated: int
    repeated_nano_usd: int
    exact: bool
    top: tuple[Row, ...]
    prefix_calls: int
    prefix_tokens: int
    prefix_nano_usd: int
    prefix_exact: bool
    cached_tokens: int


class Figures(Model):
    """All of it."""

    tier_file: str
    tier_models: Mapping[Tier, str]
    steps: tuple[str, ...]
    files: tuple[FileRow, ...]
    problems: tuple[ProblemRow, ...]
    skipped: Mapping[str, int]
    calls: int
    since: float | None
    until: float | None
    cost_nano_usd: int
    logged: int
    listed: int
    unpriced: int
    unpriced_models: Mapping[str, int]
    estimated: int
    batch: int
    dated: int
    labelled: int
    with_text: int
    bands: tuple[Row, ...]
    kinds: tuple[KindRow, ...]
    models: tuple[Row, ...]
    who: Mapping[str, tuple[Row, ...]]
    who_exact: bool
    days: Mapping[int, int]
    again: Again
    low_nano_usd: int
    high_nano_usd: int
    first: tuple[Mover, ...]
    assumptions: tuple[str, ...]
    samples: Mapping[str, tuple[str, ...]]

    @property
    def unreadable(self) -> int:
        """Rows that could not be read."""
        return sum(problem.count for problem in self.problems)

    @property
    def troubled(self) -> bool:
        """Whether some row or file could not be read."""
        return self.unreadable > 0 or any(file.trouble for file in self.files)


class _Tiers:
    """What a cell costs on each tier of a catalog, at the prices of one moment."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._edges = Edges(known.catalog, known.now)
        self._lines: dict[tuple[Tier, int], tuple[bool, Line | None]] = {}

    def cost(self, tier: Tier, cell: Cell, sums: Sums) -> tuple[int | None, bool]:
        """Nano-dollars, None where unknown, and whether the calls fit the tier."""
        fits, found = self._line(tier, cell.bucket)
        if found is None:
            return None, fits
        nano = nearest_nano(found.pico(*sums.tokens))
        return (nano // BATCH_DIVISOR if cell.batch else nano), fits

    def _line(self, tier: Tier, bucket: int) -> tuple[bool, Line | None]:
        found = self._lines.get((tier, bucket))
        if found is None:
            above = self._edges.above(bucket)
            spec = fitting(self._known.catalog.tiers[tier], above)
            found = (spec is not None, line(spec, self._known.now, above) if spec else None)
            self._lines[tier, bucket] = found
        return found

    def steps(self) -> tuple[str, ...]:
        """Where a tier's first model changes its price with the size of a request, in words."""
        from tierbus.pricing.cost import price_step

        firsts = {tier: models[0] for tier, models in self._known.catalog.tiers.items()}
        found = {tier: price_step(spec, self._known.now) for tier, spec in firsts.items()}
        return tuple(
            f"{firsts[tier].id} costs more on the whole request above {step:,} input tokens"
            for tier, step in found.items()
            if step is not None
        )


def figures(tally: Tally, files: Sequence[FileRead], known: Known, *, show_users: bool = False) -> Figures:
    """Everything that a report prints."""
    tiers = _Tiers(known)
    priced = {cell: _projectable(cell, sums, tiers) for cell, sums in tally.cells.items()}
    movable = {cell: found for cell, found in priced.items() if found is not None}
    every = Sums()
    for sums in tally.cells.values():
        every.add(sums)
    days = sorted(tally.days)
    return Figures(
        tier_file=known.catalog.name,
        tier_models={tier: models[0].id for tier, models in known.catalog.tiers.items()},
        steps=tiers.steps(),
        files=tuple(_file(number, read, tally) for number, read in enumerate(files)),
        problems=_problems(tally, files),
        skipped=dict(sorted(tally.skipped.items(), key=lambda one: -one[1])),
        calls=every.calls,
        since=float(days[0] * DAY_S) if days else None,
        until=float((days[-1] + 1) * DAY_S) if days else None,
        cost_nano_usd=every.cost_nano_usd,
        logged=tally.logged,
        listed=tally.listed,
        unpriced=tally.unpriced,
        unpriced_models=dict(sorted(tally.unpriced_models.items(), key=lambda one: -one[1])),
        estimated=tally.estimated,
        batch=tally.batch,
        dated=tally.dated,
        labelled=tally.labelled,
        with_text=tally.with_text,
        bands=tuple(_row(band, [sums for cell, sums in tally.cells.items() if cell.band == band]) for band in BANDS),
        kinds=_kinds(tally, tiers, movable),
        models=_grouped(tally, "model"),
        who={
            name: _who(name, spenders, show_users=show_users)
            for name, spenders in tally.spenders.items()
            if spenders.rows
        },
        who_exact=not any(spenders.given_way for spenders in tally.spenders.values()),
        days={day * DAY_S: tally.days[day][1] for day in days},
        again=_again(tally),
        low_nano_usd=sum(moving.low(cell, found[1], found[2]).saved for cell, found in movable.items()),
        high_nano_usd=sum(_high(cell, found) for cell, found in movable.items()),
        first=_first(movable, every.calls),
        assumptions=tuple(told()),
        samples={kind: tuple(text for _, text in found) for kind, found in sorted(tally.samples.items())},
    )


_Movable = tuple[Sums, int, moving.TierCosts]


def _projectable(cell: Cell, sums: Sums, tiers: _Tiers) -> _Movable | None:
    """The part of a cell whose cost today is known, with what it would cost on each tier."""
    known = sums.calls - sums.unpriced
    if not known:
        return None
    costs = {tier: tiers.cost(tier, cell, sums)[0] for tier in Tier}
    scaled = {tier: None if cost is None else cost * known // sums.calls for tier, cost in costs.items()}
    return sums, sums.cost_nano_usd, scaled


def _high(cell: Cell, found: _Movable) -> int:
    """Never less than the low figure, which may stay where this one moves and the other way round."""
    _, today, costs = found
    return max(moving.high(cell, today, costs).saved, moving.low(cell, today, costs).saved)


def _file(number: int, read: FileRead, tally: Tally) -> FileRow:
    calls, skipped, unreadable = tally.files.get(number, [0, 0, 0])
    return FileRow(
        name=str(read.path),
        container=read.layout.container.value if read.layout else None,
        format=read.layout.format.value if read.layout else None,
        calls=calls,
        skipped=skipped,
        unreadable=unreadable,
        trouble=read.trouble,
    )


def _problems(tally: Tally, files: Sequence[FileRead]) -> tuple[ProblemRow, ...]:
    before: dict[tuple[int, int], int] = {}
    for file, piece in sorted(tally.pieces):
        before[file, piece] = before.get((file, piece - 1), 0) + tally.pieces.get((file, piece - 1), 0)
    found = []
    for reason, problem in sorted(tally.problems.items(), key=lambda one: -one[1].count):
        places = []
        for file, piece, row, detail in problem.examples:
            layout = files[file].layout
            by_line = layout is not None and layout.container in (Container.LINES, Container.CSV)
            place = f"line {row:,}" if by_line else f"element {before[file, piece] + row:,}"
            places.append(f"{files[file].path}, {place}: {detail or reason}")
        found.append(ProblemRow(reason=reason, count=problem.count, examples=tuple(places)))
    return tuple(found)


def _row(name: str, parts: Sequence[Sums]) -> Row:
    sums = Sums()
    for part in parts:
        sums.add(part)
    return Row(
        name=name,
        calls=sums.calls,
        cost_nano_usd=sums.cost_nano_usd,
        unpriced=sums.unpriced,
        input=sums.input,
        output=sums.output,
    )


def _grouped(tally: Tally, field: str) -> tuple[Row, ...]:
    groups: dict[str, list[Sums]] = {}
    for cell, sums in tally.cells.items():
        groups.setdefault(getattr(cell, field), []).append(sums)
    return tuple(sorted((_row(name, parts) for name, parts in groups.items()), key=_dearest))


def _dearest(row: Row) -> tuple[int, int, str]:
    return -row.cost_nano_usd, -row.calls, row.name


def _kinds(tally: Tally, tiers: _Tiers, movable: Mapping[Cell, _Movable]) -> tuple[KindRow, ...]:
    names = dict.fromkeys(cell.kind for cell in tally.cells)
    return tuple(sorted((_kind(name, tally, tiers, movable) for name in names), key=_dearest))


def _kind(name: str, tally: Tally, tiers: _Tiers, movable: Mapping[Cell, _Movable]) -> KindRow:
    mine = {cell: sums for cell, sums in tally.cells.items() if cell.kind == name}
    moved = {cell: found for cell, found in movable.items() if cell.kind == name}
    return KindRow(
        **_row(name, list(mine.values())).model_dump(),
        bands={band: sum(sums.calls for cell, sums in mine.items() if cell.band == band) for band in BANDS},
        risky=sum(sums.calls for cell, sums in mine.items() if cell.risky),
        tiers=tuple(_tier_cost(tier, mine, tiers) for tier in Tier),
        low_nano_usd=sum(moving.low(cell, found[1], found[2]).saved for cell, found in moved.items()),
        high_nano_usd=sum(_high(cell, found) for cell, found in moved.items()),
    )


def _tier_cost(tier: Tier, cells: Mapping[Cell, Sums], tiers: _Tiers) -> TierCost:
    total, too_long, unknown = 0, 0, False
    for cell, sums in cells.items():
        cost, fits = tiers.cost(tier, cell, sums)
        if not fits:
            too_long += sums.calls
        elif cost is None:
            unknown = True
        else:
            total += cost
    return TierCost(tier=tier, cost_nano_usd=None if unknown else total, too_long=too_long)


def _who(name: str, spenders: Spenders, *, show_users: bool) -> tuple[Row, ...]:
    """The dearest, and all others together; users and keys by a hash unless their names are wanted."""
    rows = sorted(spenders.rows.items(), key=lambda one: (-one[1][1], -one[1][0], one[0]))
    plain = show_users or name == "tenant"
    found = [
        Row(name=who if plain else hidden(who, name), calls=calls, cost_nano_usd=cost, unpriced=unpriced)
        for who, (calls, cost, unpriced) in rows[:MOST_ROWS]
    ]
    rest = [numbers for _, numbers in rows[MOST_ROWS:]] + [spenders.rest]
    calls, cost, unpriced = (sum(numbers[place] for numbers in rest) for place in range(3))
    others = len(rows) - MOST_ROWS + spenders.given_way
    return (
        (*found, Row(name=f"{others:,} others", calls=calls, cost_nano_usd=cost, unpriced=unpriced))
        if others > 0
        else tuple(found)
    )


def _again(tally: Tally) -> Again:
    repeated, nano = tally.repeats.saving()
    return Again(
        comparable=tally.with_text + tally.with_key,
        repeated=repeated,
        repeated_nano_usd=nano,
        exact=tally.repeats.exact,
        top=tuple(Row(name=one.name, calls=one.sent, cost_nano_usd=one.cost_nano_usd) for one in tally.repeats.top(5)),
        prefix_calls=tally.prefixes.hits,
        prefix_tokens=tally.prefixes.tokens_read,
        prefix_nano_usd=nearest_nano(tally.prefixes.saved_pico),
        prefix_exact=tally.prefixes.exact,
        cached_tokens=tally.cached_read,
    )


def _first(movable: Mapping[Cell, _Movable], calls: int) -> tuple[Mover, ...]:
    return tuple(_mover(one, taken) for one, taken in moving.first(moving.candidates(movable), calls))


def _mover(one: moving.Candidate, taken: int) -> Mover:
    least, most = evidence(one.kind).share(one.tier)
    return Mover(
        kind=one.kind,
        band=one.band,
        tier=one.tier,
        calls=taken,
        of_calls=one.calls,
        today_nano_usd=one.today * taken // one.calls,
        low_nano_usd=one.low * taken // one.calls,
        high_nano_usd=one.high * taken // one.calls,
        up_low=taken * least // 1000,
        up_high=-(-taken * most // 1000),
        saved_per_up_nano_usd=one.low * 1000 // (one.calls * most),
        why=f"{evidence(one.kind).source}; {one.band}; no words of risk",
    )
