"""Every message on the bus: its fields, its subject, its deduplication key. Nothing else defines one.

Versions: a message carries `schema_version`. This release writes `SCHEMA_VERSION` and reads it and the one before
(`decode` lifts the old form by `_LIFTS`). Sizes are bytes, times are Unix seconds (`_at`) or seconds (`_s`), money is
integer nano-dollars (`_nano_usd`) inside and decimal dollars (`_usd`) where a person writes it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tierbus.errors import Malformed, UnknownVersion

SCHEMA_VERSION = 2
PREVIOUS_VERSION = 1
NANO = 1_000_000_000
GENERAL = "general"
"""The class of a task whose publisher names none."""
TASK_CLASS = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,63}$")
TASK_ID = re.compile(r"[\x21-\x7e]{1,200}")

TenantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
StepId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class Tier(StrEnum):
    """Price classes of models, cheapest first."""

    SMALL = "small"
    MID = "mid"
    FRONTIER = "frontier"

    @property
    def above(self) -> "Tier | None":
        """The tier that a rejected answer climbs to."""
        order = list(Tier)
        place = order.index(self) + 1
        return order[place] if place < len(order) else None


class Risk(StrEnum):
    """What a wrong answer would cost."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Priority(StrEnum):
    """Lanes of the bus."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Route(StrEnum):
    """One step, or a plan of several."""

    DIRECT = "direct"
    PLAN = "plan"


class ReviewLevel(StrEnum):
    """How far up the reviewer's ladder an answer must go: free checks, agreement or judgement, always judgement."""

    LIGHT = "light"
    STANDARD = "standard"
    STRICT = "strict"


class Role(StrEnum):
    """Who made a call."""

    ROUTER = "router"
    PLANNER = "planner"
    EXECUTOR = "executor"
    REVIEWER = "reviewer"
    WATCH = "watch"
    """The quality watch: it asks after a task has ended, so its calls are in the ledger and in no result."""


class Model(BaseModel):
    """Base of all parts: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Content(Model):
    """A text or JSON document, inline or by the SHA-256 of its UTF-8 bytes in the object store."""

    media: Literal["text", "json"] = "text"
    text: str | None = None
    ref: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size: int = Field(default=0, ge=0)

    @property
    def inline_bytes(self) -> int:
        """Bytes of the text that is carried along; 0 for a reference."""
        return len(self.text.encode()) if self.text is not None else 0

    @property
    def total_bytes(self) -> int:
        """Bytes of the text wherever it is; for a reference what the sender says."""
        return self.inline_bytes if self.text is not None else self.size

    @classmethod
    def of(cls, text: str, media: Literal["text", "json"] = "text") -> Self:
        """Content held inline."""
        return cls(media=media, text=text, size=len(text.encode()))


class Attachment(Model):
    """Material that belongs to a task: a text, or a reference into the object store."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    content: Content


class Expects(Model):
    """What an answer must be. All parts are optional; the free checks use the first four, a judge the criteria.

    `answer_at` is a JSON pointer (RFC 6901) to the part of a JSON answer that counts when two answers are compared: the
    rest, such as the reasoning, may differ.
    """

    json_schema: dict[str, Any] | None = None
    must_mention: tuple[str, ...] = ()
    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=1)
    criteria: tuple[str, ...] = ()
    answer_at: str | None = None


class Hints(Model):
    """What the publisher knows better than the router; `fresh` asks for a new answer where an earlier one would do."""

    tier: Tier | None = None
    route: Route | None = None
    fresh: bool = False


class Message(Model):
    """A fact on the bus."""

    kind: ClassVar[str]
    pattern: ClassVar[str]
    schema_version: int = SCHEMA_VERSION

    @property
    def subject(self) -> str:
        """The subject it is published on."""
        raise NotImplementedError(type(self).__name__)

    @property
    def key(self) -> str:
        """The deduplication id: the same fact has the same key however often it is said."""
        return self.subject


