"""Finding who answers for a key, and looking after the runs that wait for it.

The index holds one thing a key: the run that answers for it. Whether that run works, has an answer or failed is read from
its own state, so nothing must be written when it ends, and nobody can die between the two. It is written by
compare-and-set before the run is opened: of two that ask the same at once, one leads. A run that waits is a run with a
timer; it also leaves a mark, by which whoever ends the leader wakes it. The mark is written before the leader is looked
at again, so either the ender sees the mark or the waiting run sees the end.

Limits: where whoever ended the leader died before it woke the others and its message never comes again, or the leader was
cancelled before it was opened, a waiting run learns of it from its timer, after `limits.FOLLOW_S`. A leader without a state
is waited for `limits.LEAD_OPENED_S`. Marks last `limits.RUN_LIFETIME_S`; a run that waits longer has its timer alone. A
leader's end wakes at most 100,000 runs. A task never waits for one of a lower priority, so it may be paid for twice.
"""

import time
from collections.abc import Callable
from functools import partial

from tierbus.cache.choice import (
    ALWAYS,
    Choice,
    answered,
    choose,
    follows,
    leads,
    own_decision,
    take,
    turn,
    usable,
    work,
)
from tierbus.cache.rules import CacheRules
from tierbus.contracts import Decision, Message
from tierbus.errors import Conflict, Unavailable
from tierbus.run import Change, Run, Shared, pending
from tierbus.runs import TRIES, Runs, said
from tierbus.stores import Answers, Lead


class Sharing:
    """The answers of one bus. `setup` is the part of every key that says with what models and prompts they are made."""

    def __init__(self, runs: Runs, answers: Answers, setup: str = "", clock: Callable[[], float] = time.time) -> None:
        self._runs = runs
        self._answers = answers
        self._clock = clock
        self.setup = setup

    async def stand(self, run: Run, key: str, rules: CacheRules, otherwise: Decision, *, fresh: bool = False) -> Run:
        """A new run as it is to be opened: ended with an answer, waiting for one (`otherwise` is what it would do), or to be worked on.

        A `fresh` run takes no answer and waits for none; it leads from now on, so that its answer replaces an older one.

        Raises:
            Unavailable: others changed the key too many times in a row.
        """
        shared = Shared(key=key, ttl_s=rules.ttl_s)
        for _ in range(TRIES):
            lead, revision = await self._answers.lead(run.tenant, key) or (None, 0)
            leader = await self._state(lead)
            now = self._clock()
            choice = Choice.LEAD if fresh else choose(run, lead, leader, rules, now)
            if choice is Choice.ALONE:
                return run
            if choice is Choice.ANSWER and leader is not None:
                return answered(run, leader, now)
            if choice is Choice.FOLLOW and lead is not None:
                return follows(run, shared, lead, own_decision(leader) or otherwise, now)
            if await self._claim(run, shared, lead, revision, now):
                return leads(run, key, rules.ttl_s)
        raise Unavailable(f"the key of run {run.id!r} changed {TRIES} times while it was being read", delay_s=0.5)

    async def attend(self, run_id: str) -> list[Message]:
        """Look after a run that waits: end it with the answer, let it wait on, or let it work; returns what to say.

        Raises:
            Unavailable: others changed run or key too many times in a row.
        """
        for _ in range(TRIES):
            run, _ = await self._runs.read(run_id)
            shared = run.shared
            if not run.following or shared is None or shared.follows is None:
                return said(run)
            await self._answers.follow(shared.follows, run.id)
            leader = await self._runs.peek(shared.follows)
            if leader is not None and usable(leader):
                return await self._runs.commit(run.id, partial(_take, leader))
            if leader is not None and leader.live:
                return pending(run)
            done = await self._succeed(run, shared)
            if done is not None:
                return done
        raise Unavailable(f"run {run_id!r} found its key changed {TRIES} times", delay_s=0.5)

    async def _succeed(self, run: Run, shared: Shared) -> list[Message] | None:
        """What a run does whose leader has no answer; None where it must look again."""
        lead, revision = await self._answers.lead(run.tenant, shared.key) or (None, 0)
        leader = await self._state(lead)
        now = self._clock()
        choice = choose(run, lead, leader, ALWAYS, now)
        if choice is Choice.ANSWER and leader is not None:
            return await self._runs.commit(run.id, partial(_take, leader))
        if choice is Choice.FOLLOW and lead is not None:
            if lead.run == shared.follows:
                return pending(run)
            await self._runs.commit(run.id, partial(_turn, lead))
            return None
        if choice is Choice.LEAD and not await self._claim(run, shared, lead, revision, now):
            return None
        return await self._runs.commit(run.id, work)

    async def _state(self, lead: Lead | None) -> Run | None:
        return await self._runs.peek(lead.run) if lead is not None else None

    async def _claim(self, run: Run, shared: Shared, lead: Lead | None, revision: int, now: float) -> bool:
        """Whether the run answers for the key from now on."""
        if lead is not None and lead.run == run.id:
            return True
        mine = Lead(run=run.id, task=run.task, priority=run.priority, at=now)
        try:
            await self._answers.claim(run.tenant, shared.key, mine, revision, shared.ttl_s)
        except Conflict:
            return False
        return True


def _take(leader: Run, run: Run, now: float) -> Change:
    return take(run, leader, now)


def _turn(lead: Lead, run: Run, now: float) -> Change:
    return turn(run, lead, now)
