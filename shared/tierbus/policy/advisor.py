"""A policy beside a tier file: which tier each place of its ladder stands on, and what it says about a task of this product."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tierbus.answers import deciding
from tierbus.contracts import NANO, CallRecorded, Expects, Tier, Usage, spent
from tierbus.errors import Misconfigured
from tierbus.policy.moves import Case, Policy, Seen
from tierbus.run import Run
from tierbus.tiers.catalog import Catalog


class Served(Policy, Protocol):
    """A policy that says for which models and classes it was made."""

    @property
    def models(self) -> tuple[str, ...]:
        """The ladder, cheapest first, the strong model last."""
        ...

    def covers(self, task_class: str) -> bool:
        """Whether it was made for tasks of this class."""
        ...


@dataclass(frozen=True)
class Advisor:
    """A policy with the tier of each of its places, and the tokens that every model of its ladder can hold."""

    policy: Served
    tiers: tuple[Tier, ...]
    window: int

    @classmethod
    def of(cls, policy: Served, catalog: Catalog) -> "Advisor":
        """The policy on these tiers; a place may have a tier's name, as in a policy that was begun from the ledger.

        Raises:
            Misconfigured: a model of its ladder is on no tier, or the ladder goes down the tiers.
        """
        by_model = {spec.id: tier for tier, specs in catalog.tiers.items() for spec in specs}
        by_model |= {str(tier): tier for tier in catalog.tiers}
        named = set(policy.models)
        specs = [spec for tier, listed in catalog.tiers.items() for spec in listed if named & {spec.id, str(tier)}]
        missing = [model for model in policy.models if model not in by_model]
        if missing:
            raise Misconfigured(
                f"the policy's models {', '.join(map(repr, missing))} are on no tier of {catalog.name!r}: train on"
                " its models, or name another tier file"
            )
        tiers = tuple(by_model[model] for model in policy.models)
        order = list(Tier)
        if list(tiers) != sorted(tiers, key=order.index) or tiers[0] is tiers[-1]:
            ladder = ", ".join(f"{model} ({tier})" for model, tier in zip(policy.models, tiers, strict=True))
            raise Misconfigured(f"the policy's ladder must climb the tiers of {catalog.name!r}: {ladder}")
        return cls(policy, tiers, min(spec.context_window - spec.max_output for spec in specs))

    @property
    def strongest(self) -> Tier:
        """The tier whose answer is always taken."""
        return self.tiers[-1]

    def place(self, model: str) -> int | None:
        """The place of a model on the ladder, None where it has none."""
        return self.policy.models.index(model) if model in self.policy.models else None


def case(run: Run, prompt: str) -> Case:
    """A task as the policy sees it."""
    return Case(run.id, run.task_class, None, prompt)


def seen(place: int, text: str, expects: Expects, calls: Sequence[CallRecorded], *, valid: bool | None) -> Seen:
    """An answer as the policy sees it, with all it took to get it."""
    used = Usage.total(call.usage for call in calls)
    return Seen(
        place=place,
        text=text,
        answer=deciding(text, expects.answer_at),
        valid=valid,
        truncated=False,
        input_tokens=used.input,
        output_tokens=used.output,
        cost_usd=spent(calls) / NANO,
    )
