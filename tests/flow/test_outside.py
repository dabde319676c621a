"""Publishing from outside: plain nats-py, raw JSON, and no import of ours in between."""

import asyncio
import hashlib
import json

import nats
import pytest
from tests.flow.conftest import Lab


async def test_a_task_published_with_plain_nats_py_gets_its_result(lab: Lab) -> None:
    nc = await nats.connect(lab.stack.nats_url)
    js = nc.jetstream()
    run = hashlib.sha256(b"outside/plain-1").hexdigest()[:32]
    result = await nc.subscribe(f"tierbus.event.outside.{run}.result")
    task = {"id": "plain-1", "prompt": "Translate into French: the cheapest model does it."}

    ack = await js.publish("tierbus.task.normal.outside", json.dumps(task).encode())
    message = await result.next_msg(timeout=60)
    await nc.close()

    told = json.loads(message.data)
    assert ack.stream == "TASKS"
    assert (told["status"], told["task"]) == ("succeeded", "plain-1")
    assert told["cost_nano_usd"] == sum(part["cost_nano_usd"] for part in told["cost_by_tier"].values()) > 0


async def test_a_task_without_an_id_gets_one_from_its_message_id(lab: Lab) -> None:
    nc = await nats.connect(lab.stack.nats_url)
    js = nc.jetstream()
    run = hashlib.sha256(b"outside/from-header").hexdigest()[:32]
    result = await nc.subscribe(f"tierbus.event.outside.{run}.result")

    await js.publish(
        "tierbus.task.high.outside", b'{"prompt": "Translate: yes."}', headers={"Nats-Msg-Id": "from-header"}
    )
    message = await result.next_msg(timeout=60)
    await nc.close()

    assert json.loads(message.data)["task"] == "from-header"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[]", "a JSON object is expected"),
        (b'{"prompt": "x", "schema_version": 99}', "schema_version 99"),
        (b'{"prompt": "x", "promt": "y"}', "promt"),
        (b'{"prompt": "x", "tenant": "somebody-else"}', "somebody-else"),
    ],
    ids=["bytes", "list", "version", "typo", "tenant"],
)
async def test_what_is_no_task_is_rejected_and_kept_as_a_dead_letter(lab: Lab, data: bytes, reason: str) -> None:
    nc = await nats.connect(lab.stack.nats_url)
    js = nc.jetstream()
    rejected = await nc.subscribe("tierbus.event.outside.*.rejected")
    dead = await nc.subscribe("tierbus.dead.router.*")

    ack = await js.publish("tierbus.task.normal.outside", data)
    event = json.loads((await rejected.next_msg(timeout=30)).data)
    letter = json.loads((await dead.next_msg(timeout=30)).data)
    await nc.close()

    assert (ack.seq, True) == (event["sequence"], any(reason in told for told in event["reasons"]))
    assert (ack.seq, "tierbus.task.normal.outside") == (letter["sequence"], letter["origin"])


async def test_the_same_task_published_twice_has_one_result(lab: Lab) -> None:
    nc = await nats.connect(lab.stack.nats_url)
    js = nc.jetstream()
    run = hashlib.sha256(b"outside/twice").hexdigest()[:32]
    results = await nc.subscribe(f"tierbus.event.outside.{run}.result")
    task = json.dumps({"id": "twice", "prompt": "Translate: twice."}).encode()

    for _ in range(2):
        await js.publish("tierbus.task.normal.outside", task)
    await results.next_msg(timeout=60)
    await asyncio.sleep(1)
    info = await js.stream_info("EVENTS", subjects_filter=f"tierbus.event.outside.{run}.result")
    await nc.close()

    assert {f"tierbus.event.outside.{run}.result": 1} == info.state.subjects