class Task(Message):
    """What a person or a program wants done. Published on `tierbus.task.<priority>.<tenant>`.

    `task_class` names a kind of work that comes again and again, such as `invoice-fields`: what is learned about tasks, and what
    is allowed with them, goes by class.
    """

    kind: ClassVar[str] = "task"
    pattern: ClassVar[str] = "tierbus.task.{priority}.{tenant}"
    id: Annotated[str, Field(pattern=f"^{TASK_ID.pattern}$")] | None = None
    tenant: TenantName = "default"
    task_class: Annotated[str, Field(pattern=TASK_CLASS.pattern)] = GENERAL
    priority: Priority = Priority.NORMAL
    prompt: str | Content
    attachments: tuple[Attachment, ...] = ()
    expects: Expects = Expects()
    risk: Risk = Risk.NORMAL
    deadline_at: float | None = None
    budget_usd: Decimal | None = None
    hints: Hints = Hints()
    metadata: dict[str, str] = Field(default_factory=dict)

    @property
    def subject(self) -> str:
        return f"tierbus.task.{self.priority}.{self.tenant}"

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.id}"


def run_id(tenant: str, task_id: str) -> str:
    """The run of a task: first 32 hex digits of SHA-256 of `<tenant>/<task id>`, so any client can compute it."""
    return hashlib.sha256(f"{tenant}/{task_id}".encode()).hexdigest()[:32]


def class_token(task_class: str) -> str:
    """A class as one token of a subject: its dots would part it."""
    return task_class.replace(".", "~")


class CancelRequested(Message):
    """Somebody no longer wants a task's result. Published on `tierbus.cancel.<tenant>.<run>`."""

    kind: ClassVar[str] = "cancel-requested"
    pattern: ClassVar[str] = "tierbus.cancel.{tenant}.{run}"
    tenant: TenantName
    run: str
    reason: str = "cancelled by the client"

    @property
    def subject(self) -> str:
        return f"tierbus.cancel.{self.tenant}.{self.run}"


class PlanRequested(Message):
    """The router wants a plan for a run; everything else is in the run's state."""

    kind: ClassVar[str] = "plan-requested"
    pattern: ClassVar[str] = "tierbus.plan.{priority}.{run}"
    run: str
    priority: Priority

    @property
    def subject(self) -> str:
        return f"tierbus.plan.{self.priority}.{self.run}"


class PlanJudged(Message):
    """A run with a plan that may be kept, or that was kept, has ended; how stands in the run's state. The planner counts it."""

    kind: ClassVar[str] = "plan-judged"
    pattern: ClassVar[str] = "tierbus.judged.{run}"
    run: str

    @property
    def subject(self) -> str:
        return f"tierbus.judged.{self.run}"


class StepReleased(Message):
    """A step may run now, on this tier; what it needs is in the run's state.

    `after_batch` names the batch that it waited in: it is said again because that wait is over.
    """

    kind: ClassVar[str] = "step-released"
    pattern: ClassVar[str] = "tierbus.step.{tier}.{priority}.{run}.{step}.{attempt}"
    run: str
    step: str
    attempt: int
    tier: Tier
    priority: Priority
    after_batch: str | None = None

    @property
    def subject(self) -> str:
        return f"tierbus.step.{self.tier}.{self.priority}.{self.run}.{self.step}.{self.attempt}"

    @property
    def key(self) -> str:
        return self.subject if self.after_batch is None else f"{self.subject}.{self.after_batch}"


class Usage(Model):
    """Tokens of one call. `input` includes what was read from or written to the cache; `output` includes reasoning."""

    input: int = Field(default=0, ge=0)
    output: int = Field(default=0, ge=0)
    cache_read: int = Field(default=0, ge=0)
    cache_write: int = Field(default=0, ge=0)

    @classmethod
    def total(cls, used: Iterable["Usage"]) -> "Usage":
        """The tokens of several calls together."""
        every = list(used)
        return cls(
            input=sum(one.input for one in every),
            output=sum(one.output for one in every),
            cache_read=sum(one.cache_read for one in every),
            cache_write=sum(one.cache_write for one in every),
        )


class Leg(Model):
    """One message's way through a service: published, taken and done at these times (Unix seconds), in which delivery."""

    stream: str = ""
    sequence: int = 0
    deliveries: int = 1
    published_at: float = 0.0
    began_at: float = 0.0
    ended_at: float = 0.0


GIVEN_UP = "given-up"
"""The error type of a call that was still open when its run ended: it was settled by who ended the run."""


