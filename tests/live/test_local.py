"""Real inference on this machine: a 135M model fails much, and everything about that must be true."""

from typing import Any

import pytest
from tests.flow.conftest import Lab
from tests.live.conftest import PATIENCE_S

from tierbus.contracts import CallStatus

pytestmark = [pytest.mark.local, pytest.mark.timeout(1500)]

RULES = "Answer in one short sentence."
TASKS: dict[str, dict[str, Any]] = {
    "greet": {"prompt": f"Translate into French: good morning. {RULES}", "risk": "low"},
    "greet-again": {"prompt": f"Translate into French: good evening. {RULES}", "risk": "low"},
    "judged": {"prompt": f"What is the capital of France? {RULES}", "hints": {"route": "direct"}},
    "json": {
        "prompt": "Extract the city from: I live in Lyon.",
        "hints": {"tier": "frontier"},
        "expects": {
            "json_schema": {
                "type": "object",
                "additionalProperties": False,
                "required": ["city"],
                "properties": {"city": {"type": "string"}},
            }
        },
    },
    "planned": {"prompt": "Compare tea and coffee, then recommend one.", "hints": {"route": "plan"}, "risk": "low"},
}


def test_every_task_ends_and_real_tokens_and_cache_reads_are_in_the_ledger(local_lab: Lab) -> None:
    results = {name: local_lab.result({**body, "id": name}, "local", PATIENCE_S) for name, body in TASKS.items()}
    ledger = local_lab.ledger("local")
    finished = [call for call in ledger if call.status is CallStatus.FINISHED]

    assert all(result.status in ("succeeded", "failed") for result in results.values())
    assert all(result.reason for result in results.values() if result.status == "failed")
    assert all(call.usage.input > 0 and call.usage.output > 0 for call in finished)
    assert sum(call.usage.cache_read for call in finished) > 0
    assert {0} == {call.cost_nano_usd for call in ledger}
    assert sum(result.calls for result in results.values()) == len(ledger)
