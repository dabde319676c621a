"""What of a task's own words may leave in a span: nothing, short reasons, or whole messages; always bounded and redacted."""

import json
import re
from enum import StrEnum

from tierbus.llm.model import Question, Reply
from tierbus.telemetry.names import Attr

REASON_CHARS = 300
MESSAGE_CHARS = 4000
HIDDEN = "[redacted]"
_SECRETS = (
    re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|xox[abprs]|glpat|AKIA|AIza|hf)[-_]?[A-Za-z0-9_\-]{12,}"),
    re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"),
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/_\-.=]{8,}"),
    re.compile(r"(?i)\b(api[-_ ]?key|secret|token|password|passwd|pwd)(\"?\s*[:=]\s*)(\"[^\"]{3,}\"|[^\s,;\"]{3,})"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\b[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,}\b"),
    re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)"),
)


class Capture(StrEnum):
    """How much of what was said may be told: nothing, why something was decided, or the messages too."""

    NONE = "none"
    REASONS = "reasons"
    CONTENT = "content"


def redacted(text: str) -> str:
    """The text without what looks like a key, a token, a password, an address or a card number."""
    for pattern in _SECRETS:
        text = pattern.sub(HIDDEN, text)
    return text


def cut(text: str, chars: int = REASON_CHARS) -> str:
    """Redacted, and no longer than this. What is cut away is not looked at, so a long text costs no more than a short one."""
    short = redacted(text[: 2 * chars])
    return short if len(short) <= chars else f"{short[: chars - 1]}…"


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
