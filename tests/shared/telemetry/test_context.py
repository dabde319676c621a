"""Trace ids, span ids and the header that carries them."""

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plans import NOW, RUN, new_run

from tierbus.contracts import Role, Slot
from tierbus.run import begin
from tierbus.telemetry import context
from tierbus.telemetry.context import Caller, parse, trace_of, traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
CALLER = Caller(TRACE, SPAN, sampled=True)
SLOT = Slot(run=RUN, tenant="acme", step="answer", attempt=1, role=Role.EXECUTOR)
HEX16 = re.compile("[0-9a-f]{16}")

names = st.text(st.characters(codec="ascii", exclude_characters="/"), min_size=1, max_size=12)
numbers = st.integers(0, 2**40)
things = st.one_of(
    st.tuples(st.just("task"), names),
    st.tuples(st.just("step"), names, names),
    st.tuples(st.just("process"), names, numbers, numbers),
    st.tuples(st.just("wait"), names, numbers),
    st.tuples(st.just("call"), names),
)


def test_a_traceparent_names_trace_and_span() -> None:
    assert parse(f"00-{TRACE}-{SPAN}-01") == CALLER


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("fe", False)]
)
def test_only_the_lowest_bit_of_the_flags_says_that_the_caller_is_sampled(flags: str, sampled: bool) -> None:
    assert parse(f"00-{TRACE}-{SPAN}-{flags}") == Caller(TRACE, SPAN, sampled)


@pytest.mark.parametrize("rest", ["", "-", "-what-later-versions-add"])
def test_a_later_version_is_read_as_far_as_it_is_known(rest: str) -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-01{rest}") == CALLER


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"CC-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.later",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_a_traceparent_that_is_not_valid_is_none(wrong: str | None) -> None:
    assert parse(wrong) is None


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_is_read_again(sampled: bool) -> None:
    assert parse(traceparent(TRACE, SPAN, sampled=sampled)) == Caller(TRACE, SPAN, sampled)


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT"])
def test_a_header_is_found_whatever_its_letters_case(name: str) -> None:
    assert context.header({"other": "x", name: "found"}, "traceparent") == "found"
    assert context.header({"other": "x"}, "traceparent") is None
    assert context.header({}, "traceparent") is None


def test_a_run_is_its_own_trace_whether_it_has_a_caller_or_not() -> None:
    assert trace_of(RUN, None, join=False) == RUN
    assert trace_of(RUN, None, join=True) == RUN
    assert trace_of(RUN, CALLER, join=False) == RUN


def test_a_joined_run_goes_on_in_its_callers_trace() -> None:
    assert trace_of(RUN, CALLER, join=True) == TRACE


@pytest.mark.parametrize("run", ["0" * 32, RUN.upper(), RUN[:-1], f"{RUN}0", "", "not-a-trace-id"])
def test_a_run_whose_id_is_no_trace_id_gets_one_computed(run: str) -> None:
    found = trace_of(run, None, join=False)

    assert found != run
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found == trace_of(run, None, join=False)


def test_ids_are_what_other_programs_compute() -> None:
    """Whoever knows a run, a stream's sequence or a call's name can compute them: these never change."""
    assert {
        "root": context.root_span(RUN),
        "step": context.step_span(RUN, "answer"),
        "process": context.process_span("WORK", 7, 2),
        "wait": context.wait_span("WORK", 7),
        "ask": context.ask_span(SLOT, "fb2c6e0d3b1c2a10"),
        "call": context.call_span(f"{SLOT.id}.0"),
        "trace": trace_of("not-a-trace-id", None, join=False),
    } == {
        "root": "5962ac45450bce28",
        "step": "14e8b8ee33653995",
        "process": "4b27a9b06fa3bc90",
        "wait": "35159cbe8f15c8a3",
        "ask": "f4aa588704888fbb",
        "call": "b280997452314ccd",
        "trace": "d3c69d938d019000f893f7a02761e354",
    }


@given(one=things, other=things)
def test_distinct_things_have_distinct_ids_of_sixteen_digits(
    one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    ids = [context.span_id(*one), context.span_id(*other)]

    assert all(HEX16.fullmatch(found) for found in ids)
    assert (ids[0] == ids[1]) is (one == other)


def test_no_two_spans_of_one_delivery_share_an_id() -> None:
    process = context.process_span("WORK", 7, 1)
    ids = [
        context.root_span(RUN),
        context.step_span(RUN, "answer"),
        context.step_span(RUN, "other"),
        context.wait_span("WORK", 7),
        process,
        context.process_span("WORK", 7, 2),
        context.process_span("WORK", 8, 1),
        context.process_span("TASKS", 7, 1),
        context.ask_span(SLOT, process),
        context.ask_span(SLOT, context.process_span("WORK", 7, 2)),
        context.ask_span(SLOT.model_copy(update={"ask": 1}), process),
        context.call_span(f"{SLOT.id}.0"),
        context.call_span(f"{SLOT.id}.1"),
    ]

    assert [pair for pair in combinations(ids, 2) if pair[0] == pair[1]] == []


def test_work_of_a_step_hangs_on_the_step_and_all_else_on_the_task() -> None:
    run = begin(new_run(), NOW).run

    assert context.anchor(run.id, "answer", run.steps) == context.step_span(RUN, "answer")
    assert context.anchor(run.id, "_route", run.steps) == context.root_span(RUN)
    assert context.anchor(run.id, None, run.steps) == context.root_span(RUN)
