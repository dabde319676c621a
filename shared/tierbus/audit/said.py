"""What was said to a model, as text: messages in the notations of the providers. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tierbus.audit.values import inner


class Said(NamedTuple):
    """All text of a request in order, its system part, its last user message, and whether tools were offered."""

    whole: str = ""
    system: str = ""
    prompt: str = ""
    tools: bool = False


NOTHING = Said()
_SYSTEM = ("system", "developer")


def said(body: Mapping[str, Any]) -> Said:
    """The text of a request body: Anthropic, OpenAI chat and responses, Gemini, or a bare prompt."""
    turns = body.get("messages") or body.get("input") or body.get("contents") or body.get("prompt")
    head = body.get("system") or body.get("instructions") or body.get("systemInstruction") or body.get("system_prompt")
    tools = body.get("tools") or body.get("functions")
    if turns is None and head is None:
        return NOTHING
    return of(turns, text(head) if head else "", tools)


def of(turns: Any, system: str = "", tools: Any = None) -> Said:
    """The same from its parts; `turns` may be a text, a list of messages, or JSON text of one."""
    turns = inner(turns)
    if isinstance(turns, dict):
        turns = turns.get("messages") or turns.get("input") or turns.get("prompt") or [turns]
    heads: list[str] = [system] if system else []
    parts: list[str] = []
    prompt = ""
    for turn in turns if isinstance(turns, list) else [turns]:
        role, words = _turn(turn)
        if role in _SYSTEM and not parts:
            heads.append(words)
            continue
        parts.append(f"{role}: {words}" if parts else words)
        if role in ("user", "") and words:
            prompt = words
    offered = str(tools) if tools else ""
    before = "\n".join((offered, *heads)) if offered else "\n".join(heads)
    return Said("\n".join((before, *parts)), before, prompt, bool(tools))


def _turn(turn: Any) -> tuple[str, str]:
    if isinstance(turn, str):
        return "", turn
    if not isinstance(turn, dict):
        return "", "" if turn is None else str(turn)
    role = turn.get("role")
    content = turn.get("content")
    if content is None:
        content = turn.get("parts") or turn.get("text") or turn.get("tool_calls") or ""
    return role if isinstance(role, str) else "", content if isinstance(content, str) else text(content)


def text(content: Any) -> str:
    """The text of a message's content: a text, or blocks; what is not text counts as it is written."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return text(content.get("parts") or content.get("text") or content.get("content") or str(content))
    if isinstance(content, list):
        return _block(content[0]) if len(content) == 1 else "\n".join([_block(part) for part in content])
    return "" if content is None else str(content)


def _block(part: Any) -> str:
    if isinstance(part, dict):
        found = part.get("text") or part.get("content")
        return found if isinstance(found, str) else str(part)
    return str(part)
