"""Wiring of the router: what it does with each message."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from tierbus import limits
from tierbus.cache.key import key_of
from tierbus.cache.reuse import Sharing
from tierbus.classes import Classes
from tierbus.contracts import (
    NANO,
    CallRecorded,
    CancelRequested,
    Content,
    Decision,
    Message,
    Role,
    Route,
    Slot,
    Task,
    TaskRejected,
    TaskRouted,
    TaskStatus,
    Tier,
    run_id,
)
from tierbus.errors import Rejected, Unavailable
from tierbus.ledger.desk import Ask, Desk, Exhausted, Unaffordable
from tierbus.pilot.assign import Routed, Who, concerned
from tierbus.pilot.assign import route as assign
from tierbus.pilot.pilots import Pilots
from tierbus.pilot.shadow import shadow_id, shadow_of
from tierbus.policy.advisor import Advisor, case
from tierbus.result import result_of
from tierbus.router.accept import accept
from tierbus.router.advice import advised, start
from tierbus.router.classify import question, read
from tierbus.router.decide import DecidedBy, Scorer, Scores, by_rules, decide, holds
from tierbus.router.signals import Signals, signals
from tierbus.run import Change, Run, begin
from tierbus.runs import Runs, said
from tierbus.service import Delivery, Service
from tierbus.stores import Texts
from tierbus.telemetry import context
from tierbus.tiers.catalog import Catalog

log = structlog.get_logger(__name__)

STATE_TEXT_BYTES = 64 * limits.KIB
"""Prompt and attachments together may take this much of a run's state; what is beyond goes by reference."""


