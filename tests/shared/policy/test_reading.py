from math import log1p

import pytest

from tierbus.policy import calls
from tierbus.policy.features import agree, comparable, final, usable
from tierbus.policy.moves import Case, Seen
from tierbus.policy.numbers import numbers, sums
from tierbus.policy.reading import AGREE, read

PROMPT = """What are the odds of five sixes in 20 rolls?

Functions:
{"name": "odds", "description": "Odds of k in n.", "parameters": {"type": "dict", "properties":
 {"n": {"type": "integer"}, "k": {"type": "integer"}, "exact": {"type": "boolean"}}, "required": ["n", "k"]}}"""


def seen(text: str, answer: str | None = None, place: int = 0) -> Seen:
    return Seen(place, text, answer, None, False, 10, 5, 0.01)


def test_functions_that_a_prompt_offers_are_read_with_their_parameters() -> None:
    offered = calls.offers(PROMPT)

    assert offered["odds"].parameters == {"n": "integer", "k": "integer", "exact": "boolean"}
    assert offered["odds"].required == {"n", "k"}


@pytest.mark.parametrize(
    "text", ["no functions", '[{"name": "f", "parameters":', '{"name": "f", "parameters": 3}', '[[{"name":']
)
def test_a_prompt_without_readable_functions_offers_none(text: str) -> None:
    assert calls.offers(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "[odds(n=20, k=5)]",
        "odds(k=5, n=20)",
        "```python\n[odds(n=20.0, k=5)]\n```",
        '[{"odds": "{\\"n\\":20,\\"k\\":5}"}]',
        '{"name": "odds", "arguments": {"k": 5, "n": 20}}',
    ],
)
def test_one_call_is_the_same_however_it_is_written(text: str) -> None:
    made = calls.parse(text)

    assert made is not None
    assert calls.canonical(made) == "odds({k=5,n=20})"


@pytest.mark.parametrize(
    "text", ["", "It is five.", "[odds(n=20", "(1 + 2)", "[1, 2]", "{}", "x" * 9000, "odds(" * 3000]
)
def test_what_is_no_call_is_not_read_as_one(text: str) -> None:
    assert calls.parse(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[odds(n=20, k=5, exact=true)]", None),
        ("[luck(n=20, k=5)]", "names"),
        ("[odds(n=20, k=5, sides=6)]", "parameters"),
        ("[odds(n=20)]", "required"),
        ("[odds(n='20', k=5)]", "types"),
        ("[odds(n=True, k=5)]", "types"),
    ],
)
def test_a_call_that_does_not_fit_the_offer_is_told_with_its_fault(text: str, fault: str | None) -> None:
    fit = calls.fit(calls.parse(text) or (), calls.offers(PROMPT))

    assert fit.whole == (fault is None)
    assert {name for name, share in fit._asdict().items() if share < 1} == ({fault} if fault else set())


def test_nothing_of_an_answer_is_run() -> None:
    assert calls.parse("[odds(n=__import__('os').getpid(), k=5)]") == (
        calls.Call("odds", {"n": calls.Unread("__import__('os').getpid()"), "k": 5}),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 * 4 = 12, then 12 - 5 = 7", (2, 0)),
        ("so 3 x 4 = 13", (1, 1)),
        ("(2 + 3) * 4 = 20", (1, 0)),
        ("2 + 3 * 4 = 14", (1, 0)),
        ("$1,200 / 4 = $300", (1, 0)),
        ("10 / 3 = 3.33", (1, 0)),
        ("5 / 0 = 0", (0, 0)),
        ("20 % 3 = 2", (0, 0)),
        ("a cost of  ( 2  +  3 )  *  4  is $ 20", (1, 0)),
        ("f(2 + 3) = 5", (0, 0)),
        ("1 2 + 3 = 5", (1, 0)),
        ("nothing", (0, 0)),
    ],
)
def test_sums_in_a_text_are_checked(text: str, found: tuple[int, int]) -> None:
    assert sums(text) == found


def test_numbers_are_read_without_their_separators() -> None:
    assert numbers("from 1,234.5 to -7, not x2") == [1234.5, -7.0]
    assert numbers("5-3 is 2, -.5 is not, --4 is; - no") == [5.0, 3.0, 2.0, -4.0]


