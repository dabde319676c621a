"""Comparing answers: form is forgiven, content is not."""

import pytest

from tierbus.answers import comparable, deciding, find_json, same, same_json


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Let us see.\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('First ```json\n{"a": 1}\n``` then\n```\n{"a": 2}\n```', {"a": 2}),
        ('The answer is {"a": {"b": 2}} as shown.', {"a": {"b": 2}}),
        ('{"why": "one\ntwo", "a": 1}', {"why": "one\ntwo", "a": 1}),
        ('{broken} {"a": 3}', {"a": 3}),
    ],
)
def test_a_json_object_is_found_where_a_model_put_it(text: str, found: object) -> None:
    assert find_json(text) == found


@pytest.mark.parametrize("text", ["", "no object", '{"a": ', "```json\n```"])
def test_an_answer_without_an_object_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no JSON object"):
        find_json(text)


@pytest.mark.parametrize(
    ("text", "pointer", "part"),
    [
        ('{"why": "long", "answer": "42"}', "/answer", "42"),
        ('{"why": "long", "answer": 42}', "/answer", "42"),
        ('{"a": {"b": [1, "X "]}}', "/a/b/1", "x"),
        ('{"a/b": {"c~d": "yes"}}', "/a~1b/c~0d", "yes"),
        ('{"a": [1, 2]}', "/a", "[1.0, 2.0]"),
        ('{"a": 1}', "/b", None),
        ('{"a": [1]}', "/a/1", None),
        ("words", "/a", None),
        (" Paris. ", None, "paris"),
    ],
)
def test_the_part_that_counts_is_read_by_its_pointer(text: str, pointer: str | None, part: str | None) -> None:
    assert deciding(text, pointer) == part


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("$70,000", "70000"),
        ("70000.00", "70000"),
        ("1234567", "1234567"),
        ("1,234,568", "1234568"),
        ("0.10", "0.1"),
        ("-6", "-6"),
        ("€18", "€18"),
        ("18 feet", "18 feet"),
        ("1,23", "1,23"),
    ],
)
def test_a_number_is_compared_as_a_number_and_a_currency_is_not_lost(text: str, form: str) -> None:
    assert comparable(text) == form


def test_answers_whose_part_cannot_be_found_never_agree() -> None:
    assert not same("words", "words", "/answer")
    assert same('{"answer": "$5"}', 'So: {"answer": 5}', "/answer")
    assert not same("1234567", "1234568")


def test_json_answers_are_compared_value_by_value() -> None:
    assert same_json('{"a": 1, "b": "X"}', '{"b": "x", "a": 1.0}')
    assert not same_json('{"a": 1}', '{"a": 2}')
