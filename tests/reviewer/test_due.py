"""What the reviewer does when a run's timer rings while a step waits for a batch."""

import time

import pytest
from structlog.testing import capture_logs
from tests.parts import Parts
from tests.plans import RUN, new_run

from tierbus.contracts import CallRecorded, CallStatus, Message, Priority, Role, StepReleased, Tier, TimerDue
from tierbus.reviewer.app import Reviewer
from tierbus.reviewer.ladder import Ladder
from tierbus.run import begin
from tierbus.service import Delivery

DUE = TimerDue(run=RUN)
ITEM = f"tierbus.batch.item.small-600000-500.{RUN}.answer.1"
CALL = CallRecorded(
    call=f"{RUN}.answer.1.executor.0.0",
    run=RUN,
    tenant="acme",
    step="answer",
    attempt=1,
    role=Role.EXECUTOR,
    tier=Tier.SMALL,
    provider="anthropic",
    model="claude-haiku-5-5",
    status=CallStatus.STARTED,
    started_at=1.0,
    batch=True,
)


async def ring(parts: Parts) -> tuple[list[Message], list[str]]:
    """What is said again, and which warnings there are, when the timer of a low-priority run rings."""
    now = time.time()
    run = begin(new_run(priority=Priority.LOW, deadline_at=now + 86400), now).run
    await parts.store.write(run, 0)
    reviewer = Reviewer(parts.runs, Ladder(parts.texts, parts.desk, parts.catalog), parts.quality)
    with capture_logs() as logs:
        said = await reviewer.on_due(DUE, Delivery(DUE.subject))
    return said, [str(line["event"]) for line in logs if line["log_level"] == "warning"]


@pytest.mark.parametrize("where", ["in a lane", "in a batch"])
async def test_a_step_that_waits_for_a_batch_is_said_again_and_not_taken_for_lost(where: str) -> None:
    parts = Parts()
    if where == "in a lane":
        parts.store.queued.add(ITEM)
    else:
        await parts.ledger.claim(CALL)

    said, warnings = await ring(parts)

    assert {message.step for message in said if isinstance(message, StepReleased)} == {"answer"}
    assert warnings == []


@pytest.mark.parametrize("call", [None, CALL.model_copy(update={"batch": False})])
async def test_a_step_that_the_bus_lost_is_warned_of(call: CallRecorded | None) -> None:
    parts = Parts()
    if call is not None:
        await parts.ledger.claim(call)

    said, warnings = await ring(parts)

    assert {message.step for message in said if isinstance(message, StepReleased)} == {"answer"}
    assert warnings == ["reviewer.said_again"]
