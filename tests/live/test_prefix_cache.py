"""Real inference: what several tasks show a model first is read from its cache from the second task on, and the ledger says so."""

from typing import Any

import pytest
from tests.flow.conftest import Lab
from tests.live.conftest import PATIENCE_S

from tierbus.contracts import CallRecorded, CallStatus, Role, run_id

pytestmark = [pytest.mark.local, pytest.mark.timeout(1500)]

SHARED = "\n".join(
    f"Paragraph {n}: the warehouse in Lyon holds {n * 7} crates of tea and {n * 3} of coffee." for n in range(30)
)
QUESTIONS = ("Which city is it about?", "What is in the crates?", "How many paragraphs are there?")
TENANT = "prefix"


def task(place: int) -> dict[str, Any]:
    """A task with the same attachment as all others, and a question of its own after it."""
    return {
        "id": f"q-{place}",
        "prompt": f"{QUESTIONS[place]} Answer in one short sentence.",
        "attachments": [{"name": "stock.txt", "content": {"text": SHARED}}],
        "risk": "low",
        "hints": {"tier": "small"},
    }


@pytest.fixture(scope="module")
def answers(local_lab: Lab) -> list[list[CallRecorded]]:
    """The executor's finished calls of each task, one task after the other."""
    for place in range(len(QUESTIONS)):
        local_lab.result(task(place), TENANT, PATIENCE_S)
    ledger = local_lab.ledger(TENANT)
    return [
        [
            call
            for call in sorted(ledger, key=lambda call: call.started_at)
            if (call.run, call.role, call.status) == (run_id(TENANT, f"q-{place}"), Role.EXECUTOR, CallStatus.FINISHED)
        ]
        for place in range(len(QUESTIONS))
    ]


def test_the_first_task_finds_nothing_in_the_cache(answers: list[list[CallRecorded]]) -> None:
    first = answers[0][0]

    assert first.usage.input > 500
    assert first.usage.cache_read < first.usage.input / 2


def test_every_later_task_reads_the_shared_prefix_from_the_cache(answers: list[list[CallRecorded]]) -> None:
    later = [calls[0].usage for calls in answers[1:]]

    assert len(later) == len(QUESTIONS) - 1
    assert all(usage.cache_read > 0 for usage in later)
    assert all(usage.cache_read > usage.input / 2 for usage in later), later
    assert all(usage.cache_read < usage.input for usage in later)
