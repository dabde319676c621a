"""What may leave of what was said: nothing secret, never too long, in the form of the GenAI conventions."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.growth import growth

from tierbus.contracts import Usage
from tierbus.errors import Rejected, Unavailable
from tierbus.llm.model import Question, Reply, StopReason, Turn
from tierbus.telemetry.content import HIDDEN, MESSAGE_CHARS, REASON_CHARS, bare, cut, messages, redacted
from tierbus.telemetry.names import Attr

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\nq1cFQv9cKx2m\n-----END RSA PRIVATE KEY-----",
    "MIIEpAIBAAKCAQEA75",
)
SECRETS = [
    ("the key sk-ant-api03-Zm9vYmFyYmF6cXV4 was refused", "Zm9vYmFyYmF6cXV4"),
    ("the key sk-proj-Zm9vYmFyYmF6cXV4_99 was refused", "Zm9vYmFyYmF6cXV4_99"),
    ("pk_live_51HZm9vYmFyYmF6cXV4", "51HZm9vYmFyYmF6cXV4"),
    ("rk_live_51HZm9vYmFyYmF6cXV4", "51HZm9vYmFyYmF6cXV4"),
    ("ghp_Zm9vYmFyYmF6cXV4Zm9vYmFy", "Zm9vYmFyYmF6cXV4Zm9vYmFy"),
    ("gho_Zm9vYmFyYmF6cXV4Zm9vYmFy", "Zm9vYmFyYmF6cXV4Zm9vYmFy"),
    ("ghs_Zm9vYmFyYmF6cXV4Zm9vYmFy", "Zm9vYmFyYmF6cXV4Zm9vYmFy"),
    ("glpat-Zm9vYmFyYmF6cXV4Zm9v", "Zm9vYmFyYmF6cXV4Zm9v"),
    ("xoxb-123456789012-Zm9vYmFyYmF6", "Zm9vYmFyYmF6"),
    ("xoxp-123456789012-Zm9vYmFyYmF6", "Zm9vYmFyYmF6"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ("AIzaSyDZm9vYmFyYmF6cXV4Zm9vYmFyYmF6c", "SyDZm9vYmFyYmF6cXV4Zm9vYmFyYmF6c"),
    ("hf_ZmVYmFyYmFcXVZmvYmFyYmFcXV", "ZmVYmFyYmFcXVZmvYmFyYmFcXV"),
    ("Authorization: Bearer Zm9vYmFyYmF6", "Zm9vYmFyYmF6"),
    ("authorization: bearer Zm9v.YmFy-YmF6", "Zm9v.YmFy-YmF6"),
    ("Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    (f"cookie {JWT}; path=/", JWT.split(".")[2]),
    (f"cookie {JWT}; path=/", JWT.split(".", maxsplit=1)[0]),
    (f"found\n{PEM[0]}\nin it", PEM[1]),
    (PEM[0].partition("-----END")[0], PEM[1]),
    ("password=hunter2 was wrong", "hunter2"),
    ("Password: hunter2", "hunter2"),
    ("passwd=hunter2", "hunter2"),
    ("pwd=hunter2;", "hunter2"),
    ('{"password": "hunter2 with blanks", "user": "me"}', "hunter2 with blanks"),
    ('{"api_key":"abcdef"}', "abcdef"),
    ("api-key = abcdef", "abcdef"),
    ("API KEY: abcdef", "abcdef"),
    ("secret=abcdef", "abcdef"),
    ("token=abcdef", "abcdef"),
    ("write to ada.lovelace+tag@mail.example.org, please", "lovelace"),
    ("write to ada@example.org.", "ada@example.org"),
    ("card 4111 1111 1111 1111 was charged", "1111"),
    ("card 4111-1111-1111-1111 was charged", "1111"),
    ("card 4111111111111111 was charged", "4111"),
    ("card 378282246310005 was charged", "0005"),
]
MISSED = [
    ("DB_PASSWORD=hunter2", "hunter2"),
    ("client_secret=hunter2", "hunter2"),
    ("access_token: hunter2", "hunter2"),
    ("metadata: not allowed (got {'password': 'hunter2'})", "hunter2"),
    ("password='hunter 2'", "2'"),
    (r"{\"password\": \"hunter2\"}", "hunter2"),
    ('{"password": "hunter2 cut in the mid', "hunter2"),
    ("github_pat_11ABCDEFG0Zm9vYmFyYmF6", "Zm9vYmFyYmF6"),
    ("npm_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v", "Zm9vYmFyYmF6"),
    ("postgres://app:hunter2@db/main", "hunter2"),
]
ORDINARY = [
    "",
    "The answer names two of the three cities; Lyon is missing.",
    "a token costs little; tokens: 12345; token usage: 900 of 1000",
    "the secret of it is patience, and the password is never told",
    "submitted 2026-10-18T12:00:00Z, due 2026-10-19T12:00:00.123456+02:00",
    "on 2026-10-18 at 12:00:00",
    "costs $0.000123, not $12,345.67 or 1 234,50 €",
    "0.1 + 0.2 = 0.3000000000",
    "spent 1234567890 nano-dollars of 999999999999",
    "run a3f5c9e2b7d84f60a1b2c3d4e5f60718 changed 32 times",
    "id f81d4fae-7dec-11d0-a765-00a0c91e6bf6 is known",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit 9cdedd9 of v1.2.3 on 127.0.0.1:4222, port 65535",
    "task-management and risk-assessment of a desk-based team",
    "the basic idea; a bearer of news",
    "mail them @ noon, see example.org/a@b",
    "Grüße, 你好, 🎉",
    "two\nlines\tand a tab",
]
CHEWED = [
    "id 550e8400-e29b-41d4-a716-446655440000 is known",
    "run 0123456789012345abcdef0123456789 changed 32 times",
    "from 2026-10-18 2026-10-19",
    "at 1800000000000 ms",
    "0.1 + 0.2 = 0.30000000000000004",
    "a basic understanding of it",
    "sk-learn-based-classifiers",
]
fragments = st.sampled_from([*(text for text, _ in SECRETS), *ORDINARY, " ", "\n", "; ", '"', "…", HIDDEN])
sentences = st.lists(fragments, max_size=8).map(" ".join)
words = st.text(string.ascii_lowercase + "äß€🎉 .,", max_size=60)


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    assert secret in text

    assert secret not in redacted(text)
    assert HIDDEN in redacted(text)


@pytest.mark.parametrize(("text", "secret"), MISSED)
def test_a_secret_is_hidden_however_it_is_written(text: str, secret: str) -> None:
    assert secret not in redacted(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("text", CHEWED)
def test_ids_dates_and_plain_words_are_left_alone(text: str) -> None:
    assert redacted(text) == text


def test_what_stands_around_a_secret_stays() -> None:
    assert redacted("before sk-ant-Zm9vYmFyYmF6cXV4 after") == f"before {HIDDEN} after"


@given(text=sentences)
def test_hiding_twice_is_hiding_once(text: str) -> None:
    once = redacted(text)

    assert redacted(once) == once


@given(text=st.text(max_size=700) | sentences, chars=st.integers(1, 400))
def test_a_cut_text_is_never_longer_than_asked(text: str, chars: int) -> None:
    assert len(cut(text, chars)) <= chars


@given(text=words, chars=st.integers(1, 80))
def test_cutting_twice_is_cutting_once(text: str, chars: int) -> None:
    once = cut(text, chars)

    assert cut(once, chars) == once


@given(text=words, chars=st.integers(1, 80))
def test_a_cut_text_is_its_beginning(text: str, chars: int) -> None:
    found = cut(text, chars)

    assert text.startswith(found.removesuffix("…"))
    if len(text) <= chars:
        assert found == text
    assert len(found) >= min(len(text), chars)


def test_a_cut_text_says_that_it_was_cut() -> None:
    assert cut("a" * 30, 10) == "aaaaaaaaa…"
    assert cut("one two three four", 10) == "one two t…"


def test_a_text_cut_at_a_words_end_says_so_too() -> None:
    assert cut("nine char and-much-more-of-it", 10).endswith("…")


def test_a_secret_that_crosses_the_cut_does_not_show() -> None:
    text = f"{'x' * (REASON_CHARS - 20)} password=hunter2-and-more-of-it-than-fits"

    assert "hunter2" not in cut(text)
    assert "hunter" not in cut(text, REASON_CHARS - 8)


def test_a_secret_that_crosses_the_end_of_what_is_looked_at_does_not_show() -> None:
    mail = "a.very.private.name.of.somebody@example.org"
    text = f"password={'x' * (2 * REASON_CHARS - 46)} {mail}"

    assert "private" not in cut(text)


def test_a_text_takes_no_longer_to_look_at_than_it_is_long() -> None:
    few, many = "-token" * 300, "-token" * 3000

    assert growth(lambda: redacted(few), lambda: redacted(many)) < 30, "a hundred is quadratic"


def test_a_long_text_costs_no_more_than_a_short_one() -> None:
    assert cut("a" * 10_000_000) == "a" * (REASON_CHARS - 1) + "…"


def question(system: str = "Be brief.", shared: str = "", *said: str) -> Question:
    turns = tuple(Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(said or ("Why?",)))
    return Question(system=system, turns=turns, shared=shared)


def answer(text: str) -> Reply:
    return Reply(text=text, usage=Usage(), stop=StopReason.DONE, model="m")


def test_messages_have_the_form_of_the_conventions() -> None:
    told = messages(question("Be brief.", "Material.", "Why?", "Because.", "Really?"), answer("Yes."))

    assert {name: json.loads(text) for name, text in told.items()} == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Material."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Why?"}]},
            {"role": "assistant", "parts": [{"type": "text", "content": "Because."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Really?"}]},
        ],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]}],
    }


def test_a_question_without_an_answer_has_no_output_and_none_that_was_not_said() -> None:
    told = messages(question(), None)

    assert set(told) == {Attr.SYSTEM.value, Attr.INPUT_MESSAGES.value}
    assert len(json.loads(told[Attr.INPUT_MESSAGES])) == 1


def test_secrets_are_hidden_in_every_part() -> None:
    key = "sk-ant-Zm9vYmFyYmF6cXV4"
    told = messages(question(key, key, key, key), answer(key))

    assert "Zm9v" not in "".join(told.values())
    assert "".join(told.values()).count(HIDDEN) == 5


def contents(told: str) -> list[str]:
    return [part["content"] for one in json.loads(told) for part in one.get("parts", [one])]


@given(
    system=st.text(max_size=50).map(lambda text: text * 200),
    said=st.lists(st.text(max_size=40).map(lambda text: text * 300), min_size=1, max_size=12),
    reply=st.none() | st.text(max_size=50).map(lambda text: text * 200),
)
def test_messages_are_valid_json_and_bounded_whatever_is_said(system: str, said: list[str], reply: str | None) -> None:
    told = messages(question(system, "", *said), None if reply is None else answer(reply))

    for text in told.values():
        assert sum(map(len, contents(text))) <= MESSAGE_CHARS
    assert len(contents(told[Attr.INPUT_MESSAGES])) == len(said)


def test_many_turns_share_the_room_and_each_keeps_its_place() -> None:
    told = messages(question("", "", *(f"{number}" * 1000 for number in range(8))), None)

    found = contents(told[Attr.INPUT_MESSAGES])
    assert [text[0] for text in found] == list("01234567")
    assert {len(text) for text in found} == {MESSAGE_CHARS // 8}


def test_the_values_of_a_rejected_message_are_left_out_of_its_reasons() -> None:
    error = Rejected("budget_usd: Input should be positive (got -1)", "prompt: it is empty")

    assert bare(error) == "budget_usd: Input should be positive; prompt: it is empty"
    assert bare(Unavailable("away (got 503)")) == "away (got 503)"
