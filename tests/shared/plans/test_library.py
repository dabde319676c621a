"""The shelves, in memory and in JetStream alike, and what is told of a change of them."""

import asyncio

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs
from tests.plans import NOW
from tests.shared.plans.test_shelf import RULES, SHELF, made, template, tried
from tests.shared.telemetry.test_counts import Tally

from tierbus.bus.apply import request
from tierbus.bus.publish import Publisher
from tierbus.bus.shelves import JetShelves
from tierbus.errors import Conflict, Unavailable
from tierbus.plans import library as library_module
from tierbus.plans.library import Library, Shelves
from tierbus.plans.shelf import Shelf
from tierbus.telemetry.names import TEMPLATES
from tierbus.telemetry.watch import Watch
from tierbus.testing.memory import MemoryShelves


@pytest.fixture(params=["memory", "jetstream"])
def shelves(request: pytest.FixtureRequest) -> Shelves:
    return MemoryShelves() if request.param == "memory" else JetShelves(Publisher(request.getfixturevalue("nc")))


async def of(shelves: Shelves, shelf: Shelf = SHELF) -> Shelf:
    found = await shelves.read(shelf.tenant, shelf.shape)
    assert found is not None
    return found[0]


async def test_a_shelf_is_read_as_it_was_written_and_written_over_what_was_read(shelves: Shelves) -> None:
    assert await shelves.read("acme", SHELF.shape) is None
    first = await shelves.write(SHELF, 0, 60)
    filled = SHELF.model_copy(update={"template": template()})
    second = await shelves.write(filled, first, 60)

    assert await shelves.read("acme", SHELF.shape) == (filled, second)
    for revision in (0, first):
        with pytest.raises(Conflict):
            await shelves.write(SHELF, revision, 60)
    assert await of(shelves) == filled


async def test_a_shelf_of_another_tenant_is_another(shelves: Shelves) -> None:
    await shelves.write(SHELF, 0, 60)

    assert await shelves.read("umbrella", SHELF.shape) is None
    assert await shelves.write(SHELF.model_copy(update={"tenant": "umbrella"}), 0, 60) > 0


async def test_runs_that_end_at_once_are_all_counted(shelves: Shelves) -> None:
    library = Library(shelves)
    ends = [made(f"r{n}", NOW + n) for n in range(12)]

    await asyncio.gather(*(library.count(SHELF, run, RULES) for run in (*ends, *ends)))

    found = (await of(shelves)).template
    assert found is not None
    assert found.earned == 12


async def test_a_shelf_that_nobody_writes_again_goes_by_itself(nc: Client) -> None:
    shelves = JetShelves(Publisher(nc))
    await shelves.write(SHELF, 0, 1)

    async with asyncio.timeout(10):
        while await shelves.read("acme", SHELF.shape) is not None:
            await asyncio.sleep(0.1)

    assert await shelves.write(SHELF, 0, 60) > 0
    assert (await request(nc, "STREAM.INFO.SHELVES"))["state"]["messages"] == 1


async def test_what_is_kept_and_dropped_is_told_once_by_who_wrote_it() -> None:
    tally = Tally()
    library = Library(MemoryShelves(), Watch(meters=tally))
    ends = [made("first"), made("second"), *(tried(f"t{n}", False) for n in range(3))]

    with capture_logs() as lines:
        for run in (*ends, *ends):
            await library.count(SHELF, run, RULES)

    assert [(line["event"], line["template"]) for line in lines] == [
        ("plans.template_kept", "first"),
        ("plans.template_dropped", "first"),
    ]
    assert (lines[1]["tried"], lines[1]["accepted"], lines[1]["rate"], lines[1]["log_level"]) == (3, 0, 0.0, "warning")
    assert [tally.of(TEMPLATES, TEMPLATE_EVENT=event) for event in ("kept", "dropped")] == [1, 1]


async def test_a_plan_stands_only_while_the_rules_say_so() -> None:
    library = Library(MemoryShelves())
    assert await library.standing("acme", SHELF.shape, RULES, NOW) is None
    for run in (made("first"), made("second")):
        await library.count(SHELF, run, RULES)

    found = await library.standing("acme", SHELF.shape, RULES, NOW)

    assert found is not None
    assert found.id == "first"
    assert await library.standing("acme", SHELF.shape, RULES, NOW + RULES.ttl_s) is None
    assert await library.standing("umbrella", SHELF.shape, RULES, NOW) is None


async def test_a_shelf_that_never_holds_still_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(MemoryShelves):
        async def write(self, shelf: Shelf, revision: int, ttl_s: float) -> int:
            raise Conflict(f"{shelf.shape} {revision} {ttl_s}")

    monkeypatch.setattr(library_module, "TRIES", 2)

    with pytest.raises(Unavailable, match="changed 2 times"):
        await Library(Busy()).count(SHELF, made("first"), RULES)
