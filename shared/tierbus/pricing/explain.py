"""Why a bill is what it is: from what the same tasks would have cost on the frontier to what was spent, without a rest. Pure.

    baseline - savings + overheads = spent        in integer nano-dollars, for any ledger

The baseline is the results' own (`result.BASELINE_METHOD`): the accepted answers' tokens at the price of the frontier's first
model, with the same cache reads; for an answer taken over from another task, that task's. Every call is either an accepted
answer or an overhead, so nothing is counted twice. Of an answer:

- `routing`: its tokens at the frontier's price less the same tokens at its own model's, both without a prompt cache, where the
  task was done directly;
- `planning`: the same, where a plan gave the step its tier. What a plan saves by showing each step less is not in it: the
  baseline has the tokens that the steps really had, and how many one frontier call would have had nobody knows;
- `prompt_cache`: what its cache reads cost less than plain input, minus what its cache writes cost more;
- `baseline_prompt_cache`: what the same reads and writes save on the frontier. The baseline has that already, so it is taken
  off again: it is the one saving that is negative (or, where writes outweigh reads, positive);
- `batch`: its list price less what a batch cost.

A shadow that runs beside a task gives no answer that anybody uses: it has no baseline, and all its calls are an overhead.

An overhead is counted at its list price without a cache, and what cache and batch took off it stands in those savings.
`result_cache` is the whole baseline of the answers that were taken over. `plan_reuse` is what the plan that was used again had
cost; it is also counted among the overheads of planning, as if it had been made.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tierbus.contracts import CallRecorded, CallStatus, Result, Role, Route, TaskStatus, spent
from tierbus.pricing.quotes import Quote


class Saving(StrEnum):
    """What made it cheaper than the baseline."""

    ROUTING = "routing"
    PLANNING = "planning"
    RESULT_CACHE = "result_cache"
    PLAN_REUSE = "plan_reuse"
    PROMPT_CACHE = "prompt_cache"
    BASELINE_PROMPT_CACHE = "baseline_prompt_cache"
    BATCH = "batch"


class Overhead(StrEnum):
    """What was spent beside the accepted answers."""

    ROUTER = "router"
    PLANNER = "planner"
    REVIEWER = "reviewer"
    ESCALATIONS = "escalations"
    UNFINISHED = "unfinished"
    SHADOW = "shadow"
    WATCH = "watch"
    NOT_SUCCEEDED = "not_succeeded"
    NO_BASELINE = "no_baseline"
    NO_RESULT = "no_result"


class Told(StrEnum):
    """What is not in the sums, or not told apart in them, and is counted instead."""

    UNPRICED_CALLS = "unpriced_calls"
    ANSWERS_WITHOUT_BASELINE = "answers_without_baseline"
    TASKS_WITHOUT_RESULT = "tasks_without_result"
    CALLS_NOT_SPLIT = "calls_not_split"
    PLANS_OF_UNKNOWN_COST = "plans_of_unknown_cost"


_OF_ROLE = {Role.ROUTER: Overhead.ROUTER, Role.PLANNER: Overhead.PLANNER, Role.REVIEWER: Overhead.REVIEWER}


@dataclass(frozen=True)
class Explained:
    """The parts, in nano-dollars, and the counts of what they do not hold."""

    baseline_nano_usd: int
    savings: Mapping[Saving, int]
    overheads: Mapping[Overhead, int]
    spent_nano_usd: int
    told: Mapping[Told, int]

    @property
    def rest_nano_usd(self) -> int:
        """What the parts leave unexplained: 0."""
        parts = self.baseline_nano_usd - sum(self.savings.values()) + sum(self.overheads.values())
        return self.spent_nano_usd - parts


@dataclass
class _Sums:
    baseline: int = 0
    savings: Counter[Saving] = field(default_factory=Counter)
    overheads: Counter[Overhead] = field(default_factory=Counter)
    told: Counter[Told] = field(default_factory=Counter)

    def take_off(self, quote: Quote) -> None:
        """What cache and batch took off a call."""
        self.savings[Saving.PROMPT_CACHE] += (quote.uncached or 0) - (quote.listed or 0)
        self.savings[Saving.BATCH] += (quote.listed or 0) - (quote.cost or 0)

    def spend(self, overhead: Overhead, quote: Quote) -> None:
        """A call that is no accepted answer."""
        self.overheads[overhead] += quote.uncached or 0
        self.take_off(quote)

    def answer(self, quote: Quote, saving: Saving) -> None:
        """An accepted answer; without a known baseline it is an overhead, and told."""
        if quote.baseline is None or quote.baseline_uncached is None:
            self.told[Told.ANSWERS_WITHOUT_BASELINE] += 1
            self.spend(Overhead.NO_BASELINE, quote)
            return
        self.baseline += quote.baseline
        self.savings[saving] += quote.baseline_uncached - (quote.uncached or 0)
        self.savings[Saving.BASELINE_PROMPT_CACHE] -= quote.baseline_uncached - quote.baseline
        self.take_off(quote)


def explain(
    calls: Sequence[tuple[CallRecorded, Quote]],
    results: Iterable[Result],
    plan_costs: Mapping[str, int | None] | None = None,
) -> Explained:
    """Explain what these calls cost; `results` are those of their tasks as far as known, and of tasks without any call.

    `plan_costs` is what planning cost in runs whose plan was used again, None or missing where nobody knows. A call without
    a known price is counted in `told` and in no sum.
    """
    known = {result.run: result for result in results}
    by_run: defaultdict[str, list[tuple[CallRecorded, Quote]]] = defaultdict(list)
    for call, quote in calls:
        by_run[call.run].append((call, quote))
    sums = _Sums()
    for run, mine in by_run.items():
        _add_calls(sums, mine, known.get(run))
    for result in known.values():
        if not _shadow(result):
            _add_taken(sums, result)
            _add_plan(sums, result, plan_costs or {})
    return Explained(
        baseline_nano_usd=sums.baseline,
        savings={saving: sums.savings[saving] for saving in Saving},
        overheads={overhead: sums.overheads[overhead] for overhead in Overhead},
        spent_nano_usd=spent(call for call, _ in calls),
        told={what: sums.told[what] for what in Told},
    )


def _add_calls(sums: _Sums, calls: list[tuple[CallRecorded, Quote]], result: Result | None) -> None:
    answers = _answers([call for call, _ in calls], result) if result else set()
    sums.told[Told.TASKS_WITHOUT_RESULT] += result is None
    for call, quote in calls:
        sums.told[Told.CALLS_NOT_SPLIT] += not quote.split
        if quote.cost is None:
            sums.told[Told.UNPRICED_CALLS] += 1
        elif call.call in answers:
            sums.answer(quote, Saving.PLANNING if result and _planned(result) else Saving.ROUTING)
        else:
            sums.spend(_overhead(call, result), quote)


def _answers(calls: list[CallRecorded], result: Result) -> set[str]:
    """The calls that gave the accepted answers: of each accepted step's last attempt the last that finished."""
    if result.status is not TaskStatus.SUCCEEDED or _shadow(result):
        return set()
    accepted = {
        step.id: step.attempts[-1].attempt for step in result.steps if step.status == "accepted" and step.attempts
    }
    last: dict[str, str] = {}
    for call in sorted(calls, key=lambda call: (call.started_at, call.call)):
        finished = call.role is Role.EXECUTOR and call.status is CallStatus.FINISHED
        if finished and accepted.get(call.step) == call.attempt:
            last[call.step] = call.call
    return set(last.values())


