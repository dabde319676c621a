"""The run beside a task."""

from tests.plans import NOW, decision, judged, new_run

from tierbus.contracts import PilotArm, PilotMark, Priority, StepReleased, TaskStatus, Tier, VerdictKind, run_id
from tierbus.pilot.shadow import SHADOW_OF, shadow_id, shadow_of
from tierbus.run import Run, advance, begin

MARK = PilotMark(arm=PilotArm.SHADOW, rules="0123abcd", generation=1)
CHEAP = decision().model_copy(update={"pilot": MARK})


def shadowed(caller: str | None = None) -> Run:
    made = new_run(tier=Tier.FRONTIER, shadow=CHEAP, metadata={"team": "blue"})
    return made.model_copy(update={"caller": caller, "joined": caller is not None})


def test_a_run_that_is_to_have_none_has_none() -> None:
    assert shadow_of(new_run(), new_run(), NOW) is None


def test_it_is_the_same_task_done_the_cheap_way_at_low_priority() -> None:
    change = shadow_of(new_run(), shadowed("00-a-b-01"), NOW)
    assert change is not None
    run = change.run
    assert (run.id, run.task) == (run_id("acme", "t-1~shadow"), "t-1~shadow")
    assert (run.priority, run.decision, run.shadow) == (Priority.LOW, CHEAP, None)
    assert run.metadata == {"team": "blue", SHADOW_OF: "t-1"}
    assert (run.trace_id, run.caller, run.joined) == (run.id, None, False)
    assert (run.prompt, run.deadline_at) == (new_run().prompt, new_run().deadline_at)
    [released] = [message for message in change.messages if isinstance(message, StepReleased)]
    assert (released.tier, released.priority) == (Tier.SMALL, Priority.LOW)


def test_it_knows_nothing_of_what_its_task_has_come_to() -> None:
    opened = begin(shadowed(), NOW).run
    opened = advance(opened, judged("answer", 1, VerdictKind.ACCEPT, Tier.FRONTIER), NOW).run
    change = shadow_of(new_run(), opened, NOW)
    assert change is not None
    assert (change.run.status, change.run.calls, change.run.steps["answer"].attempts) == (None, (), ())


def test_a_rejected_answer_ends_a_shadow_and_climbs_no_tier() -> None:
    change = shadow_of(new_run(), shadowed(), NOW)
    assert change is not None
    run = advance(change.run, judged("answer", 1, VerdictKind.ESCALATE), NOW).run
    assert (run.status, run.steps["answer"].attempt) == (TaskStatus.FAILED, 1)


def test_the_id_follows_from_the_task() -> None:
    assert shadow_id(new_run()) == shadow_id(shadowed()) == run_id("acme", "t-1~shadow")
