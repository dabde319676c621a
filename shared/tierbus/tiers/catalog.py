"""Reading tier files.

A file names its providers (which SDK, which address, which environment variable holds the key) and an ordered list of
models for each tier. The first model of a tier is asked first; the others are its fallbacks.
"""

from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tierbus.contracts import Model, Tier, explain
from tierbus.errors import Misconfigured


class TokenPrice(Model):
    """Prices of one's own, in dollars per million tokens."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cache_read_usd_per_mtok: Decimal | None = None
    cache_write_usd_per_mtok: Decimal | None = None


class HourPrice(Model):
    """A machine of one's own: dollars per hour, shared by `parallel` calls at a time."""

    usd_per_hour: Decimal
    parallel: int = Field(default=1, ge=1)


class ListPrice(Model):
    """The provider's list price from `genai-prices`, by its names for provider and model."""

    provider: str
    model: str | None = None


Price = ListPrice | TokenPrice | HourPrice | Literal["free"]


class Limits(Model):
    """What a provider allows one account. `concurrency` is kept by every process for itself."""

    concurrency: int = Field(default=16, ge=1)
    requests_per_min: int | None = Field(default=None, ge=1)
    tokens_per_min: int | None = Field(default=None, ge=1)


BATCH_FACTOR = Decimal("0.5")
"""What a request in a batch costs of the same request by itself, tokens of all kinds alike
(https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing, 2026-10-14)."""


class ProviderSpec(Model):
    """How to reach a provider. `base_url` None means the SDK's own default; `api_key_env` None means no key is needed.

    `batch` says that its batch endpoint may be used, at `batch_price_factor` of its prices.
    """

    sdk: Literal["anthropic", "openai"]
    base_url: str | None = None
    base_url_env: str | None = None
    api_key_env: str | None = None
    batch: bool = False
    batch_price_factor: Decimal = Field(default=BATCH_FACTOR, gt=0, le=1)


class ModelSpec(Model):
    """A model on a tier. Window, output and price step are in tokens."""

    id: str
    provider: str
    context_window: int = Field(ge=512)
    max_output: int = Field(ge=64)
    price: Price
    limits: Limits = Limits()
    cache: bool = True
    json_schema: bool = True
    timeout_s: float = Field(default=300.0, gt=0)


class Catalog(Model):
    """A whole tier file."""

    name: str
    about: str
    providers: dict[str, ProviderSpec]
    tiers: dict[Tier, Annotated[tuple[ModelSpec, ...], Field(min_length=1)]]

    @model_validator(mode="after")
    def _complete(self) -> "Catalog":
        missing = [tier.value for tier in Tier if tier not in self.tiers]
        if missing:
            raise ValueError(f"tier file {self.name!r} has no models for {', '.join(missing)}")
        for name, provider in self.providers.items():
            if provider.batch and provider.sdk != "anthropic":
                raise ValueError(
                    f"provider {name!r} asks for batch: only Anthropic's Message Batches are spoken, not {provider.sdk}'s"
                )
        for tier, models in self.tiers.items():
            for model in models:
                if model.provider not in self.providers:
                    raise ValueError(f"model {model.id!r} on tier {tier} names the unknown provider {model.provider!r}")
        return self


def names() -> list[str]:
    """The tier files that come with Tierbus."""
    folder = resources.files("tierbus.tiers")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load(name: str) -> Catalog:
    """Read a tier file by its name, or by a path ending in `.yaml`.

    Raises:
        Misconfigured: no such file, or it does not fit; the text names the file and each wrong value.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise Misconfigured(f"tier file {name!r} does not exist")
        text = path.read_text(encoding="utf-8")
    elif name in names():
        text = resources.files("tierbus.tiers").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise Misconfigured(f"unknown tier file {name!r}; there are {', '.join(names())}, or a path to a .yaml file")
    return parse(name, text)


def parse(name: str, text: str) -> Catalog:
    """Read the text of a tier file.

    Raises:
        Misconfigured: it is not YAML or does not fit.
    """
    try:
        return Catalog.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise Misconfigured(f"tier file {name!r} is not YAML: {error}") from None
    except ValidationError as error:
        raise Misconfigured(f"tier file {name!r}: {'; '.join(explain(error))}") from None
