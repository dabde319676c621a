"""When two tasks are the same: a hash of everything that can change the answer. Pure but for reading prompts and tier file.

In it: tenant, class, the class's rules but for those about the cache, the texts of prompt and attachments with the
attachments' names and order, `expects`, risk, the hints for tier and route, and the set-up (tier file and every prompt of
the services). Not in it, because they say when, for whom or for how much, not what: id, priority, deadline, budget, metadata.
"""

import hashlib
import json
from importlib import resources
from typing import Any

from tierbus.classes import ClassRules
from tierbus.contracts import Content, Task
from tierbus.tiers.catalog import Catalog

SPEAKERS = ("tierbus.router", "tierbus.planner", "tierbus.executor", "tierbus.reviewer")


def key_of(task: Task, rules: ClassRules, setup: str) -> str:
    """The key of a task that was accepted, 64 hexadecimal digits; `setup` is what `setup_of` says."""
    return _hash(
        {
            "tenant": task.tenant,
            "class": task.task_class,
            "rules": rules.model_dump(mode="json", exclude={"cache"}),
            "prompt": _text(Content.of(task.prompt) if isinstance(task.prompt, str) else task.prompt),
            "attachments": [[item.name, _text(item.content)] for item in task.attachments],
            "expects": task.expects.model_dump(mode="json"),
            "risk": task.risk,
            "hints": [task.hints.tier, task.hints.route],
            "setup": setup,
        }
    )


def setup_of(catalog: Catalog) -> str:
    """A hash of the tier file and of all prompts: a changed model, price or prompt does not answer from before."""
    prompts = {
        f"{package}/{file.name}": file.read_text(encoding="utf-8")
        for package in SPEAKERS
        for file in resources.files(package).joinpath("prompts").iterdir()
        if file.is_file()
    }
    return _hash({"catalog": catalog.model_dump(mode="json"), "prompts": prompts})


def _text(content: Content) -> str:
    """The SHA-256 of a text, which is also the name of one that is kept by reference."""
    return content.ref or hashlib.sha256((content.text or "").encode()).hexdigest()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
