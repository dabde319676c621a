"""The router's judgement: what decides, and what it says about it."""

import pytest
from tests.plans import NOW

from tierbus.contracts import Decision, Hints, ReviewLevel, Risk, Route, Tier
from tierbus.errors import Rejected
from tierbus.pricing.cost import estimate
from tierbus.router.decide import DecidedBy, Scores, by_rules, decide
from tierbus.router.signals import signals
from tierbus.tiers.catalog import Catalog, load, parse

DEFAULT = load("default")
STEP = 100_000
"""Tokens from which claude-haiku-5-5 costs five times as much."""
CHARS = 4
"""Characters of a token, as the estimate has it."""


def scores(
    complexity: float = 0.2, domain: float = 0.0, risk: float = 0.0, *, needs_plan: bool | None = None
) -> Scores:
    return Scores(complexity, domain, 0.0, risk, 0.7, ("a rule +0.10",), needs_plan)


def decided(
    given: Scores | None = None,
    *,
    tokens: tuple[int, ...] = (),
    risk: Risk = Risk.NORMAL,
    hints: Hints | None = None,
    catalog: Catalog = DEFAULT,
    by: DecidedBy = "rules",
    prompt: str = "Translate this.",
    route: Route | None = None,
) -> Decision:
    """A decision about a prompt with attachments of so many tokens."""
    seen = signals(prompt, [count * CHARS for count in tokens])
    return decide(
        seen,
        given or by_rules(seen),
        risk=risk,
        hints=hints or Hints(),
        catalog=catalog,
        at=NOW,
        decided_by=by,
        route=route,
    )


@pytest.mark.parametrize(
    ("prompt", "attachments", "cause"),
    [
        ("Translate this.", 0, "one plain operation -0.15"),
        ("Compare and review them.", 0, "2 kinds of work +0.12"),
        ("Give me:\n- a date\n- a place\n- a name", 0, "3 items asked for +0.20"),
        ("Open it, after that close it.", 0, "one thing after another +0.15"),
        ("Look for it in each of the files.", 0, "material in several places +0.15"),
        ("What is it?", 2, "2 attachments +0.20"),
        ("Prove it.", 0, "hard problem vocabulary +0.20"),
        ("Is the clause void?", 0, "law vocabulary (1)"),
        ("May I delete it?", 0, "risk vocabulary (1)"),
    ],
)
def test_a_rule_that_fires_is_named_with_its_weight(prompt: str, attachments: int, cause: str) -> None:
    made = decided(prompt=prompt, tokens=(10,) * attachments)

    assert cause in made.cause.split("; ")


def test_a_rule_that_does_not_fire_is_not_named() -> None:
    assert by_rules(signals("What is it?", [])).causes == ()


def test_the_line_between_direct_and_plan_is_part_of_the_cause() -> None:
    below, at = decided(scores(0.5499)), decided(scores(0.55))

    assert (below.route, below.cause.split("; ")[0]) == (Route.DIRECT, "complexity 0.55 < 0.55")
    assert (at.route, at.cause.split("; ")[0]) == (Route.PLAN, "complexity 0.55 >= 0.55")


def test_who_scored_may_say_whether_a_plan_is_needed() -> None:
    assert decided(scores(0.9, needs_plan=False)).route is Route.DIRECT
    assert decided(scores(0.1, needs_plan=True)).route is Route.PLAN


@pytest.mark.parametrize(
    ("given", "tier", "why"),
    [
        (scores(0.44), Tier.SMALL, None),
        (scores(0.45), Tier.MID, "need 0.45 >= 0.45"),
        (scores(0.1, domain=0.6), Tier.MID, "need 0.60 >= 0.45"),
        (scores(0.1, domain=0.8), Tier.FRONTIER, "need 0.80 >= 0.8"),
        (scores(0.8, needs_plan=False), Tier.FRONTIER, "need 0.80 >= 0.8"),
    ],
)
def test_complexity_or_domain_say_the_tier(given: Scores, tier: Tier, why: str | None) -> None:
    made = decided(given)

    assert made.tier is tier
    assert [part for part in made.cause.split("; ") if part.startswith("need")] == ([why] if why else [])


@pytest.mark.parametrize(
    ("risk", "scored", "level"),
    [
        (Risk.LOW, 0.0, ReviewLevel.LIGHT),
        (Risk.NORMAL, 0.0, ReviewLevel.STANDARD),
        (Risk.HIGH, 0.0, ReviewLevel.STRICT),
        (Risk.LOW, 0.59, ReviewLevel.LIGHT),
        (Risk.LOW, 0.6, ReviewLevel.STRICT),
        (Risk.NORMAL, 0.6, ReviewLevel.STRICT),
    ],
)
def test_the_review_is_as_strict_as_the_risk(risk: Risk, scored: float, level: ReviewLevel) -> None:
    assert decided(scores(risk=scored), risk=risk).review is level


@pytest.mark.parametrize("route", Route)
def test_a_hinted_route_is_taken_against_the_scores(route: Route) -> None:
    against = scores(0.1 if route is Route.PLAN else 0.9)

    made = decided(against, hints=Hints(route=route))

    assert (made.route, made.decided_by, made.confidence) == (route, "hint", 1.0)
    assert made.cause.startswith(f"the publisher asks for {route}")


