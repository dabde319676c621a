import re

import pytest

from tierbus.batch import lot as lots
from tierbus.batch.lot import Entry, Item, Lot, custom_id, lot_of, next_look_at, ripe
from tierbus.contracts import Role, Slot, Tier

NOW = 1_800_000_000.0
RUN = "0123456789abcdef0123456789abcdef"


def item(number: int, queued_at: float = NOW, **more: object) -> Item:
    given: dict[str, object] = {
        "lane": "small-600000-3",
        "run": f"{number:032x}",
        "step": "answer",
        "attempt": 1,
        "tier": Tier.SMALL,
        "queued_at": queued_at,
        "leave_at": NOW + 86400,
        "tokens": 100,
        "max_wait_s": 600.0,
        "max_requests": 3,
    }
    return Item.model_validate({**given, **more})


def sizes(groups: list[tuple[Item, ...]]) -> list[int]:
    return [len(group) for group in groups]


def test_nothing_goes_before_the_first_has_waited_long_enough() -> None:
    found = ripe([item(1), item(2, NOW + 30)], NOW + 599)

    assert (found.groups, found.next_at) == ([], NOW + 600)


def test_everything_goes_once_the_first_has_waited_long_enough() -> None:
    found = ripe([item(2, NOW + 599), item(1)], NOW + 600)

    assert ([[one.run for one in group] for group in found.groups], found.next_at) == (
        [[f"{1:032x}", f"{2:032x}"]],
        None,
    )


def test_what_fills_a_batch_goes_at_once_and_the_others_wait_for_their_own_first() -> None:
    found = ripe([item(n, NOW + n) for n in range(5)], NOW + 5)

    assert (sizes(found.groups), found.next_at) == ([3], NOW + 3 + 600)


def test_a_lane_that_is_full_exactly_leaves_nobody_behind() -> None:
    found = ripe([item(n) for n in range(6)], NOW)

    assert (sizes(found.groups), found.next_at) == ([3, 3], None)


def test_a_lane_in_which_nobody_waits_needs_no_timer() -> None:
    assert ripe([], NOW) == ([], None)


def test_no_batch_is_larger_than_the_provider_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots, "MOST_TOKENS", 250)

    assert sizes(ripe([item(n) for n in range(3)], NOW + 600).groups) == [2, 1]


def test_the_same_steps_make_a_batch_of_the_same_name_in_any_order() -> None:
    one, other = lot_of([item(1), item(2)], "p", "m", NOW), lot_of([item(2), item(1)], "p", "m", NOW + 9)

    assert one.name == other.name
    assert one.name != lot_of([item(1)], "p", "m", NOW).name
    assert re.fullmatch(r"b[0-9a-f]{31}", one.name)


def test_a_custom_id_fits_the_api_and_follows_from_the_call() -> None:
    entry = Entry(run=RUN, step="answer", attempt=1, leave_at=NOW)
    slot = Slot(run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR)

    assert entry.custom_id == custom_id(f"{slot.id}.0")
    assert entry.slot("acme") == slot
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", entry.custom_id)
    assert entry.custom_id != Entry(run=RUN, step="answer", attempt=2, leave_at=NOW).custom_id


def sent(**more: object) -> Lot:
    return lot_of([item(1)], "p", "m", NOW).trying(1, NOW).sent("msgbatch_1", NOW).model_copy(update=more)


@pytest.mark.parametrize(("age_s", "wait_s"), [(0.0, 1.0), (5.0, 1.0), (600.0, 60.0), (80_000.0, 300.0)])
def test_a_batch_is_looked_at_less_often_the_older_it_gets(age_s: float, wait_s: float) -> None:
    assert next_look_at(sent(), NOW + age_s) == pytest.approx(NOW + age_s + wait_s)


def test_a_batch_is_looked_at_when_one_of_its_steps_stops_waiting() -> None:
    entry = Entry(run=RUN, step="answer", attempt=1, leave_at=NOW + 610)

    assert next_look_at(sent(entries=(entry,)), NOW + 600) == NOW + 610
    assert next_look_at(sent(entries=(entry,)), NOW + 620) == NOW + 620 + 62


def test_a_batch_that_is_anothers_is_not_looked_at_twice() -> None:
    lot = lot_of([item(1)], "p", "m", NOW).trying(1, NOW).found(["theirs", "ours"])

    assert (lot.ids, lot.sent_at, lot.confirmed) == (("theirs", "ours"), NOW, False)
    assert (lot.disowned().ids, lot.disowned().foreign) == (("ours",), ("theirs",))
