"""What must be true of every finished trace, wherever it was read from."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tierbus.contracts import CallRecorded, Result


class Told(Protocol):
    """A span as some collector gives it back."""

    @property
    def name(self) -> str: ...
    @property
    def span(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


T = TypeVar("T", bound=Told)


def root_of(spans: Sequence[T]) -> T:
    """The one root; none is without its parent, and no id is used twice."""
    ids = [span.span for span in spans]
    assert len(ids) == len(set(ids)), sorted(span.name for span in spans)
    roots = [span for span in spans if not span.parent]
    orphans = [span.name for span in spans if span.parent and span.parent not in set(ids)]
    assert (len(roots), orphans) == (1, []), sorted(span.name for span in spans)
    return roots[0]


def assert_true(spans: Sequence[Told], result: Result, ledger: Sequence[CallRecorded]) -> None:
    """One tree; and calls, root, result and ledger name the same cost to the nano-dollar."""
    root = root_of(spans)
    chats = [span for span in spans if span.name.startswith("chat ")]
    mine = {call.call: call for call in ledger if call.run == result.run}

    assert {span.attributes["tierbus.call.id"] for span in chats} == set(mine)
    assert {span.attributes["tierbus.call.id"]: span.attributes.get("tierbus.cost.nano_usd") for span in chats} == {
        name: call.cost_nano_usd for name, call in mine.items()
    }
    told = sum(int(span.attributes.get("tierbus.cost.nano_usd", 0)) for span in chats)
    written = sum(call.cost_nano_usd or 0 for call in mine.values())
    assert (told, root.attributes["tierbus.cost.total_nano_usd"], written) == (result.cost_nano_usd,) * 3
    assert root.attributes["tierbus.task.id"] == result.task
    assert root.attributes["tierbus.task.outcome"] == result.status
    assert root.attributes["tierbus.escalations"] == result.escalations
    assert [span.name for span in spans if span.end < span.start] == []


def critical_path(spans: Sequence[Told]) -> list[str]:
    """The names on the path that the task waited for, from its end backwards, by Jaeger's rules.

    From the end of a span back: the child that ended last before that moment is on it, then what ended before that one
    began. A child that begins after its parent's end does not count, and one that begins before is cut off there.
    """
    children: dict[str, list[Told]] = {}
    for span in spans:
        children.setdefault(span.parent, []).append(span)
    path: list[str] = []

    def back(span: Told, until: int) -> None:
        path.append(span.name)
        now = min(until, span.end)
        for child in sorted(children.get(span.span, []), key=lambda child: -child.end):
            if child.start >= span.end or child.end > now + 1:
                continue
            back(child, now)
            now = child.start

    back(root_of(spans), root_of(spans).end)
    return path
