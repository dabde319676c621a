"""The sections of the page, each a chart with the table that says the same."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from tierbus.cli.reporting.charts import FILL, INK, MOST_ROWS, described
from tierbus.cli.reporting.figures import HOUR_S, Compared, Dear, Figures, FirstPass, Reason, Share, merged
from tierbus.cli.reporting.findings import bound
from tierbus.cli.reporting.markup import Column, Html, joined, table, tag
from tierbus.cli.reporting.text import UNKNOWN, bucket_name, cost, count, moment, places, share, usd
from tierbus.cli.words import short
from tierbus.contracts import Role, TaskStatus, Tier

_COST = (Column("calls", number=True), Column("cost", number=True), Column("share", number=True))
_HEATS = 4
_RUN_CHARS = 12
_NAME_CHARS, _TENANT_CHARS = 60, 24
_READABLE_PART = 0.2
"""A part of the tier bar narrower than this has no room for its number; the bar's title has it."""


def compared(figures: Figures) -> Html:
    """Spend against the frontier alone."""
    numbers = figures.compared
    if numbers.baseline_nano_usd is None:
        why = "No succeeded task has a known baseline" if numbers.ended else "No task's end is on record"
        return _section("What it saved", tag("p", f"{why}: there is nothing to compare with.", class_="empty"))
    earlier = (
        f" It includes {usd(numbers.earlier_nano_usd)} that ended tasks had spent before {moment(numbers.since)} UTC."
        if numbers.earlier_nano_usd
        else ""
    )
    method = tag("p", tag("strong", "Baseline: "), f"{numbers.method}. Everything spent is set against it.{earlier}")
    chart = tag("div", _chart(figures, "compared"), method)
    return _section("What it saved", tag("div", chart, _reckoning(figures, numbers), class_="pair"), wide=False)


def _reckoning(figures: Figures, numbers: Compared) -> Html:
    digits = places([numbers.baseline_nano_usd, numbers.spent_nano_usd])
    known = [
        ("succeeded tasks, frontier alone", numbers.succeeded, numbers.baseline_nano_usd),
        ("spent on ended tasks, failed ones too", numbers.ended, numbers.ended_nano_usd),
        ("spent on tasks without a result yet", figures.open_tasks, numbers.open_nano_usd),
    ]
    rows: list[tuple[object, ...]] = [(name, f"{tasks:,}", usd(amount, digits)) for name, tasks, amount in known]
    if numbers.watch_nano_usd:
        rows.append(("spent by the quality watch", "", usd(numbers.watch_nano_usd, digits)))
    rows += [(joined(["of all spent, ", badge(tier)]), "", usd(numbers.by_tier[tier], digits)) for tier in Tier]
    saving = f"{bound(numbers)}{usd(numbers.saving_nano_usd, digits)}"
    feet = [
        ("all spent", "", cost(numbers.spent_nano_usd, numbers.calls, numbers.unpriced, digits)),
        ("saving", share(numbers.saving_nano_usd, numbers.baseline_nano_usd), saving),
    ]
    columns = (Column(""), Column("tasks", number=True), Column("dollars", number=True))
    return table(f"The reckoning, since {moment(numbers.since)} UTC", columns, rows, *feet)


def over_time(figures: Figures) -> Html:
    """Spend an hour or a day."""
    period = figures.period
    unit = "hour" if period.bucket_s == HOUR_S else "day"
    if not figures.over_time:
        return _section("Spend over time", tag("p", "The ledger has no call in this period.", class_="empty"))
    digits = places(bucket.cost_nano_usd for bucket in figures.over_time)
    rows = [
        (
            bucket_name(bucket.at, period.bucket_s),
            f"{bucket.calls:,}",
            *(usd(bucket.by_tier[tier], digits) for tier in Tier),
            cost(bucket.cost_nano_usd, bucket.calls, bucket.unpriced, digits),
        )
        for bucket in figures.over_time
    ]
    numbers = (Column(name, number=True) for name in ("calls", *(tier.value for tier in Tier), "cost"))
    twin = table(f"Spend by {unit} and tier", [Column(f"{unit} (UTC)"), *numbers], rows, _tier_sums(figures, digits))
    lead = f"Dollars {'an' if unit == 'hour' else 'a'} {unit}, by tier."
    return _section(
        "Spend over time", _chart(figures, "over-time"), _folded(f"Table: spend by {unit}", twin), lead=lead
    )


def _tier_sums(figures: Figures, digits: int) -> tuple[object, ...]:
    sums = {one.name: one.cost_nano_usd for one in figures.by_tier}
    amounts = (usd(sums.get(tier.value, 0), digits) for tier in Tier)
    return ("total", f"{figures.calls:,}", *amounts, _spent(figures, digits))


