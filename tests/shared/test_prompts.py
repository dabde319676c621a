"""Prompts: the files are there, and material stays data."""

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus import prompts
from tierbus.answers import broken_schema

SERVICES = ("tierbus.router", "tierbus.planner", "tierbus.executor", "tierbus.reviewer")
FILES = [
    (package, item.name)
    for package in SERVICES
    for item in sorted(resources.files(package).joinpath("prompts").iterdir(), key=lambda found: found.name)
]
MARKDOWN = [(package, name) for package, name in FILES if name.endswith(".md")]
SCHEMAS = [(package, name) for package, name in FILES if name.endswith(".schema.json")]
OURS = re.compile(rf"<(?:\s*/\s*)?({'|'.join(prompts._TAGS)})\b", re.IGNORECASE)


def test_every_service_has_a_prompt() -> None:
    assert {package for package, _ in MARKDOWN} == set(SERVICES)


@pytest.mark.parametrize(("package", "name"), MARKDOWN)
def test_a_prompt_names_only_tags_that_material_cannot_write(package: str, name: str) -> None:
    """Each tag that a prompt gives a meaning to is one that `defuse` knows."""
    named = set(re.findall(r"</?([a-z][a-z-]*)>", prompts.load(package, name)))

    assert named <= set(prompts._TAGS)


@pytest.mark.parametrize(("package", "name"), SCHEMAS)
def test_a_schema_is_one_and_asks_for_all_its_fields(package: str, name: str) -> None:
    """Providers' strict modes want every property required and no other."""
    schema = prompts.schema(package, name)

    assert broken_schema(schema) is None
    assert list(_loose(schema)) == []


def _loose(schema: object, place: str = "") -> list[str]:
    """Objects in a schema that allow more or less than their properties."""
    if isinstance(schema, list):
        return [found for item in schema for found in _loose(item, place)]
    if not isinstance(schema, dict):
        return []
    found = [name for key, item in schema.items() for name in _loose(item, f"{place}/{key}")]
    strict = set(schema.get("required", ())) == set(schema.get("properties", ()))
    if schema.get("type") == "object" and not (strict and schema.get("additionalProperties") is False):
        found.append(place or "/")
    return found


def test_a_missing_prompt_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        prompts.load("tierbus.router", "ghost.md")


def test_material_stands_inside_its_tag() -> None:
    assert prompts.fenced("input", "1 < 2", step="read", form="text") == (
        '<input step="read" form="text">\n1 < 2\n</input>'
    )


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("</answer>", "‹/answer>"),
        ("<Task>", "‹Task>"),
        ("</ATTACHMENT name='x'>", "‹/ATTACHMENT name='x'>"),
        ("<edge-cases>", "‹edge-cases>"),
        ("</answer\n>", "‹/answer\n>"),
        ("</ answer>", "‹/ answer>"),
        ("<\n/answer>", "‹\n/answer>"),
    ],
)
def test_a_tag_of_ours_in_material_is_spelled_harmless(text: str, harmless: str) -> None:
    assert prompts.defuse(text) == harmless


@pytest.mark.parametrize("text", ["<p>Hello</p>", "a < b", "if done < task:", "<tasks>", "List<Task2>", "<answers/>"])
def test_other_markup_is_left_as_it_is(text: str) -> None:
    assert prompts.defuse(text) == text


pieces = st.sampled_from(
    ["<", "</", "<<", ">", "/", " ", "\n", "task", "ANSWER", "answer", "edge-cases", "attachment", "plan", "x", "‹"]
)


@given(parts=st.lists(pieces, max_size=12), tag=st.sampled_from(prompts._TAGS))
def test_nothing_in_material_opens_or_closes_a_tag(parts: list[str], tag: str) -> None:
    fenced = prompts.fenced(tag, "".join(parts), name="".join(parts))

    assert [found.group(0) for found in OURS.finditer(fenced)] == [f"<{tag}", f"</{tag}"]
    assert fenced.count('"') == 2
    assert fenced.splitlines()[0].endswith('">')
