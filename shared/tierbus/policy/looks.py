"""What a look of the services' reviewer costs and how often it errs. Its judge is the mid tier's first model."""

from collections.abc import Callable, Sequence

from tierbus.contracts import NANO, Tier
from tierbus.ledger.book import tokens_of
from tierbus.policy.learned import Learned
from tierbus.policy.moves import Case, Seen
from tierbus.policy.review import Look, Reviewing
from tierbus.pricing.cost import estimate
from tierbus.tiers.catalog import Catalog

ASSUMED_ERROR = 0.15
"""How often a model's verdict is taken to be wrong where nobody has measured it: GPT-4's agreed with people's in 85 % of pairs of
answers (Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv:2306.05685)."""
RULES_TOKENS = 400
"""What the judge reads besides the task and the answer: its rules, its schema, the fences."""
VERDICT_TOKENS = 120
"""A verdict with its reason and, for a rejection, its critique: a few sentences of JSON."""
ANSWER_TOKENS = 300
"""Assumed of an answer that is not there yet."""


def with_reviewer(policy: Learned, catalog: Catalog, now: Callable[[], float]) -> Learned:
    """The policy beside the services' reviewer; as it is where it does not say how often that errs."""
    if policy.review_error is None:
        return policy
    return policy.reviewed_by(looks(catalog, policy.models, policy.review_error, now))


def looks(catalog: Catalog, models: Sequence[str], error: float, now: Callable[[], float]) -> Look:
    """Looks at answers of a ladder's models, at the tier file's prices.

    Nobody looks where the judge's price is unknown, or where it would judge its own answer.

    Args:
        catalog: the tier file.
        models: the ladder by name.
        error: the judge's chance to accept a wrong answer and to reject a right one.
        now: the time, Unix seconds; list prices change with it.
    """
    judge = catalog.tiers[Tier.MID][0]

    def look(case: Case, seen: Seen | None) -> Reviewing | None:
        if seen is not None and models[seen.place] == judge.id:
            return None
        nano_usd = estimate(judge, RULES_TOKENS + _read(case, seen), VERDICT_TOKENS, now()).nano_usd
        return None if nano_usd is None else Reviewing(nano_usd / NANO, error)

    return look


def _read(case: Case, seen: Seen | None) -> int:
    """Tokens of the task and the answer. What was billed for the answer has the task's attachments in it, a prompt has not."""
    if seen is None:
        return tokens_of(len(case.prompt)) + ANSWER_TOKENS
    return seen.input_tokens + seen.output_tokens or tokens_of(len(case.prompt) + len(seen.text))
