"""The report's part about the quality watch: its numbers, its words, and its cost beside that of the tasks."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.cli.records import DAY, NOW, call, result
from tests.cli.test_report_page import Seen
from tests.shared.quality.test_measure import compared, feedback

from tierbus.cli.reporting.charts import MOST_ROWS, charts
from tierbus.cli.reporting.figures import Figures, Period, figures
from tierbus.cli.reporting.findings import watch_findings
from tierbus.cli.reporting.page import page
from tierbus.cli.reporting.terminal import show
from tierbus.cli.reporting.text import interval, signed
from tierbus.contracts import CallRecorded, Comparison, FeedbackGiven, QualityMeasured, Role, Tier, WatchState, spent
from tierbus.quality.measure import Interval, difference

WEEK_BACK = Period.of(NOW - 7 * DAY, NOW)
EVIL = "</script><script>alert(1)</script>"


def watch(task: str = "t", cost: int = 500, **more: object) -> CallRecorded:
    return call(task, role=Role.WATCH, tier=Tier.FRONTIER, step="_watch", cost=cost).model_copy(update=more)


def with_watch(
    records: list[QualityMeasured] | None = None,
    said: list[FeedbackGiven] | None = None,
    calls: list[CallRecorded] | None = None,
) -> Figures:
    made = calls or [call("t", cost=1000), watch()]
    return figures(made, [result("t", cost=1000, baseline=9000)], [], WEEK_BACK, None, records or [], said or [])


def worse(count: int) -> list[QualityMeasured]:
    return [compared(number, Comparison.WORSE) for number in range(count)]


def test_the_watch_is_on_the_bill_but_not_in_any_tasks_cost() -> None:
    found = with_watch()

    assert {one.name: one.cost_nano_usd for one in found.by_role} == {"executor": 1000, "watch": 500}
    assert (found.spent_nano_usd, found.overhead_nano_usd) == (1500, 500)
    assert (found.compared.ended_nano_usd, found.compared.open_nano_usd, found.compared.watch_nano_usd) == (
        1000,
        0,
        500,
    )
    assert (found.compared.spent_nano_usd, found.compared.saving_nano_usd) == (1500, 7500)
    assert [(dear.cost_nano_usd, dear.calls) for dear in found.dearest] == [(1000, 1)]
    assert (found.doubts.differing_tasks, found.tasks) == (0, 1)


def test_a_task_of_which_only_the_watch_asked_in_the_period_is_not_a_task_of_the_period() -> None:
    found = figures([call("t", at=NOW - 9 * DAY), watch()], [], [], WEEK_BACK)

    assert (found.tasks, found.open_tasks, found.unkept_tasks) == (0, 0, 0)
    assert (found.spent_nano_usd, found.compared.watch_nano_usd, found.compared.open_nano_usd) == (500, 500, 0)


CALLS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(Role), st.integers(0, 10**9), st.floats(0, 9 * DAY)), max_size=30
)


@given(CALLS, st.sets(st.sampled_from("abcd")))
def test_what_is_set_against_the_baseline_is_the_sum_of_its_parts(
    made: list[tuple[str, Role, int, float]], ended: set[str]
) -> None:
    calls = [call(task, n=n, role=role, cost=cost, at=NOW - age) for n, (task, role, cost, age) in enumerate(made)]
    found = figures(calls, [result(task) for task in sorted(ended)], [], WEEK_BACK)
    numbers = found.compared

    assert numbers.spent_nano_usd == numbers.ended_nano_usd + numbers.open_nano_usd + numbers.watch_nano_usd
    assert numbers.spent_nano_usd == sum(numbers.by_tier.values())
    assert found.spent_nano_usd == spent(one for one in calls if one.started_at >= WEEK_BACK.since)


def test_comparisons_and_feedback_of_other_times_are_left_out() -> None:
    early = compared(1, ended_at=NOW - 8 * DAY, day="2027-01-07")
    late = feedback(1, 1.0, at=NOW + 5)
    found = with_watch([compared(0), early], [feedback(0, 1.0, at=NOW - 60), late]).watched

    assert found.all is not None
    assert (found.all.measured.n, found.all.feedback.n) == (1, 1)


def test_the_page_shows_difference_true_saving_and_feedback_with_their_intervals() -> None:
    found = with_watch(worse(40), [feedback(0, 0.0)])
    text = Seen(page(found)).text

    assert f"quality difference letters 40 0 0 40 {interval(difference(0, 40, 40))}" in text
    assert "true saving" in text
    assert "+80.0 % (+80.0 to +80.0)" in text
    assert "Feedback" in text
    assert "spent by the quality watch" in text
    assert "watched" in charts(found)


def test_without_comparisons_the_page_says_how_to_have_some() -> None:
    found = with_watch()

    assert "`watch` rules" in Seen(page(found)).text
    assert "watched" not in charts(found)


def test_feedback_alone_needs_no_chart() -> None:
    found = with_watch(said=[feedback(0, 1.0)])

    assert "Feedback: the mean score" in Seen(page(found)).text
    assert "watched" not in charts(found)


def test_more_classes_than_a_chart_has_rows_are_in_the_table() -> None:
    records = [compared(number, task_class=f"class-{number}") for number in range(MOST_ROWS + 3)]
    found = with_watch(records)
    text = Seen(page(found)).text

    assert len(charts(found)["watched"]["data"][0]["x"]) == MOST_ROWS
    assert "3 classes more in the table" in text
    assert all(f"class-{number}" in text for number in range(MOST_ROWS + 3))


def test_the_name_of_a_class_stays_text() -> None:
    source = page(with_watch([compared(0, task_class=EVIL)], [feedback(0, 1.0, task_class=EVIL)]))

    assert Seen(source).count("script") == 3


def test_the_terminal_shows_one_row_a_class_and_all_together_on_one_line_each() -> None:
    records = [*worse(3), compared(7, Comparison.BETTER, task_class="[bold]sums")]
    console = Console(file=io.StringIO(), width=132)
    show(with_watch(records), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined] # a StringIO

    for name in ("letters", "[bold]sums", "all"):
        assert [line for line in lines if line.strip().startswith(name) and "%" in line]


def test_findings_say_which_way_the_difference_goes_and_what_limits_it() -> None:
    split = (Comparison.BETTER, Comparison.WORSE)
    records = [
        *worse(30),
        *(compared(100 + number, orders=split) for number in range(20)),
        compared(200, None, state=WatchState.OVER_CAP),
        compared(201, None, state=WatchState.FAILED, own_complete=False),
    ]
    told = " ".join(watch_findings(with_watch(records).watched))

    assert "50 tasks compared: worse than the frontier's own answers, −60.0 %" in told
    assert "1 task left out because the day's cap was reached" in told
    assert "1 task could not be compared" in told
    assert "In 40.0 % of the comparisons the judge named the same place" in told
    assert "without a known price" in told


def test_a_difference_that_may_be_none_is_not_called_one() -> None:
    told = watch_findings(with_watch([compared(0, Comparison.WORSE), compared(1)]).watched)

    assert told[0].startswith("2 tasks compared: no difference")


def test_signs_are_those_of_the_value_and_nothing_is_minus_zero() -> None:
    assert [signed(value) for value in (0.0, -0.0001, 0.0001, -0.021, 0.5)] == ["0.0", "0.0", "0.0", "−2.1", "+50.0"]
    assert interval(None) == "–"
    assert interval(Interval(value=-0.1, low=-0.2, high=0.0)) == "−10.0 % (−20.0 to 0.0)"
