"""From ledger calls and results to the numbers of a report: pure. Money is whole nano-dollars, times are Unix seconds.

The ledger is kept for ever, results for 72 hours. What needs a result is therefore reckoned from `results_from` on, and
whatever is not known is None, never 0.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from tierbus.cli.words import short
from tierbus.contracts import (
    CallRecorded,
    CallStatus,
    FeedbackGiven,
    Model,
    Outcome,
    QualityMeasured,
    Result,
    Role,
    StepReport,
    TaskRejected,
    TaskStatus,
    Tier,
    VerdictKind,
    spent,
)
from tierbus.limits import EVENT_AGE_S
from tierbus.quality.measure import Quality
from tierbus.quality.measure import quality as measured
from tierbus.result import BASELINE_METHOD
from tierbus.telemetry.content import redacted

HOUR_S = 3600
DAY_S = 24 * HOUR_S
HOURLY_UP_TO_S = 2 * DAY_S
DEAREST = 20
REASONS = 10
REASON_CHARS = 200
ANSWERED = frozenset({Outcome.ANSWERED, Outcome.TRUNCATED, Outcome.INVALID, Outcome.REFUSED})
"""Outcomes that say something about the model; what was not answered says nothing about its quality."""


class Period(Model):
    """A span of time, `bucket_s` seconds a bar, and the moment from which results are still kept."""

    since: float
    until: float
    bucket_s: int
    results_from: float

    @classmethod
    def of(cls, since: float, until: float) -> "Period":
        """The period between two moments: hours up to two days, else days."""
        return cls(
            since=since,
            until=until,
            bucket_s=HOUR_S if until - since <= HOURLY_UP_TO_S else DAY_S,
            results_from=max(since, until - EVENT_AGE_S),
        )

    @property
    def results_complete(self) -> bool:
        """Whether results are kept for all of it."""
        return self.results_from <= self.since

    def bucket(self, at: float) -> int:
        """The start of the bucket (UTC) that a moment is in."""
        return int(at // self.bucket_s) * self.bucket_s

    def buckets(self, first: float) -> range:
        """Starts of all buckets from the one `first` is in to the end."""
        return range(self.bucket(first), self.bucket(self.until) + 1, self.bucket_s)


class Share(Model):
    """A part of the bill: calls, tokens, nano-dollars in all and by tier. `unpriced` calls add nothing to the cost."""

    name: str
    calls: int = 0
    unpriced: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    by_tier: dict[Tier, int]
    cost_nano_usd: int = 0


class Bucket(Model):
    """What was spent in one hour or day that begins at `at`."""

    at: int
    calls: int
    unpriced: int
    by_tier: dict[Tier, int]
    cost_nano_usd: int


class Compared(Model):
    """Everything spent since `since` against what the succeeded tasks would have cost on the frontier alone.

    `spent_nano_usd` is that of ended tasks, whatever their end, plus that of tasks without a result, plus `watch_nano_usd`,
    which the quality watch spent; it includes `earlier_nano_usd`, which tasks that ended in the span had spent before it.
    """

    since: float
    ended: int
    succeeded: int
    spent_nano_usd: int
    ended_nano_usd: int
    open_nano_usd: int
    watch_nano_usd: int
    earlier_nano_usd: int
    by_tier: dict[Tier, int]
    calls: int
    unpriced: int
    baseline_nano_usd: int | None
    saving_nano_usd: int | None
    per_accepted_nano_usd: int | None
    without_baseline: int
    method: str = BASELINE_METHOD


class FirstPass(Model):
    """First attempts of steps that a tier answered, and how many of them were accepted."""

    tier: Tier
    answered: int = 0
    accepted: int = 0
    unanswered: int = 0


class QualityBucket(Model):
    """First attempts by tier in one hour or day that begins at `at`, counted when the task ended."""

    at: int
    tiers: dict[Tier, FirstPass]


class Escalation(Model):
    """How often a step went from one tier to another after a rejection."""

    source: Tier
    target: Tier
    count: int


class Reason(Model):
    """Why tasks did not succeed, or were rejected: how often, at what cost, and one of them by name."""

    status: str
    reason: str
    count: int
    cost_nano_usd: int
    tenant: str
    task: str


class Dear(Model):
    """One of the dearest tasks. What only its result tells is None where that is no longer kept."""

    run: str
    tenant: str
    task: str | None
    status: str | None
    by_tier: dict[Tier, int]
    escalations: int | None
    attempts: int | None
    calls: int
    unpriced: int
    cost_nano_usd: int
    baseline_nano_usd: int | None
    trace_id: str | None


class Doubts(Model):
    """What makes the sums less than certain: calls by kind, and tasks whose result and ledger differ."""

    unpriced: int = 0
    unpriced_models: tuple[str, ...] = ()
    interrupted: int = 0
    interrupted_nano_usd: int = 0
    open: int = 0
    open_nano_usd: int = 0
    differing_tasks: int = 0
    differing_nano_usd: int = 0


class Figures(Model):
    """All numbers of a report."""

    period: Period
    tenant: str | None
    tenants: tuple[str, ...]
    first_call_at: float | None
    tasks: int
    ended: dict[TaskStatus, int]
    open_tasks: int
    unkept_tasks: int
    rejected: int
    calls: int
    failed_calls: int
    tokens_in: int
    tokens_out: int
    cache_read: int
    spent_nano_usd: int
    overhead_nano_usd: int
    compared: Compared
    over_time: tuple[Bucket, ...]
    by_tier: tuple[Share, ...]
    by_role: tuple[Share, ...]
    by_model: tuple[Share, ...]
    by_tenant: tuple[Share, ...]
    first_pass: tuple[FirstPass, ...]
    first_pass_over_time: tuple[QualityBucket, ...]
    escalations: tuple[Escalation, ...]
    failures: tuple[Reason, ...]
    rejections: tuple[Reason, ...]
    dearest: tuple[Dear, ...]
    doubts: Doubts
    watched: Quality = Quality()

    @property
    def first_answered(self) -> int:
        """First attempts of steps that were answered."""
        return sum(one.answered for one in self.first_pass)

    @property
    def first_accepted(self) -> int:
        """First attempts of steps that were accepted."""
        return sum(one.accepted for one in self.first_pass)

    @property
    def climbs(self) -> int | None:
        """Escalations in all, or None where no result tells of any."""
        return sum(one.count for one in self.escalations) if self.compared.ended else None


class _Book:
    """The records of a period, sorted by run once.

    `of_run` are the calls made for a task, those of its pilot's shadow with them; the watch's are none of them, and a
    shadow's result is none.
    """

    def __init__(self, calls: Iterable[CallRecorded], results: Iterable[Result], period: Period) -> None:
        self.period = period
        self.of_run: defaultdict[str, list[CallRecorded]] = defaultdict(list)
        told = list(results)
        beside = {result.run: task for result in told if (task := _beside(result)) is not None}
        self.watch: list[CallRecorded] = []
        for call in calls:
            if call.started_at > period.until:
                continue
            if call.role is not Role.WATCH:
                self.of_run[beside.get(call.run, call.run)].append(call)
            elif call.started_at >= period.since:
                self.watch.append(call)
        self.own = [call for mine in self.of_run.values() for call in mine if call.started_at >= period.since]
        self.calls = [*self.own, *self.watch]
        ended = [result for result in told if result.run not in beside]
        kept = {result.run: result for result in ended if period.results_from <= result.at <= period.until}
        self.results = dict(sorted(kept.items(), key=lambda item: item[1].at))

    @cached_property
    def runs(self) -> list[str]:
        """Runs with a call or a result in the period."""
        return list(dict.fromkeys([*(run for run in self.of_run if self._spent_in_period(run)), *self.results]))

    def _spent_in_period(self, run: str) -> bool:
        return any(call.started_at >= self.period.since for call in self.of_run[run])

    @cached_property
    def without_result(self) -> "_WithoutResult":
        """Runs without a result: those with a call where results are kept have not ended, the others are forgotten."""
        missing = [run for run in self.runs if run not in self.results]
        still = [run for run in missing if any(self._recent(call) for call in self.of_run[run])]
        return _WithoutResult(set(still), len(missing) - len(still))

    def _recent(self, call: CallRecorded) -> bool:
        return call.started_at >= self.period.results_from

    def compared_calls(self) -> list[CallRecorded]:
        """Every call of an ended task, every recent call of a task that has no result, and every recent one of the watch."""
        ended = [call for run in self.results for call in self.of_run.get(run, ())]
        others = [run for run in self.of_run if run not in self.results]
        alone = [call for run in others for call in self.of_run[run] if self._counts_alone(call)]
        return [*ended, *alone, *self.recent_watch]

    @property
    def recent_watch(self) -> list[CallRecorded]:
        """What the quality watch asked where results are kept."""
        return [call for call in self.watch if self._recent(call)]

    def _counts_alone(self, call: CallRecorded) -> bool:
        return call.started_at >= self.period.since and self._recent(call)


def _beside(result: Result) -> str | None:
    """The task's run that a shadow runs beside; None for a task."""
    mark = result.decision.pilot if result.decision else None
    return mark.beside if mark else None


