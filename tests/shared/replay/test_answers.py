"""Whether two recorded answers are the same."""

import pytest

from tierbus.policy.moves import Seen
from tierbus.replay.answers import normal, same


def seen(answer: str | None, text: str = "") -> Seen:
    return Seen(0, text, answer, None, False, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("18", "18.0"),
        ("$1,000", "1000.00"),
        ("25%", "25"),
        (" 'abc' ", "ABC"),
        ("[1, 2]", "[1,2]"),
        ("1e3", "1000"),
        ("-.5", "-0.5"),
        ("", "''"),
    ],
)
def test_ways_of_writing_one_answer_are_the_same(first: str, second: str) -> None:
    assert same(seen(first), seen(second))


@pytest.mark.parametrize(
    ("first", "second"), [("18", "19"), ("abc", "abd"), ("[1, 2]", "[12]"), ("nan", "none"), ("1/2", "12")]
)
def test_different_answers_are_not_the_same(first: str, second: str) -> None:
    assert not same(seen(first), seen(second))


def test_without_an_answer_the_whole_text_is_compared_and_no_text_agrees_with_nothing() -> None:
    assert same(seen(None, "[add(1, 2)]"), seen(None, "[add(1,2)]"))
    assert not same(seen(None, "[add(1, 2)]"), seen(None, "[add(2, 1)]"))
    assert not same(seen(None), seen(None))


def test_words_that_python_reads_as_numbers_stay_words() -> None:
    assert [normal(word) for word in ("NaN", "Infinity", "1_000", "٣")] == ["nan", "infinity", "1_000", "٣"]
