"""Climbing the review ladder for one attempt: free checks, then a second cheap answer, then a mid-tier judge."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from tierbus import prompts
from tierbus.answers import fitting
from tierbus.contracts import (
    NANO,
    CallRecorded,
    Content,
    Decision,
    ReviewLevel,
    Role,
    Slot,
    StepExecuted,
    Tier,
    Verdict,
    VerdictKind,
    spent,
)
from tierbus.ledger.desk import Ask, Desk, Exhausted, Unaffordable, always
from tierbus.llm.model import Question, Turn
from tierbus.policy.advisor import Advisor, case, seen
from tierbus.policy.moves import Seen
from tierbus.reviewer.advice import Consultation, earlier_slots, look_asks, valid
from tierbus.reviewer.verdict import Place, Rung, agree, agreed, check, of_checks, of_judge, of_outcome, rungs
from tierbus.run import Run, StepState
from tierbus.stores import Output, Texts
from tierbus.tiers.catalog import Catalog
from tierbus.work import attachments, attempt_slot, budget_left, expectations, max_output, question, sections, slot_of

log = structlog.get_logger(__name__)

PACKAGE = "tierbus.reviewer"
Wanted = Callable[[], Awaitable[bool]]
JUDGE_TOKENS = 600
SECOND_OPINION, JUDGE, JUDGE_AGAIN = 0, 1, 2
"""The questions a review may ask about one attempt, by their place in its slot."""


@dataclass(frozen=True)
class Review:
    """A verdict and what it cost; `output` and `model` where another model's answer is taken."""

    verdict: Verdict
    calls: tuple[CallRecorded, ...] = ()
    output: Content | None = None
    model: str = ""


@dataclass(frozen=True)
class Ladder:
    """Reviews attempts with the models of a catalog; tasks of the classes that `advisor` was trained for by its word."""

    texts: Texts
    desk: Desk
    catalog: Catalog
    advisor: Advisor | None = None

    async def review(self, run: Run, executed: StepExecuted, *, again: bool, wanted: Wanted = always) -> Review:
        """Climb until a rung is sure; no model is asked any more once the attempt is not `wanted`.

        Raises:
            Cancelled: the run no longer waits for this attempt.
        """
        advisor = self._advisor(run, executed)
        verdict = of_outcome(executed.outcome, executed.detail)
        if verdict is not None or executed.output is None:
            missing = Verdict(kind=VerdictKind.ESCALATE, rung="outcome", reason="there is no answer")
            return Review(_sent_to(verdict or missing, advisor))
        text = await self.texts.read(executed.output)
        state = run.steps[executed.step]
        climb = _Climb(self, run, executed, state, executed.output, text, wanted, again)
        return await (climb.run_up() if advisor is None else climb.be_advised(advisor))

    def _advisor(self, run: Run, executed: StepExecuted) -> Advisor | None:
        """The policy, where this attempt is its business: a whole task of its classes, not under strict review."""
        strict = run.decision is not None and run.decision.review is ReviewLevel.STRICT
        if self.advisor is None or strict or len(run.steps) != 1:
            return None
        known = self.advisor.policy.covers(run.task_class)
        return self.advisor if known and executed.tier in self.advisor.tiers else None

    async def leftovers(self, run: Run, executed: StepExecuted) -> None:
        """Tell of the calls of a review whose worker died."""
        await self.desk.leftovers(attempt_slot(run, executed, Role.REVIEWER))


