"""Prompts are Markdown files beside the service that speaks them; material goes in fenced, as data.

A prompt's system text is the same for every task, so that providers can cache it. Whatever a task, an attachment or a
model wrote stands inside a tag, with anything that could close the tag defused: it is read, never obeyed.
"""

import json
import re
from functools import cache
from importlib import resources
from typing import Any

_TAGS = (
    "task",
    "earlier-task",
    "attachment",
    "input",
    "step",
    "instruction",
    "expected",
    "critique",
    "answer",
    "other",
    "edge-cases",
    "plan",
    "errors",
)
_CLOSING = re.compile(rf"<(\s*/\s*|)({'|'.join(_TAGS)})\b", re.IGNORECASE)


@cache
def load(package: str, name: str) -> str:
    """The text of `<package>/prompts/<name>`; a missing file is an error at once."""
    return resources.files(package).joinpath("prompts", name).read_text(encoding="utf-8").strip()


@cache
def schema(package: str, name: str) -> dict[str, Any]:
    """A JSON schema that stands beside the prompts."""
    loaded: dict[str, Any] = json.loads(load(package, name))
    return loaded


def fenced(tag: str, text: str, **attributes: str) -> str:
    """Text as data inside `<tag>`, with our own tags in it made harmless."""
    named = "".join(f' {name}="{_plain(value)}"' for name, value in attributes.items())
    return f"<{tag}{named}>\n{defuse(text)}\n</{tag}>"


def defuse(text: str) -> str:
    """The text with every tag of ours spelled so that it opens and closes nothing."""
    return _CLOSING.sub(lambda found: f"‹{found.group(1)}{found.group(2)}", text)


def _plain(value: str) -> str:
    return value.replace('"', "'").replace("<", "‹").replace("\n", " ")
