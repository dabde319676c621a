"""Numbers in a text, and whether the sums that it writes down are right. Free checks: no model, no label."""

import re
from itertools import islice

_VALUE = r"\d[\d,]*(?:\.\d+)?"
_NUMBER = re.compile(r"[-\d](?<![\w.].)(?:(?<=\d)|(?=\d))[\d,]*(?:\.\d+)?")
"""Like the other patterns here it begins with the characters that a match can begin with, because `re` skips to these, and looks
at what may not stand before them afterwards. White space has one place in each: with two, a sum with wide gaps takes minutes."""
_THEN = r"\s*(?:[%)]\s*)?[-+*/x×÷−]\s*"
_NEXT = rf"(?:[$€£(]\s*)?{_VALUE}"
_SUM = re.compile(
    r"([$€£(\d](?<![\w.*/+=-].)(?:(?<=\d)|(?<!\d)\s*\d)[\d,]*(?:\.\d+)?"
    rf"{_THEN}(?:{_NEXT}{_THEN}){{0,5}}{_NEXT}(?:\s*\))?)"
    rf"\s*(?:=|is|equals)\s*(?:[$€£]\s*)?(-?{_VALUE})(?!\s*[-+*/x×÷%]\s*\d)"
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/()]")
_SLACK = 0.012
"""Relative difference between a written and a true sum that rounding explains."""
_MOST = 40
"""Sums of one text that are checked."""


def numbers(text: str) -> list[float]:
    """The numbers written in digits, in order; thousands separators do not count."""
    return [float(found.replace(",", "")) for found in _NUMBER.findall(text)]


def sums(text: str) -> tuple[int, int]:
    """How many sums such as `3 * 4 = 12` a text writes down, and how many of them are wrong."""
    checked = wrong = 0
    for found in islice(_SUM.finditer(text), _MOST):
        value = _evaluate(found.group(1))
        if value is None:
            continue
        checked += 1
        said = float(found.group(2).replace(",", ""))
        wrong += abs(value - said) > max(_SLACK * abs(value), 0.0051)
    return checked, wrong


def _evaluate(text: str) -> float | None:
    """The value of a sum by the usual precedence; None where it has none.

    `%` and unbalanced brackets are not understood: None.
    """
    for written, plain in (("×", "*"), ("x", "*"), ("÷", "/"), ("−", "-"), (",", "")):
        text = text.replace(written, plain)
    if "%" in text or text.count("(") != text.count(")"):
        return None
    tokens = _TOKEN.findall(text)
    try:
        value, rest = _added(tokens)
    except (ZeroDivisionError, IndexError, ValueError):
        return None
    return value if not rest else None


def _added(tokens: list[str]) -> tuple[float, list[str]]:
    value, rest = _multiplied(tokens)
    while rest and rest[0] in "+-":
        other, left = _multiplied(rest[1:])
        value, rest = (value + other if rest[0] == "+" else value - other), left
    return value, rest


def _multiplied(tokens: list[str]) -> tuple[float, list[str]]:
    value, rest = _single(tokens)
    while rest and rest[0] in "*/":
        other, left = _single(rest[1:])
        value, rest = (value * other if rest[0] == "*" else value / other), left
    return value, rest


def _single(tokens: list[str]) -> tuple[float, list[str]]:
    if tokens[0] != "(":
        return float(tokens[0]), tokens[1:]
    value, rest = _added(tokens[1:])
    if rest[0] != ")":
        raise ValueError(tokens)
    return value, rest[1:]
