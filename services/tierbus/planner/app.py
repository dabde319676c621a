"""Wiring of the planner: what it does with each message."""

import time
from dataclasses import dataclass

import structlog

from tierbus import limits, prompts
from tierbus.contracts import (
    Attachment,
    CallRecorded,
    Message,
    Plan,
    PlanRequested,
    Role,
    Slot,
    TaskPlanned,
    TaskStatus,
    Tier,
)
from tierbus.ledger.desk import Ask, Desk, Exhausted, Unaffordable, truncated
from tierbus.llm.model import Question, Turn
from tierbus.planner.plan import Facts, affordable, check, read
from tierbus.run import Run, adopt, whole
from tierbus.runs import Runs, said
from tierbus.service import Delivery, Service
from tierbus.stores import Output, Texts
from tierbus.telemetry.content import bare_reasons, cut
from tierbus.tiers.catalog import Catalog
from tierbus.work import budget_left, expectations, max_output

log = structlog.get_logger(__name__)

PACKAGE = "tierbus.planner"
SHOWN_CHARS = 4000
"""How much of each attachment the planner is shown: enough to know what it is; the steps see it whole."""
PLAN_TOKENS = 6000


@dataclass(frozen=True)
class _Planned:
    """What planning brought: a plan, or the reason why there is none."""

    calls: tuple[CallRecorded, ...]
    plan: Plan | None = None
    repaired: bool = False
    why: str = ""


@dataclass(frozen=True)
class Planner:
    """The planner's parts."""

    runs: Runs
    texts: Texts
    desk: Desk
    catalog: Catalog

    def service(self) -> Service:
        """The table of what the planner hears."""
        return Service(
            name="planner",
            handlers={PlanRequested: self.on_request},
            give_up={PlanRequested: self.give_up},
        )

    async def on_request(self, request: PlanRequested, delivery: Delivery) -> list[Message]:
        """Plan a run, or let it be done in one step on the frontier where no plan can be had."""
        run, revision = await self.runs.read(request.run)
        if not (run.live and run.planning):
            if delivery.again:
                await self.desk.leftovers(_slot(run))
            return said(run)
        try:
            planned = await self._plan(run, delivery)
        except Unaffordable as error:
            return await self.runs.close(run.id, TaskStatus.FAILED, f"over budget: {error}")
        return await self._adopt(run, revision, planned, delivery)

    async def give_up(self, request: PlanRequested, delivery: Delivery, error: Exception) -> list[Message]:
        """Planning failed too often: do the task in one step."""
        run, revision = await self.runs.read(request.run)
        calls = await self.desk.leftovers(_slot(run))
        planned = _Planned(calls, why=f"planning was given up: {type(error).__name__}")
        return await self._adopt(run, revision, planned, delivery)

    async def _adopt(self, run: Run, revision: int, planned: _Planned, delivery: Delivery) -> list[Message]:
        plan = planned.plan or whole(run, Tier.FRONTIER)
        fallback = None if planned.plan else planned.why
        messages = await self.runs.commit(
            run.id,
            lambda run, now: adopt(
                run, plan, planned.calls, delivery.leg(now), repaired=planned.repaired, fallback=fallback
            ),
            read=(run, revision),
        )
        told = TaskPlanned(
            run=run.id,
            tenant=run.tenant,
            at=time.time(),
            steps=plan.steps,
            repaired=planned.repaired,
            fallback=fallback,
        )
        return [*messages, told]

    async def _plan(self, run: Run, delivery: Delivery) -> _Planned:
        """One call, and one more with the errors if the plan cannot be used."""
        first = await self._question(run)
        try:
            output = await self._ask(run, first, 0, (), delivery)
        except Exhausted as error:
            return _Planned(error.calls, why=str(error))
        plan, problems = self._read(run, output.text, output.calls, cut=truncated(output))
        if plan is not None:
            return _Planned(output.calls, plan)
        log.warning("planner.bad_plan", problems=[cut(problem) for problem in bare_reasons(problems[:5])])
        errors = prompts.fenced("errors", "\n".join(problems))
        turns = (*first.turns, Turn("assistant", output.text or "{}"), Turn("user", _repair(errors)))
        second = Question(
            first.system,
            turns,
            shared=first.shared,
            json_schema=first.json_schema,
            max_output=first.max_output,
        )
        try:
            repaired = await self._ask(run, second, 1, output.calls, delivery)
        except Exhausted as error:
            return _Planned((*output.calls, *error.calls), why=str(error))
        calls = (*output.calls, *repaired.calls)
        plan, problems = self._read(run, repaired.text, calls, cut=truncated(repaired))
        return _Planned(calls, plan, repaired=plan is not None, why=f"no usable plan: {'; '.join(problems)}"[:1000])

    def _read(
        self, run: Run, text: str, calls: tuple[CallRecorded, ...], *, cut: bool
    ) -> tuple[Plan | None, list[str]]:
        if cut:
            return None, ["the plan was cut off: write a shorter one"]
        facts = Facts(
            attachments=frozenset(item.name for item in run.attachments),
            budget_nano_usd=budget_left(run, calls),
        )
        plan, problems = read(text)
        if plan is not None:
            problems = check(plan, facts) or affordable(plan, facts, self.catalog, time.time())
        return (None if problems else plan), problems

    async def _ask(
        self, run: Run, asked: Question, number: int, before: tuple[CallRecorded, ...], delivery: Delivery
    ) -> Output:
        slot = _slot(run, number)

        async def wanted() -> bool:
            current, _ = await self.runs.read(run.id)
            return current.live and current.planning

        return await self.desk.ask(
            Ask(
                slot=slot,
                tier=Tier.FRONTIER,
                question=asked,
                priority=run.priority,
                budget_nano_usd=budget_left(run, before),
                wanted=wanted,
                again=delivery.again,
            )
        )

    async def _question(self, run: Run) -> Question:
        task = await self.texts.read(run.prompt) if run.prompt else ""
        parts = [prompts.fenced("task", task)]
        parts += [await self._shown(item) for item in run.attachments]
        expected = expectations(run.expects)
        if expected:
            parts.append(prompts.fenced("expected", expected))
        system = prompts.load(PACKAGE, "plan.md")
        system = system.replace("{max_steps}", str(limits.PLAN_STEPS)).replace("{max_depth}", str(limits.PLAN_DEPTH))
        return Question(
            system=system,
            turns=(Turn("user", "\n\n".join(parts)),),
            json_schema=prompts.schema(PACKAGE, "plan.schema.json"),
            max_output=max_output(self.catalog, Tier.FRONTIER, PLAN_TOKENS),
        )

    async def _shown(self, item: Attachment) -> str:
        text = await self.texts.read(item.content)
        shown = (
            text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}\n[{len(text) - SHOWN_CHARS} more characters]"
        )
        return prompts.fenced("attachment", shown, name=item.name)


def _slot(run: Run, ask: int = 0) -> Slot:
    return Slot(run=run.id, tenant=run.tenant, step="_plan", attempt=1, role=Role.PLANNER, ask=ask)


def _repair(errors: str) -> str:
    return f"{prompts.load(PACKAGE, 'repair.md')}\n\n{errors}"