def where(figures: Figures) -> Html:
    """Spend by role, model and tenant."""
    if not figures.over_time:
        return Html()
    digits = places([figures.spent_nano_usd])
    overhead = share(figures.overhead_nano_usd, figures.spent_nano_usd)
    extra = ("overhead", "", usd(figures.overhead_nano_usd, digits), overhead)
    parts = (
        ("by-role", "role", figures.by_role, (extra,)),
        ("by-model", "model", merged(figures.by_model, MOST_ROWS), ()),
        ("by-tenant", "tenant", merged(figures.by_tenant, MOST_ROWS), ()),
    )
    lead = (
        f"The executor does the work; planner, reviewer, router and quality watch are the overhead of routing:"
        f" {usd(figures.overhead_nano_usd)}, {overhead} of what was spent."
    )
    pairs = [_pair(figures, chart, _shares(figures, name, shares, *feet)) for chart, name, shares, feet in parts]
    return _section("Where the money goes", *pairs, lead=lead, wide=False)


def _pair(figures: Figures, name: str, twin: Html) -> Html:
    title = name.replace("-", " ").capitalize()
    return tag("div", tag("div", tag("h3", title), _chart(figures, name)), twin, class_="pair")


def _shares(figures: Figures, name: str, shares: tuple[Share, ...], *feet: tuple[object, ...]) -> Html:
    digits = places([figures.spent_nano_usd])
    rows = [
        (
            _role(one.name) if name == "role" else one.name,
            f"{one.calls:,}",
            cost(one.cost_nano_usd, one.calls, one.unpriced, digits),
            UNKNOWN if one.unpriced == one.calls else share(one.cost_nano_usd, figures.spent_nano_usd),
        )
        for one in shares
    ]
    total = ("total", f"{figures.calls:,}", _spent(figures, digits), "")
    return table(f"Cost by {name}", (Column(name), *_COST), rows, *feet, total)


def _role(name: str) -> Html:
    return joined([name] if name == Role.EXECUTOR else [name, " ", tag("span", "overhead", class_="hint")])


def _spent(figures: Figures, digits: int) -> str:
    return cost(figures.spent_nano_usd, figures.calls, figures.doubts.unpriced, digits)


def quality(figures: Figures) -> Html:
    """First attempts, escalations, failures and rejections."""
    if not figures.compared.ended:
        lead = "No result is kept for this period, so nothing can be said about acceptance and escalations."
        return _section("Quality", *_rejections(figures), lead=lead)
    ended = ", ".join(f"{figures.ended[status]:,} {status}" for status in TaskStatus if status in figures.ended)
    return _section(
        "Quality",
        tag("h3", "First attempts accepted, by tier"),
        _chart(figures, "first-pass"),
        _folded("Table: first attempts over time", _first_over_time(figures)),
        tag("div", _first_table(figures), _escalation_table(figures), class_="pair"),
        *_failures(figures),
        *_rejections(figures),
        lead=f"{count(figures.compared.ended, 'task')} ended since {moment(figures.compared.since)} UTC: {ended}.",
    )


def _first_over_time(figures: Figures) -> Html:
    rows = [
        (bucket_name(bucket.at, figures.period.bucket_s), *(_accepted(bucket.tiers[tier]) for tier in Tier))
        for bucket in figures.first_pass_over_time
    ]
    columns = [Column("time (UTC)"), *(Column(tier.value, number=True) for tier in Tier)]
    return table("First attempts accepted, of those answered", columns, rows)


def _accepted(one: FirstPass) -> str:
    return f"{one.accepted:,} of {one.answered:,}" if one.answered else UNKNOWN


def _first_table(figures: Figures) -> Html:
    accepted, answered = figures.first_accepted, figures.first_answered
    rows = [(badge(one.tier), _accepted(one), share(one.accepted, one.answered)) for one in figures.first_pass]
    columns = (Column("first tier"), Column("accepted", number=True), Column("share", number=True))
    silent = sum(one.unanswered for one in figures.first_pass)
    foot = ("all steps", f"{accepted:,} of {answered:,}", share(accepted, answered))
    told = f"; {count(silent, 'first attempt')} without an answer left out" if silent else ""
    return table(f"First attempts accepted{told}", columns, rows, foot)


def _escalation_table(figures: Figures) -> Html:
    counts = {(one.source, one.target): one.count for one in figures.escalations}
    most = max(counts.values(), default=0)
    rows = [
        (
            badge(source),
            *(_heat(counts.get((source, target), 0), most) for target in Tier),
            f"{sum(counts.get((source, target), 0) for target in Tier):,}",
        )
        for source in Tier
    ]
    columns = [Column("from ↓ to →"), *(Column(tier.value, number=True) for tier in Tier), Column("all", number=True)]
    return table("Escalations: steps tried again after a rejection", columns, rows)


