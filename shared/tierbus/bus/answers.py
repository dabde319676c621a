"""Who answers for what was asked, in JetStream: one message a key, compare-and-set by its sequence; one mark a waiting run."""

import json
import math

from tierbus import limits
from tierbus.bus.publish import EXPECT_LAST, TTL, Publisher
from tierbus.bus.stores import last
from tierbus.bus.topology import CACHE, FOLLOW_SUBJECT, LEAD_SUBJECT
from tierbus.contracts import encode
from tierbus.errors import Unavailable
from tierbus.stores import Lead


class JetAnswers:
    """The CACHE stream. Both kinds of message go by themselves: a mark after a task's lifetime, a lead `ttl_s` later."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def lead(self, tenant: str, key: str) -> tuple[Lead, int] | None:
        found = await last(self._publisher, CACHE, LEAD_SUBJECT.format(tenant=tenant, key=key))
        return (Lead.model_validate_json(found[0]), found[1]) if found else None

    async def claim(self, tenant: str, key: str, lead: Lead, revision: int, ttl_s: float) -> None:
        lasts_s = min(limits.BLOB_TTL_S, limits.RUN_LIFETIME_S + ttl_s)
        headers = {EXPECT_LAST: str(revision), TTL: f"{math.ceil(lasts_s)}s"}
        await self._publisher.put(LEAD_SUBJECT.format(tenant=tenant, key=key), encode(lead), headers)

    async def follow(self, leader: str, follower: str) -> None:
        subject = FOLLOW_SUBJECT.format(leader=leader, follower=follower)
        await self._publisher.put(subject, b"", {TTL: f"{math.ceil(limits.RUN_LIFETIME_S)}s"})

    async def followers(self, leader: str) -> list[str]:
        """From the stream's list of subjects, in one request; the server gives at most 100,000 of them."""
        wanted = {"subjects_filter": FOLLOW_SUBJECT.format(leader=leader, follower="*")}
        answer = await self._publisher.request(f"$JS.API.STREAM.INFO.{CACHE}", json.dumps(wanted).encode())
        if error := answer.get("error"):
            raise Unavailable(f"{CACHE} did not say who waits for {leader}: {error.get('description')}")
        return sorted(subject.rsplit(".", 1)[-1] for subject in answer["state"].get("subjects") or {})
