from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import pytest

from tierbus.contracts import Usage
from tierbus.pricing.cost import Price, Rates, estimate, price, price_step, rates, warm
from tierbus.tiers.catalog import ModelSpec

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
SOURCE = f"genai-prices {version('genai-prices')}"
CACHED = Usage(input=2300, cache_read=2000, cache_write=200, output=50)
CONTRADICTION = Usage(input=10, cache_read=11)


def spec(name: str = "claude-opus-4-6", price: Any = None) -> ModelSpec:
    given = {"id": name, "provider": "here", "context_window": 200_000, "max_output": 1000}
    return ModelSpec.model_validate({**given, "price": price or {"provider": "anthropic"}})


def test_a_list_price_counts_plain_cached_and_written_input_and_output() -> None:
    """100 at $5, 2000 at $0.50, 200 at $6.25, 50 at $25 a million."""
    assert price(spec(), CACHED, AT) == Price(4_000_000, SOURCE)


@pytest.mark.parametrize(
    ("name", "provider", "used", "nano_usd"),
    [
        ("claude-haiku-4-5-20251001", "anthropic", Usage(input=600, output=40), 800_000),
        ("claude-sonnet-5-5", "anthropic", Usage(input=600, output=20), 1_400_000),
        ("gpt-4o", "openai", Usage(input=1200, cache_read=200, output=100), 3_750_000),
        ("gemini-3.1-pro-preview", "google", Usage(input=500, output=50), 1_600_000),
    ],
)
def test_list_prices_of_other_models(name: str, provider: str, used: Usage, nano_usd: int) -> None:
    assert price(spec(name, {"provider": provider}), used, AT) == Price(nano_usd, SOURCE)


def test_the_list_can_know_a_model_by_another_name() -> None:
    listed = {"provider": "anthropic", "model": "claude-opus-4-6"}

    assert price(spec("our-gateway-opus", listed), CACHED, AT).nano_usd == 4_000_000


def test_prices_are_those_of_the_time_of_the_call() -> None:
    million = Usage(input=1_000_000)
    then = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    assert price(spec(), million, then).nano_usd == 10_000_000_000
    assert price(spec(), million, AT).nano_usd == 5_000_000_000


def test_prices_that_change_within_a_day_change_on_the_half_hour() -> None:
    deepseek = spec("deepseek-chat", {"provider": "deepseek"})
    day = datetime(2025, 7, 1, 16, 0, tzinfo=UTC).timestamp()
    before, after = (price(deepseek, Usage(input=1_000_000), day + minutes * 60) for minutes in (29, 31))

    assert before.nano_usd is not None
    assert after.nano_usd is not None
    assert after.nano_usd < before.nano_usd


@pytest.mark.parametrize(
    ("name", "provider"),
    [("claude-opus-99-unheard", "anthropic"), ("claude-opus-4-6", "nobody"), ("gemma-3", "google")],
    ids=["unknown model", "unknown provider", "listed without a price"],
)
def test_what_has_no_price_is_unpriced_and_never_nothing(name: str, provider: str) -> None:
    nameless = spec(name, {"provider": provider})

    assert price(nameless, CACHED, AT) == Price(None, "unpriced")
    assert estimate(nameless, 10, 10, AT) == Price(None, "unpriced")
    assert rates(nameless, AT) is None
    assert price_step(nameless, AT) is None


@pytest.mark.parametrize("own", [{"provider": "anthropic"}, {"input_usd_per_mtok": "1", "output_usd_per_mtok": "1"}])
def test_usage_that_contradicts_itself_is_unpriced(own: dict[str, str]) -> None:
    assert price(spec(price=own), CONTRADICTION, AT) == Price(None, "unpriced")


def test_a_price_of_ones_own_is_exact() -> None:
    own = {
        "input_usd_per_mtok": "0.1",
        "output_usd_per_mtok": "0.3",
        "cache_read_usd_per_mtok": "0",
        "cache_write_usd_per_mtok": "0.2",
    }

    assert price(spec(price=own), CACHED, AT) == Price(65_000, "tier file")
    assert rates(spec(price=own), AT) == Rates(Decimal("0.1"), Decimal("0.3"), Decimal(0))