class CallStatus(StrEnum):
    """How a call ended; `started` is open, `interrupted` is charged by estimate."""

    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class CallRecorded(Message):
    """One HTTP call to a model, in the ledger on `tierbus.ledger.<tenant>.<tier>.<call>`. The last record of a call counts.

    `cost_nano_usd` is None where no price is known (never 0); `estimated` marks a cost that no provider confirmed.
    `baseline_nano_usd` prices the same tokens on the frontier tier's first model. `error_type` is one word or the HTTP
    status; `asked_in` is the span id of the question that the call belongs to, None where its asker did not live to tell.
    `batch` marks a call that went through the provider's batch endpoint; `batch_id` is our name for the batch while the call
    is open, and the provider's once it has answered.
    """

    kind: ClassVar[str] = "call-recorded"
    pattern: ClassVar[str] = "tierbus.ledger.{tenant}.{tier}.{call}"
    call: str
    run: str
    tenant: str
    step: str
    attempt: int
    role: Role
    tier: Tier
    provider: str
    model: str
    status: CallStatus
    usage: Usage = Usage()
    cost_nano_usd: int | None = None
    baseline_nano_usd: int | None = None
    estimated: bool = False
    price_source: str = ""
    started_at: float
    duration_s: float = 0.0
    request_id: str | None = None
    stop_reason: str | None = None
    error: str | None = None
    error_type: str | None = None
    asked_in: str | None = None
    batch: bool = False
    batch_id: str | None = None

    @property
    def subject(self) -> str:
        return f"tierbus.ledger.{self.tenant}.{self.tier}.{self.call}"

    @property
    def key(self) -> str:
        return f"{self.call}.{self.status}"


def spent(calls: Iterable[CallRecorded]) -> int:
    """Nano-dollars of these calls together; a call without a known price adds nothing here and is told apart elsewhere."""
    return sum(call.cost_nano_usd or 0 for call in calls)


class Outcome(StrEnum):
    """What became of one attempt at a step, before anybody judged it."""

    ANSWERED = "answered"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    OVER_BUDGET = "over-budget"
    CANCELLED = "cancelled"


class StepExecuted(Message):
    """An attempt at a step has an outcome; the reviewer judges it."""

    kind: ClassVar[str] = "step-executed"
    pattern: ClassVar[str] = "tierbus.review.{priority}.{run}.{step}.{attempt}"
    run: str
    step: str
    attempt: int
    tier: Tier
    priority: Priority
    outcome: Outcome
    detail: str = ""
    output: Content | None = None
    model: str = ""
    calls: tuple[CallRecorded, ...] = ()
    queue_s: float = 0.0
    leg: Leg | None = None

    @property
    def subject(self) -> str:
        return f"tierbus.review.{self.priority}.{self.run}.{self.step}.{self.attempt}"


class TimerSet(Message):
    """A schedule: at `due_at` the bus publishes `TimerDue` for the run. One per run; a later one replaces it."""

    kind: ClassVar[str] = "timer-set"
    pattern: ClassVar[str] = "tierbus.timer.{run}"
    run: str
    due_at: float

    @property
    def subject(self) -> str:
        return f"tierbus.timer.{self.run}"

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.due_at:.3f}"


class TimerDue(Message):
    """A run's timer rang: something in it may have taken too long, or the run `after` that it waits for has ended."""

    kind: ClassVar[str] = "timer-due"
    pattern: ClassVar[str] = "tierbus.due.{run}"
    run: str
    after: str | None = None

    @property
    def subject(self) -> str:
        return f"tierbus.due.{self.run}"

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.after}" if self.after else self.subject


class BatchTimerSet(Message):
    """A schedule: at `due_at` the bus publishes `BatchDue`. One per place: a later one replaces it, unless it is the `first`."""

    kind: ClassVar[str] = "batch-timer-set"
    pattern: ClassVar[str] = "tierbus.batch.timer.{place}"
    place: str
    collect: bool
    due_at: float
    first: bool = False

    @property
    def subject(self) -> str:
        return f"tierbus.batch.timer.{self.place}"

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.due_at:.3f}"


class BatchDue(Message):
    """A place needs looking after: a lane in which steps wait to be put into a batch (`collect`), or a batch."""

    kind: ClassVar[str] = "batch-due"
    pattern: ClassVar[str] = "tierbus.batch.due.{place}"
    place: str
    collect: bool

    @property
    def subject(self) -> str:
        return f"tierbus.batch.due.{self.place}"


class PilotArm(StrEnum):
    """What a pilot does with a task.

    outside: not drawn, so the frontier tier does it. canary: drawn, done the cheap way. shadowed: drawn, the frontier tier does
    it, and a run beside it tries the cheap way. shadow: that run beside it, which is only judged.
    """

    OUTSIDE = "outside"
    CANARY = "canary"
    SHADOWED = "shadowed"
    SHADOW = "shadow"


