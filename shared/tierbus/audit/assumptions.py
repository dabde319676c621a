"""What a projection assumes, each number with where it is from. Shares are per mille.

The measured shares are those of cheap models' first answers that were wrong, on recorded answers of public sets
(the project's reference on routing, sections 1 and 4). Nobody has measured your tasks: that is what a shadow run is for.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tierbus.audit.kinds import HARD, MODERATE, SIMPLE
from tierbus.contracts import Tier

WHOLE = 1000


class Evidence(NamedTuple):
    """What share of first answers goes up, at least and at most, on the small and on the middle tier; and from which set."""

    small: tuple[int, int]
    mid: tuple[int, int]
    source: str

    def share(self, tier: Tier) -> tuple[int, int]:
        """The least and the most for a tier that is tried first."""
        return self.small if tier is Tier.SMALL else self.mid


SHORT = Evidence(
    (92, 196),
    (55, 58),
    "short tasks with one checkable answer (gsm: 9.2 % went up where two cheap models agreed; 19.6 % wrong at worst)",
)
CALLS = Evidence(
    (249, 264), (127, 180), "structured output (function-calls: 24.9 to 26.4 % of the small models' answers wrong)"
)
CODE = Evidence(
    (355, 453), (241, 313), "code (crux: 35.5 % went up where two cheap models agreed; 45.3 % wrong at worst)"
)
UNMEASURED = Evidence((92, 453), (55, 313), "no measured set is like it: the widest range of all sets")
"""gsm: claude-3-haiku 88.78, gpt-3.5 80.36; mid 94.47, 94.24. crux: 54.75; mid 68.75, 75.88. function-calls: 75.06, 73.65; mid 82.00, 87.35."""

BY_KIND: Mapping[str, Evidence] = {
    "classification": SHORT,
    "question": SHORT,
    "extraction": CALLS,
    "tool use": CALLS,
    "code": CODE,
    "reasoning": CODE,
}
"""The set that is nearest to a kind; every other kind is unmeasured."""
NOT_ROUTED = ("embedding", "media")
"""Kinds for which tiers of chat models are no choice."""

TRIED_LOW, TRIED_HIGH = 2, 1
"""Cheap answers a task: two that must agree in the low figure, one with a free check in the high one."""
AUDIT = 30
"""Share of accepted tasks that are asked again of today's model, to notice drift: 3 % (reference/routing.md, 4)."""
PRICE_GATE = 800
"""A class moves only if its expected path costs less than this share of today's (reference/routing.md, 4: 0.8)."""
WEIGHT: Mapping[str, int] = {SIMPLE: 1, MODERATE: 2, HARD: 4}
"""How much a wrong first answer counts as risk; ours, to order classes, not measured."""
FIRST_SHARE = 200
"""How much of the calls to move first: a fifth."""


def evidence(kind: str) -> Evidence:
    """What is known of a kind; a class that the log names counts as the kind whose name it bears."""
    found = BY_KIND.get(kind)
    if found is not None:
        return found
    return next((one for name, one in BY_KIND.items() if name in kind.lower()), UNMEASURED)


def told() -> list[str]:
    """The assumptions in sentences, as every report prints them."""
    return [
        "A call that moves is answered on the cheaper tier first; what fails the check is asked again of the model used today, at today's cost.",
        f"Low: {TRIED_LOW} cheap answers that must agree, the highest measured share going up; calls with words of risk and hard ones stay.",
        f"High: {TRIED_HIGH} cheap answer with a free check, the lowest measured share going up; hard calls and those with words of risk try the middle tier first.",
        f"Both: {AUDIT / WHOLE:.0%} of accepted calls are asked of today's model too; a class moves only if it then costs less than {PRICE_GATE / WHOLE:.0%} of today.",
        "Token counts are taken to be the same on every model; the same cached tokens are taken to be cached; savings of caching are not added.",
        "Shares going up are those of public sets with recorded answers, not of your tasks: replay or a shadow run measures yours.",
    ]
