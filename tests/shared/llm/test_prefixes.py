import pytest
from tests.shared.llm.test_gate import Clock

from tierbus.llm import prefixes
from tierbus.llm.prefixes import CACHE_LIFE_S, Prefixes


def test_what_was_sent_is_known() -> None:
    sent = Prefixes()
    sent.add("a")

    assert ["a" in sent, "b" in sent] == [True, False]


def test_what_the_provider_has_forgotten_is_new() -> None:
    clock = Clock()
    sent = Prefixes(clock)
    sent.add("a")
    clock.now += CACHE_LIFE_S

    assert "a" not in sent


def test_an_entry_lasts_from_its_last_use() -> None:
    clock = Clock()
    sent = Prefixes(clock)
    for _ in range(3):
        sent.add("a")
        clock.now += CACHE_LIFE_S - 1

    assert "a" in sent


def test_the_oldest_is_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "MOST", 3)
    sent = Prefixes()
    for text in ("a", "b", "c", "a", "d"):
        sent.add(text)

    assert ["a" in sent, "b" in sent, "c" in sent, "d" in sent] == [True, False, True, True]


def test_what_nobody_sends_any_more_does_not_stay() -> None:
    clock = Clock()
    sent = Prefixes(clock)
    for text in "abc":
        sent.add(text)
    clock.now += CACHE_LIFE_S
    for text in "defg":
        sent.add(text)

    assert len(sent._sent) == 4