@dataclass(frozen=True)
class Router:
    """The router's parts.

    `scorers` are asked in order between the rules and the small model; `advisor` starts tasks of the classes that its policy
    was trained for; `join_traces` lets a task's trace go on under its caller's instead of linking to it; `classes` says what
    is allowed with tasks of a class, `reuse` keeps who answers for what, `pilots` say which tasks of a class go the cheap way
    at all.
    """

    runs: Runs
    texts: Texts
    desk: Desk
    catalog: Catalog
    classify_below: float = 0.6
    scorers: Sequence[Scorer] = field(default=())
    advisor: Advisor | None = None
    join_traces: bool = False
    classes: Classes = field(default_factory=Classes)
    reuse: Sharing | None = None
    pilots: Pilots = field(default_factory=Pilots)

    def service(self) -> Service:
        """The table of what the router hears."""
        return Service(
            name="router",
            handlers={Task: self.on_task, CancelRequested: self.on_cancel},
            refuse={Task: refused},
        )

    async def on_task(self, task: Task, delivery: Delivery) -> list[Message]:
        """Route a task and open its run; a task that has a run already only makes that one speak again."""
        task = accept(task, delivery, time.time())
        run = _new_run(task, delivery, join=self.join_traces)
        self.runs.about(run)
        kept = await self._kept(task)
        run = run.model_copy(update={"prompt": _content(kept.prompt), "attachments": kept.attachments})
        prompt = await self.texts.read(_content(task.prompt))
        seen = signals(prompt, [item.content.total_bytes for item in task.attachments])
        fresh = run.model_copy(update={"routed": delivery.leg(time.time())})
        run = await self._shared(task, run, seen)
        change = await self._begun(task, run, seen, prompt, delivery)
        decided_at = change.run.routed.ended_at if change.run.routed else time.time()
        opened, messages = await self.runs.open(change, decided_at)
        if opened.following and self.reuse is not None:
            messages = await self.reuse.attend(opened.id)
        shadow = shadow_of(fresh, opened, time.time())
        if shadow is not None:
            messages = [*messages, *await self.runs.open_beside(shadow)]
        if opened.decision is None or (opened.status is not None and opened.cached is None):
            return messages
        routed = TaskRouted(
            run=opened.id,
            tenant=opened.tenant,
            at=opened.accepted_at,
            task=opened.task,
            decision=opened.decision,
            queue_s=opened.queue_s,
        )
        return [routed, *messages]

    async def _shared(self, task: Task, run: Run, seen: Signals) -> Run:
        """The run as it stands to others that ask the same, where its class lets them share an answer."""
        rules = self.classes.of(task.task_class)
        if rules.cache is None or self.reuse is None:
            return run
        otherwise = self._decision(task, run, seen, by_rules(seen), "rules")
        key = key_of(task, rules, self.reuse.setup)
        return await self.reuse.stand(run, key, rules.cache, otherwise, fresh=task.hints.fresh)

    async def _begun(self, task: Task, run: Run, seen: Signals, prompt: str, delivery: Delivery) -> Change:
        """The run with its decision, to be opened; one that takes or awaits another's answer has it already."""
        if run.cached is not None or run.following:
            run = run.model_copy(update={"routed": delivery.leg(time.time())})
            return Change(run, said(run))
        decision, calls = await self._decide(task, run, seen, prompt, delivery)
        assigned = await self._assigned(task, run, decision, seen)
        now = time.time()
        decided = run.model_copy(
            update={
                "decision": assigned.decision,
                "shadow": assigned.shadow,
                "planning": assigned.decision.route is Route.PLAN,
                "calls": calls,
                "routed": delivery.leg(now),
            }
        )
        return begin(decided, now)

    async def _assigned(self, task: Task, run: Run, decision: Decision, seen: Signals) -> Routed:
        """What the class's pilot, if it has one, makes of the decision."""
        hinted = task.hints.tier is not None or task.hints.route is not None
        fits = holds(seen, Tier.FRONTIER, self.catalog)
        if not concerned(decision, hinted=hinted, frontier_fits=fits):
            return Routed(decision)
        state = await self.pilots.of(task.task_class)
        if state is None:
            return Routed(decision)
        return assign(decision, Who(task.task_class, run.tenant, run.task, run.id), state)

    async def _decide(
        self, task: Task, run: Run, seen: Signals, prompt: str, delivery: Delivery
    ) -> tuple[Decision, tuple[CallRecorded, ...]]:
        if self.advisor is not None and advised(task, seen.total_tokens, self.advisor):
            decision = self._decision(task, run, seen, by_rules(seen), "policy", Route.DIRECT)
            return start(decision, self.advisor, self.advisor.policy.next(case(run, prompt), ())), ()
        scores, by, calls = await self._score(task, run, seen, delivery)
        return self._decision(task, run, seen, scores, by), calls

    def _decision(
        self, task: Task, run: Run, seen: Signals, scores: Scores, by: DecidedBy, route: Route | None = None
    ) -> Decision:
        return decide(
            seen,
            scores,
            risk=task.risk,
            hints=task.hints,
            catalog=self.catalog,
            at=run.submitted_at,
            decided_by=by,
            route=route,
        )

    async def _score(
        self, task: Task, run: Run, seen: Signals, delivery: Delivery
    ) -> tuple[Scores, DecidedBy, tuple[CallRecorded, ...]]:
        rules = by_rules(seen)
        if task.hints.route or task.hints.tier or rules.confidence >= self.classify_below:
            return rules, "rules", ()
        for scorer in self.scorers:
            scored = scorer.score(seen, rules)
            if scored is not None:
                return scored, "scorer", ()
        return await self._classify(task, run, seen, rules, delivery)

    async def _classify(
        self, task: Task, run: Run, seen: Signals, rules: Scores, delivery: Delivery
    ) -> tuple[Scores, DecidedBy, tuple[CallRecorded, ...]]:
        """Ask a small model; where it has no usable answer the rules stand. A run that exists is not classified again."""
        if await self.runs.store.revision(run.id):
            return rules, "rules", ()
        ask = Ask(
            slot=Slot(run=run.id, tenant=run.tenant, step="_route", attempt=1, role=Role.ROUTER),
            tier=Tier.SMALL,
            question=question(seen, [(item.name, item.content.total_bytes) for item in task.attachments]),
            priority=run.priority,
            budget_nano_usd=run.budget_nano_usd,
            wanted=lambda: self._unopened(run.id),
            again=delivery.again,
        )
        try:
            output = await self.desk.ask(ask)
        except (Exhausted, Unaffordable) as error:
            log.warning("router.unclassified", error=str(error))
            return rules, "rules", error.calls
        scores = read(output.text, rules)
        return (scores, "model", output.calls) if scores else (rules, "rules", output.calls)

    async def _unopened(self, run: str) -> bool:
        """Whether nobody has opened or cancelled the run meanwhile."""
        return not await self.runs.store.revision(run)

    async def _kept(self, task: Task) -> Task:
        """The task with its texts small enough for a run's state."""
        room = STATE_TEXT_BYTES
        prompt = await self._fit(_content(task.prompt), room)
        room -= prompt.inline_bytes
        attachments = []
        for item in task.attachments:
            content = await self._fit(item.content, room)
            room -= content.inline_bytes
            attachments.append(item.model_copy(update={"content": content}))
        return task.model_copy(update={"prompt": prompt, "attachments": tuple(attachments)})

    async def _fit(self, content: Content, room: int) -> Content:
        return await self.texts.keep(content, most=min(limits.INLINE_BYTES, max(0, room)))

    async def on_cancel(self, request: CancelRequested, _delivery: Delivery) -> list[Message]:
        """End a run early; a task that was not routed yet is cancelled before it begins."""
        found = await self.runs.store.read(request.run)
        if found is not None:
            beside = await self._close_shadow(found[0], request.reason)
            return [*beside, *await self.runs.close(request.run, TaskStatus.CANCELLED, request.reason)]
        now = time.time()
        calls = await self.runs.settle(request.run)
        stone, messages = await self.runs.open(Change(_tombstone(request, calls, now), []), now)
        if stone.status is None:
            raise Unavailable(f"run {request.run!r} was opened while it was being cancelled", delay_s=0.1)
        return messages or [result_of(stone)]

    async def _close_shadow(self, run: Run, reason: str) -> list[Message]:
        """Nobody waits for a cancelled task, so its shadow need not go on; it is closed where there is one."""
        if run.shadow is None or await self.runs.store.read(shadow_id(run)) is None:
            return []
        return await self.runs.close(shadow_id(run), TaskStatus.CANCELLED, reason)


