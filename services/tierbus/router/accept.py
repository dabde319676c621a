"""Whether a task can be done at all: pure. What is refused is refused with every reason at once."""

import math
from collections import Counter
from datetime import UTC, datetime

from tierbus import limits
from tierbus.answers import broken_schema
from tierbus.contracts import TASK_ID, Content, Priority, Task
from tierbus.errors import Rejected
from tierbus.pilot.shadow import SHADOW
from tierbus.service import Delivery

BUDGET_USD = 10**9
"""Largest budget: in nano-dollars it still fits the number range of JSON readers."""


def accept(task: Task, delivery: Delivery, now: float) -> Task:
    """The task with its id, tenant, priority and contents filled in.

    Tenant and priority are the subject's: that is what permissions on the bus are about.

    Raises:
        Rejected: one reason for each thing that is wrong, with the value.
    """
    _, _, priority, tenant = delivery.subject.split(".", 3)
    prompt = Content.of(task.prompt) if isinstance(task.prompt, str) else task.prompt
    identity = task.id or _generated(delivery)
    reasons = [
        *_about_subject(task, priority, tenant),
        *_about_id(identity),
        *_about_prompt(prompt),
        *_about_attachments(task),
        *_about_expectations(task),
        *_about_limits(task, now),
    ]
    if reasons:
        raise Rejected(*reasons)
    return task.model_copy(
        update={
            "id": identity,
            "tenant": tenant,
            "priority": Priority(priority),
            "prompt": prompt,
        }
    )


def _generated(delivery: Delivery) -> str:
    """An id for a task without one: the publisher's Nats-Msg-Id, or the message's place in the stream."""
    named = delivery.headers.get("Nats-Msg-Id", "")
    return named if TASK_ID.fullmatch(named) else f"at-{delivery.published_at:.6f}-{delivery.sequence}"


def _about_subject(task: Task, priority: str, tenant: str) -> list[str]:
    reasons = []
    if priority not in set(Priority):
        reasons.append(f"priority {priority!r} in the subject is none of {', '.join(Priority)}")
    if "tenant" in task.model_fields_set and task.tenant != tenant:
        reasons.append(f"tenant {task.tenant!r} is not the subject's {tenant!r}")
    if "priority" in task.model_fields_set and task.priority != priority:
        reasons.append(f"priority {task.priority.value!r} is not the subject's {priority!r}")
    return reasons


def _about_id(identity: str) -> list[str]:
    """The id of a shadow is its task's with a suffix that no other task may have: else it would be taken for that task's run."""
    return [f"id {identity!r} ends with {SHADOW!r}, which is kept for shadows"] if identity.endswith(SHADOW) else []


def _about_prompt(prompt: Content) -> list[str]:
    if prompt.text is None and prompt.ref is None:
        return ["prompt has neither text nor ref"]
    if prompt.text is not None and not prompt.text.strip():
        return ["prompt is empty"]
    return _too_large("prompt", prompt)


def _too_large(name: str, content: Content) -> list[str]:
    size = content.total_bytes
    return [f"{name} has {size} bytes, the limit is {limits.PROMPT_BYTES}"] if size > limits.PROMPT_BYTES else []


def _about_attachments(task: Task) -> list[str]:
    reasons = []
    if len(task.attachments) > limits.ATTACHMENTS:
        reasons.append(f"{len(task.attachments)} attachments, the limit is {limits.ATTACHMENTS}")
    for name, times in Counter(item.name for item in task.attachments).items():
        if times > 1:
            reasons.append(f"attachment name {name!r} is used {times} times")
    for item in task.attachments:
        if item.content.text is None and item.content.ref is None:
            reasons.append(f"attachment {item.name!r} has neither text nor ref")
        reasons += _too_large(f"attachment {item.name!r}", item.content)
    return reasons


def _about_expectations(task: Task) -> list[str]:
    reasons = []
    at = task.expects.answer_at
    if at is not None and at and not at.startswith("/"):
        reasons.append(f"expects.answer_at {at!r} is not a JSON pointer: it must begin with /")
    schema = task.expects.json_schema
    why = broken_schema(schema) if schema is not None else None
    return [*reasons, f"expects.json_schema is not a JSON schema: {why}"] if why else reasons


def _about_limits(task: Task, now: float) -> list[str]:
    reasons = []
    if task.deadline_at is not None and not math.isfinite(task.deadline_at):
        reasons.append(f"deadline_at {task.deadline_at} is not a time")
    elif task.deadline_at is not None and task.deadline_at <= now:
        reasons.append(f"deadline_at {_date(task.deadline_at)} is in the past (it is {_date(now)})")
    if task.budget_usd is not None and task.budget_usd <= 0:
        reasons.append(f"budget_usd {task.budget_usd} must be above 0")
    if task.budget_usd is not None and task.budget_usd > BUDGET_USD:
        reasons.append(f"budget_usd {task.budget_usd} is above the limit of {BUDGET_USD}")
    if len(task.metadata) > limits.METADATA_ENTRIES:
        reasons.append(f"{len(task.metadata)} metadata entries, the limit is {limits.METADATA_ENTRIES}")
    return reasons


def _date(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return repr(at)
