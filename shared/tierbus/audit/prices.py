"""Prices of logged calls by straight lines: a list price is one, between its long-context steps. Integers only.

`pricing.cost.price` is exact and takes a quarter of a millisecond; a million calls need a multiplication instead. The
slopes are read off that function itself, so they are its prices: pico-dollars a token are nano-dollars a thousand.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from genai_prices import Usage as ListUsage
from genai_prices import calc_price

from tierbus.contracts import Usage
from tierbus.pricing.cost import price, price_step, rates
from tierbus.tiers.catalog import Catalog, ListPrice, ModelSpec

DAY_S = 86_400
PICO = 1_000
"""Pico-dollars in a nano-dollar."""
BATCH_DIVISOR = 2
"""Batches are billed at half (Anthropic's and OpenAI's batch prices; reference/routing.md, 2)."""
ANSWER_TOKENS = 1024
"""Room for an answer when it is asked whether a request fits a window, as the router reckons."""
_PROBE = 1_000
_TAGS = ("bedrock/", "azure/", "vertex_ai/", "openrouter/", "models/")
_GATEWAYS = {"vertex_ai": "google", "gemini": "google", "google_genai": "google", "gcp.gemini": "google", "gcp.vertex_ai": "google",
             "gcp.gen_ai": "google", "aws.bedrock": "aws", "bedrock": "aws", "azure_openai": "azure", "az.ai.openai": "azure",
             "azure.ai.openai": "azure", "mistral_ai": "mistral", "xai": "x-ai", "x_ai": "x-ai"}  # fmt: skip
"""Names of gateways and conventions for providers, as genai-prices names them."""


_MAKERS = (("claude", "anthropic"), ("gpt", "openai"), ("text-embedding", "openai"), ("gemini", "google"))
"""Makers of models whose names a list knows only together with its maker's."""


class Line(NamedTuple):
    """Pico-dollars a call and a token, on one side of every long-context step."""

    call: int
    input: int
    output: int
    cache_read: int
    cache_write: int

    def pico(self, calls: int, input_: int, output: int, cache_read: int, cache_write: int) -> int:
        """Pico-dollars of so many calls with so many tokens together; cached tokens are part of the input."""
        plain = input_ - cache_read - cache_write
        return (
            calls * self.call + plain * self.input + output * self.output + cache_read * self.cache_read + cache_write * self.cache_write
        )  # fmt: skip


def line(spec: ModelSpec, at: float, above: int = 0) -> Line | None:
    """The prices of a model for requests of more than `above` input tokens; None where nobody knows them.

    Of a list price with several steps the first is seen (`pricing.cost.price_step`); 719 of the 723 stepped prices in
    genai-prices 0.2.3 have one.
    """
    base = above + _PROBE if above else 0

    def nano(input_: int, output: int = 0, cache_read: int = 0, cache_write: int = 0) -> int | None:
        usage = Usage(input=input_, output=output, cache_read=cache_read, cache_write=cache_write)
        return price(spec, usage, at).nano_usd

    start = nano(base)
    if start is None:
        return None
    input_ = (nano(base + _PROBE) or 0) - start
    output = (nano(base, _PROBE) or 0) - start
    read = (nano(base + _PROBE, 0, _PROBE) or 0) - start
    written = (nano(base + _PROBE, 0, 0, _PROBE) or 0) - start
    return Line(start * PICO - base * input_, input_, output, read, written)


def nearest_nano(pico: int) -> int:
    """Nano-dollars, rounded to the nearest."""
    return (pico + PICO // 2) // PICO


class Edges:
    """Sizes of requests at which some model of a catalog changes its price or is full."""

    def __init__(self, catalog: Catalog, at: float) -> None:
        specs = [spec for models in catalog.tiers.values() for spec in models]
        steps = {step for spec in specs if (step := price_step(spec, at)) is not None}
        self.starts: tuple[int, ...] = tuple(sorted(steps | {spec.context_window - ANSWER_TOKENS for spec in specs}))

    def bucket(self, input_: int) -> int:
        """How many of the edges a request is above."""
        return bisect_left(self.starts, input_)

    def above(self, bucket: int) -> int:
        """The edge below the requests of a bucket, 0 for the first."""
        return self.starts[bucket - 1] if bucket else 0


class Named(NamedTuple):
    """A logged model: the name it is shown by, and its list price where one is known."""

    name: str
    spec: ModelSpec | None


class PriceBook:
    """Prices of the models that turn up in logs, remembered by model and day."""

    def __init__(self, catalog: Catalog) -> None:
        self._own = {spec.id: spec for models in catalog.tiers.values() for spec in models}
        self._named: dict[tuple[str, str], Named] = {}
        self._lines: dict[tuple[str, int], tuple[int | None, Line | None, Line | None]] = {}
        self._by_rates: dict[object, tuple[int | None, Line | None, Line | None]] = {}

    def named(self, model: str, provider: str) -> Named:
        """Whose list price a logged name means: the provider's own first, then any that knows the name."""
        found = self._named.get((model, provider))
        if found is None:
            found = self._named[model, provider] = self._find(model, provider)
        return found

    def line(self, named: Named, at: float, input_: int) -> Line | None:
        """The model's prices on the day of a call, for a request of this size."""
        if named.spec is None:
            return None
        day = int(at // DAY_S)
        found = self._lines.get((named.name, day))
        if found is None:
            found = self._lines[named.name, day] = self._priced(named, day)
        step, below, above = found
        return above if step is not None and input_ > step else below

    def _priced(self, named: Named, day: int) -> tuple[int | None, Line | None, Line | None]:
        spec, noon = named.spec, day * DAY_S + DAY_S / 2
        if spec is None:
            return None, None, None
        key = (named.name, rates(spec, noon), price_step(spec, noon))
        found = self._by_rates.get(key)
        if found is None:
            step = key[2]
            found = step, line(spec, noon), line(spec, noon, step) if step is not None else None
            self._by_rates[key] = found
        return found

    def _find(self, model: str, provider: str) -> Named:
        own = self._own.get(model)
        if own is not None:
            return Named(model, own)
        maker = _GATEWAYS.get(provider.lower(), provider.lower())
        short = model
        for tag in _TAGS:
            short = short.removeprefix(tag)
        tail = short.rsplit("/", 1)[-1]
        plain = tail.split(".")[-1].split("-v1:")[0] if "anthropic." in tail else tail
        guess = next((owner for start, owner in _MAKERS if plain.startswith(start)), "")
        for name, source in ((short, maker), (tail, maker), (short, ""), (tail, ""), (plain, ""), (plain, guess)):
            found = _listed(name, source)
            if found is not None:
                return Named(plain, found)
        return Named(plain, None)


@cache
def _listed(name: str, provider: str) -> ModelSpec | None:
    """A model of a price list as tier files describe one; window and output do not matter here."""
    try:
        found = calc_price(ListUsage(input_tokens=1, output_tokens=1), name, provider_id=provider or None)
    except LookupError:
        return None
    maker = found.provider.id
    if found.model_price.input_mtok is None and found.model_price.output_mtok is None:
        return None
    return ModelSpec(id=name, provider=maker, context_window=10**9, max_output=10**9, price=ListPrice(provider=maker))


def fitting(specs: Sequence[ModelSpec], above: int) -> ModelSpec | None:
    """The first model of a tier that holds requests just above this size, None where none does."""
    return next((spec for spec in specs if above + ANSWER_TOKENS < spec.context_window), None)
