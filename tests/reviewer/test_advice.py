"""Reviewing by a policy: what it takes, whom it asks, where it sends a step."""

import json

import pytest
from tests.parts import Parts
from tests.plans import NOW, RUN, decision, executed, new_run
from tests.policies import LADDER, Doubting, Trusting, TwoAgree

from tierbus.contracts import (
    NANO,
    CallStatus,
    Content,
    Expects,
    Outcome,
    ReviewLevel,
    Role,
    Slot,
    StepExecuted,
    Tier,
    VerdictKind,
)
from tierbus.errors import Misconfigured
from tierbus.ledger import desk as desk_module
from tierbus.ledger.book import tokens_of
from tierbus.ledger.desk import size_of
from tierbus.llm.model import ProviderBusy, Question
from tierbus.policy.advisor import Advisor
from tierbus.policy.looks import RULES_TOKENS
from tierbus.reviewer.ladder import Ladder, Review
from tierbus.run import Judged, Run, advance, begin
from tierbus.stores import Output
from tierbus.tiers.catalog import ModelSpec, load

FIRST, SECOND, STRONG = LADDER
AT = Expects(answer_at="/answer")
EIGHT = '{"why": "5 + 3", "answer": "8"}'
ALSO_EIGHT = 'So:\n```json\n{"why": "3 + 5", "answer": 8}\n```'
NINE = '{"why": "no", "answer": "9"}'


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "BACKOFF_S", 0.0)


def sums(review: ReviewLevel = ReviewLevel.STANDARD, expects: Expects = AT) -> Run:
    run = new_run(decision=decision(review=review), task_class="sums", expects=expects)
    return begin(run, NOW).run


async def review(
    parts: Parts, run: Run, attempt: StepExecuted, policy: TwoAgree | None = None, *, again: bool = False
) -> Review:
    advisor = Advisor.of(policy or TwoAgree(), parts.catalog)
    return await Ladder(parts.texts, parts.desk, parts.catalog, advisor).review(run, attempt, again=again)


def names(parts: Parts) -> list[str]:
    return [spec.id for spec, _ in parts.models.asked]


async def test_answers_that_agree_in_the_part_that_counts_are_taken() -> None:
    parts, policy = Parts([ALSO_EIGHT]), TwoAgree()

    found = await review(parts, sums(), executed(EIGHT), policy)

    assert (found.verdict.kind, found.verdict.rung) == (VerdictKind.ACCEPT, "policy")
    assert names(parts) == [SECOND]
    assert [call.role for call in found.calls] == [Role.REVIEWER]
    [(case, seen)] = policy.learned
    assert case.task_class == "sums"
    assert [(one.place, one.answer) for one in seen] == [(0, "8"), (1, "8")]


async def test_answers_that_differ_go_to_the_strong_tier_and_past_the_one_between() -> None:
    parts = Parts([NINE])

    found = await review(parts, sums(), executed(EIGHT))

    assert (found.verdict.kind, found.verdict.to) == (VerdictKind.ESCALATE, Tier.FRONTIER)
    judged = _judged(executed(EIGHT), found)
    assert advance(sums(), judged, NOW).run.steps["answer"].tier is Tier.FRONTIER


async def test_the_other_models_answer_can_be_taken_and_is_then_the_tasks() -> None:
    expects = Expects(json_schema={"type": "object", "required": ["answer"]}, answer_at="/answer")
    parts = Parts([EIGHT])

    found = await review(parts, sums(expects=expects), executed("8"))

    assert found.verdict.kind is VerdictKind.ACCEPT
    assert found.model == SECOND
    assert found.output is not None
    assert found.output.media == "json"


async def test_the_strong_models_answer_is_taken_and_what_it_took_is_learned() -> None:
    parts, policy = Parts([]), TwoAgree()
    slot = Slot(run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR)
    await parts.outputs.put(slot.id, Output(text=EIGHT, stop="done", model=FIRST, calls=()))
    other = slot.model_copy(update={"role": Role.REVIEWER, "ask": 11})
    await parts.outputs.put(other.id, Output(text=NINE, stop="done", model=SECOND, calls=()))

    found = await review(parts, sums(), executed(EIGHT, tier=Tier.FRONTIER, model=STRONG, attempt=2), policy)

    assert (found.verdict.kind, found.verdict.rung) == (VerdictKind.ACCEPT, "checks")
    assert names(parts) == []
    [(_, seen)] = policy.learned
    assert [(one.place, one.answer) for one in seen] == [(0, "8"), (1, "9"), (2, "8")]