class _WithoutResult(NamedTuple):
    open: set[str]
    unkept: int


def figures(
    calls: Iterable[CallRecorded],
    results: Iterable[Result],
    rejected: Iterable[TaskRejected],
    period: Period,
    tenant: str | None = None,
    watched: Iterable[QualityMeasured] = (),
    feedback: Iterable[FeedbackGiven] = (),
) -> Figures:
    """The numbers of a period. `calls` may reach further back: a task's cost is that of all its calls."""
    book = _Book(calls, results, period)
    turned_away = [one for one in rejected if period.results_from <= one.at <= period.until]
    roles = _shares(book.calls, lambda call: call.role.value)
    named = {call.tenant for call in book.calls} | {result.tenant for result in book.results.values()}
    return Figures(
        period=period,
        tenant=tenant,
        tenants=tuple(sorted(named | {one.tenant for one in turned_away})),
        first_call_at=min((call.started_at for call in book.calls), default=None),
        tasks=len(book.runs),
        ended=dict(Counter(result.status for result in book.results.values())),
        open_tasks=len(book.without_result.open),
        unkept_tasks=book.without_result.unkept,
        rejected=len(turned_away),
        calls=len(book.calls),
        failed_calls=sum(call.status is CallStatus.FAILED for call in book.calls),
        tokens_in=sum(call.usage.input for call in book.calls),
        tokens_out=sum(call.usage.output for call in book.calls),
        cache_read=sum(call.usage.cache_read for call in book.calls),
        spent_nano_usd=spent(book.calls),
        overhead_nano_usd=sum(share.cost_nano_usd for share in roles if share.name != Role.EXECUTOR),
        compared=_compared(book),
        over_time=_over_time(book),
        by_tier=_shares(book.calls, lambda call: call.tier.value),
        by_role=roles,
        by_model=_shares(book.calls, lambda call: call.model),
        by_tenant=_shares(book.calls, lambda call: call.tenant),
        first_pass=tuple(_first_pass(book.results.values()).values()),
        first_pass_over_time=_quality_over_time(book),
        escalations=_escalations(book.results.values()),
        failures=_failures(book),
        rejections=_rejections(turned_away),
        dearest=_dearest(book),
        doubts=_doubts(book),
        watched=measured(
            (one for one in watched if period.since <= one.ended_at <= period.until),
            (one for one in feedback if period.since <= one.at <= period.until),
        ),
    )


