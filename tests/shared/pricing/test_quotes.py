from typing import Any

import pytest

from tierbus.contracts import CallRecorded, CallStatus, Role, Tier, Usage
from tierbus.ledger.book import Book, interrupted
from tierbus.pricing.cost import price
from tierbus.pricing.quotes import Quotes
from tierbus.tiers.catalog import load

AT = 1_795_000_000.0
DEFAULT = load("default")
SMALL, FRONTIER = DEFAULT.tiers[Tier.SMALL][0], DEFAULT.tiers[Tier.FRONTIER][0]


def call(usage: Usage, **more: Any) -> CallRecorded:
    """A finished call of the small tier, priced as the desk does."""
    given: dict[str, Any] = {
        "call": "r.answer.1.executor.0.0",
        "run": "r",
        "tenant": "acme",
        "step": "answer",
        "attempt": 1,
        "role": Role.EXECUTOR,
        "tier": Tier.SMALL,
        "provider": SMALL.provider,
        "model": SMALL.id,
        "status": CallStatus.STARTED,
        "started_at": AT,
    }
    finished = Book(DEFAULT).finished(
        CallRecorded.model_validate(given), SMALL, usage, 1.0, request_id=None, stop_reason="done"
    )
    return finished.model_copy(update=more)


CACHED = Usage(input=10_000, output=500, cache_read=8_000)
WRITTEN = Usage(input=10_000, output=500, cache_write=8_000)
BARE = Usage(input=10_000, output=500)


def test_a_call_without_cache_and_batch_costs_what_it_costs() -> None:
    quote = Quotes(DEFAULT).of(call(BARE))

    assert quote.cost == quote.listed == quote.uncached == price(SMALL, BARE, AT).nano_usd
    assert quote.baseline == quote.baseline_uncached == price(FRONTIER, BARE, AT).nano_usd
    assert quote.split


def test_what_was_read_from_the_cache_is_priced_as_plain_input_too() -> None:
    quote = Quotes(DEFAULT).of(call(CACHED))

    assert quote.cost == quote.listed == price(SMALL, CACHED, AT).nano_usd
    assert quote.uncached == price(SMALL, BARE, AT).nano_usd
    assert quote.baseline_uncached == price(FRONTIER, BARE, AT).nano_usd
    assert (quote.uncached or 0) > (quote.listed or 0)
    assert (quote.baseline_uncached or 0) > (quote.baseline or 0)


def test_what_was_written_to_the_cache_costs_more_than_plain_input() -> None:
    quote = Quotes(DEFAULT).of(call(WRITTEN))

    assert (quote.uncached or 0) < (quote.listed or 0)


def test_a_call_of_a_batch_is_priced_at_its_list_price_too() -> None:
    whole = call(CACHED)
    assert whole.cost_nano_usd is not None
    half = whole.model_copy(update={"batch": True, "cost_nano_usd": whole.cost_nano_usd // 2})
    quote = Quotes(DEFAULT).of(half)

    assert (quote.cost, quote.listed) == (whole.cost_nano_usd // 2, whole.cost_nano_usd)


@pytest.mark.parametrize(
    "change",
    [{"model": "unheard-of"}, {"cost_nano_usd": 1}, {"baseline_nano_usd": 1}],
    ids=["model", "price", "frontier"],
)
def test_a_call_that_the_tier_file_prices_otherwise_is_not_split(change: dict[str, Any]) -> None:
    told = call(CACHED, **change)
    quote = Quotes(DEFAULT).of(told)

    assert not quote.split
    assert {quote.listed, quote.uncached} == {told.cost_nano_usd}
    assert quote.baseline_uncached == told.baseline_nano_usd


def test_an_interrupted_call_costs_its_estimate() -> None:
    told = interrupted(call(CACHED), "lost")
    assert Quotes(DEFAULT).of(told)[:5] == (*[told.cost_nano_usd] * 3, *[told.baseline_nano_usd] * 2)


def test_a_call_without_a_price_stays_without_one() -> None:
    assert Quotes(DEFAULT).of(call(CACHED, cost_nano_usd=None))[:3] == (None, None, None)
