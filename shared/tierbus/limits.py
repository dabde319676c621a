"""Every limit of the system, in one place. Sizes in bytes, times in seconds."""

KIB = 1024
MIB = 1024 * KIB

PROMPT_BYTES = 4 * MIB
"""Largest prompt or attachment a task may carry, inline or by reference."""
INLINE_BYTES = 16 * KIB
"""Texts up to this size travel in the run state; larger ones by reference."""
MESSAGE_TEXT_BYTES = 256 * KIB
"""A client puts larger texts into the object store and sends their hash."""
STATE_BYTES = 512 * KIB
"""Largest run state."""
ATTACHMENTS = 64
METADATA_ENTRIES = 64

TEMPLATE_BYTES = 128 * KIB
"""A plan larger than this is not kept for reuse."""

PLAN_STEPS = 12
PLAN_DEPTH = 6
ATTEMPTS = 3
"""Attempts of one step: one on each tier at most."""
CALLS_PER_SLOT = 8
"""HTTP calls for one question, fallbacks and retries included."""

WATCH_S = 600.0
"""How often a run is looked over: work that it waits for and that the bus no longer holds is said again."""
RUN_LIFETIME_S = 24 * 3600.0
"""A task without a deadline of its own expires after this."""
CLOSE_GRACE_S = 10.0
"""How long a run that ends early waits for calls in flight to report."""
STATE_TTL_S = 7 * 24 * 3600.0
"""Final states are kept this long: the idempotency horizon of a task id."""
BLOB_TTL_S = STATE_TTL_S + 24 * 3600.0
CACHE_TTL_S = 4 * 24 * 3600.0
"""An answer is used for others no longer than this after its end: its text, kept `BLOB_TTL_S`, must outlive their results."""
LEAD_OPENED_S = 300.0
"""A run that answers for others and has no state after this long is not waited for: longer than one call may take."""
FOLLOW_S = 60.0
"""How often a run that waits for another's answer looks for itself; it is woken at once where nobody died."""
EVENT_AGE_S = 72 * 3600.0
QUALITY_AGE_S = 90 * 24 * 3600.0
"""Measured quality and feedback are kept longer than results: a small difference shows only in many samples."""
DEAD_AGE_S = 30 * 24 * 3600.0
PILOT_AGE_S = 30 * 24 * 3600.0
"""Outcomes and changes of pilots are kept this long; their counts are kept for ever."""
TALLY_AGE_S = 3 * 24 * 3600.0
"""What a task showed a learned policy is kept this long: a task that is reviewed again meanwhile counts once. The sums
are kept for ever."""
TENANT_DEPTH = 100_000
"""Tasks one tenant may have waiting per priority; publishing beyond it is refused."""

WAIT_INLINE_S = 5.0
"""A provider's retry-after up to this is waited for; a longer one hands the message back with that delay."""
ACK_WAIT_S = 15.0
"""A worker silent for this long is taken for dead and its messages go to another."""
MAX_DELIVER = 25
"""Deliveries of one message before it is a dead letter (delayed naks count)."""
