"""Which tasks are of one shape, and what of an earlier task may not be left in a plan."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierbus.contracts import Attachment, Content, Expects, Inputs, Step
from tierbus.plans.shape import LITERALS, SHAPE_CHARS, literals, masked, owned, shape_of, strangers

PROMPT = "Compare the offers of Aurora and Nordvik for 2026: rank them by cost, then advise the council in 120 words."


def shape(
    prompt: str = PROMPT,
    tenant: str = "acme",
    task_class: str = "offers",
    names: tuple[str, ...] = (),
    expects: Expects | None = None,
) -> str | None:
    attachments = [Attachment(name=name, content=Content.of("text")) for name in names]
    return shape_of(tenant, task_class, prompt, attachments, expects or Expects())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Rank Aurora Busser before Nordvik.", "rank <name> before <name>."),
        ("Pay EUR 1,200.50 or 12% by 2026-01-31.", "pay <name> <number> or <number> by <number>."),
        ('Translate "Good morning" and „Guten Tag“.', "translate <quote> and <quote>."),
        ("It's the firm's 'first offer'.", "it's the firm's <quote>."),
        ("Read reports/q3.csv, notes.txt, https://a.example/x?y=1.", "read <file>, <file>, <link>"),
        (
            "Ask ann@example.org about order A-17b and build_all.",
            "ask <link> about order <identifier> and <identifier>.",
        ),
        ("Explain:\n```python\nprint(1)\n```\nThen stop.", "explain: <code> then stop."),
        ("Answer:\n> Dear Sir\n> how are you\nin one line", "answer: <cited> in one line"),
        ("Ask Aurora. Aurora is near. Nordvik is far.", "ask <name>. <name> is near. nordvik is far."),
        ("ACME pays. McDuff pays.", "<name> pays. <name> pays."),
        ("- First do it.\n- Then rest!", "- first do it. - then rest!"),
        ("Grüße Ölaf aus Çeşme", "grüße <name> aus <name>"),
    ],
)
def test_literals_are_masked_by_kind(text: str, left: str) -> None:
    assert masked(text) == left


def test_tasks_that_differ_in_literals_alone_have_one_shape() -> None:
    other = "Compare the offers of Solberg Mobility and Kystlinje for 2031: rank them by cost, then advise the council in 80 words."

    assert shape() == shape(other)
    assert shape() == shape(f"  {PROMPT}\n".replace(" ", "  "))


@pytest.mark.parametrize(
    "other",
    [
        shape(PROMPT.replace("cost", "speed")),
        shape(f"{PROMPT} Be brief."),
        shape(tenant="umbrella"),
        shape(task_class="tenders"),
        shape(names=("a.txt",)),
        shape(expects=Expects(json_schema={"type": "object"})),
        shape(expects=Expects(must_mention=("x",))),
        shape(expects=Expects(max_chars=10)),
        shape(expects=Expects(criteria=("is polite",))),
    ],
)
def test_another_tenant_class_wording_or_expectation_is_another_shape(other: str | None) -> None:
    assert other is not None
    assert shape() != other


def test_attachments_count_by_number_order_and_kind_and_not_by_name() -> None:
    assert shape(names=("a.txt", "b.csv")) == shape(names=("x.TXT", "y.csv"))
    assert len({shape(names=names) for names in ((), ("a.txt",), ("a.txt", "b.txt"), ("a.csv", "b.txt"))}) == 4


@pytest.mark.parametrize("prompt", ["", " \n", "x" * (SHAPE_CHARS + 1)])
def test_a_task_without_words_or_with_too_many_has_no_shape(prompt: str) -> None:
    assert shape(prompt) is None


def test_the_key_can_be_told_by_any_later_release() -> None:
    """A key that changes throws every kept plan away: change `_VERSION` with it."""
    assert shape() == "dee23077f78191d3c2e1a54b1f1cd333"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_has_one_mask_and_masking_reads_it_to_its_end(text: str) -> None:
    assert masked(text) == masked(text)
    assert masked(f"{text} zebra").endswith(("zebra", ">"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=2), st.text(string.ascii_letters, min_size=3, max_size=12))
def test_numbers_and_names_do_not_matter(numbers: list[int], name: str) -> None:
    prompt = f"Send {numbers[0]} bottles to {name.capitalize()} before day {numbers[1]}."

    assert shape(prompt) == shape("Send 3 bottles to Berta before day 9.")


@pytest.mark.parametrize(
    "text", ["a." * 10_000, "a/" * 10_000, '"' * 20_000, "'a" * 10_000, "_" * 20_000, "> " * 10_000]
)
@pytest.mark.timeout(20)
def test_no_text_takes_long(text: str) -> None:
    assert shape(text) is not None


def test_literals_are_told_once_without_quotes_and_short_ones_not_at_all() -> None:
    found = literals('Send "Good morning" to Aurora, 2 times; Aurora pays 120 EUR.')

    assert found == ["Good morning", "Aurora", "120", "EUR"]


def test_strangers_are_what_the_earlier_task_alone_speaks_of() -> None:
    earlier = ["Aurora", "120", "EUR"]

    assert strangers("Aurora pays 120 EUR", earlier, "Nordvik pays 80 EUR") == ["Aurora", "120"]
    assert strangers("Nordvik pays 1200 EUR to Auroras", earlier, "Nordvik") == ["EUR"]
    assert strangers("aurora", earlier, "Ask AURORA") == []


def test_what_a_task_owns_is_in_its_prompt_or_came_from_its_attachments() -> None:
    step = Step(id="a", instruction="Find what Solberg asks for, as JSON.", inputs=Inputs(prompt=True))

    assert owned((step,), "Read it for Aurora.", ("a.txt",), "offer of Solberg AS") == ("Aurora", "a.txt", "Solberg")
    assert len(owned((), " ".join(f"n{n}n" for n in range(LITERALS + 9)), (), "")) == LITERALS
