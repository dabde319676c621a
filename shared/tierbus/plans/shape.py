"""The shape of a task: what is left of it without its literals. Tasks of one shape can share a plan. Pure.

Masked are quoted and fenced material, block quotes, links, addresses, file names, numbers, identifiers and names: words
with a capital that stand inside a sentence somewhere in the text, or have a capital inside. What is left must be equal word
for word: a task that is merely alike, or has a name only where a sentence begins, has another shape and is planned anew,
which costs money but is never wrong. In a language that writes all nouns with a capital the shape is coarser; that a plan
does not fit then shows in its acceptance.
"""

import hashlib
import json
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any

from tierbus.contracts import Attachment, Expects, Step

SHAPE_CHARS = 20_000
"""A longer prompt is mostly material: it has no shape."""
LITERAL_CHARS = 3
"""Shorter literals (`2`, `A`) say nothing about which task a text comes from."""
LITERALS = 500
"""Literals that are remembered of a task."""
_VERSION = 1
_LITERAL = re.compile(
    r"""
      (?P<code>```.*?(?:```|\Z))
    | (?P<cited>^[ \t]*>[^\n]*(?:\n[ \t]*>[^\n]*)*)
    | (?P<quote>"[^"\n]{1,2000}"|“[^”\n]{1,2000}”|„[^“”\n]{1,2000}[“”]|«[^»\n]{1,2000}»|`[^`\n]{1,2000}`
        |(?<!\w)['‘][^'’\n]{1,2000}['’](?!\w))
    | (?P<link>\b(?:https?|ftp)://[^\s<>"]{1,2000}|\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+)
    | (?P<file>\b(?:[\w.-]{1,100}/)+[\w.-]{1,100}|\b[\w-]{1,100}\.[A-Za-z][A-Za-z0-9]{1,4}\b)
    | (?P<number>(?:[$€£¥][ ]?)?(?<!\w)[-+]?\d(?:[\d.,:/'-]{0,30}\d)?(?!\w)(?:[ ]?[%‰€])?)
    | (?P<identifier>\b(?=[\w-]{0,80}[\d_])\w+(?:-\w+)*)
    | (?P<word>[^\W\d_](?:['’-]?[^\W\d_])*)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_SEVERAL_NAMES = re.compile(r"<name>(?:[ \t]+<name>)+")
_SPACE = re.compile(r"\s+")
_ENDS = ".!?:;\n-*•·)(\"'"
"""What may stand before the first word of a sentence, a line or a list's entry."""


def shape_of(
    tenant: str, task_class: str, prompt: str, attachments: Sequence[Attachment], expects: Expects
) -> str | None:
    """The key of a task's shape: 32 hexadecimal digits, never the same for two tenants or classes; None for a task without one."""
    if not prompt.strip() or len(prompt) > SHAPE_CHARS:
        return None
    parts = [
        _VERSION,
        tenant,
        task_class,
        masked(prompt),
        [[_kind(item.name), item.content.media] for item in attachments],
        _expected(expects),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def masked(text: str) -> str:
    """The text with every literal replaced by its kind, in lower case, with single spaces."""
    names = _names(text)
    replaced = _LITERAL.sub(lambda found: _told(found, names), text)
    return _SPACE.sub(" ", _SEVERAL_NAMES.sub("<name>", replaced)).strip()


def literals(text: str) -> list[str]:
    """The literals of a text that are long enough to tell it from another, each once, without their quotes."""
    return list(dict.fromkeys(_literals(text)))


def _literals(text: str) -> Iterator[str]:
    names = _names(text)
    for found in _LITERAL.finditer(text):
        if found.lastgroup == "word" and found.group() not in names:
            continue
        literal = found.group().strip(" \t\n`\"'“”„‘’«»>")
        if len(literal) >= LITERAL_CHARS:
            yield literal


def spoken(step: Step) -> str:
    """All that a step says in words."""
    return "\n".join((step.instruction, *step.expects.must_mention, *step.expects.criteria, *step.edge_cases))


def owned(steps: Sequence[Step], prompt: str, names: Sequence[str], shown: str) -> tuple[str, ...]:
    """What is a task's own: its literals, its attachments' names, and those literals of its plan that come from the attachments."""
    from_attachments = [found for step in steps for found in literals(spoken(step)) if _speaks_of(shown, found)]
    return tuple(dict.fromkeys((*literals(prompt), *names, *from_attachments)))[:LITERALS]


def strangers(text: str, earlier: Sequence[str], now: str) -> list[str]:
    """The literals of an earlier task that a text speaks of although the task at hand, `now`, has none such."""
    return [literal for literal in earlier if _speaks_of(text, literal) and not _speaks_of(now, literal)]


def _speaks_of(text: str, literal: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(literal)}(?!\w)", text, re.IGNORECASE) is not None


def _told(found: re.Match[str], names: Container[str]) -> str:
    if found.lastgroup == "word":
        return "<name>" if found.group() in names else found.group().lower()
    return f"<{found.lastgroup}>"


def _names(text: str) -> frozenset[str]:
    """The words that are names, wherever they stand."""
    words = (found for found in _LITERAL.finditer(text) if found.lastgroup == "word")
    return frozenset(found.group() for found in words if _named(text, found))


def _named(text: str, found: re.Match[str]) -> bool:
    """Whether a word is written as a name here: with a capital inside, or with one where no sentence begins."""
    if any(letter.isupper() for letter in found.group()[1:]):
        return True
    if not found.group()[0].isupper():
        return False
    place = found.start() - 1
    while place >= 0 and text[place] in " \t":
        place -= 1
    return place >= 0 and text[place] not in _ENDS


def _kind(name: str) -> str:
    """The kind of an attachment: the ending of its name."""
    return name.rsplit(".", 1)[-1].lower() if "." in name else ""


def _expected(expects: Expects) -> list[Any]:
    """What an answer must be, without literals: the schema whole, of the rest how much there is of it."""
    return [
        expects.json_schema,
        len(expects.must_mention),
        expects.min_chars is not None,
        expects.max_chars is not None,
        [masked(line) for line in expects.criteria],
    ]
