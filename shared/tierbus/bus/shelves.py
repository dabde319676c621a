"""Shelves of plans in JetStream."""

from tierbus.bus.publish import EXPECT_LAST, TTL, Publisher
from tierbus.bus.stores import last
from tierbus.bus.topology import SHELF_SUBJECT, SHELVES
from tierbus.contracts import encode
from tierbus.plans.shelf import Shelf


class JetShelves:
    """Shelves in SHELVES, compare-and-set by the sequence of the subject."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def read(self, tenant: str, shape: str) -> tuple[Shelf, int] | None:
        found = await last(self._publisher, SHELVES, SHELF_SUBJECT.format(tenant=tenant, shape=shape))
        return (Shelf.model_validate_json(found[0]), found[1]) if found else None

    async def write(self, shelf: Shelf, revision: int, ttl_s: float) -> int:
        subject = SHELF_SUBJECT.format(tenant=shelf.tenant, shape=shelf.shape)
        headers = {EXPECT_LAST: str(revision), TTL: f"{int(ttl_s)}s"}
        return await self._publisher.put(subject, encode(shelf), headers)
