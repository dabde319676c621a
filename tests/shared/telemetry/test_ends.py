"""Which spans end with a change: each step once, the task once, and the same words when it is told again."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import NOW, RUN, diamond, judged, new_run, planned, plans
from tests.shared.telemetry.test_spans import a_call, ended_run

from tierbus.contracts import Plan, Route, StepReleased, TaskStatus, VerdictKind
from tierbus.result import result_of
from tierbus.run import Run, StepStatus, advance, begin, close, finish, pending, rearm
from tierbus.telemetry import context
from tierbus.telemetry.ends import ended, ended_last, ended_step
from tierbus.telemetry.spans import Span

ROOT = context.root_span(RUN)


def told(before: Run | None, after: Run) -> list[Span]:
    """As whoever wrote the change tells it."""
    return ended(before, after, result_of(after) if after.status else None)


def steps_of(spans: list[Span]) -> list[str]:
    return [str(span.attributes["tierbus.step.id"]) for span in spans if span.span_id != ROOT]


def roots_of(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.span_id == ROOT]


def lives(plan: Plan, data: st.DataObject) -> list[Run]:
    """Every state of a run in order, under verdicts of all kinds, in any order, ended early or not."""
    now = NOW + 1
    first = begin(new_run(Route.PLAN), NOW).run
    run = planned(plan)
    states = [first, run]
    while run.live:
        queue = [message for message in pending(run) if isinstance(message, StepReleased)]
        now += data.draw(st.sampled_from([0.25, 1.0, 700.0]))
        choice = data.draw(st.integers(0, 19))
        if choice == 0:
            run = close(run, TaskStatus.CANCELLED, "not wanted", now).run
        elif choice == 1:
            run = rearm(run, now).run
        else:
            released = data.draw(st.sampled_from(queue))
            kind = data.draw(
                st.sampled_from([*[VerdictKind.ACCEPT] * 6, *[VerdictKind.ESCALATE] * 3, VerdictKind.FAIL])
            )
            calls = [a_call(released.step, attempt=released.attempt, tier=released.tier, started_at=now)]
            verdict = judged(released.step, released.attempt, kind, released.tier)._replace(calls=calls)
            run = advance(run, verdict, now).run
        if run is not states[-1]:
            states.append(run)
    if run.closing is not None and run.status is None:
        late = [a_call(name, 9) for name, state in run.steps.items() if state.released_at is not None]
        states.append(finish(run, [*run.calls, *late], now + 5).run)
    return states


def test_opening_a_run_ends_nothing() -> None:
    direct = begin(new_run(), NOW).run
    asked = begin(new_run(Route.PLAN), NOW).run

    assert told(None, direct) == told(None, asked) == told(asked, planned(diamond())) == []


def test_a_steps_end_is_told_with_its_last_verdict_and_only_then() -> None:
    before = planned(diamond())
    split = advance(before, judged("split", 1, VerdictKind.ACCEPT), NOW + 2).run
    left = advance(split, judged("left", 1, VerdictKind.ACCEPT), NOW + 3).run

    assert steps_of(told(before, split)) == ["split"]
    assert steps_of(told(split, left)) == ["left"]
    assert roots_of(told(before, split)) == []


def test_an_escalation_ends_nothing() -> None:
    before = begin(new_run(), NOW).run

    assert told(before, advance(before, judged("answer", 1, VerdictKind.ESCALATE), NOW).run) == []


def test_the_task_ends_after_its_last_step() -> None:
    before = begin(new_run(), NOW).run
    spans = told(before, advance(before, judged("answer", 1, VerdictKind.ACCEPT), NOW + 2).run)

    assert [span.name for span in spans] == ["step 1", "task direct"]


def test_a_step_that_fails_while_another_runs_is_told_and_the_task_is_not_over() -> None:
    before = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 1).run
    closing = advance(before, judged("left", 1, VerdictKind.FAIL), NOW + 2).run
    spans = told(before, closing)

    assert (steps_of(spans), roots_of(spans)) == (["left"], [])
    assert spans[0].error == "because"


def test_with_the_task_end_all_steps_still_open() -> None:
    before = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 1).run
    closing = close(before, TaskStatus.EXPIRED, "too late", NOW + 2).run
    spans = told(closing, finish(closing, closing.calls, NOW + 3).run)

    assert told(before, closing) == []
    assert steps_of(spans) == ["left", "right"]
    assert [span.attributes["tierbus.step.status"] for span in spans[:2]] == ["unfinished"] * 2
    assert len(roots_of(spans)) == 1


def test_a_step_that_was_never_released_is_never_told() -> None:
    before = planned(diamond())
    ended_ = advance(before, judged("split", 1, VerdictKind.FAIL), NOW + 1).run

    assert steps_of(told(before, ended_)) == ["split"]


def test_a_run_that_was_cancelled_before_it_was_seen_is_a_root_alone() -> None:
    stone = finish(close(new_run(decision=None), TaskStatus.CANCELLED, "not wanted", NOW).run, (), NOW).run

    assert told(None, stone) == [roots_of(told(None, stone))[0]]


def test_the_root_is_told_from_the_result_that_is_said() -> None:
    after = ended_run()
    given_ = result_of(after).model_copy(update={"cost_nano_usd": 42})
    [root] = roots_of(ended(None, after, given_))

    assert root.attributes["tierbus.cost.total_nano_usd"] == 42


def test_telling_it_again_uses_the_same_words() -> None:
    after = ended_run()
    before = after.model_copy(update={"status": None, "finished_at": None, "steps": begin(new_run(), NOW).run.steps})

    assert ended_last(after) == told(before, after)


def test_a_state_that_was_stored_and_read_tells_the_same() -> None:
    after = ended_run()

    assert ended_last(Run.model_validate_json(after.model_dump_json(exclude_none=True))) == ended_last(after)


def test_who_tells_again_leaves_out_what_had_ended_before() -> None:
    before = advance(planned(diamond()), judged("split", 1, VerdictKind.ACCEPT), NOW + 1).run
    closing = advance(before, judged("left", 1, VerdictKind.FAIL), NOW + 2).run
    last = finish(closing, closing.calls, NOW + 3).run

    assert steps_of(ended_last(last)) == ["right"]


def test_a_run_that_has_not_ended_cannot_be_told_again() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        ended_last(begin(new_run(), NOW).run)


def test_a_step_that_has_not_ended_or_is_none_or_ended_with_its_task_is_not_told_alone() -> None:
    assert ended_step(planned(diamond()), "split") == []
    assert ended_step(planned(diamond()), "stray") == []
    assert ended_step(planned(diamond()), None) == []
    assert ended_step(ended_run(), "answer") == []


@settings(max_examples=120, deadline=None)
@given(plan=plans(), data=st.data())
def test_over_a_whole_life_each_released_step_and_the_task_are_told_once(plan: Plan, data: st.DataObject) -> None:
    states = lives(plan, data)
    last = states[-1]
    changes = list(zip((None, *states), states, strict=False))
    found = [told(before, after) for before, after in changes]
    everything = [span for spans in found for span in spans]

    assert last.status is not None
    released = {name for name, state in last.steps.items() if state.status is not StepStatus.WAITING}
    assert Counter(steps_of(everything)) == Counter(released)
    assert len(roots_of(everything)) == 1
    assert everything[-1].span_id == ROOT, "the root is the last word"
    assert ended_last(last) == found[-1], "told again in the same words"
    assert all(span.trace_id == RUN and span.start <= span.end for span in everything)
    assert all(span.parent_id == ROOT for span in everything[:-1])
    live = [state for state in states if state.status is None]
    for after, spans in zip(states, found, strict=True):
        for name in steps_of(spans) if after.status is None else []:
            for later in live[live.index(after) :]:
                assert ended_step(later, name) == [span for span in spans if span.attributes["tierbus.step.id"] == name]
    if last.status is TaskStatus.SUCCEEDED:
        assert all(span.error is None for span in everything)
