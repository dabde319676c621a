"""The desk: one answer per question, every call in the ledger."""

import asyncio

import pytest
from tests.parts import Parts
from tests.plans import RUN
from tests.shared.telemetry.test_counts import Tally

from tierbus import limits
from tierbus.contracts import NANO, CallRecorded, CallStatus, Role, Slot, Tier
from tierbus.errors import Cancelled, Unavailable
from tierbus.ledger import desk as desk_module
from tierbus.ledger.book import orphaned
from tierbus.ledger.desk import Ask, Exhausted, Unaffordable
from tierbus.llm.model import ProviderBusy, ProviderLost, ProviderRefused, Question, Turn
from tierbus.telemetry.names import LLM_COST
from tierbus.testing.scripted import reply

SLOT = Slot(run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR)
QUESTION = Question(system="Rules.", turns=(Turn("user", "Do it."),))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "BACKOFF_S", 0.0)


def ask(**more: object) -> Ask:
    return Ask(**{"slot": SLOT, "tier": Tier.SMALL, "question": QUESTION, **more})  # type: ignore[arg-type] # test values by name


def statuses(parts: Parts) -> list[tuple[str, str]]:
    return [(record.call.rsplit(".", 1)[-1], record.status.value) for record in parts.ledger.records]


async def test_a_call_is_claimed_before_and_closed_after() -> None:
    parts = Parts(["The answer."])

    output = await parts.desk.ask(ask())

    assert output.text == "The answer."
    assert statuses(parts) == [("0", "started"), ("0", "finished")]
    assert parts.outputs.kept[SLOT.id] == output


async def test_the_price_is_the_list_price_of_the_tokens() -> None:
    """haiku-5-5: 100 input at $0.10/M and 20 output at $0.50/M are $0.00002; opus-5-5 would be $0.0008."""
    [call] = (await Parts(["x"]).desk.ask(ask())).calls

    assert (call.cost_nano_usd, call.baseline_nano_usd, call.estimated) == (20_000, 800_000, False)


async def test_a_busy_model_falls_back_to_the_next_of_the_tier() -> None:
    parts = Parts([ProviderBusy("HTTP 529: overloaded"), "ok"])

    output = await parts.desk.ask(ask())

    assert [spec.id for spec, _ in parts.models.asked] == ["claude-haiku-5-5", "claude-haiku-4-5-20251001"]
    assert [call.status for call in output.calls] == [CallStatus.FAILED, CallStatus.FINISHED]
    assert output.calls[0].cost_nano_usd == 0


async def test_a_lost_call_is_charged_by_estimate_and_marked() -> None:
    output = await Parts([ProviderLost("no answer in time"), "ok"]).desk.ask(ask())

    lost = output.calls[0]
    assert (lost.status, lost.estimated) == (CallStatus.INTERRUPTED, True)
    assert (lost.cost_nano_usd or 0) > 0


async def test_a_model_that_refuses_is_not_asked_again() -> None:
    parts = Parts(lambda _spec, _question: ProviderRefused("HTTP 400: bad request"))

    with pytest.raises(Exhausted, match="HTTP 400") as caught:
        await parts.desk.ask(ask())

    assert [call.model for call in caught.value.calls] == ["claude-haiku-5-5", "claude-haiku-4-5-20251001"]


async def test_a_tier_that_stays_busy_is_exhausted_with_its_calls() -> None:
    parts = Parts(lambda _spec, _question: ProviderBusy("HTTP 529: overloaded"))

    with pytest.raises(Exhausted, match="HTTP 529") as caught:
        await parts.desk.ask(ask())

    assert len(caught.value.calls) == limits.CALLS_PER_SLOT


async def test_a_long_retry_after_hands_the_message_back_with_that_delay() -> None:
    parts = Parts(lambda _spec, _question: ProviderBusy("HTTP 429: slow down", retry_after_s=40.0))

    with pytest.raises(Unavailable) as caught:
        await parts.desk.ask(ask())

    assert caught.value.delay_s == 40.0
    assert {CallStatus.STARTED, CallStatus.FAILED} == {record.status for record in parts.ledger.records}


async def test_a_stored_answer_is_used_and_not_paid_again() -> None:
    parts = Parts(["once"])
    first = await parts.desk.ask(ask())

    second = await parts.desk.ask(ask(again=True))

    assert first == second
    assert len(parts.models.asked) == 1


async def test_a_call_that_its_maker_did_not_end_is_settled_as_interrupted() -> None:
    parts = Parts(["anew"])
    gone = Parts(ledger=parts.ledger, script=[asyncio.CancelledError()])
    with pytest.raises(asyncio.CancelledError):
        await gone.desk.ask(ask())
    del parts.ledger.records[1]

    output = await parts.desk.ask(ask(again=True))

    assert statuses(parts) == [("0", "started"), ("0", "interrupted"), ("1", "started"), ("1", "finished")]
    assert [call.status for call in output.calls] == [CallStatus.INTERRUPTED, CallStatus.FINISHED]


