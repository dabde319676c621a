import pytest
from tests.plans import diamond, new_run, planned, step

from tierbus.contracts import Inputs, Plan, Route, Step, Tier
from tierbus.run import begin
from tierbus.testing.memory import MemoryTexts
from tierbus.work import question, shared_later


def reading(name: str, *needs: str, of: tuple[str, ...] = ("contract",), tier: Tier = Tier.SMALL) -> Step:
    return step(name, *needs, tier=tier).model_copy(update={"inputs": Inputs(outputs=needs, attachments=of)})


@pytest.mark.parametrize(
    ("steps", "later"),
    [
        ((reading("first"), reading("last", "first")), True),
        ((reading("first"), reading("beside")), False),
        ((reading("first"), reading("last", "first", of=("letter",))), False),
        ((reading("first"), reading("last", "first", tier=Tier.MID)), False),
        ((reading("first"), reading("beside"), reading("last", "first", "beside")), True),
    ],
    ids=["a step after it", "a step beside it", "of other attachments", "on another tier", "one of each"],
)
def test_what_a_step_shows_is_shared_later_by_steps_that_wait(steps: tuple[Step, ...], later: bool) -> None:
    run = planned(Plan(steps=steps))

    assert shared_later(run, run.steps["first"]) is later


def test_a_step_without_attachments_shares_nothing() -> None:
    run = planned(diamond())

    assert not shared_later(run, run.steps["split"])


async def test_the_question_says_so() -> None:
    run = planned(Plan(steps=(reading("first"), reading("last", "first"))))
    direct = begin(new_run(Route.DIRECT), 0.0).run
    texts = MemoryTexts()

    assert (await question(run, run.steps["first"], texts, 100)).shared_later
    [state] = direct.steps.values()
    assert not (await question(direct, state, texts, 100)).shared_later
