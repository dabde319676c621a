"""Who leads, who waits, who takes: over stores in memory, with everything that can happen between two looks."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.parts import Parts
from tests.plans import NOW, judged, new_run

from tierbus import limits
from tierbus.cache.reuse import Sharing
from tierbus.cache.rules import CacheRules
from tierbus.contracts import (
    Message,
    Priority,
    Result,
    StepReleased,
    TaskStatus,
    Tier,
    TimerDue,
    TimerSet,
    VerdictKind,
)
from tierbus.errors import Conflict, Unavailable
from tierbus.run import Change, Run, advance, begin
from tierbus.runs import Runs, said
from tierbus.stores import Lead
from tierbus.testing.memory import MemoryAnswers

RULES = CacheRules(ttl_s=60.0)
KEY = "k"
TASKS = ("a", "b", "c", "d")
A, B, C, D = (name * 32 for name in TASKS)


class Bench:
    """A bus in memory with a clock of its own."""

    def __init__(self, answers: MemoryAnswers | None = None) -> None:
        self.now = NOW
        self.parts = Parts(answers=answers or MemoryAnswers())
        self.answers = self.parts.answers
        self.runs = Runs(self.parts.store, self.parts.ledger, clock=self.clock, followers=self.answers.followers)
        self.reuse = Sharing(self.runs, self.answers, clock=self.clock)

    def clock(self) -> float:
        return self.now

    async def come(self, identity: str, rules: CacheRules = RULES, *, fresh: bool = False, **more: Any) -> Run:
        """What the router does with a task, but for deciding."""
        run = new_run(id=identity, task=f"t-{identity[0]}", **more)
        decision = run.decision
        assert decision is not None
        stands = await self.reuse.stand(run, KEY, rules, decision, fresh=fresh)
        change = Change(stands, said(stands)) if stands.cached or stands.following else begin(stands, self.now)
        opened, _ = await self.runs.open(change, self.now)
        if opened.following:
            await self.reuse.attend(opened.id)
        return self.of(identity)

    async def end(self, identity: str, kind: VerdictKind = VerdictKind.ACCEPT) -> list[Message]:
        """What the reviewer says when it has judged the run's only step."""
        return await self.runs.commit(identity, lambda run, now: advance(run, judged("answer", 1, kind), now))

    async def wake(self, messages: Sequence[Message]) -> list[Message]:
        """Hand every wake-up to who looks after runs."""
        found: list[Message] = []
        for message in messages:
            if isinstance(message, TimerDue):
                found += await self.reuse.attend(message.run)
        return found

    def of(self, identity: str) -> Run:
        return self.parts.store.states[identity][0]

    def lead(self) -> str:
        return self.answers.leads["acme", KEY][0].run

    def working(self) -> list[str]:
        return [run.task[-1] for run, _ in self.parts.store.states.values() if run.live and not run.following]


async def test_the_second_that_asks_the_same_waits_and_is_ended_with_the_firsts_answer() -> None:
    bench = Bench()
    await bench.come(A)
    second = await bench.come(B)
    bench.now += 5
    woken = await bench.end(A)
    messages = await bench.wake(woken)

    assert second.following
    assert [message for message in woken if isinstance(message, TimerDue)] == [TimerDue(run=B, after=A)]
    [result] = messages
    assert isinstance(result, Result)
    assert (result.status, result.cost_nano_usd, result.cached_from) == ("succeeded", 0, A)


async def test_a_later_task_has_the_answer_at_once_and_after_its_time_leads_anew() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.end(A)
    bench.now += RULES.ttl_s
    hit = await bench.come(B)
    bench.now += 1
    miss = await bench.come(C)

    assert (hit.status, hit.cached and hit.cached.run) == ("succeeded", A)
    assert (miss.live, miss.cached, bench.lead()) == (True, None, C)


async def test_another_tenant_asks_for_itself() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.end(A)
    other = await bench.come(B, tenant="other")

    assert (other.cached, other.following, other.live) == (None, False, True)


@pytest.mark.parametrize("kind", [VerdictKind.FAIL])
async def test_of_those_whose_leader_fails_one_works_and_the_others_wait_for_it(kind: VerdictKind) -> None:
    bench = Bench()
    for identity in (A, B, C, D):
        await bench.come(identity)
    messages = await bench.wake(await bench.end(A, kind))

    assert bench.working() == ["b"]
    assert [message.run for message in messages if isinstance(message, StepReleased)] == [B]
    shared = bench.of(C).shared
    assert shared is not None
    assert (bench.lead(), shared.follows) == (B, B)
    await bench.wake(await bench.end(B))
    assert [bench.of(one).cached for one in (C, D)] == [bench.of(C).cached] * 2
    assert [bench.of(one).status for one in (A, B, C, D)] == ["failed", *["succeeded"] * 3]


@pytest.mark.parametrize("status", [TaskStatus.CANCELLED, TaskStatus.EXPIRED])
async def test_a_leader_that_is_ended_early_leaves_its_followers_to_one_another(status: TaskStatus) -> None:
    bench = Bench()
    for identity in (A, B, C):
        await bench.come(identity)
    await bench.wake(await bench.runs.close(A, status, "because"))

    assert (bench.of(A).status, bench.working(), bench.of(C).following) == (status, ["b"], True)


async def test_a_follower_that_is_cancelled_ends_and_the_leader_goes_on() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.come(B)
    await bench.runs.close(B, TaskStatus.CANCELLED, "because")
    messages = await bench.wake(await bench.end(A))

    assert (bench.of(B).status, bench.of(A).status) == ("cancelled", "succeeded")
    assert [message.status for message in messages if isinstance(message, Result)] == ["cancelled"]


