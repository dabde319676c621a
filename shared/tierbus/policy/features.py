"""What a prompt and an answer look like, in numbers: the only thing a learned policy sees of a text.

Nothing here knows an answer's worth. Each group of features is one function; `prompt_features` is what is known before
anything was asked, `answer_features` what one answer adds, `pair_features` what a second one adds.
"""

import ast
import re
from collections import Counter
from functools import lru_cache
from math import log1p
from typing import Any

from tierbus.policy import calls
from tierbus.policy.moves import Seen
from tierbus.policy.numbers import numbers, sums

Features = dict[str, float]

_KEPT = 128
"""Texts whose features are kept: a task is looked at several times in a row."""

_LETTERS = bytes(code if code < 128 and chr(code).isalpha() else ord(" ") for code in range(256))  # noqa: PLR2004 - ASCII
_SENTENCE = re.compile(r"[.!?](?:\s|$)")
_LOOPS, _BRANCHES = (
    [re.compile(rf"{word}(?<!\w{word})\b") for word in words]
    for words in (("for", "while"), ("if", "elif", "else", "case"))
)
"""Whole words, by their letters first: `re` skips to these, while it looks for a leading `\b` everywhere."""
_METHOD = re.compile(r"\.(\w+)\(")
_HEDGES = frozenset(
    [
        "however",
        "wait",
        "actually",
        "assume",
        "assuming",
        "assumes",
        "assumed",
        "assumption",
        "perhaps",
        "maybe",
        "might",
        "unclear",
        "approximately",
        "about",
        "sorry",
        "cannot",
        "unable",
        "correct",
        "corrected",
        "correction",
        "correctly",
        "mistake",
        "error",
    ]
)
_REFUSALS = frozenset({"cannot", "unable", "sorry", "impossible", "none", "lack", "lacks", "missing"})
_STEP = re.compile(r"\n[^\S\n]*(?:\d+[.)]|[-*])(?=\s)")
_RATIOS = frozenset(
    [
        "half",
        "twice",
        "thrice",
        "third",
        "quarter",
        "double",
        "triple",
        "times",
        "percent",
        "fraction",
        "ratio",
        "average",
        "per",
        "each",
        "every",
    ]
)
_RESTS = frozenset(
    [
        "remain",
        "remains",
        "remaining",
        "remainder",
        "left",
        "more",
        "less",
        "fewer",
        "total",
        "altogether",
        "difference",
        "rest",
        "already",
        "another",
    ]
)
_TIMES = frozenset(
    [
        "hour",
        "hours",
        "minute",
        "minutes",
        "day",
        "days",
        "week",
        "weeks",
        "month",
        "months",
        "year",
        "years",
        "old",
        "ago",
        "speed",
        "mile",
        "miles",
        "km",
    ]
)
_MONEY = frozenset(
    [
        "dollar",
        "dollars",
        "cent",
        "cents",
        "cost",
        "costs",
        "price",
        "prices",
        "pay",
        "pays",
        "paid",
        "earn",
        "earns",
        "spend",
        "spends",
        "spent",
        "money",
    ]
)
_MARK = re.compile(r"[^\w\s]")
_ASCII = re.compile(r"[\x00-\x7f]+")
_MARKS = bytes(code for code in range(128) if _MARK.match(chr(code)))
_CAPITALS = bytes(code for code in range(128) if chr(code).isupper())
_DEFINITION = re.compile(r"def(?<!\wdef) \w+\(")
_RETURN = re.compile(r"return(?<!\wreturn)\b")
_FINAL = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|[^,}\n]+)|####\s*(.+)')
_HUGE = 1e15
"""Numbers above it count as it: no float holds their fractions."""
_LITERAL = re.compile(r"\s*(?:[-+\d.\"'\[({]|[bfru]{1,2}['\"]|True|False|None)")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?")
"""The most frequent literal: it need not be parsed."""
_LONGEST_LITERAL = 2_000
_LONGEST = 8_000
"""Characters of a text that are looked at; of longer ones the beginning and the end count."""

_said = lru_cache(maxsize=2 * _KEPT)(numbers)
"""The numbers of a text; kept, because those of a prompt and of what is compared are looked at several times."""


