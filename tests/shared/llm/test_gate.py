"""The gate: no more calls at once than allowed, high priority first, and a place for each that was given up."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierbus.contracts import Priority, Tier
from tierbus.llm import gate as gate_module
from tierbus.llm.gate import Gate, Gates
from tierbus.tiers.catalog import Limits, load

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


class Callers:
    """Callers at one gate, each inside until it is let go."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.order: list[str] = []
        self.inside: set[str] = set()
        self.most = 0
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._go: dict[str, asyncio.Event] = {}

    async def come(self, name: str, priority: Priority = NORMAL) -> None:
        """A caller comes, and goes in if there is a place."""
        self._go[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, priority))
        await settle()

    async def go(self, name: str) -> None:
        """A caller that is inside leaves."""
        self._go[name].set()
        await self.tasks[name]
        await settle()

    async def give_up(self, *names: str) -> None:
        """Callers stop waiting, or stop in the middle of their call."""
        for name in names:
            self.tasks[name].cancel()
        await asyncio.gather(*(self.tasks[name] for name in names), return_exceptions=True)
        await settle()

    async def _visit(self, name: str, priority: Priority) -> None:
        async with self.gate.enter(priority, 10):
            self.order.append(name)
            self.inside.add(name)
            self.most = max(self.most, len(self.inside))
            try:
                await self._go[name].wait()
            finally:
                self.inside.discard(name)


async def settle() -> None:
    """Let every caller do what it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def callers(concurrency: int) -> Callers:
    return Callers(Gate(Limits(concurrency=concurrency)))


async def free_places(at: Callers, expected: int) -> bool:
    """Whether exactly so many callers go in at once now."""
    for n in range(expected + 2):
        await at.come(f"probe-{n}")
    return len([name for name in at.inside if name.startswith("probe")]) == expected


async def test_no_more_are_inside_than_allowed() -> None:
    at = callers(2)
    for name in "abcde":
        await at.come(name)

    assert at.inside == {"a", "b"}
    for name in "abcde":
        await at.go(name)

    assert (at.most, at.order) == (2, list("abcde"))
    assert await free_places(at, 2)


async def test_high_priority_goes_first_and_equals_in_the_order_they_came() -> None:
    at = callers(1)
    await at.come("first")
    for name, priority in (("l1", LOW), ("n1", NORMAL), ("h1", HIGH), ("n2", NORMAL), ("h2", HIGH)):
        await at.come(name, priority)

    for name in ("first", "h1", "h2", "n1", "n2", "l1"):
        await at.go(name)

    assert at.order == ["first", "h1", "h2", "n1", "n2", "l1"]


async def test_giving_up_while_waiting_frees_no_place() -> None:
    at = callers(1)
    for name in ("inside", "waits", "next"):
        await at.come(name)

    await at.give_up("waits")

    assert at.inside == {"inside"}
    await at.go("inside")
    assert at.inside == {"next"}
    await at.go("next")
    assert await free_places(at, 1)


async def test_giving_up_in_the_middle_of_a_call_frees_its_place_once() -> None:
    at = callers(1)
    for name in ("inside", "next", "last"):
        await at.come(name)

    await at.give_up("inside")

    assert at.inside == {"next"}
    await at.go("next")
    await at.go("last")
    assert await free_places(at, 1)


async def test_giving_up_at_the_moment_of_ones_turn_hands_the_place_on() -> None:
    """The place was given to a caller that is cancelled before it could take it."""
    at = callers(1)
    for name in ("inside", "unlucky", "next"):
        await at.come(name)
    at._go["inside"].set()
    await asyncio.sleep(0)
    assert at.inside == set()

    await at.give_up("unlucky")

    assert (at.order, at.inside) == (["inside", "next"], {"next"})
    await at.go("next")
    assert await free_places(at, 1)


async def test_an_error_inside_frees_the_place() -> None:
    gate = Gate(Limits(concurrency=1))
    with pytest.raises(ZeroDivisionError):
        async with gate.enter(NORMAL, 1):
            raise ZeroDivisionError

    assert await free_places(Callers(gate), 1)


@settings(max_examples=60, deadline=None)
@given(
    concurrency=st.integers(1, 3),
    events=st.lists(
        st.tuples(st.sampled_from(["come", "go", "give up"]), st.integers(0, 9), st.sampled_from(Priority)), max_size=40
    ),
)
def test_whatever_callers_do_all_places_are_there_in_the_end(
    concurrency: int, events: list[tuple[str, int, Priority]]
) -> None:
    async def play() -> None:
        at = callers(concurrency)
        for number, (what, which, priority) in enumerate(events):
            there = sorted(at.inside) if what == "go" else [name for name, task in at.tasks.items() if not task.done()]
            if what == "come":
                await at.come(f"c{number:03}", priority)
            elif there and what == "go":
                await at.go(there[which % len(there)])
            elif there:
                await at.give_up(there[which % len(there)])
            waiting = sum(not task.done() for task in at.tasks.values()) - len(at.inside)
            assert at.most <= concurrency
            assert len(at.inside) == concurrency or not waiting
        await at.give_up(*(name for name, task in at.tasks.items() if not task.done()))
        assert await free_places(at, concurrency)
        await at.give_up(*(name for name, task in at.tasks.items() if not task.done()))

    asyncio.run(play())


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Asyncio:
        """The gate's asyncio, with sleep on our clock."""

        CancelledError = asyncio.CancelledError
        get_running_loop = staticmethod(asyncio.get_running_loop)
        sleep: Callable[[float], Awaitable[None]] = staticmethod(clock.sleep)

    monkeypatch.setattr(gate_module, "asyncio", Asyncio)
    return clock


async def entered(gate: Gate, clock: Clock, *tokens: int) -> list[float]:
    """When calls of these sizes, one after another, were let in: seconds from the first."""
    begun, times = clock.now, []
    for size in tokens:
        async with gate.enter(NORMAL, size):
            times.append(clock.now - begun)
    return times


async def test_requests_beyond_the_minutes_allowance_wait_for_the_next(clock: Clock) -> None:
    gate = Gate(Limits(requests_per_min=2), clock)

    assert await entered(gate, clock, 1, 1, 1, 1, 1) == [0, 0, 60, 60, 120]


async def test_tokens_beyond_the_minutes_allowance_wait_for_the_next(clock: Clock) -> None:
    gate = Gate(Limits(tokens_per_min=100), clock)

    assert await entered(gate, clock, 60, 40, 1, 99) == [0, 0, 60, 60]


async def test_a_question_larger_than_a_minutes_tokens_goes_alone(clock: Clock) -> None:
    """It would wait for ever otherwise."""
    gate = Gate(Limits(tokens_per_min=100), clock)

    assert await entered(gate, clock, 500, 10) == [0, 60]


async def test_without_limits_per_minute_nobody_waits(clock: Clock) -> None:
    assert await entered(Gate(Limits()), clock, *[10**9] * 50) == [0] * 50


def test_each_model_has_one_gate() -> None:
    gates = Gates()
    first, second = load("default").tiers[Tier.SMALL]

    assert gates.of(first) is gates.of(first.model_copy())
    assert gates.of(first) is not gates.of(second)
    assert gates.of(first) is not gates.of(first.model_copy(update={"provider": "another"}))
