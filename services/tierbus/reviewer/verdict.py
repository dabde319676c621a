"""The reviewer's judgement where no model is needed: outcomes, free checks, agreement, and which rungs to climb. Pure."""

import re
from enum import StrEnum
from typing import NamedTuple

from tierbus.answers import SHORT_CHARS, parse_json, same, same_json, schema_errors
from tierbus.contracts import Content, Expects, Outcome, ReviewLevel, Tier, Verdict, VerdictKind

_SPACE = re.compile(r"\s+")


class Rung(StrEnum):
    """The steps of the ladder, cheapest first."""

    CHECKS = "checks"
    AGREEMENT = "agreement"
    JUDGE = "judge"


class Place(NamedTuple):
    """Where an attempt stands: in a plan or not, composing the answer or not, on which tier."""

    planned: bool
    last: bool
    tier: Tier


class Checked(NamedTuple):
    """What the free checks found: what is wrong, and whether passing them is proof enough."""

    failures: tuple[str, ...]
    sure: bool


def of_outcome(outcome: Outcome, detail: str) -> Verdict | None:
    """The verdict on an attempt that brought no answer; None where there is an answer to judge."""
    if outcome is Outcome.ANSWERED:
        return None
    kind = VerdictKind.FAIL if outcome in (Outcome.OVER_BUDGET, Outcome.CANCELLED) else VerdictKind.ESCALATE
    reason = f"{outcome}: {detail}" if detail else outcome.value
    critique = f"An earlier attempt failed: {detail}" if outcome is Outcome.INVALID and detail else ""
    return Verdict(kind=kind, rung="outcome", reason=reason[:1000], critique=critique[:1000])


def check(text: str, expects: Expects) -> Checked:
    """Hold an answer against what can be checked for free: schema, facts, length.

    Passing is proof enough where a schema or facts were asked for; criteria need somebody to read them.
    """
    failures = [*_schema(text, expects), *_facts(text, expects), *_length(text, expects)]
    proven = expects.json_schema is not None or bool(expects.must_mention)
    return Checked(tuple(failures), sure=proven and not failures and not expects.criteria)


def _schema(text: str, expects: Expects) -> list[str]:
    if expects.json_schema is None:
        return []
    try:
        value = parse_json(text)
    except ValueError as error:
        return [f"not JSON: {error}"]
    return schema_errors(expects.json_schema, value)


def _facts(text: str, expects: Expects) -> list[str]:
    lower = _SPACE.sub(" ", text).lower()
    return [f"{fact!r} is not mentioned" for fact in expects.must_mention if _SPACE.sub(" ", fact).lower() not in lower]


def _length(text: str, expects: Expects) -> list[str]:
    size = len(text)
    if expects.min_chars is not None and size < expects.min_chars:
        return [f"{size} characters, at least {expects.min_chars} are asked for"]
    if expects.max_chars is not None and size > expects.max_chars:
        return [f"{size} characters, at most {expects.max_chars} are allowed"]
    return []


def of_checks(checked: Checked, rungs: tuple[Rung, ...]) -> Verdict | None:
    """The verdict of the free checks, or None where a higher rung must speak."""
    if checked.failures:
        told = "; ".join(checked.failures)[:1000]
        return Verdict(
            kind=VerdictKind.ESCALATE, rung="checks", reason=told, critique=f"It failed these checks: {told}"
        )
    if len(rungs) == 1:
        reason = (
            "every free check passed" if checked.sure else "nothing speaks against it; no further review was asked for"
        )
        return Verdict(kind=VerdictKind.ACCEPT, rung="checks", reason=reason)
    return None


def rungs(level: ReviewLevel, place: Place, checked: Checked, output: Content, expects: Expects) -> tuple[Rung, ...]:
    """Which rungs an answer must climb. The free checks always run; the judge is skipped where it could add nothing.

    light: checks. standard: checks; a step inside a plan whose checks are proof stops there; else agreement where two
    answers can be compared, and the judge where they differ or cannot be. strict: checks, then always the judge.
    A standard answer of the frontier tier is not judged by the tier below it.
    """
    if level is ReviewLevel.LIGHT:
        return (Rung.CHECKS,)
    if level is ReviewLevel.STRICT:
        return (Rung.CHECKS, Rung.JUDGE)
    inside = place.planned and not place.last
    if inside and checked.sure:
        return (Rung.CHECKS,)
    if place.tier is Tier.FRONTIER and not (place.planned and place.last):
        return (Rung.CHECKS,)
    if comparable(output, expects) and place.tier is Tier.SMALL and not (place.planned and place.last):
        return (Rung.CHECKS, Rung.AGREEMENT, Rung.JUDGE)
    return (Rung.CHECKS, Rung.JUDGE)


def comparable(output: Content, expects: Expects) -> bool:
    """Whether two answers of this kind can be compared without reading them: JSON, a named part of it, or a short text."""
    return output.media == "json" or expects.answer_at is not None or output.size <= SHORT_CHARS


def agree(first: str, second: str, media: str, answer_at: str | None = None) -> bool:
    """Whether two answers say the same, apart from form; where a part is named, whether that part does."""
    if answer_at is not None:
        return same(first, second, answer_at)
    return same_json(first, second) if media == "json" else same(first, second)


def agreed(second: str, first: str) -> Verdict:
    """Two cheap answers say the same; the reason says whether two models gave them or one."""
    how = "answers the same when asked again" if second == first else "answers the same independently"
    return Verdict(kind=VerdictKind.ACCEPT, rung="agreement", reason=f"{second} {how}")


def of_judge(value: dict[str, str]) -> Verdict:
    """The verdict in a judge's answer, which fits its schema."""
    accepted = value["verdict"] == "accept"
    return Verdict(
        kind=VerdictKind.ACCEPT if accepted else VerdictKind.ESCALATE,
        rung="judge",
        reason=value["reason"][:1000],
        critique="" if accepted else (value["critique"] or value["reason"])[:2000],
    )
