"""Which trace a task belongs to, and the ids of its spans.

A span's id is computed from what it stands for, so whoever tells of the same thing names it the same: the service that
did it, the one that finishes for a worker that died, and `tierbus trace`, which reads the bus.
"""

import hashlib
import re
from collections.abc import Container, Mapping
from functools import lru_cache
from typing import NamedTuple

from tierbus.contracts import Slot

TRACEPARENT = "traceparent"
PRODUCER = "tierbus-producer"
"""The span that a message was said in: consumers link to it, their parent is the task or the step."""
_W3C = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class Caller(NamedTuple):
    """The span that a task was published in, as its `traceparent` says."""

    trace_id: str
    span_id: str
    sampled: bool


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header whatever its letters' case: Go's clients write `Traceparent`."""
    found = headers.get(name)
    if found is not None or not headers:
        return found
    return next((value for key, value in headers.items() if key.lower() == name), None)


def parse(traceparent: str | None) -> Caller | None:
    """Read a W3C `traceparent`; None where there is none, or none that is valid."""
    found = _W3C.fullmatch(traceparent or "")
    return Caller(found[1], found[2], bool(int(found[3], 16) & _SAMPLED)) if found else None


def traceparent(trace_id: str, span_id: str, *, sampled: bool = True) -> str:
    """Write a W3C `traceparent`."""
    return f"00-{trace_id}-{span_id}-{int(sampled):02x}"


@lru_cache(maxsize=4096)
def trace_of(run: str, caller: Caller | None, *, join: bool) -> str:
    """The trace of a run: the caller's where it is to be joined, else the run's own id, which has a trace id's form."""
    if caller is not None and join:
        return caller.trace_id
    return run if re.fullmatch(r"(?!0{32})[0-9a-f]{32}", run) else _hash(run)[:32]


def root_span(run: str) -> str:
    """The span of the whole task."""
    return span_id("task", run)


def step_span(run: str, step: str) -> str:
    """The span of one step."""
    return span_id("step", run, step)


def process_span(stream: str, sequence: int, deliveries: int) -> str:
    """The span of one delivery being handled."""
    return span_id("process", stream, sequence, deliveries)


def wait_span(stream: str, sequence: int) -> str:
    """The span of one message waiting."""
    return span_id("wait", stream, sequence)


def ask_span(slot: Slot, process: str) -> str:
    """The span of one question, asked while one delivery was handled."""
    return span_id("ask", slot.id, process)


def call_span(call: str) -> str:
    """The span of one call to a model."""
    return span_id("call", call)


def anchor(run: str, step: str | None, steps: Container[str]) -> str:
    """Where the work of a step hangs; what is about none of the run's `steps` hangs on the task."""
    return step_span(run, step) if step is not None and step in steps else root_span(run)


@lru_cache(maxsize=4096)
def span_id(*parts: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the parts."""
    return _hash("/".join(map(str, parts)))[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
