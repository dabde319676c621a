"""Every name that leaves Tierbus in a span or a metric, in one place.

`gen_ai.*` and `messaging.*` follow the OpenTelemetry conventions (GenAI conventions 1.42-dev, messaging 1.44); everything
of our own begins with `tierbus.`. Money is `_usd` (dollars, float) for people and `_nano_usd` (integer) for sums.
"""

from enum import StrEnum
from typing import NamedTuple

SCOPE = "tierbus"
TASK_QUEUE, PLAN_QUEUE, STEP_QUEUE, REVIEW_QUEUE = "tierbus.task", "tierbus.plan", "tierbus.step", "tierbus.review"
"""Subjects without their ids; a step's has its tier behind it."""


class Attr(StrEnum):
    """Attributes of spans and labels of metrics."""

    TASK = "tierbus.task.id"
    TENANT = "tierbus.tenant.id"
    RUN = "tierbus.run.id"
    CLASS = "tierbus.task.class"
    OUTCOME = "tierbus.task.outcome"
    REASON = "tierbus.task.reason"

    ROUTE = "tierbus.route.decision"
    ROUTE_TIER = "tierbus.route.tier"
    ROUTE_REVIEW = "tierbus.route.review"
    ROUTE_CAUSE = "tierbus.route.cause"
    ROUTE_CONFIDENCE = "tierbus.route.confidence"
    ROUTE_BY = "tierbus.route.decided_by"

    PLAN_STEPS = "tierbus.plan.steps"
    PLAN_REPAIRED = "tierbus.plan.repaired"
    PLAN_FALLBACK = "tierbus.plan.fallback"
    PLAN_REUSED_FROM = "tierbus.plan.reused_from"
    PLAN_SAVED = "tierbus.plan.saved_usd"
    TEMPLATE_EVENT = "tierbus.plan.template.event"

    STEP = "tierbus.step.id"
    STEP_STATUS = "tierbus.step.status"
    STEP_NEEDS = "tierbus.step.needs"
    STEP_TIERS = "tierbus.step.tier_path"
    ATTEMPT = "tierbus.step.attempt"
    ATTEMPTS = "tierbus.attempts"
    ATTEMPT_OUTCOME = "tierbus.step.outcome"

    VERDICT = "tierbus.review.verdict"
    RUNG = "tierbus.review.rung"
    VERDICT_REASON = "tierbus.review.reason"

    TIER = "tierbus.tier"
    TIER_FROM = "tierbus.tier.from"
    TIER_TO = "tierbus.tier.to"
    ROLE = "tierbus.role"
    CALL = "tierbus.call.id"
    CALL_STATUS = "tierbus.call.status"
    BATCH = "tierbus.batch.id"

    COST = "tierbus.cost.usd"
    COST_NANO = "tierbus.cost.nano_usd"
    COST_TOTAL = "tierbus.cost.total_usd"
    COST_TOTAL_NANO = "tierbus.cost.total_nano_usd"
    COST_ESTIMATED = "tierbus.cost.estimated"
    COST_COMPLETE = "tierbus.cost.complete"
    COST_BASELINE = "tierbus.cost.baseline_usd"
    COST_BASELINE_METHOD = "tierbus.cost.baseline_method"
    COST_SAVED = "tierbus.cost.saved_ratio"
    COST_BAND = "tierbus.cost.band"
    PRICE_SOURCE = "tierbus.price.source"
    PRICE_KNOWN = "tierbus.price.known"

    TOKENS_INPUT = "tierbus.tokens.input"
    TOKENS_OUTPUT = "tierbus.tokens.output"
    TOKENS_CACHE_READ = "tierbus.tokens.cache_read"
    TOKENS_CACHE_WRITE = "tierbus.tokens.cache_write"
    QUEUE_S = "tierbus.time.queue_s"
    LLM_S = "tierbus.time.llm_s"
    CALLS = "tierbus.llm.calls"
    INTERRUPTED = "tierbus.llm.interrupted_calls"
    ESCALATIONS = "tierbus.escalations"

    PILOT_CHANGE = "tierbus.pilot.change"
    PILOT_PASSED = "tierbus.pilot.passed"
    POLICY_CHANGE = "tierbus.policy.change"

    QUEUE = "tierbus.queue"
    CONSUMER = "tierbus.consumer"
    FATE = "tierbus.message.fate"
    SERVICE = "tierbus.service"
    DEAD_REASON = "tierbus.dead.reason"
    WINDOW = "tierbus.budget.window"
    COMPARISON = "tierbus.quality.comparison"
    LIMIT = "tierbus.limit"

    OPERATION = "gen_ai.operation.name"
    PROVIDER = "gen_ai.provider.name"
    AGENT = "gen_ai.agent.name"
    MODEL = "gen_ai.request.model"
    RESPONSE_ID = "gen_ai.response.id"
    FINISH = "gen_ai.response.finish_reasons"
    USAGE_INPUT = "gen_ai.usage.input_tokens"
    USAGE_OUTPUT = "gen_ai.usage.output_tokens"
    USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
    USAGE_CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
    TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - the conventions' name for input or output
    EVALUATION = "gen_ai.evaluation.name"
    EVALUATION_LABEL = "gen_ai.evaluation.score.label"
    EVALUATION_WHY = "gen_ai.evaluation.explanation"
    INPUT_MESSAGES = "gen_ai.input.messages"
    OUTPUT_MESSAGES = "gen_ai.output.messages"
    SYSTEM = "gen_ai.system_instructions"
    ERROR_TYPE = "error.type"

    MESSAGING = "messaging.system"
    MESSAGING_OPERATION = "messaging.operation.name"
    MESSAGING_TYPE = "messaging.operation.type"
    DESTINATION = "messaging.destination.name"
    GROUP = "messaging.consumer.group.name"
    DELIVERIES = "messaging.nats.delivery.count"
    SEQUENCE = "messaging.nats.stream.sequence"
    INSTANCE = "service.instance.id"


