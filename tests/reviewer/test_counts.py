"""What a review shows the learned policy is said once, however often the attempt is delivered."""

import pytest
from tests.parts import Parts
from tests.plans import NOW, RUN, decision, executed, new_run
from tests.policies import LADDER, unlike
from tests.shared.bus.waiting import until

from tierbus.contracts import ReviewLevel, StepExecuted, StepReleased, TaskStatus, Tier
from tierbus.policy.advisor import Advisor
from tierbus.reviewer.app import Reviewer
from tierbus.reviewer.ladder import Ladder
from tierbus.run import begin
from tierbus.service import Delivery
from tierbus.tallies import SharedPolicy
from tierbus.testing.tallies import MemoryTallies

FIRST = Delivery("tierbus.review.normal.x", "WORK", 7, 1, NOW)
AGAIN = Delivery("tierbus.review.normal.x", "WORK", 7, 2, NOW)


class Bench:
    """A reviewer whose policy counts into a log in memory."""

    def __init__(self, *answers: str) -> None:
        self.parts = Parts(list(answers))
        self.tallies = MemoryTallies()
        self.shared = SharedPolicy(unlike("sums"), "f" * 16, self.tallies, keeps=True)
        ladder = Ladder(
            self.parts.texts, self.parts.desk, self.parts.catalog, Advisor.of(self.shared, self.parts.catalog)
        )
        self.ladder = ladder
        self.service = Reviewer(self.parts.runs, ladder, self.parts.quality).service()

    async def begun(self, **more: object) -> None:
        given = {"decision": decision(review=ReviewLevel.STANDARD), "task_class": "sums", **more}
        run = begin(new_run(**given), NOW).run  # type: ignore[arg-type] # its keywords
        await self.parts.store.write(run, 0)
        await self.shared.start()

    async def hear(self, message: StepExecuted, delivery: Delivery) -> list[object]:
        return list(await self.service.handlers[StepExecuted](message, delivery))

    async def said(self) -> list[tuple[str, bool | None, tuple[int, ...]]]:
        shared, held = self.shared, self.tallies.held
        await until(lambda: not shared._waiting and shared.sequence == held[-1].sequence, "all is said and counted")
        return [
            (held.saw.moment, held.saw.agreed, tuple(call.place for call in held.saw.calls))
            for held in self.tallies.held
        ]


async def test_an_attempt_that_is_delivered_again_counts_once() -> None:
    bench = Bench("8", "8")
    await bench.begun()

    await bench.hear(executed("8"), FIRST)
    await bench.hear(executed("8"), AGAIN)

    assert await bench.said() == [("2", True, ()), ("end", None, (0, 1))]
    assert bench.shared.policy.counted("sums").tally.ended == 1


async def test_a_review_whose_worker_died_before_it_was_written_down_counts_once() -> None:
    bench = Bench("9")
    await bench.begun()
    run, _ = await bench.parts.runs.read(RUN)

    await bench.ladder.review(run, executed("8"), again=False)
    [up, *_] = [one for one in await bench.hear(executed("8"), AGAIN) if isinstance(one, StepReleased)]
    strong = executed("8", tier=Tier.FRONTIER, model=LADDER[-1], attempt=2)
    await bench.ladder.review((await bench.parts.runs.read(RUN))[0], strong, again=False)
    await bench.hear(strong, AGAIN)

    assert up.tier is Tier.FRONTIER
    said = await bench.said()
    assert [one[:2] for one in said] == [("2", False), ("end", None)]
    tally = bench.shared.policy.counted("sums").tally
    assert (tally.ended, tally.asked, tally.agreed) == (1, 1, 0)


async def test_what_a_task_cost_whose_strong_answer_fails_is_counted_too() -> None:
    bench = Bench("9")
    await bench.begun(expects={"must_mention": ["EUR"]})
    await bench.hear(executed("8 EUR"), FIRST)

    await bench.hear(executed("8", tier=Tier.FRONTIER, model=LADDER[-1], attempt=2), FIRST)

    said = await bench.said()
    assert said[-1] == ("end", None, (1, 2)), "the first one is the executor's, which nobody asked here"
    run, _ = await bench.parts.runs.read(RUN)
    assert run.status is TaskStatus.FAILED


@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
async def test_a_review_never_waits_for_its_counting(away: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tierbus.tallies.START_S", 0.05)
    bench = Bench("8")
    bench.tallies.away = away
    await bench.begun()

    said = await bench.hear(executed("8"), FIRST)

    assert [type(one).__name__ for one in said] == ["StepReviewed", "Result"]
    await bench.shared.stop()
