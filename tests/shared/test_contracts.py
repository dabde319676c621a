"""Messages: what is on the bus can be read, by this release and the next."""

import hashlib
import re

import pytest
from tests.golden.make import SINCE, path, samples
from tests.plans import RUN

from tierbus.contracts import (
    MESSAGES,
    PREVIOUS_VERSION,
    SCHEMA_VERSION,
    CallRecorded,
    Message,
    Route,
    StepExecuted,
    Task,
    Tier,
    decode,
    encode,
    run_id,
)
from tierbus.errors import Malformed, UnknownVersion

SAMPLES = {message.kind: message for message in samples()}


def test_every_message_type_has_a_sample() -> None:
    assert {kind.kind for kind in MESSAGES} == set(SAMPLES)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        (name, version)
        for name in SAMPLES
        for version in (PREVIOUS_VERSION, SCHEMA_VERSION)
        if version >= SINCE.get(name, PREVIOUS_VERSION)
    ],
)
def test_a_golden_message_of_both_versions_reads_as_what_it_means(name: str, version: int) -> None:
    expected = SAMPLES[name]

    found = decode(type(expected), path(name, version).read_bytes())

    assert _current(expected) == _current(found)


def _current(message: Message) -> dict[str, object]:
    """Fields without the version of parts: a call inside an old message keeps its own."""
    body = message.model_dump()
    for call in body.get("calls", ()) if isinstance(message, StepExecuted) else ():
        call["schema_version"] = SCHEMA_VERSION
    return body


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_survives_the_bus(name: str) -> None:
    assert SAMPLES[name] == decode(type(SAMPLES[name]), encode(SAMPLES[name]))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_is_published_on_its_pattern(name: str) -> None:
    message = SAMPLES[name]
    pattern = re.sub(
        r"\\\{(\w+)\\\}", lambda found: ".+" if found.group(1) == "call" else "[^.]+", re.escape(message.pattern)
    )

    assert re.fullmatch(pattern, message.subject)


KEYS = {
    "task": ("tierbus.task.high.acme", "acme/t-1"),
    "cancel-requested": (f"tierbus.cancel.acme.{RUN}", f"tierbus.cancel.acme.{RUN}"),
    "plan-requested": (f"tierbus.plan.normal.{RUN}", f"tierbus.plan.normal.{RUN}"),
    "plan-judged": (f"tierbus.judged.{RUN}", f"tierbus.judged.{RUN}"),
    "step-released": (f"tierbus.step.small.normal.{RUN}.answer.1", f"tierbus.step.small.normal.{RUN}.answer.1"),
    "step-executed": (f"tierbus.review.normal.{RUN}.answer.1", f"tierbus.review.normal.{RUN}.answer.1"),
    "timer-set": (f"tierbus.timer.{RUN}", f"tierbus.timer.{RUN}.1800000000.000"),
    "timer-due": (f"tierbus.due.{RUN}", f"tierbus.due.{RUN}"),
    "batch-timer-set": (
        "tierbus.batch.timer.small-600000-500",
        "tierbus.batch.timer.small-600000-500.1800000000.000",
    ),
    "batch-due": ("tierbus.batch.due.small-600000-500", "tierbus.batch.due.small-600000-500"),
    "routed": (f"tierbus.event.acme.{RUN}.routed", f"tierbus.event.acme.{RUN}.routed"),
    "planned": (f"tierbus.event.acme.{RUN}.planned", f"tierbus.event.acme.{RUN}.planned"),
    "reviewed": (f"tierbus.event.acme.{RUN}.reviewed", f"tierbus.event.acme.{RUN}.reviewed.answer.1"),
    "started": (f"tierbus.event.acme.{RUN}.started", f"tierbus.event.acme.{RUN}.started.answer.1"),
    "result": (f"tierbus.event.acme.{RUN}.result", f"tierbus.event.acme.{RUN}.result"),
    "pilot-outcome": (
        f"tierbus.pilot.outcome.invoice~fields.0123abcd.{RUN}.review",
        f"tierbus.pilot.outcome.invoice~fields.0123abcd.{RUN}.review",
    ),
    "pilot-changed": (
        "tierbus.pilot.change.invoice~fields.0123abcd.3",
        "tierbus.pilot.change.invoice~fields.0123abcd.3",
    ),
    "policy-saw": (
        f"tierbus.tally.saw.0123456789abcdef.invoice~fields.{RUN}.end",
        f"tierbus.tally.saw.0123456789abcdef.invoice~fields.{RUN}.end",
    ),
    "rejected": ("tierbus.event.acme.rejected-7.rejected", "tierbus.event.acme.rejected-7.rejected"),
    "quality-due": (f"tierbus.watch.{RUN}", f"tierbus.watch.{RUN}"),
    "quality-measured": (
        f"tierbus.quality.2027-01-15.acme.{RUN}",
        f"tierbus.quality.2027-01-15.acme.{RUN}.measured",
    ),
    "feedback-given": (f"tierbus.feedback.acme.{RUN}", f"tierbus.feedback.acme.{RUN}.1800000000.000000"),
    "call-recorded": (
        f"tierbus.ledger.acme.small.{RUN}.answer.1.executor.0.0",
        f"{RUN}.answer.1.executor.0.0.finished",
    ),
    "dead-lettered": ("tierbus.dead.router.malformed", "dead.TASKS.7"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_subject_and_key_are_what_clients_and_deduplication_rely_on(name: str) -> None:
    assert KEYS[name] == (SAMPLES[name].subject, SAMPLES[name].key)


def test_the_previous_task_form_had_its_hints_at_the_top() -> None:
    task = decode(Task, b'{"schema_version": 1, "prompt": "x", "force_tier": "mid", "force_route": "plan"}')

    assert (task.hints.tier, task.hints.route, task.schema_version) == (Tier.MID, Route.PLAN, SCHEMA_VERSION)


@pytest.mark.parametrize("version", [0, 3, 99, "2", None])
def test_another_version_is_refused_by_name(version: object) -> None:
    import json

    with pytest.raises(UnknownVersion, match=re.escape(f"schema_version {version!r}")):
        decode(Task, json.dumps({"schema_version": version, "prompt": "x"}).encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "a JSON object is expected, not list"),
        (b'{"prompt": 5}', "prompt"),
        (b'{"prompt": "x", "risk": "extreme"}', "'extreme'"),
        (b'{"prompt": "x", "colour": "red"}', "colour"),
        (b'{"prompt": "x", "hints": {"tier": "giant"}}', "hints.tier"),
        (b'{"prompt": "x", "tenant": "a.b"}', "'a.b'"),
    ],
)
def test_what_does_not_fit_is_refused_with_field_and_value(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(Task, data)

    assert reason in str(caught.value)


def test_a_run_id_can_be_computed_by_any_client() -> None:
    assert run_id("acme", "t-1") == hashlib.sha256(b"acme/t-1").hexdigest()[:32] == "27813c31be62be023d3712e3b3e14bc3"
    assert run_id("acme", "t-1") != run_id("acm", "e/t-1")


def test_a_call_without_a_price_is_not_free() -> None:
    record = SAMPLES["call-recorded"].model_copy(update={"cost_nano_usd": None})

    assert decode(CallRecorded, encode(record)).cost_nano_usd is None
