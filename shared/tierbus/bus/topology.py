"""Streams and consumers, declared once. `apply` makes the server match and reports drift; services only bind to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tierbus import limits
from tierbus.contracts import (
    BatchDue,
    CancelRequested,
    FeedbackGiven,
    Message,
    PilotOutcome,
    PlanJudged,
    PlanRequested,
    Priority,
    QualityDue,
    StepExecuted,
    StepReleased,
    Task,
    Tier,
    TimerDue,
)

NANOS = 1_000_000_000
DEDUP_WINDOW_S = 120
TASKS, WORK, EVENTS, OUTPUTS, LEDGER, QUALITY, DEAD = (
    "TASKS",
    "WORK",
    "EVENTS",
    "OUTPUTS",
    "LEDGER",
    "QUALITY",
    "DEAD",
)
CACHE = "CACHE"
SHELVES = "SHELVES"
PILOT = "PILOT"
TALLY = "TALLY"
BLOBS = "tierbus-blobs"
RUN_SUBJECT = "tierbus.run.{run}"
ITEM_SUBJECT = "tierbus.batch.item.{lane}.{run}.{step}.{attempt}"
LOT_SUBJECT = "tierbus.batch.lot.{name}"
OUTPUT_SUBJECT = "tierbus.output.{slot}"
LEAD_SUBJECT = "tierbus.cache.{tenant}.{key}"
FOLLOW_SUBJECT = "tierbus.follow.{leader}.{follower}"
SHELF_SUBJECT = "tierbus.shelf.{tenant}.{shape}"
PILOT_SUBJECT = "tierbus.pilot.state.{task_class}.{rules}"
TALLY_SUBJECT = "tierbus.tally.state.{policy}"
SAW_SUBJECT = "tierbus.tally.saw.{policy}.>"
CLOSING_SUBJECT = "tierbus.ctl.closing.{run}"


@dataclass(frozen=True)
class Stream:
    """A stream; `config` is in the server's own words and complete for what we rely on."""

    name: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer of one service, for one kind of message; `share` is its part of the service's slots.

    `deliver`: `all` that is in the stream, or what is `new` since the consumer was made.
    """

    name: str
    stream: str
    filter: str
    service: str
    message: type[Message]
    share: float = 1.0
    deliver: str = "all"


def _stream(name: str, *subjects: str, **config: Any) -> Stream:
    common = {
        "subjects": list(subjects),
        "storage": "file",
        "duplicate_window": DEDUP_WINDOW_S * NANOS,
        "max_bytes": -1,
        "max_msgs": -1,
    }
    return Stream(name, {"name": name, **common, **config})


STREAMS: tuple[Stream, ...] = (
    _stream(
        TASKS,
        *(f"tierbus.task.{lane}.*" for lane in Priority),
        retention="workqueue",
        discard="new",
        discard_new_per_subject=True,
        max_msgs_per_subject=limits.TENANT_DEPTH,
    ),
    _stream(
        WORK,
        *(
            f"tierbus.{kind}.>"
            for kind in ("run", "plan", "step", "review", "timer", "due", "cancel", "judged", "watch", "batch")
        ),
        retention="workqueue",
        discard="old",
        max_msgs_per_subject=1,
        allow_msg_ttl=True,
        allow_msg_schedules=True,
    ),
    _stream(EVENTS, "tierbus.event.>", retention="limits", max_age=int(limits.EVENT_AGE_S) * NANOS),
    _stream(
        OUTPUTS,
        "tierbus.output.>",
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=int(limits.BLOB_TTL_S) * NANOS,
    ),
    _stream(
        CACHE,
        "tierbus.cache.*.*",
        "tierbus.follow.*.*",
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=int(limits.BLOB_TTL_S) * NANOS,
        allow_msg_ttl=True,
    ),
    _stream(
        SHELVES,
        "tierbus.shelf.*.*",
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        allow_msg_ttl=True,
    ),
    _stream(LEDGER, "tierbus.ledger.>", retention="limits", deny_delete=True, deny_purge=True),
    _stream(
        QUALITY,
        "tierbus.quality.*.*.*",
        "tierbus.feedback.*.*",
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=int(limits.QUALITY_AGE_S) * NANOS,
    ),
    _stream(
        PILOT,
        "tierbus.pilot.>",
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        allow_msg_ttl=True,
    ),
    _stream(
        TALLY,
        "tierbus.tally.>",
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        allow_msg_ttl=True,
    ),
    _stream(DEAD, "tierbus.dead.*.*", retention="limits", max_age=int(limits.DEAD_AGE_S) * NANOS),
)

_LANES = {Priority.HIGH: 1.0, Priority.NORMAL: 1.0, Priority.LOW: 0.25}


def _lanes(service: str, stream: str, message: type[Message], stem: str, pattern: str) -> list[Consumer]:
    return [
        Consumer(f"{stem}-{lane}", stream, pattern.format(lane=lane), service, message, share)
        for lane, share in _LANES.items()
    ]


CONSUMERS: tuple[Consumer, ...] = (
    *_lanes("router", TASKS, Task, "router-task", "tierbus.task.{lane}.*"),
    Consumer("router-cancel", WORK, "tierbus.cancel.*.*", "router", CancelRequested, 0.25),
    *_lanes("planner", WORK, PlanRequested, "planner-plan", "tierbus.plan.{lane}.*"),
    Consumer("planner-judged", WORK, "tierbus.judged.*", "planner", PlanJudged, 0.25),
    *(
        lane
        for tier in Tier
        for lane in _lanes(
            "executor", WORK, StepReleased, f"executor-step-{tier}", f"tierbus.step.{tier}.{{lane}}.*.*.*"
        )
    ),
    Consumer("executor-batch", WORK, "tierbus.batch.due.*", "executor", BatchDue, 0.25),
    *_lanes("reviewer", WORK, StepExecuted, "reviewer-review", "tierbus.review.{lane}.*.*.*"),
    Consumer("reviewer-due", WORK, "tierbus.due.*", "reviewer", TimerDue, 0.5),
    Consumer("reviewer-watch", WORK, "tierbus.watch.*", "reviewer", QualityDue, _LANES[Priority.LOW]),
    # what was said before there was a consumer would be counted as said now
    Consumer("reviewer-feedback", QUALITY, "tierbus.feedback.*.*", "reviewer", FeedbackGiven, 0.25, deliver="new"),
    Consumer("reviewer-pilot", PILOT, "tierbus.pilot.outcome.>", "reviewer", PilotOutcome, 0.25),
)


def consumer_config(consumer: Consumer) -> dict[str, Any]:
    """The consumer in the server's own words. Deliveries are counted and ended by us, so that nothing is lost silently."""
    return {
        "durable_name": consumer.name,
        "name": consumer.name,
        "filter_subject": consumer.filter,
        "ack_policy": "explicit",
        "ack_wait": int(limits.ACK_WAIT_S * NANOS),
        "max_deliver": -1,
        "max_ack_pending": 10_000,
        "deliver_policy": consumer.deliver,
    }


def of_service(name: str) -> list[Consumer]:
    """The consumers that a service works on."""
    return [consumer for consumer in CONSUMERS if consumer.service == name]
