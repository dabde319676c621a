"""The models of a catalog, each connected when it is first asked."""

from collections.abc import Mapping
from typing import Protocol

from tierbus.errors import Misconfigured
from tierbus.llm.anthropic import AnthropicModel
from tierbus.llm.model import Model
from tierbus.llm.openai import OpenAIModel
from tierbus.tiers.catalog import Catalog, ModelSpec, ProviderSpec


class Models(Protocol):
    """Where a desk finds its models."""

    def of(self, spec: ModelSpec) -> Model:
        """The adapter of this model."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Connected:
    """Adapters over HTTP, made when first used and kept."""

    def __init__(self, catalog: Catalog, sim_url: str | None, environ: Mapping[str, str]) -> None:
        self._catalog = catalog
        self._sim_url = sim_url
        self._environ = environ
        self._models: dict[tuple[str, str], Model] = {}

    def of(self, spec: ModelSpec) -> Model:
        """The adapter of this model.

        Raises:
            Misconfigured: its key is not in the environment.
        """
        place = (spec.provider, spec.id)
        if place not in self._models:
            self._models[place] = self._connect(spec, self._catalog.providers[spec.provider])
        return self._models[place]

    def _connect(self, spec: ModelSpec, provider: ProviderSpec) -> Model:
        kind = AnthropicModel if provider.sdk == "anthropic" else OpenAIModel
        return kind(spec, base_url=self._address(provider), api_key=self._key(provider))

    def _address(self, provider: ProviderSpec) -> str | None:
        if self._sim_url is not None:
            base: str | None = self._sim_url
        elif provider.base_url_env and self._environ.get(provider.base_url_env):
            base = self._environ[provider.base_url_env]
        else:
            return provider.base_url
        root = (base or "").rstrip("/")
        return f"{root}/v1" if provider.sdk == "openai" and not root.endswith("/v1") else root

    def _key(self, provider: ProviderSpec) -> str | None:
        if self._sim_url is not None or provider.api_key_env is None:
            return "none"
        key = self._environ.get(provider.api_key_env)
        if not key:
            raise Misconfigured(f"the environment variable {provider.api_key_env} is not set")
        return key

    async def close(self) -> None:
        """Close all connections."""
        for model in self._models.values():
            await model.close()


def connect(catalog: Catalog, *, sim_url: str | None, environ: Mapping[str, str]) -> Models:
    """The models of a catalog; with `sim_url` all of them at the stand-in server, without any key."""
    return Connected(catalog, sim_url, environ)
