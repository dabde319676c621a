import pytest

from tierbus.llm import prefixes
from tierbus.llm.prefixes import LASTS_S, Prefixes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_beginning_is_sent_again_when_it_was_sent_before() -> None:
    sent = Prefixes()

    assert [sent.again(text) for text in ("a", "b", "a", "b", "c")] == [False, False, True, True, False]


def test_what_the_provider_has_forgotten_is_new() -> None:
    clock = Clock()
    sent = Prefixes(clock)
    sent.again("a")
    clock.now += LASTS_S

    assert not sent.again("a")


def test_an_entry_lasts_from_its_last_use() -> None:
    clock = Clock()
    sent = Prefixes(clock)
    found = []
    for _ in range(4):
        found.append(sent.again("a"))
        clock.now += LASTS_S - 1

    assert found == [False, True, True, True]


def test_the_oldest_is_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "MOST", 3)
    sent = Prefixes()
    for text in ("a", "b", "c", "a", "d"):
        sent.again(text)

    assert len(sent._sent) == 3
    assert [sent.again(text) for text in ("a", "b")] == [True, False]


def test_what_nobody_sends_any_more_does_not_stay() -> None:
    clock = Clock()
    sent = Prefixes(clock)
    for text in "abc":
        sent.again(text)
    clock.now += LASTS_S
    for text in "defg":
        sent.again(text)

    assert len(sent._sent) == 4
