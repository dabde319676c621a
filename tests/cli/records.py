"""Ledger records and results as a bus would hold them, made by hand for tests of the report."""

import random
from collections.abc import Sequence

from tierbus.contracts import (
    Attempt,
    Baseline,
    CallRecorded,
    CallStatus,
    Outcome,
    Result,
    Role,
    StepReport,
    TaskRejected,
    TaskStatus,
    Tier,
    Usage,
    Verdict,
    VerdictKind,
    run_id,
)
from tierbus.result import BASELINE_METHOD

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
MODELS = {Tier.SMALL: "claude-haiku-5-5", Tier.MID: "claude-sonnet-5-5", Tier.FRONTIER: "claude-opus-5-5"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def call(
    task: str = "t",
    *,
    tenant: str = "acme",
    n: int = 0,
    step: str = "answer",
    attempt: int = 1,
    role: Role = Role.EXECUTOR,
    tier: Tier = Tier.SMALL,
    model: str | None = None,
    status: CallStatus = CallStatus.FINISHED,
    cost: int | None = 1_000,
    at: float = NOW - HOUR,
) -> CallRecorded:
    run = run_id(tenant, task)
    return CallRecorded(
        call=f"{run}.{step}.{attempt}.{role}.0.{n}",
        run=run,
        tenant=tenant,
        step=step,
        attempt=attempt,
        role=role,
        tier=tier,
        provider="anthropic",
        model=model or MODELS[tier],
        status=status,
        usage=Usage(input=900, output=120, cache_read=300),
        cost_nano_usd=cost,
        baseline_nano_usd=9_000,
        estimated=status in (CallStatus.STARTED, CallStatus.INTERRUPTED),
        started_at=at,
        duration_s=1.5,
    )


def attempt(n: int, tier: Tier, kind: VerdictKind, outcome: Outcome = Outcome.ANSWERED) -> Attempt:
    verdict = Verdict(kind=kind, rung="checks", reason="a test")
    return Attempt(
        attempt=n, tier=tier, model=MODELS[tier], outcome=outcome, verdict=verdict, queue_s=0, llm_s=1, cost_nano_usd=1
    )


def step(*tiers: Tier, accepted: bool = True, outcome: Outcome = Outcome.ANSWERED, name: str = "answer") -> StepReport:
    """A step that climbed through these tiers; the last attempt is accepted or not."""
    last = VerdictKind.ACCEPT if accepted else VerdictKind.FAIL
    kinds = [*([VerdictKind.ESCALATE] * (len(tiers) - 1)), last]
    tries = tuple(attempt(n, tier, kind, outcome) for n, (tier, kind) in enumerate(zip(tiers, kinds, strict=True), 1))
    status = "accepted" if accepted else "failed"
    return StepReport(id=name, instruction="Do it.", needs=(), status=status, tier_path=tiers, attempts=tries)


def result(
    task: str = "t",
    *,
    tenant: str = "acme",
    status: TaskStatus = TaskStatus.SUCCEEDED,
    steps: Sequence[StepReport] = (),
    cost: int = 1_000,
    baseline: int | None = 9_000,
    reason: str | None = None,
    at: float = NOW - HOUR,
    trace: str | None = TRACE,
) -> Result:
    done = status is TaskStatus.SUCCEEDED
    return Result(
        run=run_id(tenant, task),
        tenant=tenant,
        at=at,
        task=task,
        status=status,
        reason=reason,
        steps=tuple(steps),
        cost_nano_usd=cost,
        baseline=Baseline(cost_nano_usd=baseline, method=BASELINE_METHOD) if done else None,
        escalations=sum(len(one.attempts) - 1 for one in steps),
        trace_id=trace,
    )


def rejection(reason: str, *, tenant: str = "acme", task: str | None = "t", at: float = NOW - HOUR) -> TaskRejected:
    return TaskRejected(tenant=tenant, sequence=1, task=task, reasons=(reason,), at=at)


World = tuple[list[CallRecorded], list[Result], list[TaskRejected]]
_COST = {Tier.SMALL: 1_400_000, Tier.MID: 8_200_000, Tier.FRONTIER: 31_000_000}
_FIRST_PASS = {Tier.SMALL: 0.86, Tier.MID: 0.92, Tier.FRONTIER: 0.96}
_REASONS = (
    "step 'answer' failed at tier frontier: the answer does not fit the schema: 'total' is a required property",
    "step 'answer' failed at tier frontier: 'Reuter' is not mentioned",
    "the deadline passed 4.2 s ago",
    "cancelled by the client",
    "a call to claude-opus-5-5 is estimated at $0.041000, $0.012000 of the budget is left",
)
_ENDS = (TaskStatus.FAILED, TaskStatus.FAILED, TaskStatus.EXPIRED, TaskStatus.CANCELLED, TaskStatus.FAILED)


def world(tasks: int, days: float = 3.0, seed: int = 7) -> World:
    """A bus after so many tasks in so many days: several tenants, escalations, plans, failures, rejections."""
    dice = random.Random(seed)
    calls: list[CallRecorded] = []
    results: list[Result] = []
    for n in range(tasks):
        at = NOW - dice.betavariate(1.2, 1.6) * days * DAY - 60
        mine, ended = _task(dice, n, at)
        calls += mine
        results += [ended] if ended.at >= NOW - 3 * DAY and dice.random() < 0.995 else []
    refused = [rejection("prompt is empty", task=None, at=NOW - dice.random() * 3 * DAY) for _ in range(tasks // 200)]
    refused += [rejection("hints.tier: Input should be 'small', 'mid' or 'frontier' (got 'giant')", tenant="globex")]
    return calls, results, refused


def _task(dice: random.Random, n: int, at: float) -> tuple[list[CallRecorded], Result]:
    tenant = dice.choices(("acme", "globex", "initech", "umbrella"), (50, 25, 15, 10))[0]
    task = f"{dice.choice(('invoice', 'triage', 'minutes', 'sql', 'brief'))}-{n:05}"
    planned = dice.random() < 0.18
    calls = [call(task, tenant=tenant, step="plan", role=Role.PLANNER, tier=Tier.FRONTIER, cost=24_000_000, at=at)]
    calls = calls if planned else []
    if dice.random() < 0.1:
        calls.append(call(task, tenant=tenant, step="route", role=Role.ROUTER, cost=53_000, at=at))
    steps = [_step(dice, f"s{i}") for i in range(dice.randint(2, 5) if planned else 1)]
    for made in steps:
        calls += _calls(dice, task, tenant, made, at)
    good = all(made.status == "accepted" for made in steps)
    why = dice.randrange(len(_REASONS))
    baseline = sum(int(29_000_000 * dice.uniform(0.6, 1.4)) for _ in steps)
    return calls, result(
        task,
        tenant=tenant,
        status=TaskStatus.SUCCEEDED if good else _ENDS[why],
        steps=steps,
        cost=sum(one.cost_nano_usd or 0 for one in calls),
        baseline=baseline,
        reason=None if good else _REASONS[why],
        at=at + 30,
        trace=f"{dice.getrandbits(128):032x}",
    )


def _step(dice: random.Random, name: str) -> StepReport:
    order = list(Tier)
    first = dice.choices(range(3), (72, 22, 6))[0]
    tiers = [order[first]]
    while (good := dice.random() < _FIRST_PASS[tiers[-1]]) is False and len(tiers) + first < 3:
        tiers.append(order[first + len(tiers)])
    return step(*tiers, accepted=good, name=name)


def _calls(dice: random.Random, task: str, tenant: str, made: StepReport, at: float) -> list[CallRecorded]:
    calls = []
    for one in made.attempts:
        base = call(task, tenant=tenant, step=made.id, attempt=one.attempt, at=at + one.attempt)
        cost = int(_COST[one.tier] * dice.uniform(0.5, 1.6))
        model = "gpt-5-nano" if one.tier is Tier.SMALL and dice.random() < 0.2 else MODELS[one.tier]
        calls.append(base.model_copy(update={"tier": one.tier, "model": model, "cost_nano_usd": cost}))
        if dice.random() < 0.5:
            judge = {"role": Role.REVIEWER, "tier": Tier.MID, "model": MODELS[Tier.MID], "cost_nano_usd": 2_100_000}
            calls.append(base.model_copy(update={"call": f"{base.call}.judge", **judge}))
    return calls