async def test_an_attempt_without_an_answer_goes_to_the_strong_tier() -> None:
    cut = executed("", outcome=Outcome.TRUNCATED, output=None, detail="cut off")

    found = await review(Parts([]), sums(), cut)

    assert (found.verdict.rung, found.verdict.to) == ("outcome", Tier.FRONTIER)


async def test_a_second_model_that_does_not_answer_sends_the_step_up_and_its_calls_are_billed() -> None:
    def busy(_spec: ModelSpec, _question: Question) -> ProviderBusy:
        return ProviderBusy("HTTP 529")

    found = await review(Parts(busy), sums(), executed(EIGHT))

    assert found.verdict.to is Tier.FRONTIER
    assert found.calls


async def test_a_review_that_is_done_again_asks_nothing_twice_and_bills_what_was_asked() -> None:
    parts = Parts([ALSO_EIGHT])
    first = await review(parts, sums(), executed(EIGHT))

    second = await review(parts, sums(), executed(EIGHT), again=True)

    assert names(parts) == [SECOND]
    assert [call.call for call in second.calls] == [call.call for call in first.calls]


ACCEPT = '{"verdict": "accept", "reason": "the sum is right", "critique": ""}'
REJECT = '{"verdict": "reject", "reason": "the sum is wrong", "critique": "5 + 3 is 8, not 9"}'


async def test_a_look_that_the_policy_asks_for_is_the_judges_and_what_it_accepts_is_taken() -> None:
    parts, policy = Parts([ACCEPT]), Doubting()

    found = await review(parts, sums(), executed(EIGHT), policy)

    assert (found.verdict.kind, found.verdict.rung) == (VerdictKind.ACCEPT, "judge")
    assert found.verdict.reason == "a look pays: the sum is right"
    assert (found.model, found.output) == ("", None)
    [(spec, asked)] = parts.models.asked
    assert spec in parts.catalog.tiers[Tier.MID]
    assert EIGHT in asked.turns[0].text
    assert [call.role for call in found.calls] == [Role.REVIEWER]
    [(_, (seen,))] = policy.learned
    assert seen.judged is True
    assert seen.judged_usd == sum(call.cost_nano_usd or 0 for call in found.calls) / NANO > 0


async def test_what_the_look_rejects_goes_where_the_policy_says_with_the_critique() -> None:
    policy = Doubting()

    found = await review(Parts([REJECT]), sums(), executed(NINE), policy)

    assert (found.verdict.kind, found.verdict.rung) == (VerdictKind.ESCALATE, "judge")
    assert found.verdict.to is Tier.FRONTIER
    assert found.verdict.reason == "a look pays: the sum is wrong"
    assert found.verdict.critique == "5 + 3 is 8, not 9"
    assert policy.learned == [], "it is learned from when the strong model has answered"


async def test_the_second_models_answer_can_be_looked_at_and_is_then_the_tasks() -> None:
    parts = Parts([NINE, ACCEPT])

    found = await review(parts, sums(), executed(EIGHT), Doubting(cheap=2))

    assert (found.verdict.rung, found.model) == ("judge", SECOND)
    assert found.output is not None
    assert found.output.text == NINE
    _, (_, asked) = parts.models.asked
    assert NINE in asked.turns[0].text
    assert EIGHT not in asked.turns[0].text


async def test_a_look_that_nobody_can_give_sends_the_step_up_and_its_calls_are_billed() -> None:
    def busy(_spec: ModelSpec, _question: Question) -> ProviderBusy:
        return ProviderBusy("HTTP 529")

    found = await review(Parts(busy), sums(), executed(EIGHT), Doubting())

    assert (found.verdict.rung, found.verdict.to) == ("policy", Tier.FRONTIER)
    assert found.verdict.reason == "nobody could look at the answer"
    assert found.calls


async def test_a_verdict_that_nobody_can_read_is_asked_for_once_more_and_then_trusted_in_nothing() -> None:
    parts, policy = Parts(["well", "well, well"]), Doubting()

    found = await review(parts, sums(), executed(EIGHT), policy)

    assert (found.verdict.kind, found.verdict.rung, found.verdict.to) == (VerdictKind.ESCALATE, "judge", Tier.FRONTIER)
    assert len(found.calls) == len(parts.models.asked) == 2


async def test_a_look_is_paid_once_however_often_the_message_comes() -> None:
    parts = Parts([ACCEPT])
    first = await review(parts, sums(), executed(EIGHT), Doubting())

    second = await review(parts, sums(), executed(EIGHT), Doubting(), again=True)

    assert len(parts.models.asked) == 1
    assert (second.verdict.kind, second.verdict.rung) == (first.verdict.kind, first.verdict.rung)
    assert [call.call for call in second.calls] == [call.call for call in first.calls]


