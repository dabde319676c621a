"""The declaration and the server."""

from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.errors import NoStreamResponseError

from tierbus.bus import topology
from tierbus.bus.apply import apply, apply_consumer, drift, request, status
from tierbus.bus.topology import NANOS, Consumer, Stream
from tierbus.errors import Misconfigured

REVIEW = "reviewer-review-normal"


def stream(name: str) -> Stream:
    return next(one for one in topology.STREAMS if one.name == name)


def consumer(name: str) -> Consumer:
    return next(one for one in topology.CONSUMERS if one.name == name)


async def asked(nc: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await request(nc, subject, body)
    assert "error" not in answer, answer
    return answer


async def change_stream(nc: Client, name: str, **settings: Any) -> None:
    found = (await asked(nc, f"STREAM.INFO.{name}"))["config"]
    await asked(nc, f"STREAM.UPDATE.{name}", {**found, **settings})


async def change_consumer(nc: Client, one: Consumer, **settings: Any) -> None:
    body = {"stream_name": one.stream, "config": {**topology.consumer_config(one), **settings}, "action": "update"}
    await asked(nc, f"CONSUMER.CREATE.{one.stream}.{one.name}.{one.filter}", body)


async def test_a_new_server_gets_everything_once(nc: Client) -> None:
    for name in (*(one.name for one in topology.STREAMS), f"OBJ_{topology.BLOBS}"):
        await asked(nc, f"STREAM.DELETE.{name}")
    done = await apply(nc)
    assert done == [
        *(f"stream {one.name} created" for one in topology.STREAMS),
        *(f"consumer {one.name} created" for one in topology.CONSUMERS),
        f"object store {topology.BLOBS} created",
    ]
    assert await apply(nc) == []
    assert await drift(nc, replicas=1) == []


async def test_applying_again_loses_no_message(nc: Client) -> None:
    await nc.jetstream().publish("tierbus.task.normal.acme", b"{}")
    await change_stream(nc, "TASKS", max_msgs_per_subject=7)
    assert await apply(nc) == ["stream TASKS updated"]
    assert (await asked(nc, "STREAM.INFO.TASKS"))["state"]["messages"] == 1


async def test_a_task_of_a_lane_that_nobody_reads_is_not_taken(nc: Client) -> None:
    with pytest.raises(NoStreamResponseError):
        await nc.jetstream().publish("tierbus.task.urgent.acme", b"{}")


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("EVENTS", "max_age", 3600 * NANOS),
        ("TASKS", "max_msgs_per_subject", 7),
        ("OUTPUTS", "max_bytes", 1_000_000),
        ("DEAD", "duplicate_window", 60 * NANOS),
        ("WORK", "subjects", ["tierbus.run.>", *(one.filter for one in topology.CONSUMERS if one.stream == "WORK")]),
    ],
)
async def test_a_changed_stream_is_reported_and_mended(nc: Client, name: str, setting: str, value: Any) -> None:
    await change_stream(nc, name, **{setting: value})
    found = await drift(nc)
    assert [(one.what, one.setting, one.found) for one in found] == [(f"stream {name}", setting, value)]
    assert found[0].declared == stream(name).config[setting]
    assert setting in str(found[0])
    assert await apply(nc) == [f"stream {name} updated"]
    assert await drift(nc) == []
    assert await apply(nc) == []


@pytest.mark.parametrize(("setting", "value"), [("ack_wait", 3 * NANOS), ("max_deliver", 4), ("max_ack_pending", 3)])
async def test_a_changed_consumer_is_reported_and_mended(nc: Client, setting: str, value: Any) -> None:
    await change_consumer(nc, consumer(REVIEW), **{setting: value})
    assert [(one.what, one.setting, one.found) for one in await drift(nc)] == [(f"consumer {REVIEW}", setting, value)]
    assert await apply(nc) == [f"consumer {REVIEW} updated"]
    assert await drift(nc) == []


async def test_a_setting_nobody_declared_is_left_alone(nc: Client) -> None:
    await change_stream(nc, "EVENTS", description="the operator's own words", max_age=3600 * NANOS)
    await apply(nc)
    found = (await asked(nc, "STREAM.INFO.EVENTS"))["config"]
    assert found["description"] == "the operator's own words"
    assert found["max_age"] == stream("EVENTS").config["max_age"]


async def test_another_retention_is_misconfigured_and_named(nc: Client) -> None:
    await asked(nc, "STREAM.DELETE.WORK")
    plain = {**stream("WORK").config, "retention": "limits"}
    await asked(nc, "STREAM.CREATE.WORK", plain)
    with pytest.raises(Misconfigured, match=r"WORK.*retention"):
        await apply(nc)
    assert [(one.what, one.found, one.declared) for one in await drift(nc) if one.setting == "retention"] == [
        ("stream WORK", "limits", "workqueue")
    ]
    assert (await asked(nc, "STREAM.INFO.WORK"))["config"]["retention"] == "limits", "nothing was deleted to mend it"


async def test_a_deleted_consumer_is_reported_and_made_again(nc: Client) -> None:
    await asked(nc, f"CONSUMER.DELETE.WORK.{REVIEW}")
    assert [(one.what, one.setting, one.found) for one in await drift(nc)] == [
        (f"consumer {REVIEW}", "existence", "consumer not found")
    ]
    rows = {row["consumer"]: row for row in await status(nc)}
    assert rows[REVIEW]["error"] == "consumer not found"
    assert [name for name, row in rows.items() if row["error"]] == [REVIEW]
    assert await apply(nc) == [f"consumer {REVIEW} created"]
    assert await drift(nc) == []


async def test_a_deleted_stream_is_reported_with_its_consumers_and_made_again(nc: Client) -> None:
    await asked(nc, "STREAM.DELETE.TASKS")
    lanes = [one.name for one in topology.CONSUMERS if one.stream == "TASKS"]
    assert [one.what for one in await drift(nc)] == ["stream TASKS", *(f"consumer {name}" for name in lanes)]
    assert await apply(nc) == ["stream TASKS created", *(f"consumer {name} created" for name in lanes)]


async def test_one_consumer_alone(nc: Client) -> None:
    one = consumer(REVIEW)
    assert await apply_consumer(nc, one) == []
    await asked(nc, f"CONSUMER.DELETE.{one.stream}.{one.name}")
    assert await apply_consumer(nc, one) == [f"consumer {REVIEW} created"]
    assert await apply_consumer(nc, one) == []
