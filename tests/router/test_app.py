"""What the router does with a task: who is asked, what is kept, what is said."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from tests.parts import Parts
from tests.plans import NOW

from tierbus import limits
from tierbus.contracts import (
    Attachment,
    CallStatus,
    Content,
    Decision,
    Hints,
    Message,
    PlanRequested,
    Result,
    Role,
    Route,
    StepReleased,
    Task,
    TaskRejected,
    TaskRouted,
    TaskStatus,
    Tier,
    run_id,
)
from tierbus.errors import Malformed, Rejected
from tierbus.ledger import desk as desk_module
from tierbus.llm.model import ProviderBusy, ProviderRefused
from tierbus.router.app import Router, refused
from tierbus.router.decide import Scorer, Scores
from tierbus.router.signals import Signals
from tierbus.run import Run
from tierbus.service import Delivery

UNSURE = "What do you think of it?"
SURE = "Translate this."
RUN = run_id("acme", "t-1")
HINTS = (Hints(tier=Tier.SMALL), Hints(route=Route.PLAN))
CLASSIFIED = {
    "complexity": 0.9,
    "domain": 0.1,
    "context": 0.1,
    "risk": 0.1,
    "needs_plan": True,
    "reason": "three deliverables",
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "BACKOFF_S", 0.0)


@dataclass
class Says:
    """A scorer with one opinion, or none."""

    opinion: Scores | None
    asked: list[tuple[Signals, Scores]] = field(default_factory=list)

    def score(self, signals: Signals, rules: Scores) -> Scores | None:
        self.asked.append((signals, rules))
        return self.opinion


def task(prompt: str | Content = UNSURE, **more: object) -> Task:
    return Task.model_validate({"id": "t-1", "prompt": prompt, **more})


async def route(parts: Parts, given: Task, scorers: Sequence[Scorer] = ()) -> list[Message]:
    router = Router(parts.runs, parts.texts, parts.desk, parts.catalog, scorers=scorers)
    delivery = Delivery("tierbus.task.normal.acme", "TASKS", 7, 1, time.time() - 2.5)
    return list(await router.service().handlers[Task](given, delivery))


def run_of(parts: Parts) -> Run:
    return parts.store.states[RUN][0]


def decision_of(parts: Parts) -> Decision:
    made = run_of(parts).decision
    assert made is not None
    return made


async def test_a_model_is_asked_where_the_rules_are_unsure() -> None:
    parts = Parts([json.dumps(CLASSIFIED)])

    messages = await route(parts, task(attachments=(Attachment(name="a.txt", content=Content.of("four")),)))

    [(spec, question)] = parts.models.asked
    assert spec in parts.catalog.tiers[Tier.SMALL]
    assert f"<task>\n{UNSURE}\n</task>" in question.turns[0].text
    assert "- a.txt: 4 bytes" in question.turns[0].text
    made = decision_of(parts)
    assert (made.decided_by, made.route, made.confidence) == ("model", Route.PLAN, 0.8)
    assert "classified: three deliverables" in made.cause
    assert PlanRequested in {type(message) for message in messages}


async def test_what_classifying_cost_is_on_the_tasks_bill() -> None:
    parts = Parts([json.dumps(CLASSIFIED)])

    await route(parts, task())

    [call] = run_of(parts).calls
    assert (call.role, call.status, call.cost_nano_usd) == (Role.ROUTER, CallStatus.FINISHED, 20_000)


async def test_no_model_is_asked_where_the_rules_are_sure() -> None:
    parts = Parts([])

    await route(parts, task(SURE))

    assert parts.models.asked == []
    assert decision_of(parts).decided_by == "rules"


@pytest.mark.parametrize("hints", HINTS, ids=["tier", "route"])
async def test_no_model_is_asked_where_the_publisher_knows(hints: Hints) -> None:
    parts = Parts([])

    await route(parts, task(hints=hints))

    assert parts.models.asked == []


async def test_a_scorer_that_knows_comes_before_the_model() -> None:
    parts = Parts([])
    mute, knows, late = Says(None), Says(Scores(0.9, 0.0, 0.0, 0.0, 0.9, ("seen before",))), Says(None)

    await route(parts, task(), (mute, knows, late))

    made = decision_of(parts)
    assert parts.models.asked == []
    assert [len(each.asked) for each in (mute, knows, late)] == [1, 1, 0]
    assert (made.decided_by, made.route, made.confidence) == ("scorer", Route.PLAN, 0.9)
    assert "seen before" in made.cause


async def test_a_scorer_that_abstains_leaves_it_to_the_model() -> None:
    parts = Parts([json.dumps(CLASSIFIED)])

    await route(parts, task(), (Says(None),))

    assert decision_of(parts).decided_by == "model"


async def test_a_scorer_is_not_asked_where_the_rules_are_sure() -> None:
    scorer = Says(Scores(0.9, 0.0, 0.0, 0.0, 0.9, ()))

    await route(Parts([]), task(SURE), (scorer,))

    assert scorer.asked == []


UNREADABLE = {
    "prose": "It looks rather complex to me.",
    "cut off": '{"complexity": 0.9, "domain"',
    "a part is missing": json.dumps({"complexity": 0.9}),
    "not a number": json.dumps({**CLASSIFIED, "risk": "high"}),
    "a list": json.dumps([CLASSIFIED]),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_unreadable_classification_leaves_the_rules_and_is_paid(name: str) -> None:
    parts = Parts([UNREADABLE[name]])

    await route(parts, task())

    made = decision_of(parts)
    assert (made.decided_by, made.route, made.tier) == ("rules", Route.DIRECT, Tier.SMALL)
    assert len(run_of(parts).calls) == 1


async def test_scores_beyond_the_scale_are_brought_back_to_it() -> None:
    parts = Parts([json.dumps({**CLASSIFIED, "complexity": 90, "risk": -3})])

    await route(parts, task())

    assert (decision_of(parts).scores["complexity"], decision_of(parts).scores["risk"]) == (1.0, 0.0)


@pytest.mark.parametrize("error", [ProviderRefused("HTTP 400"), ProviderBusy("HTTP 529")], ids=["refused", "busy"])
async def test_a_task_is_routed_by_the_rules_where_no_model_answers(error: Exception) -> None:
    parts = Parts(lambda _spec, _question: error)

    await route(parts, task())

    assert decision_of(parts).decided_by == "rules"
    assert {call.status for call in run_of(parts).calls} == {CallStatus.FAILED}


async def test_a_budget_too_small_for_the_question_leaves_the_rules() -> None:
    parts = Parts([])

    await route(parts, task(budget_usd="0.000000001"))

    assert (decision_of(parts).decided_by, run_of(parts).budget_nano_usd, run_of(parts).calls) == ("rules", 1, ())


async def test_a_large_prompt_is_kept_by_reference() -> None:
    parts = Parts([])
    large = f"{SURE} " + "x" * limits.INLINE_BYTES

    await route(parts, task(large))

    kept = run_of(parts).prompt
    assert kept is not None
    assert (kept.text, kept.size) == (None, len(large))
    assert await parts.texts.read(kept) == large


async def test_a_small_prompt_stays_in_the_state() -> None:
    parts = Parts([])

    await route(parts, task(SURE))

    assert run_of(parts).prompt == Content.of(SURE)
    assert parts.texts.kept == {}


async def test_many_small_attachments_do_not_swell_the_state() -> None:
    parts = Parts([])
    given = tuple(
        Attachment(name=f"{n}.txt", content=Content.of(f"{n:02}" * (limits.INLINE_BYTES // 2))) for n in range(20)
    )

    await route(parts, task(SURE, attachments=given))

    kept = run_of(parts).attachments
    assert sum(len(item.content.text or "") for item in kept) <= 64 * limits.KIB
    assert [await parts.texts.read(item.content) for item in kept] == [item.content.text for item in given]


async def test_a_prompt_that_came_by_reference_is_judged_by_what_it_says() -> None:
    parts = Parts([])
    large = Content.of("Compare and analyse them, then draft, review and rank each. " * 400)
    by_reference = await parts.texts.keep(large)
    assert by_reference.ref

    await route(parts, task(by_reference))

    assert decision_of(parts).route is Route.PLAN


async def test_a_direct_task_is_said_with_its_decision_and_its_first_step() -> None:
    parts = Parts([])

    messages = await route(parts, task(SURE, metadata={"team": "blue"}))

    [routed] = [message for message in messages if isinstance(message, TaskRouted)]
    [step] = [message for message in messages if isinstance(message, StepReleased)]
    assert (routed.run, routed.tenant, routed.task) == (RUN, "acme", "t-1")
    assert routed.decision == decision_of(parts)
    assert routed.queue_s >= 2.5
    assert (step.run, step.step, step.attempt, step.tier) == (RUN, "answer", 1, Tier.SMALL)
    assert run_of(parts).metadata == {"team": "blue"}


async def test_a_refused_task_opens_no_run() -> None:
    parts = Parts([])

    with pytest.raises(Rejected, match="prompt is empty"):
        await route(parts, task(" "))

    assert parts.store.states == {}


async def test_a_finished_task_published_again_only_has_its_result_said_again() -> None:
    parts = Parts([])
    await route(parts, task(SURE))
    run, revision = parts.store.states[RUN]
    ended = run.model_copy(update={"status": TaskStatus.FAILED, "reason": "because", "finished_at": NOW})
    await parts.store.write(ended, revision)

    [said] = await route(parts, task(SURE))

    assert isinstance(said, Result)
    assert (said.status, said.reason) == ("failed", "because")


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "join", "trace", "caller"),
    [
        (CALLER, False, RUN, CALLER),
        (CALLER, True, TRACE, CALLER),
        ("nonsense", True, RUN, None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", True, RUN, None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", True, RUN, None),
    ],
)
async def test_a_run_has_a_trace_of_its_own_unless_it_is_to_join_its_callers(
    header: str, join: bool, trace: str, caller: str | None
) -> None:
    parts = Parts([])
    router = Router(parts.runs, parts.texts, parts.desk, parts.catalog, join_traces=join)
    delivery = Delivery("tierbus.task.normal.acme", "TASKS", 7, 1, NOW, headers={"traceparent": header})

    await router.on_task(task(SURE), delivery)

    run = run_of(parts)
    assert (run.trace_id, run.caller, run.joined) == (trace, caller, join and caller is not None)


@pytest.mark.parametrize(
    ("data", "error", "claimed", "reasons"),
    [
        (
            b'{"id": "t-9", "prompt": ""}',
            Rejected("prompt is empty", "no budget"),
            "t-9",
            ("prompt is empty", "no budget"),
        ),
        (b"{", Malformed("task: not JSON"), None, ("task: not JSON",)),
        (b'{"id": 9}', Malformed("id: not a string"), None, ("id: not a string",)),
        (b"[]", ValueError("secret"), None, ("it could not be handled: ValueError",)),
    ],
)
def test_a_rejection_tells_the_publisher_why(
    data: bytes, error: Exception, claimed: str | None, reasons: tuple[str, ...]
) -> None:
    [rejected] = refused(Delivery("tierbus.task.normal.acme", "TASKS", 7), data, error)

    assert isinstance(rejected, TaskRejected)
    assert (rejected.tenant, rejected.sequence, rejected.task, rejected.reasons) == ("acme", 7, claimed, reasons)