class PilotMark(Model):
    """Which part a run plays in which pilot: `rules` and `generation` name the pilot among all there were of the class.

    `counted` says whether its verdict counts towards the pass rate, `beside` is the run that a shadow runs beside.
    """

    arm: PilotArm
    rules: str
    generation: int = Field(ge=1)
    counted: bool = True
    beside: str | None = None


class Decision(Model):
    """What the router decided and why. `model` is the first to be asked on the tier; None is the tier's own first."""

    route: Route
    tier: Tier
    model: str | None = None
    review: ReviewLevel
    confidence: float = Field(ge=0, le=1)
    cause: str
    scores: dict[str, float] = Field(default_factory=dict)
    decided_by: Literal["hint", "rules", "scorer", "model", "cache", "policy", "pilot"] = "rules"
    pilot: PilotMark | None = None


class Inputs(Model):
    """What a step is shown: earlier outputs by step id, attachments by name, and the task's own prompt or not."""

    outputs: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    prompt: bool = False


class Step(Model):
    """One precisely specified piece of work, done in one conversation of its own."""

    id: StepId
    instruction: Annotated[str, Field(min_length=1)]
    needs: tuple[str, ...] = ()
    inputs: Inputs = Inputs()
    tools: tuple[str, ...] = ()
    expects: Expects = Expects()
    edge_cases: tuple[str, ...] = ()
    tier: Tier = Tier.SMALL


class Plan(Model):
    """A directed acyclic graph of steps with one last step, which composes the answer."""

    steps: tuple[Step, ...]


class VerdictKind(StrEnum):
    """What a reviewer decides."""

    ACCEPT = "accept"
    ESCALATE = "escalate"
    FAIL = "fail"


class Verdict(Model):
    """The reviewer's decision on one attempt, with the rung that was sure, its reason, and the critique for the next tier.

    `to` is the tier that an escalation goes to, where that is not the next one.
    """

    kind: VerdictKind
    rung: Literal["outcome", "checks", "agreement", "judge", "policy"]
    reason: str
    critique: str = ""
    to: Tier | None = None


class Attempt(Model):
    """One try at a step as the result tells it."""

    attempt: int
    tier: Tier
    model: str
    outcome: Outcome
    verdict: Verdict
    queue_s: float
    llm_s: float
    cost_nano_usd: int
    executed: Leg | None = None
    reviewed: Leg | None = None


class StepReport(Model):
    """A step in the result: where it ran, how it was judged, and from when to when it took (Unix seconds)."""

    id: str
    instruction: str
    needs: tuple[str, ...]
    status: str
    tier_path: tuple[Tier, ...]
    attempts: tuple[Attempt, ...]
    released_at: float | None = None
    ended_at: float | None = None


class Event(Message):
    """Base of what is told about a run on `tierbus.event.<tenant>.<run>.<kind>`."""

    run: str
    tenant: str
    at: float

    @property
    def subject(self) -> str:
        return f"tierbus.event.{self.tenant}.{self.run}.{self.kind}"


class TaskRouted(Event):
    """A task was taken from the queue and sent on its way."""

    kind: ClassVar[str] = "routed"
    pattern: ClassVar[str] = "tierbus.event.{tenant}.{run}.routed"
    task: str
    decision: Decision
    queue_s: float


class TaskPlanned(Event):
    """A plan was adopted; `fallback` says why there is none, `plan_reused_from` whose plan it was before (a run)."""

    kind: ClassVar[str] = "planned"
    pattern: ClassVar[str] = "tierbus.event.{tenant}.{run}.planned"
    steps: tuple[Step, ...]
    repaired: bool = False
    fallback: str | None = None
    plan_reused_from: str | None = None


class StepStarted(Event):
    """An executor began an attempt."""

    kind: ClassVar[str] = "started"
    pattern: ClassVar[str] = "tierbus.event.{tenant}.{run}.started"
    step: str
    attempt: int
    tier: Tier

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.step}.{self.attempt}"


class StepReviewed(Event):
    """An attempt was judged."""

    kind: ClassVar[str] = "reviewed"
    pattern: ClassVar[str] = "tierbus.event.{tenant}.{run}.reviewed"
    step: str
    attempt: int
    tier: Tier
    model: str
    verdict: Verdict
    cost_nano_usd: int

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.step}.{self.attempt}"


