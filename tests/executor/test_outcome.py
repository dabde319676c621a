"""What an executor's answer amounts to."""

import pytest

from tierbus.contracts import Content, Outcome
from tierbus.executor.outcome import read
from tierbus.llm.model import StopReason
from tierbus.stores import Output

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}


def output(text: str, stop: StopReason = StopReason.DONE) -> Output:
    return Output(text=text, stop=stop, model="m", calls=())


def test_a_text_is_the_answer_without_the_space_around_it() -> None:
    found = read(output("\n  Bonjour. \n"), None)

    assert found == (Outcome.ANSWERED, Content.of("Bonjour."), ())


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_no_answer(text: str) -> None:
    assert read(output(text), None) == (Outcome.INVALID, None, ("the answer is empty",))


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "json"])
@pytest.mark.parametrize(
    ("stop", "outcome", "told"),
    [
        (StopReason.TRUNCATED, Outcome.TRUNCATED, "cut off"),
        (StopReason.REFUSED, Outcome.REFUSED, "declined"),
    ],
)
def test_what_a_model_did_not_finish_is_no_answer_even_where_it_reads_as_one(
    stop: StopReason, outcome: Outcome, told: str, schema: dict[str, object] | None
) -> None:
    found = read(output('{"total": 1}', stop), schema)

    assert (found.outcome, found.content) == (outcome, None)
    assert told in found.errors[0]


@pytest.mark.parametrize(
    "text",
    [
        '{"total": 1.5, "who": "Grüße"}',
        '```json\n{"total": 1.5, "who": "Grüße"}\n```',
        ' {"total":1.5,"who":"Grüße"}\n',
    ],
)
def test_json_is_handed_on_as_json_without_its_fence(text: str) -> None:
    found = read(output(text), SCHEMA)

    assert found == (Outcome.ANSWERED, Content.of('{"total": 1.5, "who": "Grüße"}', "json"), ())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("The total is 1.", "not JSON: Expecting value"),
        ('Here it is: {"total": 1}', "not JSON: Expecting value"),
        ('{"total": 1', "not JSON: Expecting ',' delimiter"),
        ('{"total": "one"}', "total: 'one' is not of type 'number'"),
        ("{}", "document: 'total' is a required property"),
        ("null", "document: None is not of type 'object'"),
    ],
)
def test_json_that_does_not_fit_is_invalid_and_says_where(text: str, error: str) -> None:
    found = read(output(text), SCHEMA)

    assert (found.outcome, found.content) == (Outcome.INVALID, None)
    assert found.errors[0].startswith(error)
