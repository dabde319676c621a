"""What the router refuses, and how it names it."""

from decimal import Decimal
from typing import Any

import pytest

from tierbus.contracts import Attachment, Content, Expects, Priority, Task
from tierbus.errors import Rejected
from tierbus.limits import PROMPT_BYTES
from tierbus.router.accept import accept
from tierbus.service import Delivery

NOW = 1_800_000_000.0
CAME = Delivery("tierbus.task.high.acme", "TASKS", 42, 1, 1_799_999_999.5)
NAMED = Attachment(name="a", content=Content.of("x"))


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": Content()}, "prompt has neither text nor ref"),
        ({"prompt": "x" * (PROMPT_BYTES + 1)}, f"prompt has {PROMPT_BYTES + 1} bytes"),
        ({"prompt": Content(ref="0" * 64, size=5_000_000)}, "prompt has 5000000 bytes"),
        ({"prompt": "x", "attachments": (NAMED, NAMED)}, "attachment name 'a' is used 2 times"),
        ({"prompt": "x", "attachments": (Attachment(name="b", content=Content()),)}, "attachment 'b' has neither"),
        (
            {"prompt": "x", "expects": Expects(json_schema={"type": "nothing"})},
            "expects.json_schema is not a JSON schema",
        ),
        ({"prompt": "x", "deadline_at": NOW - 60}, "is in the past"),
        ({"prompt": "x", "budget_usd": Decimal(0)}, "budget_usd 0 must be above 0"),
        ({"prompt": "x", "budget_usd": Decimal(-1)}, "budget_usd -1 must be above 0"),
        ({"prompt": "x", "tenant": "other"}, "tenant 'other' is not the subject's 'acme'"),
        ({"prompt": "x", "id": "a~shadow"}, "id 'a~shadow' ends with '~shadow', which is kept for shadows"),
        ({"prompt": "x", "priority": Priority.LOW}, "priority 'low' is not the subject's 'high'"),
        ({"prompt": "x", "metadata": {str(n): "" for n in range(65)}}, "65 metadata entries"),
    ],
)
def test_each_reason_names_the_value(task: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        accept(Task(**task), CAME, NOW)

    assert any(reason in told for told in caught.value.reasons), caught.value.reasons


def test_all_reasons_are_told_at_once() -> None:
    with pytest.raises(Rejected) as caught:
        accept(Task(prompt="", budget_usd=Decimal(0), deadline_at=1.0), CAME, NOW)

    assert len(caught.value.reasons) == 3


def test_tenant_and_priority_are_the_subjects() -> None:
    task = accept(Task(id="t", prompt="x"), CAME, NOW)

    assert (task.tenant, task.priority) == ("acme", Priority.HIGH)


def test_a_task_without_an_id_gets_the_same_one_at_every_delivery() -> None:
    again = Delivery(CAME.subject, CAME.stream, CAME.sequence, 3, CAME.published_at)

    assert accept(Task(prompt="x"), CAME, NOW).id == accept(Task(prompt="x"), again, NOW + 9).id
    named = Delivery(CAME.subject, headers={"Nats-Msg-Id": "mine"})
    assert accept(Task(prompt="x"), named, NOW).id == "mine"