def _shadow(result: Result) -> bool:
    """It ran beside the task that its publisher sees, to be judged only."""
    mark = result.decision.pilot if result.decision else None
    return mark is not None and mark.beside is not None


def _planned(result: Result) -> bool:
    return result.decision is not None and result.decision.route is Route.PLAN and result.fallback is None


def _overhead(call: CallRecorded, result: Result | None) -> Overhead:
    if result is None:
        return Overhead.NO_RESULT
    if _shadow(result):
        return Overhead.SHADOW
    if call.status is not CallStatus.FINISHED:
        return Overhead.UNFINISHED
    if result.status is not TaskStatus.SUCCEEDED:
        return Overhead.NOT_SUCCEEDED
    if call.role in (Role.ROUTER, Role.PLANNER):
        return _OF_ROLE[call.role]
    if call.step not in {step.id for step in result.steps}:
        return Overhead.WATCH
    return _OF_ROLE.get(call.role, Overhead.ESCALATIONS if call.role is Role.EXECUTOR else Overhead.WATCH)


def _add_taken(sums: _Sums, result: Result) -> None:
    """An answer that was taken over: its baseline, all of it saved."""
    if result.cached_from is None:
        return
    baseline = result.baseline.cost_nano_usd if result.baseline else None
    if baseline is None:
        sums.told[Told.ANSWERS_WITHOUT_BASELINE] += 1
        return
    sums.baseline += baseline
    sums.savings[Saving.RESULT_CACHE] += baseline


def _add_plan(sums: _Sums, result: Result, plan_costs: Mapping[str, int | None]) -> None:
    """A plan that was used again: what it had cost, saved, and counted as if it had been made."""
    source = result.plan_reused_from
    if source is None:
        return
    cost = plan_costs.get(source)
    if cost is None:
        sums.told[Told.PLANS_OF_UNKNOWN_COST] += 1
        return
    sums.overheads[Overhead.PLANNER] += cost
    sums.savings[Saving.PLAN_REUSE] += cost


def plan_costs(calls: Iterable[CallRecorded]) -> dict[str, int | None]:
    """What planning cost in each run that planned; None where a call of it has no known price."""
    found: dict[str, int | None] = {}
    for call in calls:
        if call.role is Role.PLANNER:
            before = found.get(call.run, 0)
            found[call.run] = None if before is None or call.cost_nano_usd is None else before + call.cost_nano_usd
    return found
