"""The spans that end with a change of a run's state: steps with their last verdict, the task with its result. Pure."""

from collections.abc import Container

from tierbus.contracts import Result
from tierbus.result import result_of, so_far
from tierbus.run import Run, StepStatus
from tierbus.telemetry import spans
from tierbus.telemetry.spans import Span, Story


def anything_ended(before: Run | None, after: Run) -> bool:
    """Whether a change ended a step or the task."""
    if after.status is not None:
        return True
    known = before.steps if before else {}
    return any(
        state.ended_at is not None and (name not in known or known[name].ended_at is None)
        for name, state in after.steps.items()
    )


def ended(before: Run | None, after: Run, result: Result | None) -> list[Span]:
    """What ended when `after` was written over `before`; with the task, whose `result` is given, all steps still open."""
    known = {name for name, state in (before.steps.items() if before else ()) if state.ended_at is not None}
    steps = {name for name, state in after.steps.items() if state.ended_at is not None} - known
    if after.status is not None:
        steps |= {name for name, state in after.steps.items() if state.status is StepStatus.RELEASED}
    return _spans(after, steps, result)


def ended_last(run: Run) -> list[Span]:
    """What ended together with the task, in the words in which it was told when it did."""
    steps = {
        name
        for name, state in run.steps.items()
        if state.ended_at == run.finished_at or state.status is StepStatus.RELEASED
    }
    return _spans(run, steps, result_of(run))


def ended_step(run: Run, step: str | None) -> list[Span]:
    """A step that ended while its task goes on, in the words in which it was told when it did; empty if it did not."""
    state = run.steps.get(step) if step is not None else None
    if step is None or state is None or state.ended_at is None or run.status is not None:
        return []
    return _spans(run, {step}, None)


def _spans(run: Run, steps: Container[str], ended_with: Result | None) -> list[Span]:
    wanted = [place for place, name in enumerate(run.steps) if name in steps]
    if run.status is None and not wanted:
        return []
    result = ended_with or so_far(run)
    story = Story(result, run.status, run.calls, result.at)
    found = [spans.of_step(story, place) for place in wanted]
    return [*found, spans.of_root(story)] if run.status else found
