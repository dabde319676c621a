"""Wiring of the planner: what it does with each message."""

import time
from dataclasses import dataclass, replace

import structlog

from tierbus import limits, prompts
from tierbus.contracts import (
    Attachment,
    CallRecorded,
    Message,
    Plan,
    PlanJudged,
    PlanRequested,
    Role,
    Slot,
    TaskPlanned,
    TaskStatus,
    Tier,
    spent,
)
from tierbus.ledger.desk import Ask, Desk, Exhausted, Unaffordable, truncated
from tierbus.llm.model import Question, Turn
from tierbus.planner.adapt import fill, shown
from tierbus.planner.plan import Facts, affordable, check, read
from tierbus.planner.reuse import Known, Reuse
from tierbus.plans.shelf import Template
from tierbus.run import NEW, Origin, Run, adopt, whole
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
PLAN, REPAIR, ADAPT = 0, 1, 2
"""The planner's questions about one task, by their place in its slots."""


@dataclass(frozen=True)
class _Planned:
    """What planning brought: a plan, or the reason why there is none."""

    calls: tuple[CallRecorded, ...]
    plan: Plan | None = None
    repaired: bool = False
    why: str = ""
    origin: Origin = NEW


@dataclass(frozen=True)
class Planner:
    """The planner's parts; without `reuse` every task is planned anew."""

    runs: Runs
    texts: Texts
    desk: Desk
    catalog: Catalog
    reuse: Reuse | None = None

    def service(self) -> Service:
        """The table of what the planner hears."""
        return Service(
            name="planner",
            handlers={PlanRequested: self.on_request, PlanJudged: self.on_judged},
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
        if delivery.again and planned.origin.shape is not None:
            planned = await self._with_forgotten(run, planned)
        return await self._adopt(run, revision, planned, delivery)

    async def on_judged(self, judged: PlanJudged, _delivery: Delivery) -> list[Message]:
        """Count what became of a run's plan; a run whose state is gone, or that was counted, changes nothing."""
        found = await self.runs.find(judged.run)
        if found is None or self.reuse is None:
            return []
        run, _ = found
        prompt = await self.texts.read(run.prompt) if run.prompt else ""
        await self.reuse.count(run, prompt, "\n".join([await self._head(item) for item in run.attachments]))
        return []

    async def _with_forgotten(self, run: Run, planned: _Planned) -> _Planned:
        """With the calls that a worker before us made for a plan that has since been kept, or dropped: they were paid."""
        forgotten = await self.desk.leftovers(_slot(run), {call.call for call in planned.calls})
        return replace(planned, calls=(*planned.calls, *forgotten))

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
                run,
                plan,
                planned.calls,
                delivery.leg(now),
                repaired=planned.repaired,
                fallback=fallback,
                origin=planned.origin,
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
            plan_reused_from=planned.origin.reused_from,
        )
        return [*messages, told]

    async def _plan(self, run: Run, delivery: Delivery) -> _Planned:
        """A kept plan adapted by a small model where there is one; else, or where that fails, a new one by the frontier."""
        prompt = await self.texts.read(run.prompt) if run.prompt else ""
        known = await self.reuse.look(run, prompt, time.time()) if self.reuse is not None else Known()
        if known.template is None or self._too_dear(run, known.template):
            made = await self._make(run, (), delivery)
            return replace(made, origin=Origin(known.shape))
        adapted = await self._adapt(run, known.template, delivery)
        paid = _cost(adapted.calls)
        if adapted.plan is not None:
            before = known.template.planning_nano_usd
            saved = before - paid if before is not None and paid is not None else None
            return replace(adapted, origin=Origin(known.shape, known.template.id, known.template.id, saved))
        made = await self._make(run, adapted.calls, delivery)
        tried = None if adapted.why else known.template.id
        return replace(made, origin=Origin(known.shape, tried, None, -paid if paid is not None else None))

    def _too_dear(self, run: Run, template: Template) -> bool:
        """Whether the budget does not reach for a kept plan's steps: then the frontier may know a cheaper plan."""
        return bool(affordable(template.plan, _facts(run, ()), self.catalog, time.time()))

    async def _adapt(self, run: Run, template: Template, delivery: Delivery) -> _Planned:
        """One call to a small model; an answer that cannot be used is not repaired. `why` says that there was none."""
        asked, material = await self._adapting(run, template)
        try:
            output = await self._ask(run, asked, ADAPT, (), delivery, Tier.SMALL)
        except Exhausted as error:
            return _Planned(error.calls, why=str(error))
        plan, problems = fill(template, output.text, [item.name for item in run.attachments], material)
        if truncated(output):
            plan, problems = None, ["the answer was cut off"]
        if plan is not None:
            problems = self._problems(run, plan, output.calls)
        if problems:
            log.warning(
                "planner.unfit_plan",
                template=template.id,
                problems=[cut(problem) for problem in bare_reasons(problems[:5])],
            )
            plan = None
        return _Planned(output.calls, plan)

    async def _make(self, run: Run, before: tuple[CallRecorded, ...], delivery: Delivery) -> _Planned:
        """One call to the frontier, and one more with the errors if the plan cannot be used; `before` was paid already."""
        made = await self._made(run, before, delivery)
        return replace(made, calls=(*before, *made.calls))

    async def _made(self, run: Run, before: tuple[CallRecorded, ...], delivery: Delivery) -> _Planned:
        first = await self._question(run)
        try:
            output = await self._ask(run, first, PLAN, before, delivery)
        except Exhausted as error:
            return _Planned(error.calls, why=str(error))
        plan, problems = self._read(run, output.text, (*before, *output.calls), cut=truncated(output))
        if plan is not None:
            return _Planned(output.calls, plan)
        log.warning("planner.bad_plan", problems=[cut(problem) for problem in bare_reasons(problems[:5])])
        errors = prompts.fenced("errors", "\n".join(problems))
        turns = (*first.turns, Turn("assistant", output.text or "{}"), Turn("user", _repair(errors)))
        try:
            repaired = await self._ask(run, replace(first, turns=turns), REPAIR, (*before, *output.calls), delivery)
        except Exhausted as error:
            return _Planned((*output.calls, *error.calls), why=str(error))
        calls = (*output.calls, *repaired.calls)
        plan, problems = self._read(run, repaired.text, (*before, *calls), cut=truncated(repaired))
        return _Planned(calls, plan, repaired=plan is not None, why=f"no usable plan: {'; '.join(problems)}"[:1000])

    def _read(
        self, run: Run, text: str, calls: tuple[CallRecorded, ...], *, cut: bool
    ) -> tuple[Plan | None, list[str]]:
        if cut:
            return None, ["the plan was cut off: write a shorter one"]
        plan, problems = read(text)
        if plan is not None:
            problems = self._problems(run, plan, calls)
        return (None if problems else plan), problems

    def _problems(self, run: Run, plan: Plan, calls: tuple[CallRecorded, ...]) -> list[str]:
        """Why a plan cannot be run after these calls; empty if it can."""
        facts = _facts(run, calls)
        return check(plan, facts) or affordable(plan, facts, self.catalog, time.time())

    async def _ask(
        self,
        run: Run,
        asked: Question,
        number: int,
        before: tuple[CallRecorded, ...],
        delivery: Delivery,
        tier: Tier = Tier.FRONTIER,
    ) -> Output:
        slot = _slot(run, number)

        async def wanted() -> bool:
            current, _ = await self.runs.read(run.id)
            return current.live and current.planning

        return await self.desk.ask(
            Ask(
                slot=slot,
                tier=tier,
                question=asked,
                priority=run.priority,
                budget_nano_usd=budget_left(run, before),
                wanted=wanted,
                again=delivery.again,
            )
        )

    async def _adapting(self, run: Run, template: Template) -> tuple[Question, str]:
        """The question for a small model, and all that it shows of the new task. What all tasks of a shape share stands first."""
        parts = await self._material(run)
        question = Question(
            system=prompts.load(PACKAGE, "adapt.md"),
            shared="\n\n".join(
                [prompts.fenced("earlier-task", template.prompt), prompts.fenced("plan", shown(template))]
            ),
            turns=(Turn("user", "\n\n".join(parts)),),
            json_schema=prompts.schema(PACKAGE, "adapt.schema.json"),
            max_output=max_output(self.catalog, Tier.SMALL, PLAN_TOKENS),
        )
        return question, "\n".join(parts)

    async def _material(self, run: Run) -> list[str]:
        task = await self.texts.read(run.prompt) if run.prompt else ""
        parts = [prompts.fenced("task", task)]
        parts += [prompts.fenced("attachment", await self._head(item), name=item.name) for item in run.attachments]
        expected = expectations(run.expects)
        return [*parts, prompts.fenced("expected", expected)] if expected else parts

    async def _question(self, run: Run) -> Question:
        parts = await self._material(run)
        system = prompts.load(PACKAGE, "plan.md")
        system = system.replace("{max_steps}", str(limits.PLAN_STEPS)).replace("{max_depth}", str(limits.PLAN_DEPTH))
        return Question(
            system=system,
            turns=(Turn("user", "\n\n".join(parts)),),
            json_schema=prompts.schema(PACKAGE, "plan.schema.json"),
            max_output=max_output(self.catalog, Tier.FRONTIER, PLAN_TOKENS),
        )

    async def _head(self, item: Attachment) -> str:
        text = await self.texts.read(item.content)
        return (
            text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}\n[{len(text) - SHOWN_CHARS} more characters]"
        )


def _slot(run: Run, ask: int = 0) -> Slot:
    return Slot(run=run.id, tenant=run.tenant, step="_plan", attempt=1, role=Role.PLANNER, ask=ask)


def _facts(run: Run, calls: tuple[CallRecorded, ...]) -> Facts:
    """What a plan for this run is checked against after these calls."""
    return Facts(
        attachments=frozenset(item.name for item in run.attachments),
        budget_nano_usd=budget_left(run, calls),
    )


def _cost(calls: tuple[CallRecorded, ...]) -> int | None:
    """Nano-dollars of these calls, None where one has no known price."""
    return None if any(call.cost_nano_usd is None for call in calls) else spent(calls)


def _repair(errors: str) -> str:
    return f"{prompts.load(PACKAGE, 'repair.md')}\n\n{errors}"
