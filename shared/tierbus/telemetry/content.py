"""What of a task's own words may leave in a span: nothing, short reasons, or whole messages; always bounded and redacted."""

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from tierbus.errors import Rejected
from tierbus.llm.model import Question, Reply
from tierbus.telemetry.names import Attr

REASON_CHARS = 300
MESSAGE_CHARS = 4000
HIDDEN = "[redacted]"
_VALUE = " (got "
"""What stands before a value in `contracts.explain`."""
_KEY = (
    r"[\w\-]{0,32}(?:api[-_ ]?key|access[-_]?key|secret|token(?!s)|passw(?:or)?d|passphrase|pwd|credential)[\w\-]{0,32}"
)
_QUOTE = r"\\*[\"']"
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+(?=\S*(?-i:[A-Z0-9=+/]))[A-Za-z0-9+/_\-.=]{8,}"),
    re.compile(
        rf"(?i)(?<![A-Za-z0-9_\-]){_KEY}(?:{_QUOTE})?\s*[:=]\s*"
        rf"(?:\\*\"(?:[^\"\\]|\\[^\"]|\\\"(?=[^\s,}}\]]))*(?:\\*\"|\Z)|'[^']*(?:'|\Z)|(?!\d+\b)[^\s,;\"']{{3,}})"
    ),
    re.compile(r"(?<=://)[^\s:/@]{1,128}:[^\s@]{1,256}(?=@)"),
    re.compile(
        r"\b(?:sk|pk|rk|gh[opsur]|github_pat|xox[abprs]|glpat|npm|AKIA|ASIA|AIza|hf|SG)[-_.]?"
        r"(?=[A-Za-z0-9_\-.]*[0-9A-Z])[A-Za-z0-9_\-.]{12,}"
    ),
    re.compile(r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}"),
)
_CARD = re.compile(r"(?<![\w.\-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{5})(?![\w\-])")


class Capture(StrEnum):
    """How much of what was said may be told: nothing, why something was decided, or the messages too."""

    NONE = "none"
    REASONS = "reasons"
    CONTENT = "content"


def redacted(text: str) -> str:
    """The text without what looks like a key, a token, a password, an address or a card number."""
    for pattern in _SECRETS:
        text = pattern.sub(HIDDEN, text)
    return _CARD.sub(lambda found: HIDDEN if _is_card(found[0]) else found[0], text)


def _is_card(text: str) -> bool:
    """Whether the check digit of a card number fits (ISO/IEC 7812, Luhn): one in ten of other numbers does."""
    digits = [int(char) for char in text if char.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def cut(text: str, chars: int = REASON_CHARS) -> str:
    """Redacted, and no longer than this. What is cut away is not looked at, so a long text costs no more than a short one."""
    return _cut(text, chars) if len(text) <= chars else _shortened(text, chars)


@lru_cache(maxsize=2048)
def _cut(text: str, chars: int) -> str:
    """Short reasons are said again and again."""
    return _shortened(text, chars)


def _shortened(text: str, chars: int) -> str:
    seen = text[: 2 * chars]
    if len(text) > len(seen):
        whole = seen[: len(seen) - len(re.split(r"\s", seen)[-1])]
        seen = whole if len(whole) >= chars else seen
    short = redacted(seen)
    return short if len(short) <= chars and len(seen) == len(text) else f"{short[: chars - 1]}…"


def messages(question: Question, reply: Reply | None) -> dict[str, str]:
    """A question and its answer in the form of the GenAI conventions."""
    asked = [{"role": "user", "content": question.shared}] if question.shared else []
    asked += [{"role": turn.role, "content": turn.text} for turn in question.turns]
    told = {
        Attr.SYSTEM: [{"type": "text", "content": cut(question.system, MESSAGE_CHARS)}],
        Attr.INPUT_MESSAGES: _told(asked),
    }
    if reply is not None:
        told[Attr.OUTPUT_MESSAGES] = _told([{"role": "assistant", "content": reply.text}])
    return {name.value: json.dumps(value, ensure_ascii=False) for name, value in told.items()}


def _told(said: list[dict[str, str]]) -> list[dict[str, object]]:
    share = MESSAGE_CHARS // max(1, len(said))
    return [{"role": one["role"], "parts": [{"type": "text", "content": cut(one["content"], share)}]} for one in said]


def bare_reasons(reasons: Iterable[str]) -> list[str]:
    """Reasons of a rejection without the values that they name: those are the publisher's, who sees them in the event."""
    return [reason.split(_VALUE, 1)[0] for reason in reasons]


def bare(error: Exception) -> str:
    """An error's text without the values of a rejected message."""
    return "; ".join(bare_reasons(error.reasons)) if isinstance(error, Rejected) else str(error)
