"""The router's judgement: four questions scored by visible rules, then a decision with its cause. Pure.

Every rule that fires leaves its name and weight in the cause, so that a person can see why a task went where it went.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from tierbus.contracts import Decision, Hints, ReviewLevel, Risk, Route, Tier
from tierbus.errors import Rejected
from tierbus.pricing.cost import estimate
from tierbus.router.signals import Signals
from tierbus.tiers.catalog import Catalog

PLAN_FROM = 0.55
"""Complexity from which a task is planned."""
MID_FROM = 0.45
FRONTIER_FROM = 0.8
STRICT_FROM = 0.6
"""Risk score from which every answer is judged by a model, whatever the publisher said."""
OUTPUT_TOKENS = 1024
"""Answer size assumed when tiers are compared by price."""
LONG_TOKENS = 30_000

DecidedBy = Literal["hint", "rules", "scorer", "model", "policy"]


@dataclass(frozen=True)
class Scores:
    """The four answers, each 0 to 1, how sure they are, and what they rest on."""

    complexity: float
    domain: float
    context: float
    risk: float
    confidence: float
    causes: tuple[str, ...]
    needs_plan: bool | None = None


class Scorer(Protocol):
    """Something that scores better than the rules where it knows the kind of task; None where it does not."""

    def score(self, signals: Signals, rules: Scores) -> Scores | None:
        """Scores for this task, or None to abstain."""
        ...


class _Rule(NamedTuple):
    name: str
    weight: float


def by_rules(seen: Signals) -> Scores:
    """Score a task by the rules alone; free and immediate."""
    rules = [rule for rule in _complexity_rules(seen) if rule.weight]
    complexity = _clip(0.2 + sum(rule.weight for rule in rules))
    domain = _clip(0.3 * seen.domain_words) if seen.domain else 0.0
    context = _clip(seen.total_tokens / LONG_TOKENS)
    risk = _clip(0.3 * seen.risky_words)
    causes = [f"{rule.name} {rule.weight:+.2f}" for rule in rules]
    if seen.domain:
        causes.append(f"{seen.domain} vocabulary ({seen.domain_words})")
    if seen.risky_words:
        causes.append(f"risk vocabulary ({seen.risky_words})")
    return Scores(complexity, domain, context, risk, _confidence(complexity, rules), tuple(causes))


def _complexity_rules(seen: Signals) -> list[_Rule]:
    verbs = seen.work_verbs + seen.plain_verbs
    simple = seen.plain_verbs >= 1 and seen.work_verbs == 0 and seen.items <= 1
    return [
        _Rule("one plain operation", -0.15 if simple and not seen.chained else 0.0),
        _Rule(f"{verbs} kinds of work", min(0.45, 0.12 * max(0, verbs - 1)) if seen.work_verbs else 0.0),
        _Rule(f"{seen.items} items asked for", min(0.3, 0.1 * (seen.items - 1)) if seen.items > 1 else 0.0),
        _Rule("one thing after another", 0.15 if seen.chained else 0.0),
        _Rule("material in several places", 0.15 if seen.spread else 0.0),
        _Rule(
            f"{seen.attachments} attachments",
            min(0.3, 0.1 * seen.attachments) if seen.attachments > 1 else 0.0,
        ),
        _Rule("hard problem vocabulary", min(0.3, 0.2 * seen.hard_words)),
    ]


def _confidence(complexity: float, rules: list[_Rule]) -> float:
    """Sure when rules fired and the score is far from the line between direct and plan; unsure when nothing fired."""
    if not rules:
        return 0.5
    return _clip(0.5 + 2.0 * abs(complexity - PLAN_FROM))


def decide(
    seen: Signals,
    scores: Scores,
    *,
    risk: Risk,
    hints: Hints,
    catalog: Catalog,
    at: float,
    decided_by: DecidedBy,
    route: Route | None = None,
) -> Decision:
    """The route, unless it is given, the starting tier and the review level.

    Raises:
        Rejected: the task fits no model's window, not even in pieces.
    """
    given, why = route is not None or hints.route is not None, ""
    if route is None:
        route, why = _route(seen, scores, hints, catalog)
    needed, tier_why = _needed_tier(scores, risk, hints)
    tier, size_why = (needed, "") if route is Route.PLAN else _cheapest_fitting(seen, needed, hints, catalog, at)
    review = _review(scores, risk)
    cause = "; ".join(part for part in (why, tier_why, size_why, *scores.causes) if part)
    return Decision(
        route=route,
        tier=tier,
        review=review,
        confidence=1.0 if given or hints.tier else scores.confidence,
        cause=cause,
        scores={
            "complexity": round(scores.complexity, 3),
            "domain": round(scores.domain, 3),
            "context": round(scores.context, 3),
            "risk": round(scores.risk, 3),
        },
        decided_by="hint" if hints.route else decided_by,
    )


def _route(seen: Signals, scores: Scores, hints: Hints, catalog: Catalog) -> tuple[Route, str]:
    if hints.route:
        return hints.route, f"the publisher asks for {hints.route}"
    if hints.tier:
        return Route.DIRECT, f"the publisher asks for tier {hints.tier}"
    if not _fits_somewhere(seen.largest_tokens, catalog):
        raise Rejected(
            f"one piece of the task has about {seen.largest_tokens} tokens, no model's window holds that",
            reason_code="too-long",
        )
    if not _fits_somewhere(seen.total_tokens, catalog):
        return Route.PLAN, f"{seen.total_tokens} tokens fit no window in one piece"
    planned = scores.needs_plan if scores.needs_plan is not None else scores.complexity >= PLAN_FROM
    sign = ">=" if scores.complexity >= PLAN_FROM else "<"
    return (Route.PLAN if planned else Route.DIRECT), f"complexity {scores.complexity:.2f} {sign} {PLAN_FROM}"


def _needed_tier(scores: Scores, risk: Risk, hints: Hints) -> tuple[Tier, str]:
    if hints.tier:
        return hints.tier, ""
    need = max(scores.complexity, scores.domain)
    if risk is Risk.HIGH and scores.domain >= MID_FROM:
        need = max(need, MID_FROM)
    if need >= FRONTIER_FROM:
        return Tier.FRONTIER, f"need {need:.2f} >= {FRONTIER_FROM}"
    if need >= MID_FROM:
        return Tier.MID, f"need {need:.2f} >= {MID_FROM}"
    return Tier.SMALL, ""


def _cheapest_fitting(seen: Signals, needed: Tier, hints: Hints, catalog: Catalog, at: float) -> tuple[Tier, str]:
    """The cheapest tier, `needed` or above, that holds the task; long prompts may cost less one tier up."""
    order = list(Tier)
    candidates = [tier for tier in order[order.index(needed) :] if _fits(seen.total_tokens, tier, catalog)]
    if not candidates:
        raise Rejected(
            f"the task has about {seen.total_tokens} tokens, no model of tier {needed} or above holds that",
            reason_code="too-long",
        )
    if hints.tier:
        return candidates[0], "" if candidates[0] is needed else f"{seen.total_tokens} tokens do not fit {needed}"
    costs = {tier: _cost(seen.total_tokens, tier, catalog, at) for tier in candidates}
    best = min(candidates, key=lambda tier: (costs[tier], order.index(tier)))
    if best is needed:
        return best, ""
    return best, f"{seen.total_tokens} tokens fit and cost least on {best}"


def _cost(tokens: int, tier: Tier, catalog: Catalog, at: float) -> float:
    """Nano-dollars of one answer on the tier's first fitting model; unknown prices come last."""
    spec = next(spec for spec in catalog.tiers[tier] if tokens + OUTPUT_TOKENS <= spec.context_window)
    cost = estimate(spec, tokens, OUTPUT_TOKENS, at).nano_usd
    return float("inf") if cost is None else float(cost)


def _fits(tokens: int, tier: Tier, catalog: Catalog) -> bool:
    return any(tokens + OUTPUT_TOKENS <= spec.context_window for spec in catalog.tiers[tier])


def holds(seen: Signals, tier: Tier, catalog: Catalog) -> bool:
    """Whether a tier holds the whole task in one piece."""
    return _fits(seen.total_tokens, tier, catalog)


def _fits_somewhere(tokens: int, catalog: Catalog) -> bool:
    return any(_fits(tokens, tier, catalog) for tier in Tier)


def _review(scores: Scores, risk: Risk) -> ReviewLevel:
    if risk is Risk.HIGH or scores.risk >= STRICT_FROM:
        return ReviewLevel.STRICT
    return ReviewLevel.LIGHT if risk is Risk.LOW else ReviewLevel.STANDARD


def _clip(value: float) -> float:
    return round(max(0.0, min(1.0, value)), 4)