class TaskStatus(StrEnum):
    """How a task ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Baseline(Model):
    """What the task would have cost on the frontier, and by which reckoning."""

    cost_nano_usd: int | None
    method: str


class TierCost(Model):
    """The bill of one tier or role."""

    calls: int = 0
    cost_nano_usd: int = 0
    usage: Usage = Usage()


class Result(Event):
    """How a task ended, once per run, on `tierbus.event.<tenant>.<run>.result`.

    `cached_from` is the run whose answer this is, where none was made: then it cost nothing, and `baseline` is that run's.
    `plan_reused_from` is the run whose plan was adapted for this one. `plan_saved_nano_usd` is an estimate of what that
    saved: what the frontier took to make that plan, less what was paid to adapt it; below zero where adapting was paid in
    vain, None where nothing was tried or a price is not known.
    """

    kind: ClassVar[str] = "result"
    pattern: ClassVar[str] = "tierbus.event.{tenant}.{run}.result"
    task: str
    task_class: str = GENERAL
    status: TaskStatus
    reason: str | None = None
    answer: Content | None = None
    decision: Decision | None = None
    steps: tuple[StepReport, ...] = ()
    cost_nano_usd: int = 0
    cost_usd: Decimal = Decimal(0)
    cost_complete: bool = True
    cost_by_tier: dict[Tier, TierCost] = Field(default_factory=dict)
    cost_by_role: dict[Role, TierCost] = Field(default_factory=dict)
    usage: Usage = Usage()
    baseline: Baseline | None = None
    calls: int = 0
    interrupted_calls: int = 0
    unpriced_calls: int = 0
    escalations: int = 0
    queue_s: float = 0.0
    llm_s: float = 0.0
    submitted_at: float = 0.0
    repaired: bool = False
    fallback: str | None = None
    cached_from: str | None = None
    plan_reused_from: str | None = None
    plan_saved_nano_usd: int | None = None
    routed: Leg | None = None
    planned: Leg | None = None
    trace_id: str | None = None
    caller: str | None = None
    joined: bool = False
    metadata: dict[str, str] = Field(default_factory=dict)


class QualityDue(Message):
    """A succeeded task was drawn for the quality watch; everything else is in the run's state."""

    kind: ClassVar[str] = "quality-due"
    pattern: ClassVar[str] = "tierbus.watch.{run}"
    run: str

    @property
    def subject(self) -> str:
        return f"tierbus.watch.{self.run}"


class Comparison(StrEnum):
    """How a task's answer stands to that of the frontier alone."""

    BETTER = "better"
    TIE = "tie"
    WORSE = "worse"


class WatchState(StrEnum):
    """Where the watch of one task stands; the last three are final."""

    ASKING = "asking"
    MEASURED = "measured"
    OVER_CAP = "over-cap"
    FAILED = "failed"


class QualityMeasured(Message):
    """One task beside the frontier's answer to the same question, on `tierbus.quality.<day>.<tenant>.<run>`; the last record counts.

    `day` is the one on which the task ended (UTC), `rules` the class whose rules it was watched by: its own, or `*`. While the state is `asking`, `own_nano_usd` is what is reserved of the
    day's cap, after it what the watch spent, counted from the ledger. `frontier_nano_usd` is what the frontier's answer cost,
    `task_nano_usd` what the task cost, `estimated_nano_usd` what its result gave as baseline; None is not known, never 0.
    `orders` are the judge's verdicts with the task's answer shown first, then second; `decided_by` says who compared.
    """

    kind: ClassVar[str] = "quality-measured"
    pattern: ClassVar[str] = "tierbus.quality.{day}.{tenant}.{run}"
    run: str
    tenant: TenantName
    task: str
    task_class: str = GENERAL
    rules: str
    day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    state: WatchState
    comparison: Comparison | None = None
    orders: tuple[Comparison, ...] = ()
    decided_by: Literal["same", "agreement", "check", "judge"] | None = None
    reason: str = ""
    task_nano_usd: int | None = None
    frontier_nano_usd: int | None = None
    estimated_nano_usd: int | None = None
    own_nano_usd: int = 0
    own_complete: bool = True
    tiers: tuple[Tier, ...] = ()
    ended_at: float
    at: float

    @property
    def subject(self) -> str:
        return f"tierbus.quality.{self.day}.{self.tenant}.{self.run}"

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.state}"

    @property
    def final(self) -> bool:
        """Whether nothing more is asked for it."""
        return self.state is not WatchState.ASKING