class SpanName(StrEnum):
    """Span names; what stands in braces has few values: a route, a queue, a role, a model, a place in a plan."""

    TASK = "task {route}"
    REJECTED = "task rejected"
    WAIT = "wait {queue}"
    PROCESS = "process {queue}"
    STEP = "step {place}"
    ASK = "{operation} {role}"
    CHAT = "chat {model}"


EVALUATION_EVENT = "gen_ai.evaluation.result"
REVIEW = "tierbus.review"
PROVIDERS = {"google": "gcp.gemini"}
"""Providers of tier files that the GenAI conventions call by another name."""
YES, NO = "yes", "no"
UNROUTED, REJECTED, ACK, DEAD = "unrouted", "rejected", "ack", "dead"
CHAT, PLAN, INVOKE_AGENT = "chat", "plan", "invoke_agent"

COST_BANDS = ((0.001, "<0.001"), (0.01, "0.001-0.01"), (0.1, "0.01-0.10"), (1.0, "0.10-1.00"), (float("inf"), ">1.00"))
"""Upper end in dollars and label: Jaeger finds tags by equality only."""


class Kind(StrEnum):
    """Instruments: what only grows, a distribution, what is read when asked."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class Metric(NamedTuple):
    """One metric: its OpenTelemetry name and unit, what it says, its labels (all of few values) and its buckets."""

    name: str
    unit: str
    kind: Kind
    about: str
    labels: tuple[Attr, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Its name when scraped; a histogram's has `_bucket`, `_sum` and `_count` behind it."""
        stem = self.name.replace(".", "_")
        if self.unit == "s":
            stem += "_seconds"
        return f"{stem}_total" if self.kind is Kind.COUNTER else stem


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
_DOLLARS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
_WHO = (Attr.TIER, Attr.MODEL, Attr.PROVIDER, Attr.ROLE, Attr.TENANT)