def refused(delivery: Delivery, data: bytes, error: Exception) -> list[Message]:
    """The rejection that the publisher sees, when the subject tells who that is."""
    tenant = delivery.subject.rsplit(".", 1)[-1]
    reasons = error.reasons if isinstance(error, Rejected) else (f"it could not be handled: {type(error).__name__}",)
    rejected = TaskRejected(
        tenant=tenant,
        sequence=delivery.sequence,
        task=_claimed_id(data),
        reasons=tuple(reason[:1000] for reason in reasons),
        at=time.time(),
    )
    return [rejected]


def _claimed_id(data: bytes) -> str | None:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    claimed = body.get("id") if isinstance(body, dict) else None
    return claimed[:200] if isinstance(claimed, str) else None


def _new_run(task: Task, delivery: Delivery, *, join: bool) -> Run:
    identity = run_id(task.tenant, task.id or "")
    now = delivery.received_at
    submitted = delivery.published_at or now
    traceparent = context.header(delivery.headers, context.TRACEPARENT)
    caller = context.parse(traceparent)
    return Run(
        id=identity,
        tenant=task.tenant,
        task=task.id or "",
        task_class=task.task_class,
        priority=task.priority,
        risk=task.risk,
        expects=task.expects,
        budget_nano_usd=int(task.budget_usd * NANO) if task.budget_usd is not None else None,
        metadata=task.metadata,
        queue_s=delivery.queue_s,
        submitted_at=submitted,
        accepted_at=now,
        deadline_at=task.deadline_at or submitted + limits.RUN_LIFETIME_S,
        timer_at=now,
        trace_id=context.trace_of(identity, caller, join=join),
        caller=traceparent if caller else None,
        joined=join and caller is not None,
        traced=not join or caller is None or caller.sampled,
    )


def _tombstone(request: CancelRequested, calls: tuple[CallRecorded, ...], now: float) -> Run:
    return Run(
        id=request.run,
        tenant=request.tenant,
        task="",
        submitted_at=now,
        accepted_at=now,
        deadline_at=now,
        timer_at=now,
        status=TaskStatus.CANCELLED,
        reason=request.reason,
        calls=calls,
        finished_at=now,
        trace_id=context.trace_of(request.run, None, join=False),
    )


def _content(prompt: str | Content) -> Content:
    return prompt if isinstance(prompt, Content) else Content.of(prompt)
