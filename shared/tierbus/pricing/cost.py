"""Prices of calls. Money is Decimal until it is rounded, once, to integer nano-dollars."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import NamedTuple

from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.types import ModelPrice, TieredPrices

from tierbus.contracts import NANO, Usage
from tierbus.tiers.catalog import HourPrice, ListPrice, ModelSpec, TokenPrice

_HOUR_S = 3600
_SLOT_S = 1800
"""List prices change on the half hour at the earliest (deepseek's at 00:30 and 16:30 UTC), so each is looked up once per slot."""
_PER_MTOK = Decimal(1_000_000)
_READ_TOKENS_PER_S = Decimal(2000)
_WRITTEN_TOKENS_PER_S = Decimal(50)
_PROBE = ListUsage(input_tokens=1, output_tokens=1)


class Price(NamedTuple):
    """What a call costs in nano-dollars, None where nobody knows, and where that is from."""

    nano_usd: int | None
    source: str


class Rates(NamedTuple):
    """Dollars per million tokens of a request below every price step."""

    input_usd: Decimal
    output_usd: Decimal
    cache_read_usd: Decimal | None


UNPRICED = Price(None, "unpriced")
FREE = Price(0, "free")


def price(model: ModelSpec, usage: Usage, at: float, duration_s: float = 0.0, batch: Decimal | None = None) -> Price:
    """The price of one call made at `at` (Unix seconds, UTC): list prices change with time.

    `duration_s` counts only where a machine is paid by the hour; 0 means not known, and is then reckoned from the tokens.
    `batch` is the part of a price per token that a request in a batch costs; None for a call by itself.
    What has no price, or counts more cached tokens than input, is unpriced.
    """
    match model.price:
        case ListPrice() as listed:
            return _by_list(listed.provider, listed.model or model.id, usage, int(at // _SLOT_S), batch)
        case TokenPrice() as own:
            return _part(_by_tokens(own, usage), "tier file", batch) if _consistent(usage) else UNPRICED
        case HourPrice() as hourly:
            return _by_hour(hourly, usage, duration_s)
        case _:
            return FREE


def estimate(model: ModelSpec, input_tokens: int, output_tokens: int, at: float) -> Price:
    """The price of a call of this size without any cache."""
    return price(model, Usage(input=input_tokens, output=output_tokens), at)


def rates(model: ModelSpec, at: float) -> Rates | None:
    """A model's prices as lists print them; None where they are not per token or not known."""
    match model.price:
        case TokenPrice() as own:
            return Rates(own.input_usd_per_mtok, own.output_usd_per_mtok, own.cache_read_usd_per_mtok)
        case ListPrice() as listed:
            found = _model_price(listed.provider, listed.model or model.id, int(at // _SLOT_S))
            if found is None:
                return None
            base = [_base(getattr(found, name, None)) for name in ("input_mtok", "output_mtok", "cache_read_mtok")]
            return Rates(base[0] or Decimal(0), base[1] or Decimal(0), base[2])
        case _:
            return None


def price_step(model: ModelSpec, at: float) -> int | None:
    """Input tokens above which the whole request costs more, None where there is no such step."""
    if not isinstance(model.price, ListPrice):
        return None
    found = _model_price(model.price.provider, model.price.model or model.id, int(at // _SLOT_S))
    tiered = getattr(found, "input_mtok", None)
    return tiered.tiers[0].start if isinstance(tiered, TieredPrices) and tiered.tiers else None


def warm(models: list[ModelSpec]) -> None:
    """Read the price data now rather than at the first call (about half a second)."""
    now = datetime.now(UTC).timestamp()
    for model in models:
        rates(model, now)


@cache
def _source() -> str:
    return f"genai-prices {version('genai-prices')}"


@lru_cache(maxsize=4096)
def _by_list(provider: str, name: str, usage: Usage, slot: int, batch: Decimal | None) -> Price:
    found = _model_price(provider, name, slot)
    if found is None or not _consistent(usage):
        return UNPRICED
    counted = ListUsage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
    )
    return _part(found.calc_price(counted)["total_price"], _source(), batch)


def _part(dollars: Decimal, source: str, batch: Decimal | None) -> Price:
    """The whole price, or a batch's part of it; it is rounded once."""
    return Price(_nano(dollars), source) if batch is None else Price(_nano(dollars * batch), f"{source} x{batch} batch")


@lru_cache(maxsize=256)
def _model_price(provider: str, name: str, slot: int) -> ModelPrice | None:
    """The list price of a model in this half hour; None where the list does not know it, or knows it without a price."""
    try:
        found = calc_price(
            _PROBE,
            name,
            provider_id=provider,
            genai_request_timestamp=datetime.fromtimestamp(slot * _SLOT_S, UTC),
        ).model_price
    except LookupError:
        return None
    return found if found.input_mtok is not None or found.output_mtok is not None else None


def _consistent(usage: Usage) -> bool:
    return usage.cache_read + usage.cache_write <= usage.input


def _by_hour(hourly: HourPrice, usage: Usage, duration_s: float) -> Price:
    seconds = Decimal(str(duration_s))
    source = "tier file, per hour"
    if not duration_s:
        seconds = usage.input / _READ_TOKENS_PER_S + usage.output / _WRITTEN_TOKENS_PER_S
        source = "tier file, per hour, at an assumed speed"
    return Price(_nano(seconds * hourly.usd_per_hour / _HOUR_S / hourly.parallel), source)


def _by_tokens(own: TokenPrice, usage: Usage) -> Decimal:
    plain = usage.input - usage.cache_read - usage.cache_write
    read = own.cache_read_usd_per_mtok if own.cache_read_usd_per_mtok is not None else own.input_usd_per_mtok
    write = own.cache_write_usd_per_mtok if own.cache_write_usd_per_mtok is not None else own.input_usd_per_mtok
    total = (
        plain * own.input_usd_per_mtok
        + usage.cache_read * read
        + usage.cache_write * write
        + usage.output * own.output_usd_per_mtok
    )
    return total / _PER_MTOK


def _base(value: Decimal | TieredPrices | None) -> Decimal | None:
    return value.base if isinstance(value, TieredPrices) else value


def _nano(dollars: Decimal) -> int:
    return int((dollars * NANO).to_integral_value(rounding=ROUND_HALF_EVEN))