LLM_COST = Metric("tierbus.llm.cost.usd", "{USD}", Kind.COUNTER, "Dollars spent on model calls, at list prices.", _WHO)
LLM_TOKENS = Metric(
    "tierbus.llm.tokens",
    "{token}",
    Kind.COUNTER,
    "Tokens; input includes what was read from or written to the cache.",
    (*_WHO, Attr.TOKEN_TYPE),
)
BASELINE = Metric(
    "tierbus.llm.baseline.usd",
    "{USD}",
    Kind.COUNTER,
    "What succeeded tasks would have cost on the frontier tier: accepted answers only, same tokens.",
    (Attr.TENANT,),
)
UNPRICED = Metric(
    "tierbus.llm.unpriced.calls", "{call}", Kind.COUNTER, "Calls to a model without a known price.", (Attr.MODEL,)
)
LLM_DURATION = Metric(
    "gen_ai.client.operation.duration",
    "s",
    Kind.HISTOGRAM,
    "Time of one model call.",
    (Attr.TIER, Attr.MODEL, Attr.PROVIDER, Attr.ROLE, Attr.OPERATION, Attr.ERROR_TYPE),
    _SECONDS,
)
TASK_COST = Metric(
    "tierbus.task.cost.usd", "{USD}", Kind.HISTOGRAM, "Dollars of one ended task.", (Attr.OUTCOME,), _DOLLARS
)
TASK_DURATION = Metric(
    "tierbus.task.duration",
    "s",
    Kind.HISTOGRAM,
    "Time from publishing a task to its result.",
    (Attr.OUTCOME, Attr.ROUTE),
    _SECONDS,
)
QUEUE_WAIT = Metric(
    "tierbus.queue.wait", "s", Kind.HISTOGRAM, "Time a message waited before it was taken.", (Attr.QUEUE,), _SECONDS
)
HANDLING = Metric("tierbus.handling", "s", Kind.COUNTER, "Seconds that messages were worked on.", (Attr.QUEUE,))
TASKS = Metric("tierbus.tasks", "{task}", Kind.COUNTER, "Ended tasks.", (Attr.OUTCOME, Attr.ROUTE, Attr.TENANT))
STEPS = Metric(
    "tierbus.steps", "{step}", Kind.COUNTER, "Ended steps, by the tier that ended them.", (Attr.STEP_STATUS, Attr.TIER)
)
ESCALATIONS = Metric(
    "tierbus.escalations", "{step}", Kind.COUNTER, "Steps sent up a tier.", (Attr.TIER_FROM, Attr.TIER_TO)
)
TEMPLATES = Metric(
    "tierbus.plan.templates",
    "{plan}",
    Kind.COUNTER,
    "Plans for reuse: kept, adapted (used again), unfit (tried in vain: the frontier planned), dropped (its rate fell).",
    (Attr.TEMPLATE_EVENT,),
)
REVIEWS = Metric(
    "tierbus.reviews",
    "{review}",
    Kind.COUNTER,
    "Verdicts on attempts.",
    (Attr.VERDICT, Attr.RUNG, Attr.TIER, Attr.ATTEMPT),
)
MESSAGES = Metric(
    "tierbus.messages", "{message}", Kind.COUNTER, "Deliveries, by what became of them.", (Attr.QUEUE, Attr.FATE)
)
REDELIVERIES = Metric("tierbus.redeliveries", "{message}", Kind.COUNTER, "Messages that came again.", (Attr.QUEUE,))
DEAD_LETTERS = Metric(
    "tierbus.dead.letters", "{message}", Kind.COUNTER, "Dead letters.", (Attr.SERVICE, Attr.DEAD_REASON)
)
QUEUE_DEPTH = Metric("tierbus.queue.depth", "{message}", Kind.GAUGE, "Messages nobody has taken.", (Attr.CONSUMER,))
QUEUE_IN_FLIGHT = Metric(
    "tierbus.queue.in_flight", "{message}", Kind.GAUGE, "Messages being worked on.", (Attr.CONSUMER,)
)
QUEUE_AGE = Metric(
    "tierbus.queue.oldest.age", "s", Kind.GAUGE, "Age of the oldest message that is not done.", (Attr.CONSUMER,)
)
SLOTS = Metric("tierbus.slots", "{slot}", Kind.GAUGE, "Places for work of this process.", (Attr.CONSUMER,))
SLOTS_BUSY = Metric("tierbus.slots.busy", "{slot}", Kind.GAUGE, "Places in use.", (Attr.CONSUMER,))
RATE_LIMIT = Metric(
    "tierbus.llm.rate.limit",
    "{1}",
    Kind.GAUGE,
    "What this process may do: concurrency (calls at a time), requests_per_min, tokens_per_min.",
    (Attr.MODEL, Attr.LIMIT),
)
RATE_USED = Metric(
    "tierbus.llm.rate.used", "{1}", Kind.GAUGE, "What this process uses of it.", (Attr.MODEL, Attr.LIMIT)
)
QUALITY_COMPARISONS = Metric(
    "tierbus.quality.comparisons",
    "{task}",
    Kind.COUNTER,
    "Tasks drawn for the quality watch, beside the frontier's answer: better, tie, worse; over-cap and failed were not compared.",
    (Attr.CLASS, Attr.COMPARISON),
)
QUALITY_TASK_COST = Metric(
    "tierbus.quality.task.usd",
    "{USD}",
    Kind.COUNTER,
    "What compared tasks cost, where that of the frontier's answer is known too.",
    (Attr.CLASS,),
)
QUALITY_FRONTIER_COST = Metric(
    "tierbus.quality.frontier.usd",
    "{USD}",
    Kind.COUNTER,
    "What the frontier's answers to the same tasks cost: the true baseline.",
    (Attr.CLASS,),
)
QUALITY_COST = Metric(
    "tierbus.quality.watch.usd",
    "{USD}",
    Kind.COUNTER,
    "What the quality watch itself spent.",
    (Attr.CLASS,),
)
QUALITY_FEEDBACK = Metric(
    "tierbus.quality.feedback",
    "{word}",
    Kind.COUNTER,
    "Words of feedback on results; a later word on the same result is one more.",
    (Attr.CLASS,),
)
QUALITY_SCORE = Metric(
    "tierbus.quality.feedback.score",
    "{1}",
    Kind.COUNTER,
    "The sum of their scores; a score goes from 0 (bad) to 1 (good).",
    (Attr.CLASS,),
)
QUALITY_CAP = Metric(
    "tierbus.quality.cap.usd",
    "{USD}",
    Kind.GAUGE,
    "What the quality watch may spend on the tasks of a day.",
    (Attr.CLASS,),
)
PILOT_TRIES = Metric(
    "tierbus.pilot.tries",
    "{try}",
    Kind.COUNTER,
    "Cheap answers of pilots that were judged, by whether they passed.",
    (Attr.CLASS, Attr.PILOT_PASSED),
)
PILOT_CHANGES = Metric(
    "tierbus.pilot.changes",
    "{change}",
    Kind.COUNTER,
    "What happened to pilots: widened, held, rolled-back. What an operator does by hand is not counted.",
    (Attr.CLASS, Attr.PILOT_CHANGE),
)
PILOT_OVERHEAD = Metric(
    "tierbus.pilot.overhead.usd",
    "{USD}",
    Kind.COUNTER,
    "Dollars of shadows: runs that are only judged. They are in the spend too.",
    (Attr.CLASS,),
)
POLICY_CHANGES = Metric(
    "tierbus.policy.changes",
    "{change}",
    Kind.COUNTER,
    "What became of classes under the learned policy: given-up (cheap models cost more), taken-again, drifted (not as in"
    " training), as-trained (again).",
    (Attr.CLASS, Attr.POLICY_CHANGE),
)
BUDGET_LIMIT = Metric(
    "tierbus.budget.limit.usd",
    "{USD}",
    Kind.GAUGE,
    "Dollars a tenant means to spend, from TIERBUS_BUDGETS; watched, not enforced.",
    (Attr.TENANT, Attr.WINDOW),
)

METRICS: tuple[Metric, ...] = (
    LLM_COST,
    LLM_TOKENS,
    BASELINE,
    UNPRICED,
    LLM_DURATION,
    TASK_COST,
    TASK_DURATION,
    QUEUE_WAIT,
    HANDLING,
    TASKS,
    STEPS,
    ESCALATIONS,
    TEMPLATES,
    REVIEWS,
    MESSAGES,
    REDELIVERIES,
    DEAD_LETTERS,
    QUEUE_DEPTH,
    QUEUE_IN_FLIGHT,
    QUEUE_AGE,
    SLOTS,
    SLOTS_BUSY,
    RATE_LIMIT,
    RATE_USED,
    QUALITY_COMPARISONS,
    QUALITY_TASK_COST,
    QUALITY_FRONTIER_COST,
    QUALITY_COST,
    QUALITY_FEEDBACK,
    QUALITY_SCORE,
    QUALITY_CAP,
    PILOT_TRIES,
    PILOT_CHANGES,
    PILOT_OVERHEAD,
    POLICY_CHANGES,
    BUDGET_LIMIT,
)
"""Everything that is measured; a test holds dashboards and alert rules against it."""
