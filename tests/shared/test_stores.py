"""The stores: what is promised holds in memory and in JetStream alike."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from nats.aio.client import Client
from tests.plans import RUN, new_run
from tests.shared.bus.waiting import until

from tierbus import limits
from tierbus.batch.lot import Item, lot_of
from tierbus.batch.rules import MOST_REQUESTS
from tierbus.bus.answers import JetAnswers
from tierbus.bus.publish import Publisher
from tierbus.bus.stores import JetLedger, JetLots, JetMeasures, JetOutputs, JetRuns, JetTexts
from tierbus.contracts import (
    CallRecorded,
    CallStatus,
    Content,
    Priority,
    QualityMeasured,
    Role,
    Tier,
    TimerSet,
    Usage,
    WatchState,
)
from tierbus.errors import Conflict, Misconfigured, Unavailable
from tierbus.quality.cap import Taken
from tierbus.stores import Answers, Lead, Ledger, Lots, Measures, Output, Outputs, RunStore, Texts
from tierbus.testing.memory import (
    MemoryAnswers,
    MemoryLedger,
    MemoryLots,
    MemoryMeasures,
    MemoryOutputs,
    MemoryRuns,
    MemoryTexts,
)

OTHER = "f" * 32
PLAN = f"tierbus.plan.normal.{RUN}"
STEP = f"tierbus.step.small.normal.{RUN}.answer.1"
REVIEW = f"tierbus.review.normal.{RUN}.answer.1"


@dataclass
class Stores:
    """One of each, and how a message gets onto the bus they stand on."""

    runs: RunStore
    outputs: Outputs
    texts: Texts
    ledger: Ledger
    answers: Answers
    measures: Measures
    lots: Lots
    queue: Callable[[str], Awaitable[None]]


@pytest.fixture(params=["memory", "jetstream"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        runs = MemoryRuns()

        async def remember(subject: str) -> None:
            runs.queued.add(subject)

        return Stores(
            runs,
            MemoryOutputs(),
            MemoryTexts(),
            MemoryLedger(),
            MemoryAnswers(),
            MemoryMeasures(),
            MemoryLots(),
            remember,
        )
    return jetstream(request.getfixturevalue("nc"))


@pytest.fixture
def jet(nc: Client) -> Stores:
    return jetstream(nc)


def jetstream(nc: Client) -> Stores:
    publisher = Publisher(nc)

    async def publish(subject: str) -> None:
        if subject.startswith("tierbus.timer."):
            await publisher.say(TimerSet(run=subject.rsplit(".", 1)[-1], due_at=4_000_000_000.0))
        else:
            await publisher.put(subject, b"{}", {})

    return Stores(
        JetRuns(publisher, nc),
        JetOutputs(publisher),
        JetTexts(nc),
        JetLedger(publisher, nc),
        JetAnswers(publisher),
        JetMeasures(publisher, nc),
        JetLots(publisher),
        publish,
    )


def call(name: str, status: CallStatus = CallStatus.STARTED, run: str = RUN, **more: object) -> CallRecorded:
    given: dict[str, object] = {
        "call": f"{run}.{name}",
        "run": run,
        "tenant": "acme",
        "step": "answer",
        "attempt": 1,
        "role": Role.EXECUTOR,
        "tier": Tier.SMALL,
        "provider": "p",
        "model": "m",
        "status": status,
        "started_at": 1.0,
    }
    return CallRecorded.model_validate({**given, **more})


class TestRuns:
    async def test_what_was_never_written_is_not_there(self, stores: Stores) -> None:
        assert await stores.runs.read(RUN) is None
        assert await stores.runs.revision(RUN) == 0

    async def test_what_is_written_is_read(self, stores: Stores) -> None:
        run = new_run()
        revision = await stores.runs.write(run, 0)
        assert revision > 0
        assert await stores.runs.read(RUN) == (run, revision)
        assert await stores.runs.revision(RUN) == revision

    async def test_each_write_is_a_later_revision(self, stores: Stores) -> None:
        first = await stores.runs.write(new_run(), 0)
        changed = new_run(metadata={"n": "2"})
        second = await stores.runs.write(changed, first)
        assert second > first
        assert await stores.runs.read(RUN) == (changed, second)

    async def test_a_state_is_begun_once(self, stores: Stores) -> None:
        first = await stores.runs.write(new_run(), 0)
        with pytest.raises(Conflict):
            await stores.runs.write(new_run(tier=Tier.MID), 0)
        assert await stores.runs.read(RUN) == (new_run(), first)

    async def test_only_the_first_of_two_writers_wins(self, stores: Stores) -> None:
        first = await stores.runs.write(new_run(), 0)
        second = await stores.runs.write(new_run(tier=Tier.MID), first)
        with pytest.raises(Conflict):
            await stores.runs.write(new_run(tier=Tier.FRONTIER), first)
        assert await stores.runs.read(RUN) == (new_run(tier=Tier.MID), second)

    async def test_nobody_writes_over_what_is_not_there(self, stores: Stores) -> None:
        with pytest.raises(Conflict):
            await stores.runs.write(new_run(), 41)
        assert await stores.runs.read(RUN) is None

    async def test_runs_do_not_disturb_each_other(self, stores: Stores) -> None:
        one = await stores.runs.write(new_run(), 0)
        other = await stores.runs.write(new_run(id=OTHER), 0)
        again = await stores.runs.write(new_run(tier=Tier.MID), one)
        assert await stores.runs.revision(RUN) == again
        assert await stores.runs.read(OTHER) == (new_run(id=OTHER), other)

    @pytest.mark.parametrize("subject", [PLAN, STEP, REVIEW])
    async def test_it_holds_what_is_queued(self, stores: Stores, subject: str) -> None:
        assert not await stores.runs.holds(subject)
        await stores.queue(subject)
        assert await stores.runs.holds(subject)
        assert not await stores.runs.holds(subject.replace(RUN, OTHER))

    async def test_dropping_keeps_the_state(self, stores: Stores) -> None:
        revision = await stores.runs.write(new_run(), 0)
        await stores.queue(STEP)
        await stores.runs.drop(RUN)
        assert await stores.runs.read(RUN) == (new_run(), revision)

    async def test_dropping_takes_the_work_of_that_run_off_the_bus(self, jet: Stores) -> None:
        kept = [subject.replace(RUN, OTHER) for subject in (PLAN, STEP)]
        for subject in (PLAN, STEP, STEP.replace("small.normal", "frontier.low"), REVIEW, *kept):
            await jet.queue(subject)
        await jet.runs.drop(RUN)
        assert not await jet.runs.holds(PLAN)
        assert not await jet.runs.holds(STEP)
        assert not await jet.runs.holds(STEP.replace("small.normal", "frontier.low"))
        assert await jet.runs.holds(REVIEW), "an outcome that is paid for is still told"
        assert [await jet.runs.holds(subject) for subject in kept] == [True, True]

    async def test_a_run_that_is_done_has_no_timer(self, stores: Stores) -> None:
        mine, others = f"tierbus.timer.{RUN}", f"tierbus.timer.{OTHER}"
        revision = await stores.runs.write(new_run(), 0)
        await stores.queue(mine)
        await stores.queue(others)
        assert await stores.runs.holds(mine)
        await stores.runs.done(RUN)

        async def gone() -> bool:
            return not await stores.runs.holds(mine)

        await until(gone, "the timer is purged")
        assert await stores.runs.holds(others)
        assert await stores.runs.revision(RUN) == revision

    async def test_a_state_too_large_names_the_limit(self, jet: Stores) -> None:
        with pytest.raises(Misconfigured, match=str(limits.STATE_BYTES)):
            await jet.runs.write(new_run(prompt=Content.of("x" * limits.STATE_BYTES)), 0)
        assert await jet.runs.read(RUN) is None


class TestOutputs:
    async def test_an_empty_slot(self, stores: Stores) -> None:
        assert await stores.outputs.get(f"{RUN}.answer.1.executor.0") is None

    async def test_a_slot_gives_back_what_was_put(self, stores: Stores) -> None:
        slot = f"{RUN}.answer.1.executor.0"
        output = Output(text="Grüße ✓", stop="end", model="m", calls=(call("c", CallStatus.FINISHED),))
        await stores.outputs.put(slot, output)
        assert await stores.outputs.get(slot) == output
        assert await stores.outputs.get(f"{RUN}.answer.2.executor.0") is None

    async def test_the_later_answer_counts(self, stores: Stores) -> None:
        slot = f"{RUN}.answer.1.executor.0"
        for text in ("first", "second"):
            await stores.outputs.put(slot, Output(text=text, stop="end", model="m", calls=()))
        found = await stores.outputs.get(slot)
        assert found is not None
        assert found.text == "second"


class TestTexts:
    @pytest.mark.parametrize("text", ["", "short", "x" * limits.INLINE_BYTES, "ü" * (limits.INLINE_BYTES // 2)])
    async def test_a_small_text_stays_inline(self, stores: Stores, text: str) -> None:
        content = Content.of(text)
        assert await stores.texts.keep(content) == content
        assert await stores.texts.read(content) == text

    @pytest.mark.parametrize(
        "text", ["x" * (limits.INLINE_BYTES + 1), "ü" * (limits.INLINE_BYTES // 2 + 1), "long " * 100_000]
    )
    async def test_a_large_text_is_kept_by_the_hash_of_its_bytes(self, stores: Stores, text: str) -> None:
        kept = await stores.texts.keep(Content.of(text, "json"))
        data = text.encode()
        assert kept == Content(media="json", ref=hashlib.sha256(data).hexdigest(), size=len(data))
        assert await stores.texts.read(kept) == text
        assert await stores.texts.keep(kept) == kept, "what is kept is not kept again"

    async def test_keeping_twice_is_the_same_content(self, stores: Stores) -> None:
        content = Content.of("y" * (limits.INLINE_BYTES + 1))
        assert await stores.texts.keep(content) == await stores.texts.keep(content)

    async def test_the_caller_may_set_the_size(self, stores: Stores) -> None:
        assert (await stores.texts.keep(Content.of("12345"), most=5)).text == "12345"
        kept = await stores.texts.keep(Content.of("123456"), most=5)
        assert kept.text is None
        assert await stores.texts.read(kept) == "123456"

    async def test_a_text_that_is_not_there_is_unavailable(self, stores: Stores) -> None:
        with pytest.raises(Unavailable, match="0" * 64):
            await stores.texts.read(Content(ref="0" * 64, size=7))

    async def test_content_without_anything_is_empty(self, stores: Stores) -> None:
        assert await stores.texts.read(Content()) == ""


class TestLedger:
    async def test_a_call_is_opened_once(self, stores: Stores) -> None:
        assert await stores.ledger.claim(call("c"))
        assert not await stores.ledger.claim(call("c", started_at=2.0))
        assert await stores.ledger.last(call("c")) == call("c")
        assert await stores.ledger.claim(call("d"))

    async def test_a_call_that_is_closed_is_not_opened_again(self, stores: Stores) -> None:
        await stores.ledger.claim(call("c"))
        await stores.ledger.close(call("c", CallStatus.FINISHED))
        assert not await stores.ledger.claim(call("c"))

    async def test_the_last_record_counts(self, stores: Stores) -> None:
        assert await stores.ledger.last(call("c")) is None
        await stores.ledger.claim(call("c"))
        ended = call("c", CallStatus.FINISHED, usage=Usage(input=3, output=4), cost_nano_usd=5, duration_s=1.5)
        await stores.ledger.close(ended)
        assert await stores.ledger.last(call("c")) == ended
        assert await stores.ledger.last(call("d")) is None

    async def test_a_call_is_closed_once_and_the_first_end_stands(self, stores: Stores) -> None:
        await stores.ledger.claim(call("c"))
        first = call("c", CallStatus.INTERRUPTED, cost_nano_usd=7)
        assert await stores.ledger.close(first)
        assert not await stores.ledger.close(call("c", CallStatus.FINISHED, cost_nano_usd=9))
        assert await stores.ledger.last(call("c")) == first

    async def test_the_same_end_said_again_is_still_its_own(self, stores: Stores) -> None:
        await stores.ledger.claim(call("c"))
        ended = call("c", CallStatus.FINISHED, cost_nano_usd=9)
        assert await stores.ledger.close(ended)
        assert await stores.ledger.close(ended)

    async def test_of_two_that_close_a_call_at_once_one_wins(self, stores: Stores) -> None:
        await stores.ledger.claim(call("c"))
        ends = [call("c", CallStatus.INTERRUPTED, cost_nano_usd=cost) for cost in range(5)]
        won = await asyncio.gather(*(stores.ledger.close(one) for one in ends))
        assert won.count(True) == 1
        assert await stores.ledger.last(call("c")) == ends[won.index(True)]

    async def test_the_calls_of_a_run_in_the_order_they_were_opened(self, stores: Stores) -> None:
        second, first, third = call("b", started_at=20.0), call("c", started_at=10.0), call("a", started_at=30.0)
        tie = call("d", started_at=20.0, tier=Tier.FRONTIER)
        for one in (second, tie, third, first, call("a", run=OTHER)):
            assert await stores.ledger.claim(one)
        closed = first.model_copy(update={"status": CallStatus.FINISHED, "cost_nano_usd": 9})
        await stores.ledger.close(closed)
        assert await stores.ledger.of_run(RUN) == [closed, second, tie, third]
        assert await stores.ledger.of_run(OTHER) == [call("a", run=OTHER)]

    async def test_a_run_without_calls(self, stores: Stores) -> None:
        assert await stores.ledger.of_run(RUN) == []

    async def test_more_calls_than_one_batch(self, stores: Stores) -> None:
        opened = [call(f"c{place}", started_at=float(place)) for place in range(520)]
        for one in reversed(opened):
            await stores.ledger.claim(one)
        assert await stores.ledger.of_run(RUN) == opened


KEY = "a" * 64


def lead(run: str = RUN) -> Lead:
    return Lead(run=run, task="t-1", priority=Priority.NORMAL, at=1.0)


class TestAnswers:
    async def test_nobody_answers_for_what_was_never_asked(self, stores: Stores) -> None:
        assert await stores.answers.lead("acme", KEY) is None

    async def test_who_claims_a_key_answers_for_it_in_that_tenant_alone(self, stores: Stores) -> None:
        await stores.answers.claim("acme", KEY, lead(), 0, 60.0)
        found = await stores.answers.lead("acme", KEY)
        assert found is not None
        assert found[0] == lead()
        assert await stores.answers.lead("other", KEY) is None
        assert await stores.answers.lead("acme", "b" * 64) is None

    async def test_a_key_is_claimed_over_what_was_read_alone(self, stores: Stores) -> None:
        await stores.answers.claim("acme", KEY, lead(), 0, 60.0)
        with pytest.raises(Conflict):
            await stores.answers.claim("acme", KEY, lead(OTHER), 0, 60.0)
        found = await stores.answers.lead("acme", KEY)
        assert found is not None
        await stores.answers.claim("acme", KEY, lead(OTHER), found[1], 60.0)
        with pytest.raises(Conflict):
            await stores.answers.claim("acme", KEY, lead(), found[1], 60.0)
        assert (await stores.answers.lead("acme", KEY) or (None,))[0] == lead(OTHER)

    async def test_of_many_that_claim_a_key_at_once_one_wins(self, stores: Stores) -> None:
        claims = (stores.answers.claim("acme", KEY, lead(f"{n:032x}"), 0, 60.0) for n in range(20))
        ends = await asyncio.gather(*claims, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, Conflict)] == [None]

    async def test_nobody_follows_a_run_that_nobody_follows(self, stores: Stores) -> None:
        assert await stores.answers.followers(RUN) == []

    async def test_every_follower_is_known_once(self, stores: Stores) -> None:
        names = [f"{n:032x}" for n in range(7)]
        for name in (*names, *names):
            await stores.answers.follow(RUN, name)
        await stores.answers.follow(OTHER, RUN)
        assert await stores.answers.followers(RUN) == names
        assert await stores.answers.followers(OTHER) == [RUN]

    async def test_a_claim_on_the_bus_goes_by_itself(self, jet: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "RUN_LIFETIME_S", 0.0)
        await jet.answers.claim("acme", KEY, lead(), 0, 1.0)
        await jet.answers.claim("acme", "b" * 64, lead(), 0, 3600.0)

        async def gone() -> bool:
            return await jet.answers.lead("acme", KEY) is None

        await until(gone, "the claim is over")
        assert await jet.answers.lead("acme", "b" * 64) is not None
        await jet.answers.claim("acme", KEY, lead(OTHER), 0, 60.0)


def watched(day: str = "2027-01-15", run: str = RUN, **more: object) -> QualityMeasured:
    given: dict[str, object] = {
        "run": run,
        "tenant": "acme",
        "task": "t-1",
        "rules": "*",
        "day": day,
        "state": WatchState.ASKING,
        "ended_at": 1.0,
        "at": 2.0,
    }
    return QualityMeasured.model_validate({**given, **more})


class TestMeasures:
    async def test_what_was_never_written_is_not_there(self, stores: Stores) -> None:
        assert await stores.measures.read(watched()) is None
        assert await stores.measures.taken("2027-01-15") == {}

    async def test_a_record_is_begun_once(self, stores: Stores) -> None:
        revision = await stores.measures.write(watched(), 0)
        with pytest.raises(Conflict):
            await stores.measures.write(watched(own_nano_usd=5), 0)
        assert await stores.measures.read(watched(own_nano_usd=9)) == (watched(), revision)

    async def test_only_the_first_of_two_that_end_it_wins(self, stores: Stores) -> None:
        begun = await stores.measures.write(watched(), 0)
        ended = watched(state=WatchState.MEASURED, own_nano_usd=7)
        await stores.measures.write(ended, begun)
        with pytest.raises(Conflict):
            await stores.measures.write(watched(state=WatchState.FAILED), begun)
        found = await stores.measures.read(watched())
        assert found is not None
        assert found[0] == ended

    async def test_what_a_day_has_taken_is_the_last_word_of_each_task_however_often_it_is_asked(
        self, stores: Stores
    ) -> None:
        begun = await stores.measures.write(watched(own_nano_usd=9), 0)
        await stores.measures.write(watched(tenant="globex", own_nano_usd=5, rules="letters"), 0)
        await stores.measures.write(watched("2027-01-16", own_nano_usd=100), 0)
        mine, theirs = watched().subject, watched(tenant="globex").subject
        assert await stores.measures.taken("2027-01-15") == {mine: Taken("*", 9), theirs: Taken("letters", 5)}
        assert await stores.measures.taken("2027-01-15") == {mine: Taken("*", 9), theirs: Taken("letters", 5)}

        ended = await stores.measures.write(watched(own_nano_usd=7), begun)
        await stores.measures.write(watched(run=OTHER, own_nano_usd=1), 0)
        other = watched(run=OTHER).subject
        assert await stores.measures.taken("2027-01-15") == {
            mine: Taken("*", 7),
            theirs: Taken("letters", 5),
            other: Taken("*", 1),
        }

        await stores.measures.write(watched(state=WatchState.OVER_CAP), ended)
        assert await stores.measures.taken("2027-01-15") == {theirs: Taken("letters", 5), other: Taken("*", 1)}

    async def test_days_beyond_those_that_are_remembered_are_read_anew(self, stores: Stores) -> None:
        for day in range(10, 16):
            await stores.measures.write(watched(f"2027-01-{day}", own_nano_usd=day), 0)
        for day in (*range(10, 16), 10):
            found = await stores.measures.taken(f"2027-01-{day}")
            assert [one.nano_usd for one in found.values()] == [day]


def item(number: int, lane: str = "small-600000-500", **more: object) -> Item:
    given: dict[str, object] = {
        "lane": lane,
        "run": f"{number:032x}",
        "step": "answer",
        "attempt": 1,
        "tier": Tier.SMALL,
        "queued_at": 1.0,
        "leave_at": 9.0,
        "tokens": 5,
        "max_wait_s": 600.0,
        "max_requests": 500,
    }
    return Item.model_validate({**given, **more})


class TestLots:
    async def test_what_waits_in_a_lane_is_found_there_alone(self, stores: Stores) -> None:
        for one in (item(1), item(2), item(3, "mid-600000-500")):
            await stores.lots.add(one)

        assert sorted(await stores.lots.waiting("small-600000-500"), key=lambda one: one.run) == [item(1), item(2)]
        assert await stores.lots.count("small-600000-500") == 2
        assert (await stores.lots.waiting("frontier-1-1"), await stores.lots.count("frontier-1-1")) == ([], 0)

    async def test_a_step_that_waits_keeps_its_place(self, stores: Stores) -> None:
        await stores.lots.add(item(1))
        await stores.lots.add(item(1, queued_at=5.0))

        assert await stores.lots.waiting("small-600000-500") == [item(1)]

    async def test_a_step_that_was_taken_waits_no_longer_and_may_wait_again(self, stores: Stores) -> None:
        await stores.lots.add(item(1))
        await stores.lots.add(item(2))
        await stores.lots.take(item(1))
        await stores.lots.take(item(1))
        assert await stores.lots.waiting("small-600000-500") == [item(2)]

        await stores.lots.add(item(1, queued_at=5.0))
        assert await stores.lots.count("small-600000-500") == 2

    async def test_a_run_holds_what_waits_in_whatever_lane(self, jet: Stores) -> None:
        await jet.lots.add(item(1, run=RUN))

        assert await jet.runs.holds(f"tierbus.batch.item.*.{RUN}.answer.1")
        assert not await jet.runs.holds(f"tierbus.batch.item.*.{RUN}.answer.2")

    async def test_a_run_that_is_dropped_waits_in_no_lane(self, jet: Stores) -> None:
        await jet.lots.add(item(1, run=RUN))
        await jet.lots.add(item(2))
        await jet.runs.drop(RUN)

        assert await jet.lots.waiting("small-600000-500") == [item(2)]

    async def test_a_batch_is_written_only_over_what_was_read(self, stores: Stores) -> None:
        lot = lot_of([item(1)], "p", "m", 1.0)
        first = await stores.lots.write(lot, 0)
        with pytest.raises(Conflict):
            await stores.lots.write(lot, 0)
        tried = lot.trying(1, 2.0)
        second = await stores.lots.write(tried, first)
        with pytest.raises(Conflict):
            await stores.lots.write(lot.ended(3.0), first)

        assert await stores.lots.read(lot.name) == (tried, second)
        assert await stores.lots.read("b0") is None

    async def test_the_largest_batch_fits_into_a_message(self, jet: Stores) -> None:
        items = [item(n, step="a" * 32, max_requests=MOST_REQUESTS) for n in range(MOST_REQUESTS)]
        lot = lot_of(items, "p", "m", 1.0)
        await jet.lots.write(lot, 0)

        found = await jet.lots.read(lot.name)

        assert found is not None
        assert found[0] == lot