def test_cached_input_costs_as_much_as_other_input_where_nothing_else_is_said() -> None:
    own = {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2"}

    assert price(spec(price=own), CACHED, AT).nano_usd == 2_400_000


@pytest.mark.parametrize(("tokens", "nano_usd"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_money_is_rounded_once_and_half_to_even(tokens: int, nano_usd: int) -> None:
    own = {"input_usd_per_mtok": "0.0005", "output_usd_per_mtok": "0"}

    assert price(spec(price=own), Usage(input=tokens), AT).nano_usd == nano_usd


def test_a_machine_is_paid_by_the_time_of_the_call() -> None:
    hourly = spec(price={"usd_per_hour": "1.8", "parallel": 4})

    assert price(hourly, CACHED, AT, duration_s=2.0) == Price(250_000, "tier file, per hour")
    assert rates(hourly, AT) is None


def test_a_machine_is_never_free_before_its_time_is_known() -> None:
    hourly = spec(price={"usd_per_hour": "3.6"})

    assert estimate(hourly, 2000, 50, AT) == Price(2_000_000, "tier file, per hour, at an assumed speed")


def test_free_is_free() -> None:
    free = spec(price="free")

    assert price(free, CACHED, AT, 100.0) == Price(0, "free")
    assert rates(free, AT) is None


def test_rates_and_step_are_read_off_the_list() -> None:
    haiku = spec("claude-haiku-5-5")

    assert rates(haiku, AT) == Rates(Decimal("0.1"), Decimal("0.5"), Decimal("0.01"))
    assert price_step(haiku, AT) == 100_000
    assert price_step(spec(), AT) is None
    assert price_step(spec(price="free"), AT) is None


def test_above_the_step_the_whole_request_costs_more() -> None:
    haiku = spec("claude-haiku-5-5")

    assert estimate(haiku, 100_000, 0, AT).nano_usd == 10_000_000
    assert estimate(haiku, 100_001, 0, AT).nano_usd == 50_000_500


def test_an_estimate_is_the_price_without_a_cache() -> None:
    assert estimate(spec(), 2300, 50, AT) == price(spec(), Usage(input=2300, output=50), AT)


def test_warming_up_takes_any_model() -> None:
    warm([spec(), spec(price="free"), spec("unheard")])


def test_a_request_in_a_batch_costs_its_part_of_the_list_price_tokens_of_all_kinds_alike() -> None:
    half = Decimal("0.5")

    assert price(spec(), CACHED, AT, batch=half) == Price(2_000_000, f"{SOURCE} x0.5 batch")
    assert price(spec("gpt-4o", {"provider": "openai"}), Usage(input=1), AT, batch=half).nano_usd == 1250


def test_a_batchs_part_is_taken_before_the_price_is_rounded() -> None:
    """A token at $0.001 a million is a nano-dollar, and three quarters of two are one and a half."""
    own = {"input_usd_per_mtok": "0.001", "output_usd_per_mtok": "0"}

    assert price(spec(price=own), Usage(input=3), AT, batch=Decimal("0.5")) == Price(2, "tier file x0.5 batch")
    assert price(spec(price=own), Usage(input=1), AT, batch=Decimal("0.5")).nano_usd == 0


@pytest.mark.parametrize("own", ["free", {"usd_per_hour": "3.60"}])
def test_what_is_not_paid_by_the_token_is_no_cheaper_in_a_batch(own: Any) -> None:
    by_itself, batched = (price(spec(price=own), CACHED, AT, 2.0, batch) for batch in (None, Decimal("0.5")))

    assert by_itself == batched


def test_a_model_without_a_price_has_none_in_a_batch() -> None:
    assert price(spec("nobody-knows-it"), CACHED, AT, batch=Decimal("0.5")) == Price(None, "unpriced")
