"""What calls and changes of state add to the metrics."""

from collections.abc import Iterator

from tierbus.contracts import NANO, Attempt, CallRecorded, PilotArm, QualityMeasured, Result, Usage
from tierbus.run import Run
from tierbus.telemetry import names
from tierbus.telemetry.names import Attr
from tierbus.telemetry.sinks import Meters


def of_call(meters: Meters, call: CallRecorded) -> None:
    """A call that was closed in the ledger; one without a known price is counted apart, never as $0."""
    model = {
        Attr.TIER: call.tier.value,
        Attr.MODEL: call.model,
        Attr.PROVIDER: names.PROVIDERS.get(call.provider, call.provider),
        Attr.ROLE: call.role.value,
    }
    who = {**model, Attr.TENANT: call.tenant}
    if call.cost_nano_usd is None:
        meters.add(names.UNPRICED, 1, {Attr.MODEL: call.model})
    else:
        meters.add(names.LLM_COST, call.cost_nano_usd / NANO, who)
    for kind, count in _tokens(call.usage):
        meters.add(names.LLM_TOKENS, count, {**who, Attr.TOKEN_TYPE: kind})
    if call.duration_s > 0:  # one that was not sent, or given up, took no time of a model
        error = {Attr.ERROR_TYPE: call.error_type} if call.error_type else {}
        meters.record(names.LLM_DURATION, call.duration_s, {**model, Attr.OPERATION: names.CHAT, **error})


def _tokens(usage: Usage) -> Iterator[tuple[str, int]]:
    kinds = {
        "input": usage.input,
        "output": usage.output,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
    }
    return ((kind, count) for kind, count in kinds.items() if count)


def of_change(meters: Meters, before: Run | None, after: Run) -> None:
    """What a change of a run's state did to its plan and its steps."""
    if before is not None and before.planning and after.plan_tried is not None:
        event = "adapted" if after.plan_reused_from is not None else "unfit"
        meters.add(names.TEMPLATES, 1, {Attr.TEMPLATE_EVENT: event})
    for _name, attempt in new_attempts(before, after):
        labels = {
            Attr.VERDICT: attempt.verdict.kind.value,
            Attr.RUNG: attempt.verdict.rung,
            Attr.TIER: attempt.tier.value,
            Attr.ATTEMPT: str(attempt.attempt),
        }
        meters.add(names.REVIEWS, 1, labels)
    for name, state in after.steps.items():
        old = before.steps.get(name) if before else None
        if old is not None and state.tier is not old.tier:
            meters.add(names.ESCALATIONS, 1, {Attr.TIER_FROM: old.tier.value, Attr.TIER_TO: state.tier.value})
        if state.ended_at is not None and (old is None or old.ended_at is None):
            meters.add(names.STEPS, 1, {Attr.STEP_STATUS: state.status.value, Attr.TIER: state.tier.value})


def of_end(meters: Meters, result: Result) -> None:
    """A task that ended; a shadow is nobody's task, and what it costs is counted with its pilot."""
    if result.decision and result.decision.pilot and result.decision.pilot.arm is PilotArm.SHADOW:
        return
    outcome = {Attr.OUTCOME: result.status.value}
    ended = {**outcome, Attr.ROUTE: result.decision.route.value if result.decision else names.UNROUTED}
    meters.add(names.TASKS, 1, {**ended, Attr.TENANT: result.tenant})
    meters.record(names.TASK_COST, result.cost_nano_usd / NANO, outcome)
    meters.record(names.TASK_DURATION, max(0.0, result.at - result.submitted_at), ended)
    if result.baseline and result.baseline.cost_nano_usd is not None:
        meters.add(names.BASELINE, result.baseline.cost_nano_usd / NANO, {Attr.TENANT: result.tenant})


def of_quality(meters: Meters, record: QualityMeasured) -> None:
    """A task that the quality watch is done with; classes without rules of their own are counted together, as `*`."""
    whose = {Attr.CLASS: record.rules}
    shown = (record.comparison or record.state).value
    meters.add(names.QUALITY_COMPARISONS, 1, {**whose, Attr.COMPARISON: shown})
    meters.add(names.QUALITY_COST, record.own_nano_usd / NANO, whose)
    if record.comparison is not None and record.task_nano_usd is not None and record.frontier_nano_usd is not None:
        meters.add(names.QUALITY_TASK_COST, record.task_nano_usd / NANO, whose)
        meters.add(names.QUALITY_FRONTIER_COST, record.frontier_nano_usd / NANO, whose)


def of_feedback(meters: Meters, score: float, rules: str) -> None:
    """A word of feedback on a result of a class whose rules have this name."""
    meters.add(names.QUALITY_FEEDBACK, 1, {Attr.CLASS: rules})
    meters.add(names.QUALITY_SCORE, score, {Attr.CLASS: rules})


def new_attempts(before: Run | None, after: Run) -> Iterator[tuple[str, Attempt]]:
    """The attempts that a change judged, with their step."""
    for name, state in after.steps.items():
        old = before.steps.get(name) if before else None
        for attempt in state.attempts[len(old.attempts) if old else 0 :]:
            yield name, attempt
