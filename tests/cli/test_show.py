"""What a person reads about a plan that was used again."""

import pytest
from rich.console import Console
from tests.plans import LEG, NOW, RUN, diamond, judged, new_run

from tierbus.cli.show import line, step_tree
from tierbus.contracts import Result, Route, TaskPlanned, VerdictKind
from tierbus.result import result_of
from tierbus.run import Origin, adopt, advance, begin


def planned(**more: object) -> TaskPlanned:
    return TaskPlanned.model_validate({"run": RUN, "tenant": "acme", "at": NOW, "steps": diamond().steps, **more})


def result(origin: Origin) -> Result:
    run = adopt(begin(new_run(Route.PLAN), NOW).run, diamond(), (), LEG, origin=origin).run
    for name in run.steps:
        run = advance(run, judged(name, 1, VerdictKind.ACCEPT), NOW).run
    return result_of(run)


def test_a_plan_that_was_used_again_names_its_run() -> None:
    assert line(planned(plan_reused_from="abc")) == (
        "planned  4 steps, the plan of run abc adapted: split, left, right, join"
    )
    assert line(planned()) == "planned  4 steps: split, left, right, join"
    assert line(planned(repaired=True)) == "planned  4 steps, repaired: split, left, right, join"


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (Origin("s", "abc", "abc", 13_000_000), "the plan of run abc adapted, estimated to save $0.013000"),
        (Origin("s", "abc", "abc", None), "the plan of run abc adapted"),
        (Origin("s", "abc", None, -300_000), "adapting a plan in vain cost $0.000300"),
    ],
)
def test_a_result_says_what_reuse_saved_and_what_a_try_in_vain_cost(origin: Origin, told: str) -> None:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(step_tree(result(origin)))

    assert captured.get().splitlines()[0].endswith(told)


def shown(told: Result) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(step_tree(told))
    return captured.get()


def test_a_result_without_reuse_says_nothing_of_it() -> None:
    assert "plan" not in shown(result(Origin("s")))


def test_a_result_that_was_taken_over_says_whose_answer_it_is() -> None:
    taken = result(Origin("s")).model_copy(update={"cached_from": "abc"})

    assert ", the answer of run abc" in shown(taken)
    assert "answer of run" not in shown(result(Origin("s")))
