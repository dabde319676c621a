"""Log lines: JSON, with whose work they are about, and never what a frame held."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from tests.plans import NOW, RUN, new_run

from tierbus.contracts import Priority, StepReleased, Tier
from tierbus.run import begin
from tierbus.service import Delivery
from tierbus.telemetry import context, logs
from tierbus.telemetry.watch import Watch

STEP = StepReleased(run=RUN, step="answer", attempt=2, tier=Tier.MID, priority=Priority.NORMAL)
DELIVERY = Delivery(STEP.subject, "WORK", 7, 1, NOW, NOW)


class Lines(io.StringIO):
    """What was written, line by line."""

    @property
    def read(self) -> list[dict[str, Any]]:  # type: ignore[override] # nobody reads it as a file
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def out() -> Iterator[Lines]:
    """Logging as a service sets it up; afterwards as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    config = structlog.get_config()
    noisy = {
        name: logging.getLogger(name).level
        for name in ("httpx", "uvicorn.error", "anthropic", "openai", "nats", "mine")
    }
    lines = Lines()
    logs.configure("executor", stream=lines)
    yield lines
    structlog.configure(**config)
    root.handlers, root.level = handlers, level
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)


def test_a_line_is_one_object_with_its_time_its_service_and_its_fields(out: Lines) -> None:
    structlog.get_logger("mine").warning("bus.nak", delay_s=2.0, subject="tierbus.task", words="two\nlines")

    [line] = out.read
    assert line.pop("ts").endswith("Z")
    assert line == {
        "msg": "bus.nak",
        "level": "warning",
        "logger": "mine",
        "service": "executor",
        "delay_s": 2.0,
        "subject": "tierbus.task",
        "words": "two\nlines",
    }


def test_lines_in_a_handling_say_whose_work_it_is_and_lines_after_it_do_not(out: Lines) -> None:
    log = structlog.get_logger("mine")
    with Watch().handling(DELIVERY, "executor-step-mid-normal") as handling:
        log.info("arrived")
        handling.read(STEP)
        log.info("read")
        handling.about(begin(new_run(), NOW).run)
        log.info("known")
    log.info("gone")

    arrived, read, known, gone = out.read
    span = context.process_span("WORK", 7, 1)
    assert arrived["span_id"] == span
    assert (read["trace_id"], read["span_id"], read["run"], read["step"], read["attempt"]) == (
        RUN,
        span,
        RUN,
        "answer",
        "2",
    )
    assert (
        known.items() >= {"trace_id": RUN, "span_id": span, "task": "t-1", "tenant": "acme", "step": "answer"}.items()
    )
    assert {"trace_id", "span_id", "task", "tenant", "run", "step", "attempt"}.isdisjoint(gone)


def test_a_third_partys_line_goes_the_same_way(out: Lines) -> None:
    with Watch().handling(DELIVERY, "g") as handling:
        handling.read(STEP)
        handling.about(begin(new_run(), NOW).run)
        logging.getLogger("nats").warning("slow consumer, %d bytes", 7)

    [line] = out.read
    assert (line["msg"], line["logger"], line["level"]) == ("slow consumer, 7 bytes", "nats", "warning")
    assert line["service"] == "executor"
    assert line.items() >= {"trace_id": RUN, "task": "t-1", "tenant": "acme", "step": "answer"}.items()
    assert line["span_id"] == context.process_span("WORK", 7, 1)


def spill() -> None:
    """Fail with something in a local variable that nobody may read."""
    held = "hunter2-in-a-frame"
    if held:
        raise ValueError("it broke")


@pytest.mark.parametrize("form", ["json", "pretty"])
@pytest.mark.parametrize("logger", ["ours", "theirs"])
def test_an_exception_is_told_without_what_its_frames_held(out: Lines, form: str, logger: str) -> None:
    logs.configure("executor", stream=out, form=form)
    try:
        spill()
    except ValueError:
        if logger == "ours":
            structlog.get_logger("mine").exception("handler.broke")
        else:
            logging.getLogger("nats").exception("callback broke")

    assert "it broke" in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert "spill" in out.getvalue(), "where it broke is told"
    assert "hunter2" not in out.getvalue()


@pytest.mark.parametrize("logger", ["ours", "theirs"])
def test_an_exception_is_part_of_its_line(out: Lines, logger: str) -> None:
    try:
        spill()
    except ValueError as error:
        if logger == "ours":
            structlog.get_logger("mine").error("handler.broke", exc_info=error)
        else:
            logging.getLogger("nats").exception("callback broke")

    [line] = out.read
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert line["exception"][0]["exc_value"] == "it broke"
    assert [frame.get("locals") for frame in line["exception"][0]["frames"]] == [None] * len(
        line["exception"][0]["frames"]
    )


def test_what_is_below_the_level_is_not_written(out: Lines) -> None:
    logs.configure("executor", stream=out, level="warning")
    structlog.get_logger("mine").info("quiet")
    logging.getLogger("nats").info("quiet")
    structlog.get_logger("mine").error("loud")

    assert [line["msg"] for line in out.read] == ["loud"]


@pytest.mark.parametrize("name", ["httpx", "uvicorn.error", "anthropic", "openai"])
def test_third_parties_that_tell_of_every_request_are_kept_short(out: Lines, name: str) -> None:
    logging.getLogger(name).info("HTTP Request: POST https://api.example.org 200 OK")
    logging.getLogger(name).warning("trouble")

    assert [line["msg"] for line in out.read] == ["trouble"]


def test_on_a_terminal_it_is_for_people(out: Lines) -> None:
    out.isatty = lambda: True  # type: ignore[method-assign] # as a terminal says
    logs.configure("executor", stream=out)
    structlog.get_logger("mine").warning("bus.nak", delay_s=2.0)

    assert "bus.nak" in out.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(out.getvalue())


def test_a_line_may_name_another_service(out: Lines) -> None:
    structlog.get_logger("mine").info("told", service="stack")

    assert [line["service"] for line in out.read] == ["stack"]
