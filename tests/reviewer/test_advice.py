"""Reviewing by a policy: what it takes, whom it asks, where it sends a step."""

import pytest
from tests.parts import Parts
from tests.plans import NOW, RUN, decision, new_run
from tests.policies import LADDER, TwoAgree

from tierbus.contracts import (
    Content,
    Expects,
    Outcome,
    Priority,
    ReviewLevel,
    Role,
    Slot,
    StepExecuted,
    Tier,
    VerdictKind,
)
from tierbus.errors import Misconfigured
from tierbus.ledger import desk as desk_module
from tierbus.llm.model import ProviderBusy, Question
from tierbus.policy.advisor import Advisor
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


def executed(text: str, **more: object) -> StepExecuted:
    given: dict[str, object] = {
        "run": RUN,
        "step": "answer",
        "attempt": 1,
        "tier": Tier.SMALL,
        "priority": Priority.NORMAL,
        "outcome": Outcome.ANSWERED,
        "output": Content.of(text),
        "model": FIRST,
        **more,
    }
    return StepExecuted.model_validate(given)


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
