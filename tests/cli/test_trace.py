"""The picture that `tierbus trace` draws."""

from collections.abc import Sequence
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from tests.cli.records import NOW, call, result, step

from tierbus.cli.trace import BAR, bar, drawn, headline, lines_of, seconds
from tierbus.contracts import (
    Baseline,
    CallRecorded,
    CallStatus,
    Decision,
    Leg,
    Result,
    ReviewLevel,
    Route,
    StepReport,
    TaskStatus,
    Tier,
)
from tierbus.telemetry.spans import Span, Story
from tierbus.telemetry.story import trace as spans_of

BEGAN = NOW - 60
PICTURE = """
task plan
├ wait task
├ process task
├ wait plan
├ process plan
├ step read
│ ├ wait step.small
│ ├ process step.small
│ ├ chat claude-haiku-5-5
│ ├ wait review
│ ├ process review
│ ├ wait step.mid
│ ├ process step.mid
│ ├ chat claude-sonnet-5-5
│ ├ wait review
│ └ process review
└ step write
  ├ wait step.frontier
  ├ process step.frontier
  ├ chat claude-opus-5-5
  ├ wait review
  └ process review
""".strip().splitlines()
MARKUP = "[red]loud[/red] [/] [link=x]"


def span(name: str, parent: str | None = None, start: float = 0.0, end: float = 1.0) -> Span:
    return Span(name=name, trace_id="t", span_id=name, parent_id=parent, start=start, end=end)


def branches(spans: Sequence[Span]) -> list[str]:
    return [f"{line.branch}{line.span.name}" for line in lines_of(spans)]


def leg(sequence: int, at: float, *, stream: str = "WORK", deliveries: int = 1) -> Leg:
    times = {"published_at": BEGAN + at, "began_at": BEGAN + at + 0.25, "ended_at": BEGAN + at + 1}
    return Leg(stream=stream, sequence=sequence, deliveries=deliveries, **times)


def worked(given: StepReport, sequence: int, at: float) -> StepReport:
    """The step with the ways of its messages, one attempt after the other."""
    attempts = tuple(
        attempt.model_copy(
            update={
                "executed": leg(sequence + 2 * place, at + 4 * place),
                "reviewed": leg(sequence + 2 * place + 1, at + 4 * place + 2),
            }
        )
        for place, attempt in enumerate(given.attempts)
    )
    ended = BEGAN + at + 4 * len(attempts)
    return given.model_copy(update={"attempts": attempts, "released_at": BEGAN + at, "ended_at": ended})


def planned(cause: str = "two kinds of work", reason: str | None = None) -> Result:
    """A task of two steps, the first of which climbed."""
    steps = [
        worked(step(Tier.SMALL, Tier.MID, name="read"), 10, 2.0),
        worked(step(Tier.FRONTIER, name="write"), 20, 12.0),
    ]
    done = result(steps=steps, cost=2_500_000, baseline=10_000_000, reason=reason, at=BEGAN + 20)
    decision = Decision(
        route=Route.PLAN, tier=Tier.SMALL, review=ReviewLevel.STANDARD, confidence=1.0, cause=cause, decided_by="rules"
    )
    return done.model_copy(
        update={
            "submitted_at": BEGAN,
            "decision": decision,
            "routed": leg(1, 0.0, stream="TASKS"),
            "planned": leg(2, 1.0),
            "queue_s": 0.5,
            "llm_s": 3.25,
        }
    )


def ended(told: Result, *calls: CallRecorded) -> Story:
    return Story(told, told.status, calls, NOW)


def running(told: Result, *calls: CallRecorded) -> Story:
    return Story(told, None, calls, BEGAN + 30)


