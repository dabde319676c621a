"""What a policy counts, shared: what is promised holds in memory and in JetStream alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs
from tests.shared.bus.waiting import until
from tests.shared.policy.made import MODELS
from tests.shared.telemetry.test_counts import Tally as Counter

from tierbus import tallies as tallies_module
from tierbus.bus.apply import apply, request
from tierbus.bus.publish import Publisher
from tierbus.bus.tallies import JetTallies
from tierbus.contracts import PolicySaw, SeenCall
from tierbus.errors import Conflict, Unavailable
from tierbus.policy.choose import Course, Curve
from tierbus.policy.drift import Norm
from tierbus.policy.guard import TRUST_FROM
from tierbus.policy.learned import Learned, Lesson
from tierbus.policy.model import STRONG, Head, Stage
from tierbus.policy.moves import Ask, Case, Seen, Take
from tierbus.policy.tally import Counted, Tally
from tierbus.tallies import Held, SharedPolicy, Sums, Tallies
from tierbus.telemetry import names
from tierbus.testing.tallies import MemoryTallies

CLASS = "poems.short"
LESSON = Lesson(0, (), (0.2, 0.2, 1.0))
V1, V2 = "1" * 16, "2" * 16


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies_module, "KEEP_EVERY_S", 0.05)
    monkeypatch.setattr(tallies_module, "AGAIN_S", 0.05)
    monkeypatch.setattr(tallies_module, "START_S", 2.0)


@pytest.fixture(params=["memory", "jetstream"])
def tallies(request: pytest.FixtureRequest) -> Tallies:
    if request.param == "memory":
        return MemoryTallies()
    nc: Client = request.getfixturevalue("nc")
    return JetTallies(Publisher(nc), nc)


def saw(run: str, moment: str = "end", digest: str = V1, **more: object) -> PolicySaw:
    given: dict[str, object] = {"policy": digest, "task_class": CLASS, "of_run": run, "moment": moment, **more}
    return PolicySaw.model_validate(given)


def said(place: int, answer: str, usd: float = 0.2) -> Seen:
    return Seen(place, answer, answer, None, False, 10, 2, usd)


def case(run: str) -> Case:
    return Case(run, CLASS, None, "Write a poem.")


@dataclass
class Process:
    """One replica of a service that uses the policy."""

    tallies: Tallies
    keeps: bool = True
    digest: str = V1
    meters: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        policy = Learned(MODELS, {CLASS: LESSON}, 0.01)
        self.shared = SharedPolicy(policy, self.digest, self.tallies, keeps=self.keeps, meters=self.meters)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        await self.shared.start()
        try:
            yield self
        finally:
            await self.shared.stop()

    @property
    def tally(self) -> Tally:
        return self.shared.policy.counted(CLASS).tally

    def review(self, run: str, answers: tuple[str, str]) -> None:
        """What a reviewer does with two cheap answers, and the strong one where they differ."""
        given = tuple(said(place, answer) for place, answer in enumerate(answers))
        for count in (1, 2):
            move = self.shared.next(case(run), given[:count])
        if isinstance(move, Take):
            self.shared.learn(case(run), given)
        else:
            self.shared.learn(case(run), (*given, said(2, "the strong one's", 1.0)))


async def test_every_process_decides_from_what_all_reviewers_saw(tallies: Tallies) -> None:
    async with (
        Process(tallies).running() as one,
        Process(tallies).running() as other,
        Process(tallies, keeps=False).running() as router,
    ):
        assert router.shared.next(case("new"), ()) == Ask(0, "no lesson for this class; two cheap models are asked")
        for number in range(TRUST_FROM):
            (one, other)[number % 2].review(f"r{number}", ("red", "blue"))
        await until(
            lambda: all(each.tally.ended == TRUST_FROM for each in (one, other, router)), "all tasks are counted"
        )

        assert router.shared.next(case("new"), ()).place == 2
        assert router.tally == one.tally == other.tally
        assert (router.tally.asked, router.tally.agreed) == (TRUST_FROM, 0)


async def test_a_process_that_starts_goes_on_from_the_counts_there_were(tallies: Tallies) -> None:
    async with Process(tallies).running() as reviewer:
        for number in range(5):
            reviewer.review(f"r{number}", ("red", "red"))
        await until(lambda: reviewer.tally.ended == 5, "counted")
    kept = await tallies.read(V1)
    async with Process(tallies, keeps=False).running() as router:
        assert kept is not None
        assert kept[0].sequence == router.shared.sequence > 0
        assert router.tally == reviewer.tally
        assert router.tally.agreed == 5


async def test_what_was_not_written_down_is_read_from_the_log_before_a_start_is_over(tallies: Tallies) -> None:
    for number in range(300):
        await tallies.say(saw(f"r{number}", "2", agreed=True))

    async with Process(tallies, keeps=False).running() as router:
        assert router.tally.asked == 300


async def test_what_looks_cost_and_saved_is_in_everybodys_counts(tallies: Tallies) -> None:
    async with Process(tallies).running() as one, Process(tallies, keeps=False).running() as router:
        rejected = said(0, "red")._replace(judged=False, judged_usd=0.25)
        one.shared.learn(case("r1"), (rejected, said(2, "the strong one's", 1.0)))
        await until(lambda: one.tally.ended == router.tally.ended == 1, "counted")

        assert one.tally == router.tally
        assert router.tally.looks_saved_usd == pytest.approx(-1.25), "without a course, no look saves anything"
        assert router.tally.lost == pytest.approx(0.45), "a cheap call and a look beyond the strong one"


async def test_a_process_that_starts_while_others_count_does_not_wait_for_a_pause(
    nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies_module, "START_S", 60.0)
    tallies = JetTallies(Publisher(nc), nc)
    await tallies.say(saw("before", "2", agreed=True))

    async def work() -> None:
        for number in range(10_000):
            await tallies.say(saw(f"r{number}", "2", agreed=True))
            await asyncio.sleep(0.1)

    others = asyncio.create_task(work())
    router = Process(tallies, keeps=False)
    await asyncio.wait_for(router.shared.start(), 20)

    assert router.shared.read
    assert router.tally.asked >= 1
    others.cancel()
    await router.shared.stop()


async def test_a_gain_beyond_one_is_said_as_one(tallies: Tallies) -> None:
    course = Course(0, None, 4.0, (0.2, 1.0), Curve((0.0,), (0.1,)))
    sure = Stage((), (), (), 1.0, {STRONG: Head((), 9.0), "0": Head((), -9.0)}, {"0": Head((), 1.5)})
    lesson = Lesson(9, (), (0.2, 1.0), {"prompt": sure, "0": sure}, course, norm=Norm(99, 0.5, 0.1))
    process = Process(tallies)
    process.shared.policy = Learned(("small", "strong"), {CLASS: lesson}, 0.01)
    async with process.running():
        process.shared.next(case("r1"), (said(0, "red"),))
        await until(lambda: process.shared.policy.counted(CLASS).drift.seen == 1, "counted")


async def test_a_task_that_is_reviewed_again_counts_once(tallies: Tallies) -> None:
    async with Process(tallies).running() as one, Process(tallies).running() as other:
        for process in (one, other, one):
            process.review("r1", ("red", "blue"))
            await until(lambda: one.tally.ended == other.tally.ended == 1, "the first task is counted")
            await asyncio.sleep(0.1)
        other.review("r2", ("red", "red"))
        await until(lambda: one.tally.agreed == other.tally.agreed == 1, "the second task is counted")
        await until(lambda: one.tally.ended == 2, "both have ended")

        assert (one.tally.ended, one.tally.asked, one.tally.agreed) == (2, 2, 1)
        assert one.tally.calls == (2, 2, 1)


async def test_another_version_of_the_policy_begins_with_nothing_counted(tallies: Tallies) -> None:
    async with Process(tallies).running() as before, Process(tallies, digest=V2).running() as after:
        before.review("r1", ("red", "red"))
        await until(lambda: before.tally.ended == 1, "counted")
        await asyncio.sleep(0.2)

        assert after.tally == Tally()


async def test_sums_are_written_over_what_was_read_only(tallies: Tallies) -> None:
    sums = Sums("a log", 7, {CLASS: Counted(Tally((0.5,), (2,), asked=3, skipped_at=1))})
    first = await tallies.write(V1, Sums(), 0)
    second = await tallies.write(V1, sums, first)

    assert await tallies.read(V1) == (sums, second)
    assert await tallies.read(V2) is None
    for revision in (0, first):
        with pytest.raises(Conflict):
            await tallies.write(V1, sums, revision)


async def test_sums_that_reach_less_far_never_replace_others(tallies: Tallies) -> None:
    await tallies.write(V1, Sums("a log", 1_000_000, {}), 0)
    behind = Process(tallies)
    behind.shared._sequence, behind.shared._born = 5, "a log"

    await behind.shared._keep()

    kept = await tallies.read(V1)
    assert kept is not None
    assert kept[0].sequence == 1_000_000


async def test_while_the_log_is_gone_decisions_go_on_and_what_was_seen_is_said_later() -> None:
    tallies = MemoryTallies()
    with capture_logs() as lines:
        async with Process(tallies).running() as reviewer:
            reviewer.review("r1", ("red", "red"))
            await until(lambda: reviewer.tally.ended == 1, "counted")
            tallies.away = True
            for number in range(2, 6):
                reviewer.review(f"r{number}", ("red", "red"))
            assert isinstance(reviewer.shared.next(case("new"), ()), Ask)
            await until(lambda: len(lines) >= 2, "warnings")
            assert reviewer.tally.ended == 1
            tallies.away = False
            await until(lambda: reviewer.tally.ended == 5, "said and counted later")

    told = {line["event"] for line in lines if line["log_level"] == "warning"}
    assert {"policy.counts_not_said", "policy.counts_not_read"} <= told


async def test_a_process_whose_log_is_gone_starts_nonetheless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies_module, "START_S", 0.1)
    tallies = MemoryTallies()
    tallies.away = True
    with capture_logs() as lines:
        async with Process(tallies).running() as router:
            assert isinstance(router.shared.next(case("new"), ()), Ask)
    assert "policy.counts_not_read" in {line["event"] for line in lines}


async def test_a_log_that_was_lost_and_made_anew_is_gone_on_with(nc: Client) -> None:
    tallies = JetTallies(Publisher(nc), nc)
    async with Process(tallies).running() as reviewer, Process(tallies, keeps=False).running() as router:
        for number in range(3):
            reviewer.review(f"r{number}", ("red", "red"))
        await until(lambda: router.tally.ended == 3, "counted")
        await request(nc, "STREAM.DELETE.TALLY")
        reviewer.review("r3", ("red", "red"))
        await apply(nc)
        reviewer.review("r4", ("red", "red"))
        await until(lambda: router.tally.ended == reviewer.tally.ended == 5, "counted in the new log")

        async def kept() -> int:
            found = await tallies.read(V1)
            return found[0].classes[CLASS].tally.ended if found and CLASS in found[0].classes else 0

        for _ in range(100):
            if await kept() == 5:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the counts were not written down anew")


async def test_a_stream_that_is_not_there_is_named(nc: Client) -> None:
    await request(nc, "STREAM.DELETE.TALLY")

    with pytest.raises(Unavailable, match="TALLY is not there"):
        await JetTallies(Publisher(nc), nc).born()


async def test_what_cannot_be_read_keeps_nothing_else_from_being_counted(nc: Client) -> None:
    tallies = JetTallies(Publisher(nc), nc)
    await Publisher(nc).put(f"tierbus.tally.saw.{V1}.poems.r0.end", b"{", {})
    await Publisher(nc).put(f"tierbus.tally.state.{V1}", b'{"sequence": "x"}', {})
    await tallies.say(saw("r1", calls=(SeenCall(place=9, cost_nano_usd=1),)))
    await tallies.say(saw("r2", "2", agreed=True))

    with capture_logs() as lines:
        async with Process(tallies).running() as reviewer:
            assert (reviewer.tally.asked, reviewer.tally.ended) == (1, 0)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "policy.unreadable_sums",
        "policy.unreadable_moment",
        "policy.unreadable_moment",
        "policy.unreadable_sums",
    ]
    found = await tallies.read(V1)
    assert found is not None
    assert found[0].classes[CLASS].tally.asked == 1


async def test_a_class_that_is_given_up_is_told_once_by_whoever_wrote_it_down(tallies: Tallies) -> None:
    with capture_logs() as lines:
        async with Process(tallies).running() as one, Process(tallies).running() as other:
            for number in range(4):
                one.review(f"r{number}", ("red", "blue"))
            await until(lambda: "policy.class_given_up" in [line["event"] for line in lines], "told")
            await asyncio.sleep(0.3)

    [line] = [line for line in lines if line["event"] == "policy.class_given_up"]
    assert (line["task_class"], line["why"], line["log_level"]) == (CLASS, "the stop-loss", "warning")
    counted = [process.meters.of(names.POLICY_CHANGES, POLICY_CHANGE="given-up") for process in (one, other)]
    assert sum(counted) == 1


async def test_a_class_that_drifts_is_told_and_when_it_is_back_too() -> None:
    process = Process(MemoryTallies())
    lesson = replace(LESSON, norm=Norm(500, 0.9, 0.3))
    process.shared.policy.lessons[CLASS] = lesson
    policy = process.shared.policy
    with capture_logs() as lines:
        async with process.running():
            for number in range(60):
                await process.tallies.say(saw(f"d{number}", "2", agreed=False, sign=-0.9))
            await until(lambda: "policy.class_drifted" in [line["event"] for line in lines], "told")
            assert policy.counted(CLASS).drift.away
            for number in range(120):
                await process.tallies.say(saw(f"b{number}", "2", agreed=True, sign=float(number % 10 > 0) - 0.9))
            await until(lambda: "policy.class_as_trained" in [line["event"] for line in lines], "told")
    assert process.meters.of(names.POLICY_CHANGES, POLICY_CHANGE="drifted") == 1


async def test_more_than_can_wait_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies_module, "WAITING", 3)
    tallies = MemoryTallies()
    process = Process(tallies)
    for number in range(5):
        process.shared.learn(case(f"r{number}"), (said(0, "red"),))
    async with process.running():
        await until(lambda: process.tally.ended == 3, "the last ones are said")
    assert [held.saw.of_run for held in tallies.held] == ["r2", "r3", "r4"]


async def test_places_in_the_log_rise_and_are_read_once(tallies: Tallies) -> None:
    for number in range(3):
        await tallies.say(saw(f"r{number}"))
    await tallies.say(saw("r1"))
    await tallies.say(saw("other", digest=V2))
    found: list[Held] = []
    async for batch in tallies.follow(V1, 0):
        found += batch
        if not batch:
            break
    rest: list[Held] = []
    async for batch in tallies.follow(V1, found[1].sequence):
        rest += batch
        if not batch:
            break

    assert [held.saw.of_run for held in found] == ["r0", "r1", "r2"]
    assert rest == found[2:]
