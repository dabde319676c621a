from math import log1p

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus.policy.asked import asked

ASKED = "How far is it?\nA. 12 km\nB. $3\nC. None of the above\nAnswer:"


def test_choices_are_told_from_the_question() -> None:
    found = asked(ASKED)

    assert found["ask.chars"] == log1p(len("How far is it?"))
    assert found["choices.longest"] == log1p(len("None of the above"))
    assert found["choices.shortest"] == log1p(len("$3"))
    assert found["choices.mean"] == log1p((5 + 2 + 17) / 3)
    assert found["choices.numbers"] == 2 / 3
    assert found["choices.all"] == 1


@pytest.mark.parametrize("choices", ["(A) yes\n(B) no", " A) yes\n B) no", "A. yes\nB. no"])
def test_the_ways_to_letter_choices_say_the_same(choices: str) -> None:
    assert asked(f"Well?\n{choices}") == asked("Well?\nA. yes\nB. no")


@pytest.mark.parametrize("prompt", ["Explain all of the above.", "Note:\nA. Smith wrote it.", ""])
def test_a_prompt_without_choices_has_only_length(prompt: str) -> None:
    found = asked(prompt)

    assert found["ask.chars"] == log1p(len(prompt))
    assert not any(value for name, value in found.items() if name.startswith("choices."))


def test_amounts_written_to_the_cent_are_counted_whatever_their_value() -> None:
    assert asked("It costs $2.00, then 50 Cents. And 1.5 of 3.125 more, in the centre.")["ask.cents"] == log1p(2)


@given(st.text(alphabet="A.) (\nB1x", max_size=80))
def test_the_features_are_always_the_same_ones(prompt: str) -> None:
    assert asked(prompt).keys() == asked("").keys()