class FeedbackGiven(Message):
    """What somebody thinks of a task's result, on `tierbus.feedback.<tenant>.<run>`; the last word counts.

    `score` goes from 0 (bad) to 1 (good). `note` is redacted and cut before it is said; nothing prints it.
    """

    kind: ClassVar[str] = "feedback-given"
    pattern: ClassVar[str] = "tierbus.feedback.{tenant}.{run}"
    run: str
    tenant: TenantName
    task: str
    task_class: str = GENERAL
    score: float = Field(ge=0, le=1)
    note: str = Field(default="", max_length=2000)
    at: float

    @property
    def subject(self) -> str:
        return f"tierbus.feedback.{self.tenant}.{self.run}"

    @property
    def key(self) -> str:
        return f"{self.subject}.{self.at:.6f}"


class PilotOutcome(Message):
    """What became of one run of a pilot, on `tierbus.pilot.outcome.<class>.<rules>.<run>.<source>`: once for each source.

    `passed` is None where the cheap answer got no verdict. `likeness` is the same for answers that say the same, None where
    answers cannot be compared; `pair` is the run that both runs of a shadowed task go by. The run is `of_run`, not `run`:
    counting it is no part of the run's trace. A cost is None where a call had no known price.
    """

    kind: ClassVar[str] = "pilot-outcome"
    pattern: ClassVar[str] = "tierbus.pilot.outcome.{task_class}.{rules}.{of_run}.{source}"
    task_class: Annotated[str, Field(pattern=TASK_CLASS.pattern)]
    rules: str
    generation: int
    of_run: str
    pair: str
    arm: PilotArm
    source: Literal["review", "feedback", "watch"] = "review"
    counted: bool
    passed: bool | None = None
    cost_nano_usd: int | None = None
    baseline_nano_usd: int | None = None
    likeness: str | None = None
    at: float

    @property
    def subject(self) -> str:
        return f"tierbus.pilot.outcome.{class_token(self.task_class)}.{self.rules}.{self.of_run}.{self.source}"


class PilotChange(StrEnum):
    """What happens to a pilot."""

    WIDENED = "widened"
    HELD = "held"
    ROLLED_BACK = "rolled-back"
    PAUSED = "paused"
    RESUMED = "resumed"
    RESET = "reset"


class PilotChanged(Message):
    """A pilot was widened, held, rolled back, paused, resumed or reset; `number` counts the changes of its rules.

    `percent` is what it reaches from now on; `tries` and `passes` are what was known then.
    """

    kind: ClassVar[str] = "pilot-changed"
    pattern: ClassVar[str] = "tierbus.pilot.change.{task_class}.{rules}.{number}"
    task_class: Annotated[str, Field(pattern=TASK_CLASS.pattern)]
    rules: str
    generation: int
    number: int
    change: PilotChange
    percent: float
    tries: int
    passes: int
    why: str
    at: float

    @property
    def subject(self) -> str:
        return f"tierbus.pilot.change.{class_token(self.task_class)}.{self.rules}.{self.number}"


class SeenCall(Model):
    """A model call of a task, by the place of its model on a policy's ladder."""

    place: int = Field(ge=0)
    cost_nano_usd: int = Field(ge=0)


class PolicySaw(Message):
    """What one moment of a task showed a learned policy, on `tierbus.tally.saw.<policy>.<class>.<run>.<moment>`: said once.

    `moment` is the number of cheap answers that were there, or `end`; `policy` the digest of the policy's file. At the end
    `calls` are those of the task, `looks_nano_usd` is what the looks cost that the policy asked a reviewer for, and
    `looks_saved_nano_usd` what they saved (cost: negative); `agreed` is set when a second cheap answer came in, `sign` where
    something can be held against training: by how much it is above what that leads to expect. The run is `of_run`, not `run`: counting it is no part of the run's trace.
    """

    kind: ClassVar[str] = "policy-saw"
    pattern: ClassVar[str] = "tierbus.tally.saw.{policy}.{task_class}.{of_run}.{moment}"
    policy: str
    task_class: Annotated[str, Field(pattern=TASK_CLASS.pattern)]
    of_run: str
    moment: Literal["1", "2", "end"]
    calls: tuple[SeenCall, ...] = ()
    agreed: bool | None = None
    sign: float | None = Field(default=None, ge=-1, le=1)
    looks_nano_usd: int = Field(default=0, ge=0)
    looks_saved_nano_usd: int = 0

    @property
    def subject(self) -> str:
        return f"tierbus.tally.saw.{self.policy}.{class_token(self.task_class)}.{self.of_run}.{self.moment}"