def rendered(table: Table, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(table)
    return out.getvalue()


def flat(table: Table, width: int = 132) -> str:
    """Everything that is drawn with single blanks, for texts that were broken into lines."""
    return " ".join(rendered(table, width).split())


def plain(story: Story) -> list[str]:
    return Text.from_markup(headline(story)).plain.splitlines()


def colours(table: Table) -> dict[str, str]:
    """Each piece of text that is drawn with the colour it has."""
    console = Console(width=132, highlight=False, force_terminal=True, color_system="standard", file=StringIO())
    return {
        text.strip("├└│ \n"): style.color.name if style and style.color else ""
        for text, style, _control in (Segment(*one) for one in console.render(table))
        if text.strip()
    }


@pytest.fixture
def story() -> Story:
    return ended(
        planned(),
        call(n=1, step="read", cost=300_000, at=BEGAN + 3),
        call(n=2, step="read", attempt=2, tier=Tier.MID, cost=700_000, at=BEGAN + 7),
        call(n=3, step="write", tier=Tier.FRONTIER, cost=1_500_000, at=BEGAN + 13),
    )


def test_children_stand_below_their_parent_in_the_order_in_which_they_began() -> None:
    spans = [
        span("second", "root", start=5),
        span("inner", "first", start=2),
        span("root"),
        span("last", "first", start=3),
        span("first", "root", start=1),
        span("leaf", "second", start=6),
    ]

    assert branches(spans) == ["root", "├ first", "│ ├ inner", "│ └ last", "└ second", "  └ leaf"]


def test_of_two_that_began_together_the_longer_one_comes_first() -> None:
    assert branches([span("root"), span("short", "root", end=0.1), span("long", "root", end=0.9)]) == [
        "root",
        "├ long",
        "└ short",
    ]


def test_a_span_whose_parent_is_unknown_stands_at_the_top_with_what_is_below_it() -> None:
    spans = [span("root"), span("orphan", "nobody", start=0.5), span("below", "orphan", start=0.6)]

    assert branches(spans) == ["root", "orphan", "└ below"]


@given(st.lists(st.integers(min_value=-1, max_value=40), max_size=40))
def test_in_any_tree_each_span_is_drawn_once_and_as_far_in_as_it_is_deep(parents: list[int]) -> None:
    spans = [span(str(n), str(above) if above < n else "unknown") for n, above in enumerate(parents)]
    depth: dict[str, int] = {}
    for one in spans:
        depth[one.span_id] = depth.get(str(one.parent_id), -1) + 1

    lines = lines_of(spans)

    assert sorted(line.span.span_id for line in lines) == sorted(one.span_id for one in spans)
    assert [len(line.branch) for line in lines] == [2 * depth[line.span.span_id] for line in lines]
    shown = [line.span.span_id for line in lines]
    assert all(shown.index(str(one.parent_id)) < shown.index(one.span_id) for one in spans if depth[one.span_id])


shares = st.floats(min_value=0, max_value=1)


@given(shares, shares, st.integers(min_value=1, max_value=200))
def test_a_bar_is_one_piece_and_never_empty_nor_wider_than_its_column(one: float, other: float, width: int) -> None:
    drawn_bar = bar(min(one, other), max(one, other), width)

    assert 1 <= len(drawn_bar) <= width
    assert set(drawn_bar.lstrip(" ")) == {"█"}


@given(st.lists(shares, min_size=3, max_size=3), st.integers(min_value=1, max_value=200))
def test_what_begins_later_is_never_drawn_earlier_and_what_ends_later_never_shorter(
    given_shares: list[float], width: int
) -> None:
    begin, middle, end = sorted(given_shares)
    whole, early, late = bar(begin, end, width), bar(begin, middle, width), bar(middle, end, width)

    assert len(early) <= len(whole) <= len(late)
    assert whole.count(" ") == early.count(" ") <= late.count(" ")


def test_a_bar_over_all_of_the_time_fills_its_column() -> None:
    assert bar(0, 1) == "█" * BAR
    assert bar(0.5, 1, 4) == "  ██"
    assert bar(1, 1, 4) == "   █"


@pytest.mark.parametrize(
    ("given_s", "shown"),
    [
        (0.0, "0"),
        (0.0004, "0"),
        (0.0006, "1 ms"),
        (0.25, "250 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.0, "1.00 s"),
        (125.256, "125.26 s"),
    ],
)
def test_times_are_told_in_the_unit_a_person_reads_them_in(given_s: float, shown: str) -> None:
    assert seconds(given_s) == shown


def test_the_headline_of_a_success_says_what_it_took_and_cost_and_saved() -> None:
    assert plain(ended(planned())) == [
        "t succeeded after 20.00 s (0.50 s in queues, 3.25 s in models), 1 escalation",
        "$0.002500 against $0.010000 on the frontier: 75.0 % saved; trace 4bf92f3577b34da6a3ce929d0e0e4736",
    ]


def test_the_headline_of_a_task_dearer_than_the_frontier_says_so() -> None:
    baseline = Baseline(cost_nano_usd=2_000_000, method="the same tokens")

    [_first, second] = plain(ended(planned().model_copy(update={"baseline": baseline})))

    assert second.startswith("$0.002500 against $0.002000 on the frontier: 25.0 % more; ")


def test_the_headline_of_a_failure_gives_its_reason_and_no_saving() -> None:
    failed = planned(reason="every tier was turned down").model_copy(
        update={"status": TaskStatus.FAILED, "baseline": None}
    )

    assert plain(ended(failed)) == [
        "t failed after 20.00 s (0.50 s in queues, 3.25 s in models), 1 escalation",
        "$0.002500; trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "every tier was turned down",
    ]


def test_the_headline_of_a_running_task_counts_until_now() -> None:
    [first, second] = plain(running(planned().model_copy(update={"baseline": None, "escalations": 2})))

    assert first == "t running after 30.00 s (0.50 s in queues, 3.25 s in models), 2 escalations"
    assert second == "$0.002500; trace 4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_headline_of_a_task_that_was_cancelled_before_it_came_names_its_run() -> None:
    never = planned().model_copy(update={"task": "", "status": TaskStatus.CANCELLED, "baseline": None})

    assert plain(ended(never))[0].startswith(f"{never.run} cancelled after ")


@pytest.mark.parametrize("width", [132, 80])
def test_every_span_is_drawn_once_and_nothing_is_wider_than_the_terminal(story: Story, width: int) -> None:
    spans = spans_of(story)

    table = drawn(spans, width)
    lines = rendered(table, width).splitlines()

    assert table.row_count == len(spans) == len(PICTURE)
    assert max(len(line) for line in lines) <= width
    begun = [line for line in lines[1:] if line[:8].strip()]
    for line, label in zip(begun, PICTURE, strict=True):
        assert line.startswith(f"{label} "), (label, line)


@pytest.mark.parametrize("width", [132, 80])
def test_steps_attempts_verdicts_and_costs_are_told_at_any_width(story: Story, width: int) -> None:
    told = flat(drawn(spans_of(story), width), width)

    for words in (
        "plan: two kinds of work",
        "2 steps",
        "small → mid",
        "attempt 1: answered",
        "attempt 2: answered",
        "rejected by checks: a test",
        "accepted by checks: a test",
        "$0.002500",
        "$0.001000",
        "$0.000300",
        "$0.000700",
        "$0.001500",
    ):
        assert words in told, words


def test_a_wide_terminal_has_bars_and_a_narrow_one_has_not(story: Story) -> None:
    spans = spans_of(story)

    assert "█" in rendered(drawn(spans, 132), 132)
    assert "█" not in rendered(drawn(spans, 80), 80)


def test_a_long_name_does_not_push_verdicts_and_costs_off_a_narrow_terminal(story: Story) -> None:
    long = call(n=9, step="write", cost=900_000, model="somebody/a-model-with-a-very-long-name-of-its-own-2026", at=NOW)
    spans = spans_of(Story(story.result, story.status, (*story.calls, long), NOW))

    told = flat(drawn(spans, 80), 80)

    assert "somebody/a-model" in told
    assert "$0.000900" in told
    assert "rejected by" in told


def test_a_later_delivery_and_a_missing_plan_are_told() -> None:
    done = planned()
    [first, second] = done.steps[0].attempts
    again = first.model_copy(update={"executed": leg(10, 2.0, deliveries=3)})
    steps = (done.steps[0].model_copy(update={"attempts": (again, second)}), done.steps[1])
    mended = done.model_copy(update={"steps": steps, "fallback": "the plan had a circle"})

    told = flat(drawn(spans_of(ended(mended))))

    assert "attempt 1: answered, delivery 3" in told
    assert "no plan: the plan had a circle" in told


def test_words_of_a_task_are_shown_as_they_are_and_never_taken_for_markup() -> None:
    done = planned(cause=MARKUP, reason=MARKUP).model_copy(
        update={"task": MARKUP, "status": TaskStatus.FAILED, "baseline": None, "fallback": MARKUP}
    )
    [first, second] = done.steps[0].attempts
    said = first.model_copy(update={"verdict": first.verdict.model_copy(update={"reason": MARKUP})})
    done = done.model_copy(update={"steps": (done.steps[0].model_copy(update={"attempts": (said, second)}),)})
    broken = call(step="read", status=CallStatus.FAILED, at=BEGAN + 3).model_copy(
        update={"error": MARKUP, "model": "[green]model[/]"}
    )
    story = ended(done, broken)

    told = flat(drawn(spans_of(story), 200), 200)

    assert [line for line in plain(story) if MARKUP in line] == [plain(story)[0], plain(story)[2]]
    for words in (
        f"plan: {MARKUP}",
        f"no plan: {MARKUP}",
        f"rejected by checks: {MARKUP}",
        f"failed: {MARKUP}",
        "chat [green]model[/]",
    ):
        assert words in told, words


def test_a_long_reason_is_cut_and_its_brackets_are_kept() -> None:
    done = planned(cause="[b] " * 60)

    told = flat(drawn(spans_of(ended(done)), 200), 200)

    assert "plan: [b] [b]" in told
    assert "…" in told


def test_a_call_without_a_price_is_unpriced_and_never_free() -> None:
    free = planned().model_copy(update={"cost_nano_usd": 0, "steps": ()})

    told = rendered(drawn(spans_of(ended(free, call(step="_plan", cost=None, at=BEGAN + 3)))), 132)

    [line] = [line for line in told.splitlines() if "chat" in line]
    assert "unpriced" in line
    assert "$" not in line


def test_an_interrupted_call_says_why_and_that_it_is_charged_by_estimate() -> None:
    lost = call(step="read", status=CallStatus.INTERRUPTED, at=BEGAN + 3).model_copy(
        update={"error": "the worker that made this call ended"}
    )
    unpriced = lost.model_copy(update={"cost_nano_usd": None})

    assert "interrupted: the worker that made this call ended, charged by estimate" in flat(
        drawn(spans_of(ended(planned(), lost)), 200), 200
    )
    assert "charged by estimate" not in flat(drawn(spans_of(ended(planned(), unpriced)), 200), 200)


def test_an_open_call_is_told_as_open_and_not_by_the_tokens_it_may_need() -> None:
    told = flat(drawn(spans_of(running(planned(), call(step="read", status=CallStatus.STARTED, at=BEGAN + 3)))))

    assert "open, charged by estimate" in told
    assert "tokens in" not in told


def test_an_answered_call_tells_its_tokens_and_what_came_from_the_cache(story: Story) -> None:
    told = flat(drawn(spans_of(story), 200), 200)

    assert told.count("900 tokens in (300 from the cache), 120 out") == 3


def test_tiers_have_their_colours_and_what_failed_is_red(story: Story) -> None:
    lost = call(n=9, step="write", status=CallStatus.FAILED, model="broken", at=BEGAN + 14)

    shown = colours(drawn(spans_of(Story(story.result, story.status, (*story.calls, lost), NOW))))

    assert [shown[f"chat {model}"] for model in ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")] == [
        "green",
        "yellow",
        "magenta",
    ]
    assert [shown[tier] for tier in ("small", "mid", "frontier")] == ["green", "yellow", "magenta"]
    assert (shown["accepted"], shown["rejected"]) == ("green", "yellow")
    assert shown["chat broken"] == "red"
    assert shown["process task"] == ""
