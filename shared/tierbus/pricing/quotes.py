"""What a recorded call would have cost otherwise: without the prompt cache, not in a batch, on the frontier. Pure."""

from typing import NamedTuple

from tierbus.contracts import CallRecorded, CallStatus, Tier, Usage
from tierbus.pricing.cost import price
from tierbus.tiers.catalog import Catalog, ModelSpec


class Quote(NamedTuple):
    """Prices of one call's tokens, in nano-dollars.

    `cost` is what the ledger says, `listed` the same tokens outside a batch, `uncached` the same tokens with nothing read
    from or written to the prompt cache; `baseline` is the ledger's price on the frontier, `baseline_uncached` that without
    a cache. Where `split` is False the tier file no longer gives the ledger's own numbers, so they stand for all of it.
    """

    cost: int | None
    listed: int | None
    uncached: int | None
    baseline: int | None
    baseline_uncached: int | None
    split: bool = True


class Quotes:
    """Prices calls again by a tier file, at the list prices of their own time."""

    def __init__(self, catalog: Catalog) -> None:
        self._frontier = catalog.tiers[Tier.FRONTIER][0]
        self._specs: dict[tuple[str, str], ModelSpec] = {
            (spec.provider, spec.id): spec for specs in catalog.tiers.values() for spec in specs
        }

    def of(self, call: CallRecorded) -> Quote:
        """The quote of a call; one that did not finish, or had neither cache nor batch, costs what it costs."""
        batch = call.batch
        plain = not (call.usage.cache_read or call.usage.cache_write or batch)
        if call.cost_nano_usd is None or call.status is not CallStatus.FINISHED or plain:
            return _as_told(call)
        spec = self._specs.get((call.provider, call.model))
        if spec is None:
            return _as_told(call, split=False)
        bare = Usage(input=call.usage.input, output=call.usage.output)
        at, took = call.started_at, call.duration_s
        listed = price(spec, call.usage, at, took).nano_usd
        uncached = price(spec, bare, at, took).nano_usd
        baseline = price(self._frontier, call.usage, at).nano_usd
        known = listed is not None and uncached is not None and baseline == call.baseline_nano_usd
        if not known or not (batch or listed == call.cost_nano_usd):
            return _as_told(call, split=False)
        return Quote(
            cost=call.cost_nano_usd,
            listed=listed,
            uncached=uncached,
            baseline=baseline,
            baseline_uncached=price(self._frontier, bare, at).nano_usd,
        )


def _as_told(call: CallRecorded, *, split: bool = True) -> Quote:
    cost, baseline = call.cost_nano_usd, call.baseline_nano_usd
    return Quote(cost, cost, cost, baseline, baseline, split)