def _by_tier(calls: Iterable[CallRecorded]) -> dict[Tier, int]:
    sums = dict.fromkeys(Tier, 0)
    for call in calls:
        sums[call.tier] += call.cost_nano_usd or 0
    return sums


def _unpriced(calls: Iterable[CallRecorded]) -> int:
    return sum(call.cost_nano_usd is None for call in calls)


def _shares(calls: Iterable[CallRecorded], key: Callable[[CallRecorded], str]) -> tuple[Share, ...]:
    """One share a name, dearest first."""
    groups: defaultdict[str, list[CallRecorded]] = defaultdict(list)
    for call in calls:
        groups[key(call)].append(call)
    shares = [
        Share(
            name=name,
            calls=len(group),
            unpriced=_unpriced(group),
            tokens_in=sum(call.usage.input for call in group),
            tokens_out=sum(call.usage.output for call in group),
            by_tier=_by_tier(group),
            cost_nano_usd=spent(group),
        )
        for name, group in groups.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-share.cost_nano_usd, share.name)))


def merged(shares: Iterable[Share], most: int) -> tuple[Share, ...]:
    """At most so many shares: those beyond become one, so that the sum stays the same."""
    listed = tuple(shares)
    if len(listed) <= most:
        return listed
    rest = listed[most - 1 :]
    others = Share(
        name=f"{len(rest)} others",
        calls=sum(share.calls for share in rest),
        unpriced=sum(share.unpriced for share in rest),
        tokens_in=sum(share.tokens_in for share in rest),
        tokens_out=sum(share.tokens_out for share in rest),
        by_tier={tier: sum(share.by_tier[tier] for share in rest) for tier in Tier},
        cost_nano_usd=sum(share.cost_nano_usd for share in rest),
    )
    return (*listed[: most - 1], others)