def cut(text: str) -> str:
    """The text, or beginning and end of a long one, so that a decision's time has a bound."""
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + text[-_LONGEST // 2 :]


def _words(text: str) -> list[str]:
    """The runs of ASCII letters; a regular expression takes three times as long."""
    return text.encode("ascii", "replace").translate(_LETTERS).decode().split()


@lru_cache(maxsize=_KEPT)
def prompt_features(prompt: str) -> Features:
    """What is known before anything is asked."""
    text = cut(prompt)
    words = _words(text)
    found = _said(text)
    counts = Counter(map(str.lower, words))
    capitals, marks = _capitals_and_marks(text)
    return {
        "prompt.chars": log1p(len(prompt)),
        "prompt.words": log1p(len(words)),
        "prompt.sentences": log1p(len(_SENTENCE.findall(text))),
        "prompt.word_chars": len("".join(words)) / (len(words) or 1),
        "prompt.variety": len(counts) / (len(words) or 1),
        "prompt.numbers": log1p(len(found)),
        "prompt.decimals": log1p(sum(value != int(value) for value in found if abs(value) < _HUGE)),
        "prompt.largest": log1p(min(max(map(abs, found), default=0.0), _HUGE)),
        "prompt.ratio": log1p(_times(counts, _RATIOS) + text.count("%")),
        "prompt.rest": log1p(_times(counts, _RESTS)),
        "prompt.time": log1p(_times(counts, _TIMES)),
        "prompt.money": log1p(_times(counts, _MONEY) + text.count("$")),
        "prompt.questions": log1p(text.count("?")),
        "prompt.capitals": capitals / (len(text) or 1),
        "prompt.marks": marks / (len(text) or 1),
        **_code_features(text),
        **_offer_features(prompt),
    }


def _times(counts: Counter[str], words: frozenset[str]) -> int:
    return sum([counts[word] for word in counts.keys() & words])


def _capitals_and_marks(text: str) -> tuple[int, int]:
    """How many capital letters and punctuation marks there are. ASCII is counted as bytes, ten times faster."""
    plain = text.encode("ascii", "ignore")
    other = "" if text.isascii() else _ASCII.sub("", text)
    return (
        len(plain) - len(plain.translate(None, _CAPITALS)) + sum(map(str.isupper, other)),
        len(plain) - len(plain.translate(None, _MARKS)) + len(_MARK.findall(other)),
    )


def _code_features(text: str) -> Features:
    coded = _coded(text)
    methods = _METHOD.findall(text) if coded else []
    return {
        "code.here": float(coded),
        "code.lines": log1p(text.count("\n")) if coded else 0.0,
        "code.loops": log1p(_count(_LOOPS, text)) if coded else 0.0,
        "code.branches": log1p(_count(_BRANCHES, text)) if coded else 0.0,
        "code.methods": log1p(len(methods)),
        "code.slices": log1p(_slices(text)) if coded else 0.0,
        "code.input": log1p(len(text.rpartition("assert")[2])) if coded else 0.0,
        "code.strings": log1p(text.count("'") + text.count('"')) if coded else 0.0,
    }


def _coded(text: str) -> bool:
    return "[PYTHON]" in text or "```" in text or bool(_DEFINITION.search(text) or _RETURN.search(text))


def _count(words: list[re.Pattern[str]], text: str) -> int:
    return sum(len(word.findall(text)) for word in words)


def _slices(text: str) -> int:
    """Pairs of square brackets with a colon between them."""
    return sum(":" in part.partition("[")[2] for part in text.split("]")[:-1])


def _offer_features(prompt: str) -> Features:
    offered = calls.offers(prompt)
    return {
        "offer.functions": log1p(len(offered)),
        "offer.parameters": log1p(sum(len(one.parameters) for one in offered.values())),
        "offer.required": log1p(sum(len(one.required) for one in offered.values())),
        "offer.overlap": max((_overlap(one, _question(prompt)) for one in offered.values()), default=0.0),
        "offer.any": log1p(sum(kind in ("any", "") for one in offered.values() for kind in one.parameters.values())),
        "offer.nested": log1p(
            sum(
                kind in ("array", "dict", "object", "list", "tuple")
                for one in offered.values()
                for kind in one.parameters.values()
            )
        ),
    }


@lru_cache(maxsize=_KEPT)
def _question(prompt: str) -> frozenset[str]:
    """The words of a prompt before the functions that it offers."""
    return frozenset(map(str.lower, _words(prompt.partition("Functions:")[0])))


def _overlap(offer: calls.Offer, question: frozenset[str]) -> float:
    """Share of the words of a function's name and description that the question has."""
    about = {word.lower() for word in _words(offer.name + " " + offer.description)}
    return len(about & question) / (len(about) or 1)


@lru_cache(maxsize=_KEPT)
def final(seen: Seen) -> str:
    """The part of an answer that can be compared: as it was read, or found in the text, or the text itself."""
    if seen.answer is not None:
        return seen.answer.strip()
    made = calls.parse(seen.text)
    if made is not None:
        return calls.canonical(made)
    marked = list(_FINAL.finditer(seen.text))
    if marked:
        return (marked[-1].group(1) or marked[-1].group(2)).strip().strip('"')
    return seen.text.strip()


@lru_cache(maxsize=_KEPT)
def answer_features(prompt: str, seen: Seen, name: str) -> Features:
    """What one answer adds; `name` tells the places of the ladder apart."""
    text = cut(seen.text)
    words = _words(text.lower())
    answer = final(seen)
    found = {
        "checked": float(seen.valid is not None),
        "invalid": float(seen.valid is False),
        "truncated": float(seen.truncated),
        "chars": log1p(len(seen.text)),
        "relative": log1p(len(seen.text)) - log1p(len(prompt)),
        "tokens": log1p(seen.output_tokens),
        "hedges": log1p(sum(map(_HEDGES.__contains__, words))),
        "refuses": float(not _REFUSALS.isdisjoint(words)),
        "steps": log1p(_steps(text)),
        "lines": log1p(text.count("\n") + text.count("\\n")),
        "prose_first": float(text.lstrip()[:1] not in ("{", "[", "`")),
        **_number_features(prompt, text, answer),
        **_shape_features(prompt, text, answer),
        **_call_features(prompt, seen.text),
    }
    return dict(zip(_named(name, tuple(found)), found.values(), strict=True))


@lru_cache(maxsize=_KEPT)
def _named(name: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}.{key}" for key in keys)


def _steps(text: str) -> int:
    """Lines that begin as one of a list; JSON writes the end of a line as backslash and n."""
    return len(_STEP.findall("\n" + text.replace("\\n", "\0\n")))


def _number_features(prompt: str, text: str, answer: str) -> Features:
    asked, said = set(_said(cut(prompt))), numbers(text)
    written, wrong = sums(text)
    last = _said(answer)
    value = last[-1] if last else 0.0
    return {
        "numbers": log1p(len(said)),
        "numbers_used": len(asked & set(said)) / (len(asked) or 1),
        "numbers_new": sum(one not in asked for one in said) / (len(said) or 1),
        "sums": log1p(written),
        "sums_wrong": log1p(wrong),
        "number_size": log1p(min(abs(value), _HUGE)),
        "number_fraction": float(abs(value) < _HUGE and value != int(value)),
        "number_negative": float(value < 0),
        "number_zero": float(bool(last) and value == 0),
        "number_asked": float(value in asked),
        "number_earlier": float(said[:-1].count(value) > 0),
        "number_round": float(bool(last) and value != 0 and value % 10 == 0),
        "answer_numbers": log1p(len(last)),
    }


def _shape_features(prompt: str, text: str, answer: str) -> Features:
    literal = _literal(answer)
    return {
        "answer_chars": log1p(len(answer)),
        "answer_words": log1p(len(_words(answer))),
        "answer_empty": float(not answer),
        "answer_literal": float(literal is not None),
        "answer_string": float(isinstance(literal, str)),
        "answer_group": float(isinstance(literal, list | tuple | dict | set)),
        "answer_truth": float(isinstance(literal, bool)),
        "answer_items": log1p(len(literal)) if isinstance(literal, list | tuple | dict | set) else 0.0,
        "answer_in_prompt": float(len(answer) > 1 and answer.strip("'\"") in prompt),
        "answer_twice": float(text.count(answer) > 1) if answer else 0.0,
        "answer_comma": float("," in answer),
        "answer_dot": float("." in answer),
    }


def _literal(text: str) -> Any:
    if _PLAIN.fullmatch(text):
        return float(text)
    if not text or len(text) > _LONGEST_LITERAL or not _LITERAL.match(text):
        return None
    tree = calls.syntax(text)
    try:
        return None if tree is None else ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _call_features(prompt: str, text: str) -> Features:
    offered = calls.offers(prompt)
    if not offered:
        return {}
    made = calls.parse(text)
    if made is None:
        return {"calls_none": 1.0, "calls_started": float("(" in text and "=" in text)}
    fit = calls.fit(made, offered)
    values = [value for value in calls.leaves(made) if not isinstance(value, bool) and value is not None]
    low = prompt.lower()
    words = [str(value).lower() for value in values if isinstance(value, str)]
    counted = [value for value in values if isinstance(value, int | float)]
    asked = set(numbers(prompt)) if counted else set()
    optional = sum(len(call.arguments.keys() - offered[call.name].required) for call in made if call.name in offered)
    return {
        "calls": log1p(len(made)),
        "calls_names": 1 - fit.names,
        "calls_parameters": 1 - fit.parameters,
        "calls_required": 1 - fit.required,
        "calls_types": 1 - fit.types,
        "calls_whole": float(fit.whole),
        "calls_optional": log1p(optional),
        "calls_words_found": sum(word in low for word in words) / (len(words) or 1),
        "calls_words": log1p(len(words)),
        "calls_numbers_found": sum(value in asked for value in counted) / (len(counted) or 1),
        "calls_unread": log1p(sum(isinstance(value, calls.Unread) for value in values)),
        "calls_repeat": float(max(Counter(call.name for call in made).values()) > 1),
        "calls_overlap": max(
            (_overlap(offered[call.name], _question(prompt)) for call in made if call.name in offered), default=0.0
        ),
    }


def comparable(answer: str) -> str:
    """One text for the ways to write one answer: a number without unit and separators, otherwise the text, whatever its quotes.

    Case and spaces count, but for the first letter's and those around: they are all that is wrong in many an answer about texts.
    """
    found = _said(answer)
    if len(found) == 1 and not any(mark in answer for mark in "[({:'\""):
        return f"{found[0]:.6g}"
    text = answer.strip().replace("'", '"')
    return text[:1].lower() + text[1:]


def agree(one: Seen, other: Seen) -> bool:
    """Two answers come to the same."""
    return comparable(final(one)) == comparable(final(other))


def _loose(answer: str) -> str:
    return " ".join(comparable(answer).lower().split())


def usable(seen: Seen) -> bool:
    """No free check speaks against taking the answer: it is there, whole, and was not refused."""
    return seen.valid is not False and not seen.truncated and bool(seen.text.strip() or seen.answer)


def pair_features(first: Seen, second: Seen) -> Features:
    """What a second answer adds to the first."""
    one, other = final(first), final(second)
    a, b = set(one.lower().split()), set(other.lower().split())
    mine, theirs = _said(one), _said(other)
    made, remade = calls.parse(first.text), calls.parse(second.text)
    return {
        "pair.agree": float(comparable(one) == comparable(other)),
        "pair.alike": float(_loose(one) == _loose(other)),
        "pair.exact": float(one == other),
        "pair.same_words": len(a & b) / (len(a | b) or 1),
        "pair.same_numbers": float(sorted(mine) == sorted(theirs)),
        "pair.closeness": _closeness(mine, theirs),
        "pair.same_length": 1 - abs(len(one) - len(other)) / (max(len(one), len(other)) or 1),
        "pair.longer": log1p(len(first.text)) - log1p(len(second.text)),
        "pair.both_call": float(made is not None and remade is not None),
        "pair.one_calls": float((made is None) != (remade is None)),
        "pair.same_names": float(_names(made) == _names(remade)) if made and remade else 0.0,
    }


def _names(made: tuple[calls.Call, ...]) -> list[str]:
    return sorted(call.name for call in made)


def _closeness(mine: list[float], theirs: list[float]) -> float:
    if not mine or not theirs:
        return 0.0
    a, b = mine[-1], theirs[-1]
    return 1 - min(1.0, abs(a - b) / (max(abs(a), abs(b)) or 1))
