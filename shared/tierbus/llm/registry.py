"""The models of a catalog, each connected when it is first asked."""

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from tierbus.errors import Misconfigured
from tierbus.llm.anthropic import AnthropicModel
from tierbus.llm.anthropic_batches import AnthropicBatches
from tierbus.llm.batches import Batches
from tierbus.llm.model import Model
from tierbus.llm.openai import OpenAIModel
from tierbus.tiers.catalog import Catalog, ModelSpec, ProviderSpec

SIM_KEY = "sim"


class Models(Protocol):
    """Where a desk finds its models."""

    def of(self, spec: ModelSpec) -> Model:
        """The adapter of this model."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class BatchModels(Protocol):
    """Where a batch desk finds its endpoints."""

    def batches(self, spec: ModelSpec) -> Batches:
        """The batch endpoint of this model's provider."""
        ...


class Connected:
    """Adapters over HTTP, made when first used and kept."""

    def __init__(self, catalog: Catalog, sim_url: str | None, environ: Mapping[str, str]) -> None:
        self._catalog = catalog
        self._sim_url = sim_url
        self._environ = environ
        self._models: dict[ModelSpec, Model] = {}

    def of(self, spec: ModelSpec) -> Model:
        """The adapter of this model.

        Raises:
            Misconfigured: its key or its address is not in the environment; the text names the variable.
        """
        if spec not in self._models:
            provider = self._catalog.providers[spec.provider]
            kind = AnthropicModel if provider.sdk == "anthropic" else OpenAIModel
            self._models[spec] = kind(spec, base_url=self._address(provider), api_key=self._key(provider))
        return self._models[spec]

    def batches(self, spec: ModelSpec) -> Batches:
        """The batch endpoint of this model's provider.

        Raises:
            Misconfigured: it speaks no batch API that we do, or see `of`.
        """
        model = self.of(spec)
        if not isinstance(model, AnthropicModel):
            raise Misconfigured(f"provider {spec.provider!r} of model {spec.id!r} has no batch endpoint that is spoken")
        return AnthropicBatches(model)

    def _address(self, provider: ProviderSpec) -> str | None:
        if self._sim_url is not None:
            return _rooted(self._sim_url, provider)
        given = self._environ.get(provider.base_url_env or "", "").strip()
        if given:
            return _rooted(given, provider)
        if provider.base_url is None and provider.base_url_env and provider.api_key_env is None:
            raise Misconfigured(
                f"the environment variable {provider.base_url_env} is not set: it is the model server's address"
            )
        return provider.base_url

    def _key(self, provider: ProviderSpec) -> str | None:
        if self._sim_url is not None:
            return SIM_KEY
        if provider.api_key_env is None:
            return None
        key = self._environ.get(provider.api_key_env, "").strip()
        if not key:
            raise Misconfigured(f"the environment variable {provider.api_key_env} is not set")
        if not (key.isascii() and key.isprintable()):
            raise Misconfigured(f"the environment variable {provider.api_key_env} has characters that no key has")
        return key

    async def close(self) -> None:
        """Close all connections."""
        for model in self._models.values():
            await model.close()


def _rooted(address: str, provider: ProviderSpec) -> str:
    """A server's address as the SDK wants it: OpenAI's with `/v1`, Anthropic's without; another path is kept as given."""
    root = address.rstrip("/")
    if provider.sdk == "anthropic":
        return root.removesuffix("/v1")
    return root if urlsplit(root).path else f"{root}/v1"


def connect(catalog: Catalog, *, sim_url: str | None, environ: Mapping[str, str]) -> Connected:
    """The models of a catalog; with `sim_url` all of them at the stand-in server, without any key."""
    return Connected(catalog, sim_url, environ)
