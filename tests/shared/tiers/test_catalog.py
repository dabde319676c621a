from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tierbus.contracts import Tier
from tierbus.errors import Misconfigured
from tierbus.pricing.cost import estimate
from tierbus.tiers.catalog import Catalog, HourPrice, ModelSpec, load, names, parse

WRITTEN_AT = datetime(2026, 11, 24, tzinfo=UTC).timestamp()
SHIPPED = ["claude-2026-02", "default", "gemini", "local", "mixed", "openai", "self-hosted"]
TEXT = """
name: mine
about: a test
providers: {here: {sdk: openai}}
tiers:
  small: [{id: a, provider: here, context_window: 4096, max_output: 256, price: free}]
  mid: [{id: b, provider: here, context_window: 4096, max_output: 256, price: {usd_per_hour: 1.5}}]
  frontier: [{id: c, provider: here, context_window: 4096, max_output: 256, price: {provider: openai}}]
"""


def every(catalog: Catalog) -> list[ModelSpec]:
    return [spec for specs in catalog.tiers.values() for spec in specs]


def test_the_shipped_files_are_these() -> None:
    assert names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_loads_under_its_name(name: str) -> None:
    catalog = load(name)

    assert catalog.name == name
    assert set(catalog.tiers) == set(Tier)
    assert {spec.provider for spec in every(catalog)} == set(catalog.providers)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_model_has_a_price_or_is_free_by_name(name: str) -> None:
    for spec in every(load(name)):
        cost = estimate(spec, 1000, 1000, WRITTEN_AT).nano_usd

        assert cost is not None, spec.id
        assert (cost == 0) == (spec.price == "free"), spec.id


@pytest.mark.parametrize("name", SHIPPED)
def test_every_model_can_write_an_answer_beside_its_question(name: str) -> None:
    for spec in every(load(name)):
        assert spec.max_output <= spec.context_window // 2, spec.id


ALONE = {("claude-2026-02", Tier.SMALL), ("claude-2026-02", Tier.MID), *(("local", tier) for tier in Tier)}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_tier_has_a_fallback_where_there_is_one_to_have(name: str) -> None:
    for tier, specs in load(name).tiers.items():
        places = {(spec.provider, spec.id) for spec in specs}

        assert len(places) == len(specs), tier
        assert (len(specs) == 1) == ((name, tier) in ALONE), tier


def test_mixed_can_lose_any_provider() -> None:
    catalog = load("mixed")

    assert set(catalog.providers) == {"anthropic", "openai", "google"}
    assert all(len({spec.provider for spec in specs}) > 1 for specs in catalog.tiers.values())


def test_self_hosted_shows_both_ways_to_price_a_machine() -> None:
    prices = [spec.price for spec in every(load("self-hosted"))]

    assert "free" in prices
    assert any(isinstance(price, HourPrice) for price in prices)


def test_local_speaks_both_apis_and_plans_where_a_schema_is_kept() -> None:
    catalog = load("local")
    frontier = catalog.tiers[Tier.FRONTIER][0]

    assert {catalog.providers[spec.provider].sdk for spec in every(catalog)} == {"anthropic", "openai"}
    assert catalog.providers[frontier.provider].sdk == "openai"
    assert frontier.json_schema


def test_a_file_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)

    assert load(str(path)).name == "mine"


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"tier file 'none\.yaml' does not exist"):
        load("none.yaml")
    with pytest.raises(Misconfigured, match="unknown tier file 'none'; there are claude-2026-02, default"):
        load("none")


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("provider: here, context_window: 4096", "provider: there, context_window: 4096", "'there'"),
        ("context_window: 4096", "context_window: 10", "context_window"),
        ("price: free", "price: gratis", "gratis"),
        ("usd_per_hour: 1.5", "usd_per_hour: a lot", "a lot"),
        ("sdk: openai", "sdk: cohere", "cohere"),
        ("  small:", "  tiny:", "tiny"),
        ("about: a test", "about: a test\nmodels: []", "models"),
        ("name: mine", "name: {", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(right: str, wrong: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=r"tier file 'mine\.yaml'") as caught:
        parse("mine.yaml", TEXT.replace(right, wrong, 1))

    assert named in str(caught.value)


def test_a_file_without_a_tier_names_it() -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith("  mid")]

    with pytest.raises(Misconfigured, match="has no models for mid"):
        parse("mine.yaml", "\n".join(lines))


def test_batches_of_a_provider_of_the_openai_sdk_are_refused_by_its_name() -> None:
    text = TEXT.replace("sdk: openai", "sdk: openai, batch: true", 1)

    with pytest.raises(Misconfigured, match="provider 'here' asks for batch: only Anthropic's Message Batches"):
        parse("mine.yaml", text)


def test_batches_cost_half_unless_the_file_says_otherwise() -> None:
    anthropic = load("default").providers["anthropic"]

    assert (anthropic.batch, anthropic.batch_price_factor) == (True, Decimal("0.5"))