def _over_time(book: _Book) -> tuple[Bucket, ...]:
    """Buckets from the period's first call on: before it nothing is on record."""
    groups: defaultdict[int, list[CallRecorded]] = defaultdict(list)
    for call in book.calls:
        groups[book.period.bucket(call.started_at)].append(call)
    if not groups:
        return ()
    return tuple(
        Bucket(
            at=at,
            calls=len(groups[at]),
            unpriced=_unpriced(groups[at]),
            by_tier=_by_tier(groups[at]),
            cost_nano_usd=spent(groups[at]),
        )
        for at in book.period.buckets(min(groups))
    )


def _compared(book: _Book) -> Compared:
    calls = book.compared_calls()
    ended = [call for run in book.results for call in book.of_run.get(run, ())]
    watch = spent(book.recent_watch)
    results = book.results.values()
    succeeded = [result for result in results if result.status is TaskStatus.SUCCEEDED]
    known = [cost for result in succeeded if (cost := _baseline(result)) is not None]
    unknown = not book.results or (succeeded and not known)
    baseline = None if unknown else sum(known)
    total = spent(calls)
    return Compared(
        since=book.period.results_from,
        ended=len(book.results),
        succeeded=len(succeeded),
        spent_nano_usd=total,
        ended_nano_usd=spent(ended),
        open_nano_usd=total - spent(ended) - watch,
        watch_nano_usd=watch,
        earlier_nano_usd=spent(call for call in ended if call.started_at < book.period.results_from),
        by_tier=_by_tier(calls),
        calls=len(calls),
        unpriced=_unpriced(calls),
        baseline_nano_usd=baseline,
        saving_nano_usd=None if baseline is None else baseline - total,
        per_accepted_nano_usd=_rounded(total, len(succeeded)) if succeeded else None,
        without_baseline=len(succeeded) - len(known),
    )


def _baseline(result: Result) -> int | None:
    return result.baseline.cost_nano_usd if result.baseline else None


def _rounded(whole: int, parts: int) -> int:
    """Division to the nearest integer, halves up, without a float between."""
    return (2 * whole + parts) // (2 * parts)


def _first_pass(results: Iterable[Result]) -> dict[Tier, FirstPass]:
    answered, accepted, silent = Counter[Tier](), Counter[Tier](), Counter[Tier]()
    for step in (step for result in results for step in result.steps if step.attempts):
        first = step.attempts[0]
        if first.outcome not in ANSWERED:
            silent[first.tier] += 1
            continue
        answered[first.tier] += 1
        accepted[first.tier] += first.verdict.kind is VerdictKind.ACCEPT
    return {
        tier: FirstPass(tier=tier, answered=answered[tier], accepted=accepted[tier], unanswered=silent[tier])
        for tier in Tier
    }


