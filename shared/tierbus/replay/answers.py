"""Whether two recorded answers are the same. Pure."""

import re
from functools import lru_cache

from tierbus.policy.moves import Seen

_SPACE = re.compile(r"\s+")
_MARKS = re.compile(r"[$,%]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII)


@lru_cache(maxsize=1 << 16)
def normal(answer: str) -> str:
    """An answer without what does not matter: case, white space, quotes around it, how a number is written."""
    text = _SPACE.sub("", answer).strip("'\"").lower()
    number = _MARKS.sub("", text)
    return str(float(number)) if _NUMBER.fullmatch(number) else text


def same(first: Seen, second: Seen) -> bool:
    """Whether two answers agree: their comparable parts, or the whole text where there is none. No text agrees with nothing."""
    one, other = _compared(first), _compared(second)
    if one is None or other is None:
        return False
    return one == other or normal(one) == normal(other)


def _compared(seen: Seen) -> str | None:
    """An answer that was read may be empty: a function can return ""."""
    return (seen.text or None) if seen.answer is None else seen.answer
