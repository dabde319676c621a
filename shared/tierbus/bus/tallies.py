"""What learned policies saw, and their sums, in JetStream: the log in the order of its stream, sums compare-and-set."""

from collections.abc import AsyncIterator

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import APIError
from pydantic import TypeAdapter, ValidationError

from tierbus.bus.publish import ACK_TIMEOUT_S, EXPECT_LAST, Publisher
from tierbus.bus.stores import last
from tierbus.bus.topology import SAW_SUBJECT, TALLY, TALLY_SUBJECT
from tierbus.contracts import PolicySaw, decode
from tierbus.errors import Rejected, Unavailable
from tierbus.tallies import Held, Sums

log = structlog.get_logger(__name__)

FETCH = 256
POLL_S = 1.0
"""How long one question for more may stand open."""
FOLLOW_S = 60.0
"""How long one consumer is followed: then there is a new one, so that none that went silent is trusted for long."""
_SUMS: TypeAdapter[Sums] = TypeAdapter(Sums)


class JetTallies:
    """The tallies of a bus."""

    def __init__(self, publisher: Publisher, nc: Client) -> None:
        self._publisher = publisher
        self._nc = nc

    async def say(self, saw: PolicySaw) -> None:
        await self._publisher.say(saw)

    async def read(self, policy: str) -> tuple[Sums, int] | None:
        """Sums that cannot be read count as none: they are written anew from what the log still holds."""
        found = await last(self._publisher, TALLY, TALLY_SUBJECT.format(policy=policy))
        if found is None:
            return None
        try:
            return _SUMS.validate_json(found[0]), found[1]
        except ValidationError as error:
            log.error("policy.unreadable_sums", policy=policy, error=f"{error.error_count()} parts do not fit")  # noqa: TRY400 - no trace is needed
            return Sums(), found[1]

    async def write(self, policy: str, sums: Sums, revision: int) -> int:
        subject = TALLY_SUBJECT.format(policy=policy)
        return await self._publisher.put(subject, _SUMS.dump_json(sums), {EXPECT_LAST: str(revision)})

    async def born(self) -> str:
        answer = await self._publisher.request(f"$JS.API.STREAM.INFO.{TALLY}", b"")
        if error := answer.get("error"):
            raise Unavailable(f"{TALLY} is not there: {error.get('description')}; `tierbus bus apply` makes it")
        return str(answer["created"])

    async def follow(self, policy: str, after: int) -> AsyncIterator[list[Held]]:
        """A consumer of this process's own; it ends after `FOLLOW_S`, or where something is missing, to be begun anew."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=30.0,
            mem_storage=True,
            num_replicas=1,
        )
        try:
            subject = SAW_SUBJECT.format(policy=policy)
            subscription = await self._nc.jetstream(timeout=ACK_TIMEOUT_S).pull_subscribe(
                subject, stream=TALLY, config=config
            )
            try:
                if not (await subscription.consumer_info()).num_pending:
                    yield []
                async for batch in _fetched(subscription):
                    yield [held for held in map(_held, batch) if held is not None]
                    if batch and not batch[-1].metadata.num_pending:
                        yield []
            finally:
                await subscription.unsubscribe()
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise Unavailable(f"{TALLY} cannot be followed: {type(error).__name__}") from error


async def _fetched(subscription: JetStreamContext.PullSubscription) -> AsyncIterator[list[Msg]]:
    """Batches as they come, an empty one where there is nothing; ends at a gap, which a lost connection may leave."""
    expected = 1
    for _ in range(round(FOLLOW_S / POLL_S)):
        try:
            batch = await subscription.fetch(FETCH, timeout=POLL_S)
        except (nats.errors.TimeoutError, TimeoutError):
            batch = []
        places = [message.metadata.sequence.consumer for message in batch]
        if places != list(range(expected, expected + len(places))):
            return
        expected += len(places)
        yield batch


def _held(message: Msg) -> Held | None:
    try:
        return Held(decode(PolicySaw, message.data), message.metadata.sequence.stream)
    except Rejected as error:  # one that cannot be read must not keep the others from being counted
        log.error("policy.unreadable_moment", subject=message.subject, error=str(error))  # noqa: TRY400 - no trace is needed
        return None
