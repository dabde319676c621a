"""What a result says about a pilot. Pure.

A cheap answer passes when the review accepts the first answer of every step below the frontier tier, and fails when it
rejects one, or when that one is truncated, invalid or refused. An answer that nobody could give or judge (a provider away,
no budget, cancelled) is neither. What the task came to after an escalation does not matter.
"""

from collections.abc import Iterator
from typing import Literal

from tierbus.answers import likeness
from tierbus.contracts import (
    Attempt,
    Outcome,
    PilotArm,
    PilotOutcome,
    Result,
    StepReport,
    TaskStatus,
    Tier,
    VerdictKind,
)

_CHEAP = (PilotArm.CANARY, PilotArm.SHADOW)
_NOT_ITS_FAULT = (Outcome.UNAVAILABLE, Outcome.OVER_BUDGET, Outcome.CANCELLED)


def outcome(
    result: Result, *, passed: bool | None = None, source: Literal["review", "feedback", "watch"] = "review"
) -> PilotOutcome | None:
    """The outcome of a run that has ended; None where it was in no pilot.

    A `source` other than the review says later whether the answer was right: that counts as one more try, once for each
    source of a run. People complain more often than they praise, so where only complaints are fed in the rate is too low.
    """
    mark = result.decision.pilot if result.decision else None
    if mark is None:
        return None
    if source == "review" and mark.arm in _CHEAP:
        passed = first_answers_passed(result)
    return PilotOutcome(
        task_class=result.task_class,
        rules=mark.rules,
        generation=mark.generation,
        of_run=result.run,
        pair=mark.beside or result.run,
        arm=mark.arm,
        source=source,
        counted=mark.counted or source != "review",
        passed=passed,
        cost_nano_usd=result.cost_nano_usd if result.cost_complete else None,
        baseline_nano_usd=result.baseline.cost_nano_usd if result.baseline else None,
        likeness=_likeness(result),
        at=result.at,
    )


def outcomes(result: Result) -> list[PilotOutcome]:
    """The review's outcome as what there is to say: one, or nothing."""
    found = outcome(result)
    return [] if found is None else [found]


def first_answers_passed(result: Result) -> bool | None:
    """Whether the cheap first answers passed; None where that is not known."""
    verdicts = [_passed(step.attempts[0]) for step in _cheap(result.steps)]
    if False in verdicts:
        return False
    ended = result.status is TaskStatus.SUCCEEDED
    return True if ended and verdicts and None not in verdicts else None


def _cheap(steps: tuple[StepReport, ...]) -> Iterator[StepReport]:
    return (step for step in steps if step.attempts and step.attempts[0].tier is not Tier.FRONTIER)


def _passed(first: Attempt) -> bool | None:
    if first.outcome in _NOT_ITS_FAULT:
        return None
    if first.verdict.kind is VerdictKind.FAIL:
        return None  # the review itself failed: no judge could be asked, or paid
    return first.verdict.kind is VerdictKind.ACCEPT


def _likeness(result: Result) -> str | None:
    """Of the first answer where it is the task's; a shadow's that was rejected never becomes one."""
    answer = result.answer
    if answer is None or answer.text is None:
        return None
    return likeness(answer.text, answer.media)
