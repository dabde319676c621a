"""Asking a small model for the four scores, when the rules are unsure: the question and the reading of its answer. Pure."""

from tierbus import prompts
from tierbus.answers import fitting
from tierbus.llm.model import Question, Turn
from tierbus.router.decide import Scores
from tierbus.router.signals import Signals

PACKAGE = "tierbus.router"
SHOWN_CHARS = 6000
"""How much of the instruction the classifier is shown: the beginning says what is wanted."""
MAX_OUTPUT_TOKENS = 300


def question(seen: Signals, attachments: list[tuple[str, int]]) -> Question:
    """What the classifier is asked; attachments by name and size in bytes."""
    listed = "\n".join(f"- {name}: {size} bytes" for name, size in attachments) or "none"
    text = f"{prompts.fenced('task', seen.instruction[:SHOWN_CHARS])}\n\nAttachments:\n{prompts.defuse(listed)}"
    return Question(
        system=prompts.load(PACKAGE, "classify.md"),
        turns=(Turn("user", text),),
        json_schema=prompts.schema(PACKAGE, "classify.schema.json"),
        max_output=MAX_OUTPUT_TOKENS,
    )


def read(text: str, rules: Scores) -> Scores | None:
    """The scores in the classifier's answer, or None where it gave none that fit."""
    value = fitting(text, prompts.schema(PACKAGE, "classify.schema.json"))
    if value is None:
        return None
    scores = {name: max(0.0, min(1.0, float(value[name]))) for name in ("complexity", "domain", "context", "risk")}
    return Scores(
        **scores,
        confidence=0.8,
        causes=(f"classified: {value['reason'][:160]}", *rules.causes),
        needs_plan=bool(value["needs_plan"]),
    )
