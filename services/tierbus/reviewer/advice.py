"""Reviewing by a learned policy: it takes the answer, asks another cheap model, has the judge look, or sends the step up."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from tierbus.answers import parse_json
from tierbus.contracts import (
    NANO,
    CallRecorded,
    Content,
    Expects,
    Role,
    Slot,
    StepExecuted,
    Tier,
    Verdict,
    VerdictKind,
    spent,
)
from tierbus.ledger.desk import Exhausted
from tierbus.policy.advisor import Advisor, seen
from tierbus.policy.moves import Ask, Case, Judge, Seen, Take
from tierbus.reviewer.verdict import check
from tierbus.run import Run
from tierbus.stores import Output

log = structlog.get_logger(__name__)

RUNG = "policy"
FIRST_ASK = 10
"""The reviewer's question to place n of the ladder is number 10 + n of its slot."""
FIRST_LOOK = 1000
"""The judge's question about the answer of place n is number 1000 + 2 n of its slot; the next one asks it again."""
AskModel = Callable[[int, int, tuple[CallRecorded, ...]], Awaitable[Output]]
"""Asks the step's question: number of the question, place of the model in its tier, calls made before."""
LookAt = Callable[[str, tuple[int, int], tuple[CallRecorded, ...]], Awaitable[tuple[Verdict, tuple[CallRecorded, ...]]]]
"""Has the judge look: the answer, the numbers of its two questions, calls made before; its verdict, and all calls."""


@dataclass(frozen=True)
class Advice:
    """What the policy decided: a verdict, the calls it took, and the answer where it is not the executor's."""

    verdict: Verdict
    calls: tuple[CallRecorded, ...] = ()
    output: Content | None = None
    model: str = ""


@dataclass
class Consultation:
    """One attempt put before the policy.

    `of_place` is a place's number inside its tier. `paid_look` says whether a worker before us had the answer of a place looked
    at: what was paid for is heeded, whatever the policy would do by now.
    """

    advisor: Advisor
    executed: StepExecuted
    expects: Expects
    case: Case
    ask: AskModel
    look: LookAt
    paid_look: Callable[[int], Awaitable[bool]]
    of_place: Callable[[str], int]
    texts: dict[int, str] = field(default_factory=dict)
    seen: tuple[Seen, ...] = ()
    calls: tuple[CallRecorded, ...] = ()
    judged: Verdict | None = None

    async def decide(self, text: str) -> Advice:
        """Follow the policy until it takes an answer or names a tier above; what went by is learned from."""
        first = self.advisor.place(self.executed.model)
        if first is None:
            return self._up(self.advisor.strongest, f"{self.executed.model} is not on the policy's ladder")
        self._saw(first, text, self.executed.calls)
        while True:
            last = self.seen[-1].place
            if self.judged is None and await self.paid_look(last):
                await self._looked(Judge(last, "it was looked at before"))
            move = self.advisor.policy.next(self.case, self.seen)
            if isinstance(move, Take):
                self.advisor.policy.learn(self.case, self.seen)
                return self._take(move)
            if isinstance(move, Judge):
                if not await self._looked(move):
                    return self._up(self.advisor.strongest, "nobody could look at the answer")
                continue
            tier = self.advisor.tiers[move.place]
            if tier is not self.executed.tier:
                return self._up(tier, move.why)
            if not await self._asked(move):
                return self._up(self.advisor.strongest, f"{self.advisor.policy.models[move.place]} did not answer")

    async def _asked(self, move: Ask) -> bool:
        model = self.advisor.policy.models[move.place]
        try:
            output = await self.ask(FIRST_ASK + move.place, self.of_place(model), self.calls)
        except Exhausted as error:
            self.calls = (*self.calls, *error.calls)
            return False
        self.calls = (*self.calls, *output.calls)
        if output.model != model:
            log.warning("reviewer.policy_fallback", wanted=model, answered=output.model)
        self._saw(move.place, output.text, output.calls)
        return True

    async def _looked(self, move: Judge) -> bool:
        """The judge's word on an answer; False where no judge could be asked."""
        before = len(self.calls)
        verdict, self.calls = await self.look(self.texts[move.place], look_asks(move.place), self.calls)
        if verdict.kind is VerdictKind.FAIL:
            return False
        self.judged = verdict.model_copy(update={"reason": f"{move.why}: {verdict.reason}"[:1000]})
        accepted, usd = verdict.kind is VerdictKind.ACCEPT, spent(self.calls[before:]) / NANO
        self.seen = tuple(
            one._replace(judged=accepted, judged_usd=usd) if one.place == move.place else one for one in self.seen
        )
        return True

    def _saw(self, place: int, text: str, calls: tuple[CallRecorded, ...]) -> None:
        self.texts[place] = text
        self.seen = (*self.seen, seen(place, text, self.expects, calls, valid=valid(text, self.expects)))

    def _take(self, move: Take) -> Advice:
        verdict = Verdict(kind=VerdictKind.ACCEPT, rung=RUNG, reason=move.why[:1000])
        if self.judged is not None and self.judged.kind is VerdictKind.ACCEPT:
            verdict = self.judged
        model = self.advisor.policy.models[move.place]
        if model == self.executed.model or move.place not in self.texts:
            return Advice(verdict, self.calls)
        return Advice(verdict, self.calls, _content(self.texts[move.place], self.expects), model)

    def _up(self, tier: Tier, why: str) -> Advice:
        verdict = Verdict(kind=VerdictKind.ESCALATE, rung=RUNG, reason=why[:1000], to=tier)
        if self.judged is not None and self.judged.kind is VerdictKind.ESCALATE:
            verdict = self.judged.model_copy(update={"to": tier})
        return Advice(verdict, self.calls)


def valid(text: str, expects: Expects) -> bool | None:
    """What the free checks say of an answer: False where one fails, True where they prove something, else None."""
    checked = check(text, expects)
    return False if checked.failures else True if checked.sure else None


def look_asks(place: int) -> tuple[int, int]:
    """The numbers of the judge's two questions about the answer of a place."""
    return FIRST_LOOK + 2 * place, FIRST_LOOK + 2 * place + 1


def earlier_slots(run: Run, executed: StepExecuted, places: int) -> list[Slot]:
    """Where the answers to the first attempt are kept: the executor's, then what the reviewer asked besides."""
    if executed.attempt == 1:
        return []
    first = Slot(run=run.id, tenant=run.tenant, step=executed.step, attempt=1, role=Role.EXECUTOR)
    asked = [first.model_copy(update={"role": Role.REVIEWER, "ask": FIRST_ASK + place}) for place in range(places)]
    return [first, *asked]


def _content(text: str, expects: Expects) -> Content:
    if expects.json_schema is None:
        return Content.of(text.strip())
    return Content.of(json.dumps(parse_json(text), ensure_ascii=False), "json")
