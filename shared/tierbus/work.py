"""What is put before a model for a step: the question of its executor, and the sections a reviewer reads.

The stable part stands first (rules, then attachments, which several steps of a task share), what is special to the
step last, so that providers can cache the beginning.
"""

import json
from collections.abc import Iterable

from tierbus import prompts
from tierbus.contracts import CallRecorded, Content, Expects, Role, Slot, StepExecuted, StepReleased, Tier, spent
from tierbus.llm.model import Question, Turn
from tierbus.run import Run, StepState, StepStatus
from tierbus.stores import Texts
from tierbus.tiers.catalog import Catalog

EXECUTOR = "tierbus.executor"


async def attachments(run: Run, names: tuple[str, ...], texts: Texts) -> str:
    """The named attachments, fenced, in the task's own order."""
    wanted = [item for item in run.attachments if item.name in names]
    return "\n\n".join(
        [prompts.fenced("attachment", await texts.read(item.content), name=item.name) for item in wanted]
    )


def shared_later(run: Run, state: StepState) -> bool:
    """Whether another step, which is still waiting, will show the same attachments to the same tier.

    Those that were released with this one are asked at the same time: none of them reads what another writes.
    """
    wanted = set(state.spec.inputs.attachments)
    waiting = [
        other for name, other in run.steps.items() if name != state.spec.id and other.status is StepStatus.WAITING
    ]
    return bool(wanted) and any(
        other.tier is state.tier and set(other.spec.inputs.attachments) == wanted for other in waiting
    )


async def sections(run: Run, state: StepState, texts: Texts) -> list[str]:
    """What a step is about, without its attachments: task or instruction, earlier outputs, what is expected."""
    step = state.spec
    parts = [prompts.fenced("step", "", id=step.id)]
    if step.inputs.prompt and run.prompt is not None:
        parts.append(prompts.fenced("task", await texts.read(run.prompt)))
    for need in step.inputs.outputs:
        output = run.steps[need].output or Content.of("")
        parts.append(prompts.fenced("input", await texts.read(output), step=need, form=output.media))
    if len(run.steps) > 1:
        parts.append(prompts.fenced("instruction", step.instruction))
    if step.edge_cases:
        parts.append(prompts.fenced("edge-cases", _listed(step.edge_cases)))
    expected = expectations(step.expects)
    if expected:
        parts.append(prompts.fenced("expected", expected))
    return parts


def expectations(expects: Expects) -> str:
    """What a result must be, in words."""
    lines = [*expects.criteria]
    if expects.must_mention:
        lines.append("It must contain, word for word: " + "; ".join(expects.must_mention))
    if expects.min_chars:
        lines.append(f"At least {expects.min_chars} characters.")
    if expects.max_chars:
        lines.append(f"At most {expects.max_chars} characters.")
    if expects.json_schema:
        lines.append("One JSON document that fits this schema: " + json.dumps(expects.json_schema, sort_keys=True))
    return _listed(tuple(lines))


async def question(run: Run, state: StepState, texts: Texts, max_output: int) -> Question:
    """The executor's question for the step's current attempt."""
    parts = await sections(run, state, texts)
    if state.critique:
        parts.append(prompts.fenced("critique", state.critique))
    return Question(
        system=prompts.load(EXECUTOR, "step.md"),
        shared=await attachments(run, state.spec.inputs.attachments, texts),
        shared_later=shared_later(run, state),
        turns=(Turn("user", "\n\n".join(parts)),),
        json_schema=state.spec.expects.json_schema,
        max_output=max_output,
    )


def max_output(catalog: Catalog, tier: Tier, cap: int = 8192) -> int:
    """Tokens an answer of this tier may have: what its models allow, and no more than `cap`."""
    return min(cap, *(spec.max_output for spec in catalog.tiers[tier]), cap)


def slot_of(run: Run, state: StepState, role: Role, ask: int = 0) -> Slot:
    """The slot of a question about the step's current attempt."""
    return Slot(run=run.id, tenant=run.tenant, step=state.spec.id, attempt=state.attempt, role=role, ask=ask)


def attempt_slot(run: Run, about: StepReleased | StepExecuted, role: Role) -> Slot:
    """The first slot of the attempt that a message is about, which need not be the step's current one."""
    return Slot(run=run.id, tenant=run.tenant, step=about.step, attempt=about.attempt, role=role)


def budget_left(run: Run, calls: Iterable[CallRecorded] = ()) -> int | None:
    """Nano-dollars the task may still spend after these calls too, None where it has no budget."""
    return None if run.budget_nano_usd is None else run.budget_nano_usd - run.cost_nano_usd - spent(calls)


def _listed(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)