def _heat(number: int, most: int) -> Html:
    step = -(-_HEATS * number // most) if most else 0
    return tag("span", f"{number:,}" if number else "·", class_=f"heat heat-{step}")


def _failures(figures: Figures) -> list[Html]:
    failed = sum(number for status, number in figures.ended.items() if status is not TaskStatus.SUCCEEDED)
    digits = places(one.cost_nano_usd for one in figures.failures)
    columns = (
        Column("reason"),
        Column("end"),
        Column("the last"),
        Column("tasks", number=True),
        Column("cost", number=True),
    )
    rows = [
        (one.reason, one.status, _named(one), f"{one.count:,}", usd(one.cost_nano_usd, digits))
        for one in figures.failures
    ]
    return _reasons(f"Tasks that did not succeed: {failed:,}", table("The most frequent reasons", columns, rows), rows)


def _rejections(figures: Figures) -> list[Html]:
    columns = (Column("reason"), Column("the last"), Column("tasks", number=True))
    rows = [(one.reason, _named(one), f"{one.count:,}") for one in figures.rejections]
    return _reasons(f"Rejected tasks: {figures.rejected:,}", table("The most frequent reasons", columns, rows), rows)


def _reasons(title: str, twin: Html, rows: Sequence[object]) -> list[Html]:
    return [
        tag("h3", title),
        tag("div", twin, class_="reasons") if rows else tag("p", "None on record.", class_="empty"),
    ]


def _named(one: Reason) -> Html:
    shown = f"{short(one.tenant, _TENANT_CHARS)}/{short(one.task, _NAME_CHARS)}"
    return tag("span", shown, title=f"{one.tenant}/{one.task}")


def dearest(figures: Figures, jaeger: str | None) -> Html:
    """The tasks that cost most."""
    digits = places(one.cost_nano_usd for one in figures.dearest)
    columns = (
        *(Column(name) for name in ("task", "tenant", "end", "cost by tier")),
        *(Column(name, number=True) for name in ("esc.", "att.", "cost", "baseline")),
        Column("trace"),
    )
    rows = [_dear(one, digits, jaeger) for one in figures.dearest]
    caption = "esc.: steps sent one tier up; att.: attempts at steps; cost: all calls of the task"
    return _section("The dearest tasks", tag("div", table(caption, columns, rows), class_="dearest"))


def _dear(one: Dear, digits: int, jaeger: str | None) -> tuple[object, ...]:
    unnamed = tag("span", f"run {one.run[:_RUN_CHARS]}…", class_="hint", title=one.run)
    return (
        unnamed if one.task is None else tag("span", short(one.task, _NAME_CHARS), title=one.task),
        tag("span", short(one.tenant, _TENANT_CHARS), title=one.tenant),
        one.status or "not kept",
        _mix(one.by_tier),
        UNKNOWN if one.escalations is None else f"{one.escalations:,}",
        UNKNOWN if one.attempts is None else f"{one.attempts:,}",
        cost(one.cost_nano_usd, one.calls, one.unpriced, digits),
        usd(one.baseline_nano_usd, digits),
        _trace(one.trace_id, jaeger),
    )


def _mix(by_tier: Mapping[Tier, int]) -> Html:
    total = sum(by_tier.values())
    if not total:
        return Html(UNKNOWN)
    words = ", ".join(f"{tier} {100 * amount / total:.0f} %" for tier, amount in by_tier.items() if amount > 0)
    parts = [_part(tier, amount, total) for tier, amount in by_tier.items() if amount > 0]
    return tag("div", *parts, class_="mix", title=words, role="img", aria_label=words)


def _part(tier: Tier, amount: int, total: int) -> Html:
    shown = f"{100 * amount / total:.0f} %" if amount >= _READABLE_PART * total else ""
    return tag("span", shown, class_="part", style=f"flex-grow:{amount};{_colours(tier)}")


def _trace(trace: str | None, jaeger: str | None) -> Html:
    if not trace:
        return Html(UNKNOWN)
    shown = tag("code", trace)
    if jaeger is None:
        return shown
    return tag("a", shown, href=f"{jaeger.rstrip('/')}/trace/{quote(trace, safe='')}", rel="noreferrer")


def badge(tier: Tier) -> Html:
    """A tier's name in its colours."""
    return tag("span", tier.value, class_="badge", style=_colours(tier))


def _colours(tier: Tier) -> str:
    return f"background:{FILL[tier]};color:{INK[tier]}"


def _chart(figures: Figures, name: str) -> Html:
    return tag("div", id=f"chart-{name}", class_="chart", role="img", aria_label=described(figures)[name])


def _section(title: str, *parts: object, lead: str = "", wide: bool = True) -> Html:
    intro = [tag("p", lead, class_="lead")] if lead else []
    return tag("section", tag("h2", title), *intro, *parts, class_="wide" if wide else None)


def _folded(name: str, content: Html) -> Html:
    return tag("details", tag("summary", name), content)
