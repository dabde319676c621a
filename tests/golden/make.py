"""Writes a golden file for each message as this release writes it: `python -m tests.golden.make`, once per schema version.

A golden file is never rewritten: it says what some release has put on the bus.
"""

import json
from pathlib import Path
from typing import Any

from tests.plans import NOW, RUN, diamond, judged, new_run

from tierbus.contracts import (
    SCHEMA_VERSION,
    Attachment,
    BatchDue,
    BatchTimerSet,
    CallRecorded,
    CallStatus,
    CancelRequested,
    Comparison,
    Content,
    DeadLettered,
    Expects,
    FeedbackGiven,
    Hints,
    Message,
    Outcome,
    PilotArm,
    PilotChange,
    PilotChanged,
    PilotOutcome,
    PlanJudged,
    PlanRequested,
    PolicySaw,
    Priority,
    QualityDue,
    QualityMeasured,
    Result,
    Role,
    Route,
    SeenCall,
    StepExecuted,
    StepReleased,
    StepReviewed,
    StepStarted,
    Task,
    TaskPlanned,
    TaskRejected,
    TaskRouted,
    Tier,
    TimerDue,
    TimerSet,
    Usage,
    Verdict,
    VerdictKind,
    WatchState,
    encode,
)
from tierbus.result import result_of
from tierbus.run import advance, begin

FOLDER = Path(__file__).parent
SINCE = dict.fromkeys(
    (
        "batch-timer-set",
        "batch-due",
        "quality-due",
        "quality-measured",
        "feedback-given",
        "pilot-outcome",
        "pilot-changed",
        "policy-saw",
    ),
    2,
)
"""The schema version that brought a message; the others were there from the first."""


def _untimed(result: Result) -> Result:
    """A result as the first release of this version wrote it: without the times of its steps, which are optional."""
    steps = tuple(step.model_copy(update={"released_at": None, "ended_at": None}) for step in result.steps)
    return result.model_copy(update={"steps": steps})


def samples() -> list[Message]:
    """One of each message, with every optional field that matters."""
    verdict = Verdict(kind=VerdictKind.ESCALATE, rung="judge", reason="wrong sum", critique="add the tax")
    call = CallRecorded(
        call=f"{RUN}.answer.1.executor.0.0",
        run=RUN,
        tenant="acme",
        step="answer",
        attempt=1,
        role=Role.EXECUTOR,
        tier=Tier.SMALL,
        provider="anthropic",
        model="claude-haiku-5-5",
        status=CallStatus.FINISHED,
        usage=Usage(input=100, output=20, cache_read=10),
        cost_nano_usd=20_000,
        baseline_nano_usd=800_000,
        price_source="genai-prices 0.2.3",
        started_at=NOW,
        duration_s=0.5,
        request_id="req_1",
        stop_reason="done",
    )
    run = advance(begin(new_run(), NOW).run, judged("answer", 1, VerdictKind.ACCEPT)._replace(calls=(call,)), NOW).run
    decision = new_run(Route.DIRECT).decision
    assert decision is not None
    return [
        Task(
            id="t-1",
            tenant="acme",
            priority=Priority.HIGH,
            prompt="Translate this.",
            attachments=(Attachment(name="a.txt", content=Content.of("text")),),
            expects=Expects(json_schema={"type": "object"}, criteria=("is right",)),
            hints=Hints(tier=Tier.MID, route=Route.DIRECT),
            metadata={"team": "blue"},
        ),
        CancelRequested(tenant="acme", run=RUN),
        PlanRequested(run=RUN, priority=Priority.NORMAL),
        PlanJudged(run=RUN),
        StepReleased(run=RUN, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.NORMAL),
        StepExecuted(
            run=RUN,
            step="answer",
            attempt=1,
            tier=Tier.SMALL,
            priority=Priority.NORMAL,
            outcome=Outcome.ANSWERED,
            output=Content.of('{"n": 1}', "json"),
            model="claude-haiku-5-5",
            calls=(call,),
            queue_s=0.25,
        ),
        TimerSet(run=RUN, due_at=NOW),
        TimerDue(run=RUN),
        BatchTimerSet(place="small-600000-500", collect=True, due_at=NOW, first=True),
        BatchDue(place="small-600000-500", collect=True),
        TaskRouted(run=RUN, tenant="acme", at=NOW, task="t-1", decision=decision, queue_s=0.1),
        TaskPlanned(run=RUN, tenant="acme", at=NOW, steps=diamond().steps, repaired=True),
        StepStarted(run=RUN, tenant="acme", at=NOW, step="answer", attempt=1, tier=Tier.SMALL),
        StepReviewed(
            run=RUN,
            tenant="acme",
            at=NOW,
            step="answer",
            attempt=1,
            tier=Tier.SMALL,
            model="claude-haiku-5-5",
            verdict=verdict,
            cost_nano_usd=20_000,
        ),
        _untimed(result_of(run)),
        PilotOutcome(
            task_class="invoice.fields",
            rules="0123abcd",
            generation=2,
            of_run=RUN,
            pair=RUN,
            arm=PilotArm.CANARY,
            counted=True,
            passed=False,
            cost_nano_usd=20_000,
            baseline_nano_usd=800_000,
            likeness="0123456789abcdef",
            at=NOW,
        ),
        PilotChanged(
            task_class="invoice.fields",
            rules="0123abcd",
            generation=2,
            number=3,
            change=PilotChange.ROLLED_BACK,
            percent=0,
            tries=40,
            passes=30,
            why="30 of 40 passed",
            at=NOW,
        ),
        PolicySaw(
            policy="0123456789abcdef",
            task_class="invoice.fields",
            of_run=RUN,
            moment="end",
            calls=(SeenCall(place=0, cost_nano_usd=20_000), SeenCall(place=2, cost_nano_usd=800_000)),
            agreed=False,
            sign=0.25,
            looks_nano_usd=120_000,
            looks_saved_nano_usd=-30_000,
        ),
        TaskRejected(tenant="acme", sequence=7, task="t-1", reasons=("prompt is empty",), at=NOW),
        QualityDue(run=RUN),
        QualityMeasured(
            run=RUN,
            tenant="acme",
            task="t-1",
            task_class="letters",
            rules="letters",
            day="2027-01-15",
            state=WatchState.MEASURED,
            comparison=Comparison.TIE,
            orders=(Comparison.BETTER, Comparison.WORSE),
            decided_by="judge",
            task_nano_usd=20_000,
            frontier_nano_usd=800_000,
            estimated_nano_usd=700_000,
            own_nano_usd=950_000,
            tiers=(Tier.SMALL,),
            ended_at=NOW,
            at=NOW + 5,
        ),
        FeedbackGiven(run=RUN, tenant="acme", task="t-1", task_class="letters", score=0.5, note="too long", at=NOW),
        call,
        DeadLettered(
            service="router",
            reason="malformed",
            error="Malformed: task: not JSON",
            origin="tierbus.task.normal.acme",
            stream="TASKS",
            sequence=7,
            deliveries=1,
            headers={"Nats-Msg-Id": "x"},
            body="{",
            at=NOW,
        ),
    ]


def path(kind: str, version: int) -> Path:
    """Where the golden file of a kind and version lies."""
    return FOLDER / f"{kind}.v{version}.json"


def write() -> None:
    """Write what is missing for this version."""
    for message in samples():
        file = path(message.kind, SCHEMA_VERSION)
        if not file.exists():
            body: dict[str, Any] = json.loads(encode(message))
            file.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