async def test_an_open_call_of_a_first_delivery_is_left_to_its_maker() -> None:
    parts = Parts(["x"])
    await parts.desk.ask(ask())
    del parts.ledger.records[1]
    parts.outputs.kept.clear()

    with pytest.raises(Unavailable, match="another worker"):
        await parts.desk.ask(ask(again=False))


async def test_a_run_that_ended_is_not_asked_for() -> None:
    async def ended() -> bool:
        return False

    parts = Parts(["never said"])
    with pytest.raises(Cancelled):
        await parts.desk.ask(ask(wanted=ended))

    assert parts.models.asked == []
    assert statuses(parts) == [("0", "started"), ("0", "failed")]
    assert parts.ledger.records[-1].cost_nano_usd == 0


async def test_a_call_that_the_budget_cannot_pay_is_not_made() -> None:
    parts = Parts(["never said"])

    with pytest.raises(Unaffordable, match=r"\$0\.000000 of the budget is left"):
        await parts.desk.ask(ask(budget_nano_usd=1))

    assert parts.models.asked == []


async def test_a_stopped_call_is_in_the_ledger_as_interrupted() -> None:
    parts = Parts([asyncio.CancelledError()])
    with pytest.raises(asyncio.CancelledError):
        await parts.desk.ask(ask())

    assert statuses(parts) == [("0", "started"), ("0", "interrupted")]


async def test_a_second_opinion_starts_at_the_next_model() -> None:
    parts = Parts(["x"])

    await parts.desk.ask(ask(first=1))

    assert [spec.id for spec, _ in parts.models.asked] == ["claude-haiku-4-5-20251001"]


async def test_a_question_too_long_for_a_model_goes_to_one_that_holds_it() -> None:
    parts = Parts([reply("x")])
    long = Question(system="Rules.", turns=(Turn("user", "x" * 1_200_000),))

    await parts.desk.ask(ask(first=1, question=long))

    assert [spec.id for spec, _ in parts.models.asked] == ["claude-haiku-5-5"]


async def test_a_late_answer_does_not_overwrite_what_the_run_was_billed() -> None:
    """Somebody gave the call up while it was in flight: that record stands, in the ledger and in the output."""
    parts = Parts()

    def slow(_spec: object, _question: object) -> str:
        [open_call] = parts.ledger.records
        parts.ledger.records.append(orphaned(open_call, "open when the run ended"))
        return "too late"

    parts.models.script = slow
    parts.models.__post_init__()

    output = await parts.desk.ask(ask())

    [standing] = await parts.ledger.of_run(RUN)
    assert standing.status is CallStatus.INTERRUPTED
    assert output.calls == (standing,)
    assert parts.outputs.kept[SLOT.id].calls == (standing,)


async def test_a_call_is_closed_and_told_even_if_the_work_is_stopped_meanwhile() -> None:
    parts = Parts(["The answer."])
    meters = Tally()
    parts.desk._watch.meters = meters
    held = asyncio.Event()
    close = parts.ledger.close

    async def slow_close(record: CallRecorded) -> bool:
        await held.wait()
        return await close(record)

    parts.ledger.close = slow_close  # type: ignore[method-assign] # a bus that takes its time
    asking = asyncio.ensure_future(parts.desk.ask(ask()))
    while not parts.desk._settling:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()

    held.set()
    await parts.desk.settle_all()

    [call] = await parts.ledger.of_run(RUN)
    assert call.status is CallStatus.FINISHED
    assert meters.of(LLM_COST) == pytest.approx((call.cost_nano_usd or 0) / NANO)


async def test_an_adapter_that_breaks_leaves_no_open_call() -> None:
    parts = Parts([RuntimeError("a bug")])

    with pytest.raises(RuntimeError):
        await parts.desk.ask(ask())

    [call] = await parts.ledger.of_run(RUN)
    assert (call.status, call.error_type) == (CallStatus.INTERRUPTED, "RuntimeError")
    assert (call.cost_nano_usd or 0) > 0


async def test_what_is_left_of_a_dead_worker_is_settled_and_handed_on() -> None:
    parts = Parts([ProviderBusy("HTTP 529: overloaded"), RuntimeError("a bug")])
    with pytest.raises(RuntimeError):
        await parts.desk.ask(ask())
    other = SLOT.model_copy(update={"attempt": 2})
    open_call = parts.ledger.records[-1].model_copy(
        update={"call": f"{SLOT.id}.7", "status": CallStatus.STARTED, "started_at": 2e9}
    )
    await parts.ledger.claim(open_call)

    left = await parts.desk.leftovers(SLOT)

    assert [call.status for call in left] == [CallStatus.FAILED, CallStatus.INTERRUPTED, CallStatus.INTERRUPTED]
    assert left == tuple(await parts.ledger.of_run(RUN))
    assert await parts.desk.leftovers(other) == ()
