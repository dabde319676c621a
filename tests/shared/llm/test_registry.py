from typing import Any

import pytest
from tests.shared.llm.server import Answer, Server, serving

from tierbus.contracts import Tier
from tierbus.errors import Misconfigured
from tierbus.llm.model import ProviderRefused, Question, Turn
from tierbus.llm.registry import connect
from tierbus.tiers.catalog import Catalog, ProviderSpec, load

QUESTION = Question(system="the rules", turns=(Turn("user", "how many?"),))
GONE = Answer({"error": {"type": "not_found_error", "message": "gone"}}, 404)
MIXED = {"ANTHROPIC_API_KEY": "sk-a", "OPENAI_API_KEY": "sk-o", "GEMINI_API_KEY": "sk-g"}


async def ask_all(catalog: Catalog, tier: Tier, **given: Any) -> None:
    """Ask each model of a tier once; the server refuses."""
    models = connect(catalog, **given)
    for spec in catalog.tiers[tier]:
        with pytest.raises(ProviderRefused, match="HTTP 404"):
            await models.of(spec).ask(QUESTION, 20.0)
    await models.close()


def keys(server: Server) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in server.seen]


async def test_with_a_stand_in_every_provider_is_spoken_to_there_without_a_key() -> None:
    async with serving(*[GONE] * 3) as server:
        await ask_all(load("mixed"), Tier.SMALL, sim_url=server.url, environ=MIXED)

    assert sorted(seen.path for seen in server.seen) == [
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/v1/messages",
    ]
    assert keys(server) == ["sim"] * 3


async def test_an_address_from_the_environment_goes_before_the_files() -> None:
    async with serving(*[GONE] * 3) as server:
        environ = {
            **MIXED,
            "ANTHROPIC_BASE_URL": f"{server.url}/",
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "GEMINI_BASE_URL": f"{server.url}/v1beta/openai/",
        }
        await ask_all(load("mixed"), Tier.SMALL, sim_url=None, environ=environ)

    assert [seen.path for seen in server.seen] == [
        "/v1/messages",
        "/v1/chat/completions",
        "/v1beta/openai/chat/completions",
    ]
    assert keys(server) == ["sk-a", "sk-o", "sk-g"]


@pytest.mark.parametrize("suffix", ["", "/", "/v1"])
async def test_one_local_address_serves_both_apis(suffix: str) -> None:
    catalog = load("local")
    async with serving(*[GONE] * 2) as server:
        environ = {"TIERBUS_LOCAL_URL": f"{server.url}{suffix}"}
        await ask_all(catalog, Tier.SMALL, sim_url=None, environ=environ)
        await ask_all(catalog, Tier.FRONTIER, sim_url=None, environ=environ)

    assert [seen.path for seen in server.seen] == ["/v1/messages", "/v1/chat/completions"]


async def test_a_server_of_ones_own_is_never_looked_for_at_a_provider() -> None:
    catalog = load("local")
    own = ProviderSpec(sdk="anthropic", base_url_env="MY_URL")
    catalog = catalog.model_copy(update={"providers": dict.fromkeys(catalog.providers, own)})
    models = connect(catalog, sim_url=None, environ={})

    with pytest.raises(Misconfigured, match="MY_URL is not set"):
        models.of(catalog.tiers[Tier.SMALL][0])


async def test_a_missing_key_is_named_when_its_model_is_first_used() -> None:
    catalog = load("mixed")
    models = connect(catalog, sim_url=None, environ={"ANTHROPIC_API_KEY": "sk-a", "OPENAI_API_KEY": " "})
    small = catalog.tiers[Tier.SMALL]

    assert models.of(small[0]).spec == small[0]
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY is not set"):
        models.of(small[1])
    with pytest.raises(Misconfigured, match="GEMINI_API_KEY is not set"):
        models.of(small[2])


async def test_white_space_around_a_key_is_not_part_of_it() -> None:
    async with serving(*[GONE] * 2) as server:
        environ = {"ANTHROPIC_API_KEY": "sk-a\n", "ANTHROPIC_BASE_URL": server.url}
        await ask_all(load("default"), Tier.MID, sim_url=None, environ=environ)

    assert keys(server) == ["sk-a", "sk-a"]


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ключ"])
async def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    catalog = load("default")
    models = connect(catalog, sim_url=None, environ={"ANTHROPIC_API_KEY": key})

    with pytest.raises(Misconfigured, match="ANTHROPIC_API_KEY has characters") as caught:
        models.of(catalog.tiers[Tier.MID][0])

    assert key not in str(caught.value)
    assert key not in repr(models)


async def test_a_model_is_connected_once() -> None:
    catalog = load("default")
    models = connect(catalog, sim_url="http://127.0.0.1:9", environ={})
    first, second = catalog.tiers[Tier.SMALL]

    assert models.of(first) is models.of(first)
    assert models.of(first) is not models.of(second)

    await models.close()