def _quality_over_time(book: _Book) -> tuple[QualityBucket, ...]:
    groups: defaultdict[int, list[Result]] = defaultdict(list)
    for result in book.results.values():
        groups[book.period.bucket(result.at)].append(result)
    return tuple(QualityBucket(at=at, tiers=_first_pass(group)) for at, group in sorted(groups.items()))


def _escalations(results: Iterable[Result]) -> tuple[Escalation, ...]:
    counted: Counter[tuple[Tier, Tier]] = Counter()
    for step in (step for result in results for step in result.steps):
        counted.update(_climbs(step))
    order = list(Tier)
    return tuple(
        Escalation(source=source, target=target, count=count)
        for (source, target), count in sorted(counted.items(), key=lambda item: [order.index(tier) for tier in item[0]])
    )


def _climbs(step: StepReport) -> list[tuple[Tier, Tier]]:
    tiers = [attempt.tier for attempt in step.attempts]
    return list(itertools.pairwise(tiers))


def _reason(text: str) -> str:
    """A reason as a page for many eyes may say it: on one line, without what looks like a key or an address."""
    return short(redacted(text), REASON_CHARS)


def _failures(book: _Book) -> tuple[Reason, ...]:
    ended = [result for result in book.results.values() if result.status is not TaskStatus.SUCCEEDED]
    groups: defaultdict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in ended:
        groups[result.status, _reason(result.reason or "no reason given")].append(result)
    return _top(
        Reason(
            status=status,
            reason=reason,
            count=len(group),
            cost_nano_usd=sum(spent(book.of_run.get(result.run, ())) for result in group),
            tenant=group[-1].tenant,
            task=group[-1].task,
        )
        for (status, reason), group in groups.items()
    )


def _rejections(rejected: Iterable[TaskRejected]) -> tuple[Reason, ...]:
    groups: defaultdict[str, list[TaskRejected]] = defaultdict(list)
    for one in rejected:
        groups[_reason("; ".join(one.reasons) or "no reason given")].append(one)
    return _top(
        Reason(
            status="rejected",
            reason=reason,
            count=len(group),
            cost_nano_usd=0,
            tenant=group[-1].tenant,
            task=group[-1].task or "–",
        )
        for reason, group in groups.items()
    )


def _top(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons, key=lambda one: (-one.count, -one.cost_nano_usd, one.reason))[:REASONS])


def _dearest(book: _Book) -> tuple[Dear, ...]:
    costs: Mapping[str, int] = {run: spent(book.of_run.get(run, ())) for run in book.runs}
    first = sorted(costs, key=lambda run: (-costs[run], run))[:DEAREST]
    return tuple(_dear(book, run, costs[run]) for run in first)


def _dear(book: _Book, run: str, cost: int) -> Dear:
    result = book.results.get(run)
    calls = book.of_run.get(run, [])
    status = result.status.value if result else "running" if run in book.without_result.open else None
    return Dear(
        run=run,
        tenant=result.tenant if result else calls[0].tenant,
        task=result.task if result else None,
        status=status,
        by_tier=_by_tier(calls),
        escalations=result.escalations if result else None,
        attempts=sum(len(step.attempts) for step in result.steps) if result else None,
        calls=len(calls),
        unpriced=_unpriced(calls),
        cost_nano_usd=cost,
        baseline_nano_usd=_baseline(result) if result else None,
        trace_id=result.trace_id if result else None,
    )


def _doubts(book: _Book) -> Doubts:
    unpriced = [call for call in book.calls if call.cost_nano_usd is None]
    interrupted = [call for call in book.calls if call.status is CallStatus.INTERRUPTED]
    still = [call for call in book.calls if call.status is CallStatus.STARTED]
    gaps = [
        result.cost_nano_usd - spent(call for call in book.of_run.get(run, ()) if call.run == run)
        for run, result in book.results.items()
    ]
    return Doubts(
        unpriced=len(unpriced),
        unpriced_models=tuple(sorted({call.model for call in unpriced})),
        interrupted=len(interrupted),
        interrupted_nano_usd=spent(interrupted),
        open=len(still),
        open_nano_usd=spent(still),
        differing_tasks=sum(gap != 0 for gap in gaps),
        differing_nano_usd=sum(gaps),
    )
