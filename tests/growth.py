"""How work grows with what there is to do. A time by itself says what the machine is like, so none is asserted."""

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

TIMES = 5


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python are run; each turn of a loop within a line is one. The same on every machine."""
    count = 0

    def trace(_frame: FrameType, event: str, _value: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(little: Callable[[], object], much: Callable[[], object]) -> float:
    """How many times as much of the processor the second takes as the first, each at its best of several.

    For what is no Python, and small enough for the processor's cache: beyond it, linear work looks like more.
    """
    best = [float("inf"), float("inf")]
    for _ in range(TIMES):
        for place, work in enumerate((little, much)):
            began = time.process_time()
            work()
            best[place] = min(best[place], time.process_time() - began)
    return best[1] / best[0]
