import json
from typing import Any

import pytest

from tierbus.cache.key import key_of, setup_of
from tierbus.cache.rules import CacheRules
from tierbus.classes import ClassRules
from tierbus.contracts import Attachment, Content, Task
from tierbus.testing.memory import MemoryTexts
from tierbus.tiers.catalog import load

RULES = ClassRules(cache=CacheRules(ttl_s=60.0))
GIVEN: dict[str, Any] = {
    "id": "t-1",
    "tenant": "acme",
    "task_class": "translate",
    "prompt": "Translate this.",
    "attachments": [{"name": "a", "content": {"text": "one"}}, {"name": "b", "content": {"text": "two"}}],
    "expects": {"json_schema": {"type": "object", "required": ["n"]}, "must_mention": ["x"]},
}


def key(rules: ClassRules = RULES, setup: str = "set-up", **more: Any) -> str:
    return key_of(Task.model_validate_json(json.dumps({**GIVEN, **more})), rules, setup)


OTHER_QUESTIONS: dict[str, dict[str, Any]] = {
    "tenant": {"tenant": "other"},
    "class": {"task_class": "general"},
    "prompt": {"prompt": "Translate this. "},
    "an attachment's text": {"attachments": [{"name": "a", "content": {"text": "one!"}}, GIVEN["attachments"][1]]},
    "an attachment's name": {"attachments": [{"name": "c", "content": {"text": "one"}}, GIVEN["attachments"][1]]},
    "the order of attachments": {"attachments": GIVEN["attachments"][::-1]},
    "a text moved between prompt and attachment": {"prompt": "Translate this.one", "attachments": []},
    "what is expected": {"expects": {"must_mention": ["x"]}},
    "risk": {"risk": "high"},
    "a tier hint": {"hints": {"tier": "frontier"}},
    "a route hint": {"hints": {"route": "plan"}},
}
SAME_QUESTIONS: dict[str, dict[str, Any]] = {
    "id": {"id": "t-2"},
    "priority": {"priority": "high"},
    "deadline": {"deadline_at": 4e9},
    "budget": {"budget_usd": "1.5"},
    "metadata": {"metadata": {"team": "blue"}},
    "a wish for a new answer": {"hints": {"fresh": True}},
    "the order of keys in what is expected": {
        "expects": {"must_mention": ["x"], "json_schema": {"required": ["n"], "type": "object"}}
    },
}


@pytest.mark.parametrize("name", OTHER_QUESTIONS)
def test_a_task_that_asks_something_else_has_another_key(name: str) -> None:
    assert key() != key(**OTHER_QUESTIONS[name])


@pytest.mark.parametrize("name", SAME_QUESTIONS)
def test_a_task_that_asks_the_same_has_the_same_key(name: str) -> None:
    assert key() == key(**SAME_QUESTIONS[name])


async def test_a_text_by_reference_is_the_same_as_the_text() -> None:
    text = "long " * 10_000
    kept = await MemoryTexts().keep(Content.of(text))
    assert kept.ref
    inline = Attachment(name="a", content=Content.of(text))
    task = Task(prompt=text, attachments=(inline,))
    by_reference = Task(prompt=kept, attachments=(inline.model_copy(update={"content": kept}),))

    assert key_of(task, RULES, "") == key_of(by_reference, RULES, "")


def test_how_long_an_answer_is_used_changes_no_key() -> None:
    assert key() == key(ClassRules(cache=CacheRules(ttl_s=5.0, coalesce=False)))


def test_another_set_up_has_another_key() -> None:
    assert key() != key(setup="another")


def test_the_set_up_changes_with_the_tier_file_and_with_every_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = load("default")
    before = setup_of(catalog)
    small, *others = catalog.tiers.values()
    dearer = small[0].model_copy(update={"max_output": 64})
    tiers = dict(zip(catalog.tiers, [(dearer, *small[1:]), *others], strict=True))

    assert before == setup_of(load("default"))
    assert before != setup_of(load("openai"))
    assert before != setup_of(catalog.model_copy(update={"tiers": tiers}))
    for left_out in range(4):
        with monkeypatch.context() as patched:
            from tierbus.cache import key as module

            patched.setattr(module, "SPEAKERS", [one for n, one in enumerate(module.SPEAKERS) if n != left_out])
            assert before != setup_of(catalog)