@dataclass(frozen=True)
class _Climb:
    """One review of one answer."""

    parts: Ladder
    run: Run
    executed: StepExecuted
    state: StepState
    output: Content
    text: str
    wanted: Wanted
    again: bool

    async def run_up(self) -> Review:
        checked = check(self.text, self.state.spec.expects)
        if self._last and not checked.failures:
            whole = check(self.text, self.run.expects)
            checked = whole._replace(sure=whole.sure or (checked.sure and not self.run.expects.criteria))
        place = Place(self._planned, self._last, self.executed.tier)
        ladder = rungs(self._level, place, checked, self.output, self.state.spec.expects)
        verdict = of_checks(checked, ladder)
        if verdict is not None:
            return Review(verdict)
        try:
            return await self._ask_models(ladder)
        except Unaffordable as error:
            reason = f"over budget: the review cannot be paid: {error}"
            return Review(Verdict(kind=VerdictKind.FAIL, rung="judge", reason=reason[:1000]), error.calls)

    async def be_advised(self, advisor: Advisor) -> Review:
        """Let the policy decide; the strong model's answer has only the free checks to pass."""
        if self.executed.tier is advisor.strongest:
            review = await self.run_up()
            place = advisor.place(self.executed.model)
            if place is not None:
                last = seen(place, self.text, self.state.spec.expects, self.executed.calls, valid=None)
                advisor.policy.learn(case(self.run, await self._prompt()), (*await self._earlier(advisor), last))
            return review
        try:
            advice = await self._consultation(advisor, await self._prompt()).decide(self.text)
        except Unaffordable as error:
            reason = f"over budget: the review cannot be paid: {error}"
            return Review(Verdict(kind=VerdictKind.FAIL, rung="policy", reason=reason[:1000]), error.calls)
        calls = await self._with_leftovers(advice.calls) if self.again else advice.calls
        output = await self.parts.texts.keep(advice.output) if advice.output is not None else None
        return Review(advice.verdict, calls, output, advice.model)

    def _consultation(self, advisor: Advisor, prompt: str) -> Consultation:
        specs = [spec.id for spec in self.parts.catalog.tiers[self.executed.tier]]
        return Consultation(
            advisor,
            self.executed,
            self.state.spec.expects,
            case(self.run, prompt),
            self._ask_again,
            self._look,
            self._paid_look,
            specs.index,
        )

    async def _ask_again(self, number: int, first: int, before: tuple[CallRecorded, ...]) -> Output:
        """The executor's question to another model of its tier."""
        size = max_output(self.parts.catalog, self.executed.tier)
        asked = await question(self.run, self.state, self.parts.texts, size)
        try:
            return await self._ask(asked, number, self.executed.tier, before, first=first)
        except Unaffordable as error:
            error.calls = (*before, *error.calls)
            raise

    async def _look(
        self, text: str, asks: tuple[int, int], before: tuple[CallRecorded, ...]
    ) -> tuple[Verdict, tuple[CallRecorded, ...]]:
        """The judge's verdict on an answer that the policy wants looked at."""
        review = await self._judge(before, text, asks)
        return review.verdict, review.calls

    async def _paid_look(self, place: int) -> bool:
        """Whether the judge told an earlier delivery of this message what it thinks of the answer of a place."""
        if not self.again:
            return False
        first, _ = look_asks(place)
        return await self.parts.desk.stored(slot_of(self.run, self.state, Role.REVIEWER, first)) is not None

    async def _with_leftovers(self, calls: tuple[CallRecorded, ...]) -> tuple[CallRecorded, ...]:
        """What a worker that died had asked is paid, whatever the policy says now."""
        known = {call.call for call in calls}
        paid = await self.parts.desk.leftovers(attempt_slot(self.run, self.executed, Role.REVIEWER))
        return (*calls, *(call for call in paid if call.call not in known))

    async def _earlier(self, advisor: Advisor) -> tuple[Seen, ...]:
        """The cheap answers that were turned down before this attempt, as they are stored."""
        found = []
        for slot in earlier_slots(self.run, self.executed, len(advisor.tiers)):
            output = await self.parts.desk.stored(slot)
            place = advisor.place(output.model) if output is not None else None
            if output is not None and place is not None:
                expects = self.state.spec.expects
                one = seen(place, output.text, expects, output.calls, valid=valid(output.text, expects))
                found.append(await self._with_look(slot, one))
        return tuple(found)

    async def _with_look(self, slot: Slot, one: Seen) -> Seen:
        """An earlier answer with what the judge said to it, where it was asked, and what that cost."""
        asks = look_asks(one.place)
        slots = [slot.model_copy(update={"role": Role.REVIEWER, "ask": ask}) for ask in asks]
        said = [output for about in slots if (output := await self.parts.desk.stored(about)) is not None]
        if not said:
            return one
        value = _verdict(said[-1])
        accepted = value is not None and of_judge(value).kind is VerdictKind.ACCEPT
        return one._replace(judged=accepted, judged_usd=sum(spent(output.calls) for output in said) / NANO)

    async def _prompt(self) -> str:
        return await self.parts.texts.read(self.run.prompt or Content.of(""))

    async def _ask_models(self, ladder: tuple[Rung, ...]) -> Review:
        calls: tuple[CallRecorded, ...] = ()
        if Rung.AGREEMENT in ladder:
            second = await self._second_opinion()
            calls = second.calls
            if second.text is not None and agree(
                self.text, second.text, self.output.media, self.state.spec.expects.answer_at
            ):
                return Review(agreed(second.model, self.executed.model), calls)
        return await self._judge(calls, self.text, (JUDGE, JUDGE_AGAIN))

    async def _second_opinion(self) -> "_Opinion":
        """The same question to the tier's next model, which has not seen the answer."""
        try:
            output = await self._ask_again(SECOND_OPINION, self._other_model, ())
        except Exhausted as error:
            return _Opinion(None, "", error.calls)
        return _Opinion(output.text, output.model, output.calls)

    async def _judge(self, before: tuple[CallRecorded, ...], text: str, asks: tuple[int, int]) -> Review:
        """The judge's verdict on an answer; it is asked a second time where the first one cannot be read."""
        asked = await self._judge_question(text)
        calls = before
        for number in asks:
            try:
                output = await self._ask(asked, number, Tier.MID, calls)
            except Exhausted as error:
                reason = f"no judge could be asked: {error}"
                return Review(
                    Verdict(kind=VerdictKind.FAIL, rung="judge", reason=reason[:1000]), (*calls, *error.calls)
                )
            except Unaffordable as error:
                error.calls = (*calls, *error.calls)
                raise
            calls = (*calls, *output.calls)
            value = _verdict(output)
            if value is not None:
                return Review(of_judge(value), calls)
            log.warning("reviewer.unreadable_verdict", model=output.model)
        reason = "the judge gave no readable verdict, so the answer is not trusted"
        return Review(Verdict(kind=VerdictKind.ESCALATE, rung="judge", reason=reason), calls)

    async def _ask(
        self, asked: Question, number: int, tier: Tier, before: tuple[CallRecorded, ...], first: int = 0
    ) -> Output:
        return await self.parts.desk.ask(
            Ask(
                slot=slot_of(self.run, self.state, Role.REVIEWER, number),
                tier=tier,
                question=asked,
                priority=self.run.priority,
                first=first,
                budget_nano_usd=budget_left(self.run, (*self.executed.calls, *before)),
                wanted=self.wanted,
                again=self.again,
            )
        )

    async def _judge_question(self, text: str) -> Question:
        """What the judge reads. The answer of a planned task is held against the task itself, not only its last step."""
        names = self.state.spec.inputs.attachments
        if self._last and self._planned:
            names = tuple(item.name for item in self.run.attachments)
            parts = [prompts.fenced("step", "", id=self.state.spec.id)]
            parts.append(prompts.fenced("task", await self.parts.texts.read(self.run.prompt or Content.of(""))))
            expected = expectations(_both(self.run, self.state))
            if expected:
                parts.append(prompts.fenced("expected", expected))
        else:
            parts = await sections(self.run, self.state, self.parts.texts)
        parts.append(prompts.fenced("answer", text))
        return Question(
            system=prompts.load(PACKAGE, "review.md"),
            shared=await attachments(self.run, names, self.parts.texts),
            turns=(Turn("user", "\n\n".join(parts)),),
            json_schema=prompts.schema(PACKAGE, "review.schema.json"),
            max_output=max_output(self.parts.catalog, Tier.MID, JUDGE_TOKENS),
        )

    @property
    def _other_model(self) -> int:
        """The place in the tier of the model after the one that answered."""
        names = [spec.id for spec in self.parts.catalog.tiers[self.executed.tier]]
        return names.index(self.executed.model) + 1 if self.executed.model in names else 1

    @property
    def _planned(self) -> bool:
        return len(self.run.steps) > 1

    @property
    def _last(self) -> bool:
        last = self.run.last_step
        return last is not None and last.spec.id == self.state.spec.id

    @property
    def _level(self) -> ReviewLevel:
        decision: Decision | None = self.run.decision
        return decision.review if decision else ReviewLevel.STANDARD


@dataclass(frozen=True)
class _Opinion:
    """A second cheap answer, or None where nobody gave one."""

    text: str | None
    model: str
    calls: tuple[CallRecorded, ...]


def _verdict(output: Output) -> Any:
    """What a judge answered, None where that cannot be read."""
    return fitting(output.text, prompts.schema(PACKAGE, "review.schema.json"))


def _sent_to(verdict: Verdict, advisor: Advisor | None) -> Verdict:
    """Under a policy, an attempt without an answer goes to the top of its ladder: nothing in between was measured."""
    if advisor is None or verdict.kind is not VerdictKind.ESCALATE:
        return verdict
    return verdict.model_copy(update={"to": advisor.strongest})


def _both(run: Run, state: StepState) -> Any:
    task, step = run.expects, state.spec.expects
    return task.model_copy(
        update={
            "criteria": (*task.criteria, *step.criteria),
            "must_mention": (*task.must_mention, *step.must_mention),
            "json_schema": task.json_schema or step.json_schema,
        }
    )
