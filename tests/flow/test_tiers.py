"""Every model of every tier file is spoken to through its own SDK, at the stand-in server."""

import json
import subprocess
import sys

import pytest
from tests.flow.conftest import Lab

from tierbus.contracts import Tier
from tierbus.llm.model import Question, Turn
from tierbus.llm.registry import connect
from tierbus.pricing.cost import price
from tierbus.tiers.catalog import load, names

SCHEMA = {"type": "object", "additionalProperties": False, "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize("name", names())
async def test_each_adapter_answers_text_and_json_with_its_usage(lab: Lab, name: str) -> None:
    catalog = load(name)
    models = connect(catalog, sim_url=lab.stack.model_url, environ={})
    question = Question(system="You are an executor of Tierbus.", turns=(Turn("user", "Count to one."),))
    for spec in [spec for tier in Tier for spec in catalog.tiers[tier]]:
        text = await models.of(spec).ask(question, 30)
        in_schema = Question(question.system, question.turns, json_schema=SCHEMA)
        document = await models.of(spec).ask(in_schema, 30) if spec.json_schema else None

        assert "SIMULATED" in text.text
        assert document is None or isinstance(json.loads(document.text)["n"], int)
        assert text.usage.input > 0 < text.usage.output
        assert text.request_id
        assert price(spec, text.usage, 1_795_000_000.0, 1.0).nano_usd is not None
    await models.close()


def test_tiers_prints_every_model_with_its_price_and_limits() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", "tiers", "--all", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)

    assert sorted(names()) == sorted({row["file"] for row in rows})
    assert {"no price known"}.isdisjoint(row["price"] for row in rows)
    assert all(row["window"] > 0 and row["concurrency"] > 0 for row in rows)
