"""What kind of task a call was and how hard it looks, by words that anybody can check. Pure.

A word counts once, three times among the first words of the user's message, where the verb stands. A class that the log
names itself always wins. The words and bands are ours and rough; they sort tasks, they do not decide about one.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from tierbus.audit.call import Call

_SPACED = bytes(byte if byte in b"abcdefghijklmnopqrstuvwxyz" or byte >= ord("à") else ord(" ") for byte in range(256))
"""Latin-1 in which all but lower-case letters is a space: words by splitting, in half the time of a pattern."""
_HEAD_CHARS, _SYSTEM_CHARS, _TAIL_CHARS = 700, 400, 200
_OPENING_WORDS = 12
_OPENING_WEIGHT = 3
SIMPLE, MODERATE, HARD = "simple", "moderate", "hard"
BANDS = (SIMPLE, MODERATE, HARD)
_MODERATE_FROM, _HARD_FROM = 2, 4
_LARGE, _VERY_LARGE = 8_000, 30_000
_LONG_ANSWER, _SHORT_ANSWER = 1_200, 32
_WORKS = (2, 4)
_ITEMS = 3
_CLUES = 1

WORDS: Mapping[str, str] = {
    "translation": "translate translation übersetze traduire traduis",
    "classification": "classify classification categorise categorize category label sentiment intent moderate spam triage",
    "extraction": "extract extraction entities parse fields invoice receipt transcribe",
    "summary": "summarise summarize summary tldr condense digest recap minutes",
    "rewriting": "rewrite rephrase paraphrase proofread shorten polish grammar reformat convert normalise normalize correct",
    "code": "code function python javascript typescript java sql bug refactor implement regex compile script unittest traceback class",
    "reasoning": "prove proof calculate solve equation theorem derive puzzle probability integer compute",
    "analysis": "plan strategy architecture design roadmap analyse analyze compare evaluate research investigate assess recommend",
    "writing": "write draft compose email letter blog story essay announcement slogan reply",
    "question": "what who when where which why how question answer explain does",
}
"""Words of each kind; the kind with most of them is the task's."""
_KIND_OF = {word: kind for kind, words in WORDS.items() for word in words.split()}
WORK = frozenset(
    [
        "compare",
        "analyse",
        "analyze",
        "summarise",
        "summarize",
        "evaluate",
        "research",
        "investigate",
        "plan",
        "design",
        "write",
        "draft",
        "review",
        "explain",
        "recommend",
        "reconcile",
        "derive",
        "estimate",
        "rank",
        "identify",
        "propose",
        "assess",
        "combine",
        "merge",
        "determine",
        "prepare",
        "migrate",
        "refactor",
        "implement",
        "diagnose",
    ]
)
HARD_WORDS = frozenset(
    [
        "architecture",
        "strategy",
        "prove",
        "proof",
        "theorem",
        "optimise",
        "optimize",
        "concurrency",
        "deadlock",
        "negotiate",
        "forecast",
        "counterfactual",
        "threat",
        "migration",
    ]
)
RISKY = frozenset(
    [
        "production",
        "payment",
        "refund",
        "irreversible",
        "legal",
        "lawsuit",
        "patient",
        "dosage",
        "safety",
        "regulator",
        "contract",
        "compliance",
        "medication",
        "penalty",
        "diagnosis",
    ]
)
"""Words after which a wrong answer may cost money, health or trust; such calls are never among the first to move."""
CHAINED = frozenset(["then", "afterwards", "finally"])
_MARKS = WORK | HARD_WORDS | RISKY | CHAINED
_DEMANDING = ("code", "reasoning", "analysis")
_SYSTEMS = 512
"""System parts whose words are remembered: applications have few, and each is on thousands of calls."""


class Sort(NamedTuple):
    """The kind, the band of complexity, and whether words of risk stand in it."""

    kind: str
    band: str
    risky: bool


class _Heard(NamedTuple):
    """Words of a text: whether there are any, the kinds that they speak for, word by word, and which of them are marks."""

    spoken: bool = False
    kinds: Sequence[str] = ()
    marks: frozenset[str] = frozenset()


_SILENCE = _Heard()


LABEL_CHARS = 48
"""A longer label is no class's name but may be what somebody asked, so it is not used."""


def label_of(call: Call) -> str:
    """The class that the log names."""
    return call.label if len(call.label) <= LABEL_CHARS else ""


def sort(call: Call) -> Sort:
    """What a call was, from its label, its text, or, where there is neither, its shape."""
    opening = call.prompt[:_HEAD_CHARS]
    words = _words(opening)
    system = _heard_before(call.system[-_SYSTEM_CHARS:]) if call.system else _SILENCE
    tail = _heard(call.prompt[-_TAIL_CHARS:]) if len(call.prompt) > _HEAD_CHARS + _TAIL_CHARS else _SILENCE
    marks = _MARKS.intersection(words).union(system.marks, tail.marks)
    kind = label_of(call) or _by_operation(call)
    if not kind:
        spoken = words or system.spoken or tail.spoken
        kind = _by_words(words, chain(system.kinds, tail.kinds), call) if spoken else _by_shape(call)
    return Sort(kind, _band(call, kind, marks, opening), not RISKY.isdisjoint(marks))


def _words(text: str) -> list[str]:
    return text.lower().encode("latin-1", "replace").translate(_SPACED).decode("latin-1").split()


def _heard(text: str) -> _Heard:
    words = _words(text)
    return _Heard(bool(words), tuple(_kinds(words)), _MARKS.intersection(words))


_heard_before = lru_cache(_SYSTEMS)(_heard)


def _kinds(words: Iterable[str]) -> Iterable[str]:
    return filter(None, map(_KIND_OF.get, words))


def _by_operation(call: Call) -> str:
    operation = call.operation.lower()
    if "embed" in operation or "embed" in call.model:
        return "embedding"
    if "image" in operation or "speech" in operation or "transcription" in operation:
        return "media"
    return "tool use" if call.tools else ""


def _by_words(words: list[str], around: Iterable[str], call: Call) -> str:
    counts: dict[str, int] = {}
    for kind in _kinds(words[:_OPENING_WORDS]):
        counts[kind] = counts.get(kind, 0) + _OPENING_WEIGHT
    for kind in chain(_kinds(words[_OPENING_WORDS:]), around):
        counts[kind] = counts.get(kind, 0) + 1
    if "```" in call.prompt:
        counts["code"] = counts.get("code", 0) + _OPENING_WEIGHT
    return max(counts, key=counts.__getitem__) if counts else "other"


def _by_shape(call: Call) -> str:
    if call.output <= _SHORT_ANSWER:
        return "no text, short answer"
    return "no text, long answer" if call.output > _LONG_ANSWER else "no text"


def _band(call: Call, kind: str, marks: frozenset[str], opening: str) -> str:
    works, hard = (len(marks & WORK), len(marks & HARD_WORDS)) if marks else (0, 0)
    items = opening.count("\n-") + opening.count("\n1.") + opening.count("\n2.") if "\n" in opening else 0
    score = (
        (call.input > _LARGE) + (call.input > _VERY_LARGE) + (call.output > _LONG_ANSWER)
        + (works >= _WORKS[0]) + (works >= _WORKS[1]) + min(hard, 2)
        + (items >= _ITEMS) + (not CHAINED.isdisjoint(marks)) + (kind in _DEMANDING) + (call.tools and call.output > _SHORT_ANSWER)
    )  # fmt: skip
    return HARD if score >= _HARD_FROM else MODERATE if score >= _MODERATE_FROM else SIMPLE