async def test_a_look_that_was_paid_is_heeded_by_a_worker_whose_policy_would_ask_for_none() -> None:
    parts = Parts([REJECT])
    await review(parts, sums(), executed(NINE), Doubting())

    found = await review(parts, sums(), executed(NINE), Trusting(), again=True)

    assert (found.verdict.kind, found.verdict.rung) == (VerdictKind.ESCALATE, "judge")
    assert found.verdict.reason == "it was looked at before: the sum is wrong"
    assert len(found.calls) == len(parts.models.asked) == 1


async def test_a_look_whose_worker_died_before_the_answer_was_kept_is_billed_as_interrupted_and_asked_anew() -> None:
    parts = Parts([ACCEPT, ACCEPT])
    first = await review(parts, sums(), executed(EIGHT), Doubting())
    parts.outputs.kept.clear()
    [call] = first.calls
    parts.ledger.records.remove(call)

    second = await review(parts, sums(), executed(EIGHT), Doubting(), again=True)

    assert second.verdict.rung == "judge"
    assert [call.status for call in second.calls] == [CallStatus.INTERRUPTED, CallStatus.FINISHED]


async def test_a_look_that_the_budget_cannot_pay_fails_the_step_with_the_calls_before() -> None:
    parts = Parts([NINE, ACCEPT])
    run = sums().model_copy(update={"budget_nano_usd": 5_500_000})

    found = await review(parts, run, executed(EIGHT), Doubting(cheap=2))

    assert found.verdict.kind is VerdictKind.FAIL
    assert found.verdict.reason.startswith("over budget: the review cannot be paid")
    assert [call.model for call in found.calls] == [SECOND]


async def test_the_strong_models_answer_teaches_what_the_look_before_it_said_and_cost() -> None:
    parts, policy = Parts([REJECT]), Doubting()
    slot = Slot(run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR)
    await parts.outputs.put(slot.id, Output(text=NINE, stop="done", model=FIRST, calls=()))
    rejected = await review(parts, sums(), executed(NINE), policy)

    await review(parts, sums(), executed(EIGHT, tier=Tier.FRONTIER, model=STRONG, attempt=2), policy)

    [(_, (first, strong))] = policy.learned
    assert (first.judged, strong.judged) == (False, None)
    assert first.judged_usd == sum(call.cost_nano_usd or 0 for call in rejected.calls) / NANO > 0


async def test_the_judge_reads_about_as_many_tokens_as_the_policy_reckons_with() -> None:
    parts = Parts([ACCEPT])
    await review(parts, sums(), executed(EIGHT), Doubting())
    [(_, asked)] = parts.models.asked
    task = await parts.texts.read(sums().prompt or Content.of(""))

    rules = size_of(asked) + tokens_of(len(json.dumps(asked.json_schema))) - tokens_of(len(task + EIGHT))

    assert 0.75 * RULES_TOKENS < rules <= RULES_TOKENS


@pytest.mark.parametrize(
    "run",
    [
        sums(review=ReviewLevel.STRICT),
        begin(new_run(decision=decision(), task_class="letters", expects=AT), NOW).run,
    ],
    ids=["strict", "another class"],
)
async def test_what_is_not_the_policys_business_climbs_the_usual_ladder(run: Run) -> None:
    judge = '{"verdict": "accept", "reason": "right", "critique": ""}'
    policy = TwoAgree()

    found = await review(Parts([NINE, judge] if run.task_class == "letters" else [judge]), run, executed(EIGHT), policy)

    assert found.verdict.rung == "judge"
    assert policy.learned == []


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ((FIRST, "gpt-unknown"), "'gpt-unknown'"),
        ((STRONG, FIRST), "must climb"),
        ((FIRST, SECOND), "must climb"),
    ],
)
def test_a_ladder_that_does_not_fit_the_tiers_is_refused(models: tuple[str, ...], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        Advisor.of(TwoAgree(models=models), load("default"))


def test_a_ladder_may_name_tiers_as_a_policy_does_that_was_begun_from_the_ledger() -> None:
    advisor = Advisor.of(TwoAgree(models=tuple(Tier)), load("default"))
    by_model = Advisor.of(TwoAgree(models=(FIRST, SECOND, STRONG)), load("default"))

    assert advisor.tiers == tuple(Tier)
    assert 0 < advisor.window <= by_model.window


def _judged(attempt: StepExecuted, found: Review) -> Judged:
    return Judged(
        attempt.step, attempt.attempt, attempt.tier, attempt.model, attempt.outcome, attempt.output, found.verdict, (), 0.0
    )  # fmt: skip