class TaskRejected(Message):
    """What was published is not a task that can be done; the reasons name the values."""

    kind: ClassVar[str] = "rejected"
    pattern: ClassVar[str] = "tierbus.event.{tenant}.rejected-{sequence}.rejected"
    tenant: str
    sequence: int
    task: str | None = None
    reasons: tuple[str, ...]
    at: float

    @property
    def subject(self) -> str:
        return f"tierbus.event.{self.tenant}.rejected-{self.sequence}.rejected"


class DeadLettered(Message):
    """A message nobody can handle, whole, on `tierbus.dead.<service>.<reason>`. `body` is its text, `body_b64` if it is none."""

    kind: ClassVar[str] = "dead-lettered"
    pattern: ClassVar[str] = "tierbus.dead.{service}.{reason}"
    service: str
    reason: str
    error: str
    origin: str
    stream: str
    sequence: int
    deliveries: int
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    body_b64: str | None = None
    at: float
    trace_id: str | None = None

    @property
    def subject(self) -> str:
        return f"tierbus.dead.{self.service}.{self.reason}"

    @property
    def key(self) -> str:
        return f"dead.{self.stream}.{self.sequence}"


class Slot(Model):
    """A question that is paid for once: its answer is stored under `id`, its calls are `<id>.<n>`."""

    run: str
    tenant: str
    step: str
    attempt: int
    role: Role
    ask: int = 0

    @property
    def id(self) -> str:
        """Subject tokens: `<run>.<step>.<attempt>.<role>.<ask>`."""
        return f"{self.run}.{self.step}.{self.attempt}.{self.role}.{self.ask}"


MESSAGES: tuple[type[Message], ...] = (
    Task,
    CancelRequested,
    PlanRequested,
    PlanJudged,
    StepReleased,
    StepExecuted,
    TimerSet,
    TimerDue,
    BatchTimerSet,
    BatchDue,
    TaskRouted,
    TaskPlanned,
    StepStarted,
    StepReviewed,
    Result,
    PilotOutcome,
    PilotChanged,
    PolicySaw,
    TaskRejected,
    QualityDue,
    QualityMeasured,
    FeedbackGiven,
    CallRecorded,
    DeadLettered,
)


def _lift_task(body: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had the hints at the top level, as `force_tier` and `force_route`."""
    hints = {"tier": body.pop("force_tier", None), "route": body.pop("force_route", None)}
    return {**body, "hints": {name: value for name, value in hints.items() if value is not None}}


_LIFTS: dict[type[Message], Callable[[dict[str, Any]], dict[str, Any]]] = {Task: _lift_task}


M = TypeVar("M", bound=Message)


def decode(kind: type[M], data: bytes) -> M:
    """Read a message of the current or the previous version.

    Raises:
        Malformed: not JSON (or nested too deeply), not an object, or fields that do not fit; one reason per field.
        UnknownVersion: written by a release that is too new or too old.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{kind.kind}: not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Malformed(f"{kind.kind}: a JSON object is expected, not {type(body).__name__}")
    version = body.get("schema_version", SCHEMA_VERSION)
    if version == PREVIOUS_VERSION:
        lift = _LIFTS.get(kind)
        body = {**(lift(body) if lift else body), "schema_version": SCHEMA_VERSION}
    elif version != SCHEMA_VERSION:
        raise UnknownVersion(
            f"{kind.kind}: schema_version {version!r} is not read by this release (it reads {PREVIOUS_VERSION} and {SCHEMA_VERSION})"
        )
    try:
        return kind.model_validate_json(data) if version == SCHEMA_VERSION else kind.model_validate(body, strict=False)
    except ValidationError as error:
        raise Malformed(*explain(error)) from None


def explain(error: ValidationError) -> list[str]:
    """One sentence per wrong field, with the value, cut short."""
    return [
        f"{'.'.join(str(part) for part in problem['loc']) or 'message'}: {problem['msg']} (got {_short(problem['input'])})"
        for problem in error.errors(include_url=False)
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one line of a terminal


def encode(message: Model) -> bytes:
    """The bytes of a message."""
    return message.model_dump_json(exclude_none=True).encode()
