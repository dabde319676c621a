"""Labels from the ledger of finished tasks: what reviewers accepted and rejected. A reviewer's word, not truth.

A rejected attempt counts as a wrong answer of its model, an accepted one as a right one; attempts that gave no answer
(provider away, budget, cancelled) count as nothing. Results carry no prompts, so these labels change the class table
only: how often a place's answers are accepted, and what they cost.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tierbus.contracts import NANO, Attempt, Outcome, Result, StepReport, VerdictKind
from tierbus.policy.assess import Mistake
from tierbus.policy.learned import Rate

_NEVER: Mapping[str, float] = MappingProxyType({})
REJECTED = "answer rejected"
"""The kind of mistake that verdicts tell of: an answer was rejected and another model's accepted."""
_ANSWERS = frozenset({Outcome.ANSWERED, Outcome.TRUNCATED, Outcome.INVALID, Outcome.REFUSED})


@dataclass
class Tally:
    """What was counted: rates and dollars by class and place, verdicts by rung, attempts whose model is on no place.

    `until` is up to when (Unix seconds) results are counted now, by tenant.
    """

    rates: dict[str, list[Rate]] = field(default_factory=dict)
    spent_usd: dict[str, list[float]] = field(default_factory=dict)
    rungs: Counter[str] = field(default_factory=Counter)
    elsewhere: int = 0
    results: int = 0
    until: dict[str, float] = field(default_factory=dict)

    def costs_usd(self, task_class: str) -> tuple[float, ...]:
        """Mean dollars of an attempt by place; 0 where there was none."""
        pairs = zip(self.spent_usd[task_class], self.rates[task_class], strict=True)
        return tuple(usd / (rate.accepted + rate.rejected) if rate.known else 0.0 for usd, rate in pairs)


def tally(results: Iterable[Result], models: Sequence[str], after: Mapping[str, float] = _NEVER) -> Tally:
    """Count the attempts of finished tasks.

    Args:
        results: finished tasks.
        models: the ladder; a name may be a model's or a tier's.
        after: results of a tenant (`*`: of all others) up to this time (Unix seconds) were counted before and are left out.
    """
    counted = Tally(until=dict(after))
    for result in _new(results, after):
        counted.results += 1
        counted.until[result.tenant] = max(counted.until.get(result.tenant, 0.0), result.at)
        name = result.task_class
        for step in result.steps:
            for attempt in step.attempts:
                _count(counted, name, attempt, models)
    return counted


def _new(results: Iterable[Result], after: Mapping[str, float]) -> Iterator[Result]:
    return (result for result in results if result.at > after.get(result.tenant, after.get("*", 0.0)))


def _count(counted: Tally, name: str, attempt: Attempt, models: Sequence[str]) -> None:
    if attempt.outcome not in _ANSWERS:
        return
    place = _place(attempt, models)
    if place is None:
        counted.elsewhere += 1
        return
    accepted = attempt.verdict.kind is VerdictKind.ACCEPT
    rates = counted.rates.setdefault(name, [Rate()] * len(models))
    rates[place] = rates[place].plus(Rate(int(accepted), int(not accepted)))
    spent = counted.spent_usd.setdefault(name, [0.0] * len(models))
    spent[place] += attempt.cost_nano_usd / NANO
    counted.rungs[f"{attempt.verdict.rung}: {'accepted' if accepted else 'rejected'}"] += 1


def _place(attempt: Attempt, models: Sequence[str]) -> int | None:
    return next((at for at, model in enumerate(models) if model in (attempt.model, str(attempt.tier))), None)


def overruled(results: Iterable[Result], models: Sequence[str], after: Mapping[str, float] = _NEVER) -> list[Mistake]:
    """The tasks, step by step, whose first answer was rejected and another model's accepted.

    Args:
        results: finished tasks.
        models: the ladder, as in `tally`.
        after: as in `tally`.
    """
    return [
        found for result in _new(results, after) for step in result.steps for found in _overruled(result, step, models)
    ]


def _overruled(result: Result, step: StepReport, models: Sequence[str]) -> Iterator[Mistake]:
    answered = [
        attempt for attempt in step.attempts if attempt.outcome in _ANSWERS and _place(attempt, models) is not None
    ]
    accepted = next((attempt for attempt in answered if attempt.verdict.kind is VerdictKind.ACCEPT), None)
    if accepted is None or accepted is answered[0]:
        return
    first = answered[0]
    asked = tuple(attempt.model for attempt in answered)
    why = f"{step.id}: rejected by {first.verdict.rung}"  # a verdict's reason may quote the answer
    yield Mistake(result.task, result.task_class, REJECTED, first.model, asked, accepted.model, why, {})