async def test_a_leader_that_ends_before_its_follower_is_marked_is_seen_all_the_same() -> None:
    class Late(MemoryAnswers):
        async def follow(self, leader: str, follower: str) -> None:
            if leader == A and bench.of(A).live:
                assert not [said for said in await bench.end(A) if isinstance(said, TimerDue)]
            await super().follow(leader, follower)

    bench = Bench(Late())
    await bench.come(A)
    second = await bench.come(B)

    assert (second.status, second.cached and second.cached.run) == ("succeeded", A)


async def test_a_follower_whose_router_died_before_it_was_marked_is_found_by_its_timer() -> None:
    bench = Bench()
    await bench.come(A)
    run = new_run(id=B, task="t-b")
    assert run.decision is not None
    stands = await bench.reuse.stand(run, KEY, RULES, run.decision)
    _, messages = await bench.runs.open(Change(stands, said(stands)), bench.now)
    assert messages == [TimerSet(run=B, due_at=NOW + limits.FOLLOW_S)]
    assert not [said for said in await bench.end(A) if isinstance(said, TimerDue)]

    await bench.reuse.attend(B)

    assert bench.of(B).status == "succeeded"


async def test_a_wake_up_lost_with_the_reviewer_is_said_again_when_the_verdict_comes_again() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.come(B)
    _reviewed, *first = await bench.end(A)

    assert first == await bench.end(A)


async def test_a_follower_that_claimed_the_key_and_died_goes_on_as_leader() -> None:
    bench = Bench()
    for identity in (A, B, C):
        await bench.come(identity)
    await bench.end(A, VerdictKind.FAIL)
    revision = bench.answers.leads["acme", KEY][1]
    await bench.answers.claim("acme", KEY, Lead(run=B, task="t-b", priority=Priority.NORMAL, at=NOW), revision, 60.0)
    await bench.reuse.attend(C)
    assert (bench.working(), bench.of(C).following) == ([], True)

    await bench.reuse.attend(B)

    assert bench.working() == ["b"]


async def test_a_router_that_died_between_claim_and_opening_is_waited_for_but_not_for_ever() -> None:
    bench = Bench()
    await bench.answers.claim("acme", KEY, Lead(run=A, task="t-a", priority=Priority.NORMAL, at=NOW), 0, 60.0)
    await bench.come(B)
    bench.now += limits.LEAD_OPENED_S - 1
    await bench.reuse.attend(B)
    assert bench.working() == []
    bench.now += 2
    await bench.reuse.attend(B)

    assert (bench.working(), bench.lead()) == (["b"], B)


async def test_a_task_delivered_again_after_its_router_died_still_leads() -> None:
    bench = Bench()
    run = new_run(id=A, task="t-a")
    assert run.decision is not None
    await bench.reuse.stand(run, KEY, RULES, run.decision)
    again = await bench.come(A)

    assert (again.live, again.following, bench.lead()) == (True, False, A)


async def test_a_task_delivered_again_gives_the_same_however_it_stood() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.come(B)
    before = dict(bench.parts.store.states)
    await bench.come(A)
    await bench.come(B)
    assert before == bench.parts.store.states

    await bench.wake(await bench.end(A))
    await bench.come(C)
    before = dict(bench.parts.store.states)
    for identity in (A, B, C):
        await bench.come(identity)
    assert before == bench.parts.store.states


async def test_a_wish_for_a_new_answer_goes_past_what_is_there_and_replaces_it() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.end(A)
    fresh = await bench.come(B, fresh=True)
    assert (fresh.live, fresh.cached, fresh.following) == (True, None, False)
    await bench.end(B)
    later = await bench.come(C)

    assert later.cached is not None
    assert later.cached.run == B


async def test_a_wish_for_a_new_answer_does_not_wait_for_one_that_works() -> None:
    bench = Bench()
    await bench.come(A)
    await bench.come(B)
    fresh = await bench.come(C, fresh=True)
    await bench.wake(await bench.end(A))

    assert (fresh.following, bench.working(), bench.of(B).status) == (False, ["c"], "succeeded")


async def test_a_class_that_does_not_wait_still_takes_what_is_there() -> None:
    bench = Bench()
    rules = CacheRules(ttl_s=60.0, coalesce=False)
    await bench.come(A, rules)
    beside = await bench.come(B, rules)
    await bench.end(A)
    later = await bench.come(C, rules)

    assert (beside.live, beside.following, beside.shared) == (True, False, None)
    assert later.cached is not None
    assert (later.cached.run, bench.lead()) == (A, A)


async def test_a_follower_does_its_work_as_was_decided_for_its_leader() -> None:
    bench = Bench()
    decided = new_run(tier=Tier.MID).decision
    await bench.come(A, decision=decided)
    await bench.come(B)
    await bench.wake(await bench.end(A, VerdictKind.FAIL))

    assert bench.of(B).decision == decided


async def test_a_key_that_others_keep_changing_hands_the_task_back() -> None:
    class Contended(MemoryAnswers):
        async def claim(self, tenant: str, key: str, lead: Lead, revision: int, ttl_s: float) -> None:  # noqa: ARG002 - the protocol's shape
            raise Conflict("somebody was faster")

    bench = Bench(Contended())

    with pytest.raises(Unavailable, match="changed 32 times"):
        await bench.come(A)