@pytest.mark.parametrize("tier", Tier)
def test_a_hinted_tier_is_taken_and_means_one_step(tier: Tier) -> None:
    made = decided(scores(0.9, domain=0.6), hints=Hints(tier=tier))

    assert (made.route, made.tier, made.confidence) == (Route.DIRECT, tier, 1.0)
    assert made.cause.startswith(f"the publisher asks for tier {tier}")


def test_a_route_that_was_given_by_no_publisher_is_not_said_to_be_asked_for() -> None:
    given = decided(scores(0.9, 0.1, 0.2), by="policy", route=Route.DIRECT)

    assert (given.route, given.confidence) == (Route.DIRECT, 1.0)
    assert "publisher" not in given.cause


def test_a_decision_says_who_made_it_and_how_sure_it_is() -> None:
    made = decided(scores(0.3, 0.1, 0.2), by="model")

    assert (made.decided_by, made.confidence) == ("model", 0.7)
    assert made.scores == {"complexity": 0.3, "domain": 0.1, "context": 0.0, "risk": 0.2}


def test_rules_are_sure_far_from_the_line_and_unsure_near_it_or_without_a_rule() -> None:
    near = by_rules(signals("Compare them, then write and recommend.", []))
    far = by_rules(signals("Translate this.", []))
    silent = by_rules(signals("What do you think of it?", []))

    assert (near.complexity, near.confidence) == (0.59, 0.58)
    assert (far.complexity, far.confidence) == (0.05, 1.0)
    assert (silent.complexity, silent.confidence) == (0.2, 0.5)


def test_a_long_prompt_stays_where_it_costs_least_on_either_side_of_the_price_step() -> None:
    """The small tier's own price jumps at 100,000 tokens, and is the lowest of all tiers even so."""
    cost = {
        (tier, tokens): estimate(DEFAULT.tiers[tier][0], tokens, 1024, NOW).nano_usd or 0
        for tier in Tier
        for tokens in (STEP - 1000, STEP + 1000)
    }

    assert cost[Tier.SMALL, STEP + 1000] > 4 * cost[Tier.SMALL, STEP - 1000]
    for tokens in (STEP - 1000, STEP + 1000):
        assert decided(tokens=(tokens,)).tier is min(Tier, key=lambda tier: cost[tier, tokens])


STEPPED = parse(
    "stepped",
    """
name: stepped
about: above the small tier's price step the mid tier is cheaper
providers: {anthropic: {sdk: anthropic}}
tiers:
  small: [{id: claude-haiku-5-5, provider: anthropic, context_window: 1000000, max_output: 8000, price: {provider: anthropic}}]
  mid: [{id: m, provider: anthropic, context_window: 400000, max_output: 8000, price: {input_usd_per_mtok: 0.3, output_usd_per_mtok: 1}}]
  frontier: [{id: f, provider: anthropic, context_window: 800000, max_output: 8000, price: {input_usd_per_mtok: 9, output_usd_per_mtok: 9}}]
""",
)


@pytest.mark.parametrize(
    ("tokens", "tier"),
    [(STEP - 1000, Tier.SMALL), (STEP + 1000, Tier.MID), (399_000, Tier.SMALL)],
)
def test_a_long_prompt_goes_to_the_cheapest_tier_that_holds_it(tokens: int, tier: Tier) -> None:
    """Below the step small is cheapest, above it mid; what mid cannot hold stays on small, not on the dear frontier."""
    made = decided(tokens=(tokens,), catalog=STEPPED)

    assert made.tier is tier
    assert (f"fit and cost least on {tier}" in made.cause) is (tier is not Tier.SMALL)


def test_a_long_prompt_is_never_done_below_the_tier_that_is_needed() -> None:
    made = decided(scores(0.9, needs_plan=False), tokens=(STEP + 1000,), catalog=STEPPED)

    assert made.tier is Tier.FRONTIER


def test_a_tier_without_a_known_price_comes_last() -> None:
    small = DEFAULT.tiers[Tier.SMALL][0].model_copy(update={"id": "nobody-knows-1"})
    unpriced = DEFAULT.model_copy(update={"tiers": {**DEFAULT.tiers, Tier.SMALL: (small,)}})

    assert decided(catalog=unpriced).tier is Tier.MID


def test_a_hinted_tier_that_is_too_small_gives_way_to_the_next_that_fits() -> None:
    made = decided(tokens=(500_000,), catalog=STEPPED, hints=Hints(tier=Tier.MID))

    assert made.tier is Tier.FRONTIER
    assert "do not fit mid" in made.cause


def test_pieces_that_fit_only_one_by_one_are_planned() -> None:
    made = decided(tokens=(700_000, 700_000))

    assert made.route is Route.PLAN
    assert "fit no window in one piece" in made.cause


@pytest.mark.parametrize(
    ("tokens", "hints", "told"),
    [
        ((1_000_001,), Hints(), r"one piece of the task has about 1000001 tokens"),
        ((700_000, 700_000), Hints(route=Route.DIRECT), r"the task has about 1400004 tokens"),
        ((900_000,), Hints(tier=Tier.FRONTIER), r"no model of tier frontier or above"),
    ],
)
def test_what_no_window_holds_is_refused(tokens: tuple[int, ...], hints: Hints, told: str) -> None:
    catalog = STEPPED if hints.tier else DEFAULT

    with pytest.raises(Rejected, match=told) as caught:
        decided(tokens=tokens, hints=hints, catalog=catalog)

    assert caught.value.reason_code == "too-long"