@pytest.mark.parametrize(("one", "other"), [("$1,000", "1000.0 dollars"), (" Red", "red"), ("'ab'", '"ab"')])
def test_answers_that_mean_the_same_agree(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)
    assert agree(seen("", one), seen("", other))


@pytest.mark.parametrize(("one", "other"), [("10", "100"), ("[1]", "1"), ("'1'", "1"), ("yes", "no")])
def test_answers_that_differ_do_not_agree(one: str, other: str) -> None:
    assert not agree(seen("", one), seen("", other))


@pytest.mark.parametrize(
    ("text", "answer"),
    [('{"reasoning": "1+1", "answer": "2"}', "2"), ("so\n#### 18", "18"), ("just text", "just text")],
)
def test_the_part_to_compare_is_found_in_the_text_where_none_was_read(text: str, answer: str) -> None:
    assert final(seen(text)) == answer


def test_an_empty_answer_is_not_usable() -> None:
    assert usable(seen("fine"))
    assert not usable(seen("  "))
    assert not usable(seen("fine")._replace(truncated=True))
    assert not usable(seen("fine")._replace(valid=False))


def test_the_order_in_which_answers_were_given_does_not_change_what_is_read() -> None:
    case = Case("a", "c", "g", PROMPT)
    one, other = seen("[odds(n=20, k=5)]"), seen("[odds(k=5, n=20)]", place=1)
    features = read(case, (one, other))

    assert features == read(case, (other, one))
    assert features[AGREE] == 1.0
    assert features["group.g"] == 1.0


@pytest.mark.parametrize(
    "text", ["", "\x00", "9" * 400, "1e999", "(" * 2000, "[" * 500, "é" * 9000, "1and", '{"name":' * 50]
)
def test_any_text_can_be_read_and_gives_finite_numbers(text: str) -> None:
    features = read(Case("a", "c", None, text), (seen(text), seen(text[::-1], place=1)))

    assert all(abs(value) < 1e6 for value in features.values())


@pytest.mark.parametrize(
    "text",
    [
        "1   +   2   +   3   +   4   +   5   +   6   +   7   ",
        "return " + "[:" * 3000,
        "\n" * 8000,
        "1" + " " * 8000,
        "((((" * 2000,
        '{"name":' * 40_000,
    ],
    ids=["wide sum", "open brackets", "lines", "gap", "signs", "functions"],
)
def test_a_text_made_to_be_slow_is_read_like_any_other(text: str) -> None:
    """Each of these once took from seconds to hours; a limit of time would fail on a busy machine only."""
    features = read(Case("a", "c", None, text), (seen(text), seen(text + "x", place=1)))

    assert all(abs(value) < 1e6 for value in features.values())


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1. a\n2) b\n - c\n*d", 3),
        ('{"reasoning": "1. a\\n2. b\\n\\n- c"}', 2),
        ("a\n\n\n  3. b", 1),
        ("-\n- b", 2),
        ("-\\n- b", 1),
        ("a 1. b", 0),
    ],
)
def test_steps_of_a_list_are_counted_in_text_and_in_json(text: str, steps: int) -> None:
    features = read(Case("a", "c", None, "p"), (seen(text),))

    assert features["a0.steps"] == pytest.approx(log1p(steps))


def test_what_code_has_is_counted_by_whole_words() -> None:
    code = "def f(x):\n    for fork in x[1:2]:\n        if x: return iffy\n    elif_ = while_ = [3]\n    else: pass"
    features = read(Case("a", "c", None, code), ())

    assert features["code.loops"] == pytest.approx(log1p(1))
    assert features["code.branches"] == pytest.approx(log1p(2))
    assert features["code.slices"] == pytest.approx(log1p(1))


def test_capitals_and_marks_are_counted_beyond_ascii() -> None:
    features = read(Case("a", "c", None, "AbÉé “x”, ٣!"), ())

    assert features["prompt.capitals"] == pytest.approx(2 / 12)
    assert features["prompt.marks"] == pytest.approx(4 / 12)
