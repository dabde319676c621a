"""What kind of task a call was and how hard it looks, by words that anybody can check. Pure.

A word counts once, three times among the first words of the user's message, where the verb stands. A class that the log
names itself always wins. The words and bands are ours and rough; they sort tasks, they do not decide about one.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from tierbus.audit.call import Call

_WORD = re.compile(r"[a-zà-ÿ]+")
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
_DEMANDING = ("code", "reasoning", "analysis")


class Sort(NamedTuple):
    """The kind, the band of complexity, and whether words of risk stand in it."""

    kind: str
    band: str
    risky: bool


LABEL_CHARS = 48
"""A longer label is no class's name but may be what somebody asked, so it is not used."""


def label_of(call: Call) -> str:
    """The class that the log names."""
    return call.label if len(call.label) <= LABEL_CHARS else ""


def sort(call: Call) -> Sort:
    """What a call was, from its label, its text, or, where there is neither, its shape."""
    opening = call.prompt[:_HEAD_CHARS]
    tail = call.prompt[-_TAIL_CHARS:] if len(call.prompt) > _HEAD_CHARS + _TAIL_CHARS else ""
    words = _WORD.findall(opening.lower())
    around = _WORD.findall(f"{call.system[-_SYSTEM_CHARS:]} {tail}".lower()) if call.system or tail else []
    seen = {*words, *around}
    kind = label_of(call) or _by_operation(call) or (_by_words(words, around, call) if seen else _by_shape(call))
    return Sort(kind, _band(call, kind, seen, opening), not RISKY.isdisjoint(seen))


def _by_operation(call: Call) -> str:
    operation = call.operation.lower()
    if "embed" in operation or "embed" in call.model:
        return "embedding"
    if "image" in operation or "speech" in operation or "transcription" in operation:
        return "media"
    return "tool use" if call.tools else ""


def _by_words(words: list[str], around: list[str], call: Call) -> str:
    counts: dict[str, int] = {}
    for place, word in enumerate(words):
        kind = _KIND_OF.get(word)
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + (_OPENING_WEIGHT if place < _OPENING_WORDS else 1)
    for word in around:
        kind = _KIND_OF.get(word)
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + 1
    if "```" in call.prompt:
        counts["code"] = counts.get("code", 0) + _OPENING_WEIGHT
    return max(counts, key=counts.__getitem__) if counts else "other"


def _by_shape(call: Call) -> str:
    if call.output <= _SHORT_ANSWER:
        return "no text, short answer"
    return "no text, long answer" if call.output > _LONG_ANSWER else "no text"


def _band(call: Call, kind: str, seen: set[str], opening: str) -> str:
    works, hard = len(seen & WORK), len(seen & HARD_WORDS)
    score = (
        (call.input > _LARGE) + (call.input > _VERY_LARGE) + (call.output > _LONG_ANSWER)
        + (works >= _WORKS[0]) + (works >= _WORKS[1]) + min(hard, 2)
        + (opening.count("\n-") + opening.count("\n1.") + opening.count("\n2.") >= _ITEMS)
        + (not CHAINED.isdisjoint(seen)) + (kind in _DEMANDING) + (call.tools and call.output > _SHORT_ANSWER)
    )  # fmt: skip
    return HARD if score >= _HARD_FROM else MODERATE if score >= _MODERATE_FROM else SIMPLE
