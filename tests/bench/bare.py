"""The limit that Tierbus is measured against: the same durable stages and the same model call, with nothing around them.

`python -m tests.bench.bare STAGE` is one worker process of a four-stage pipeline on bare nats-py; stage `execute` makes
the call with the bare SDK.
"""

import asyncio
import contextlib
import json
import os
import sys
import time

import anthropic
import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

STAGES = ("route", "execute", "review", "result")
STREAM = "BARE"
BATCH = 32


def call_of(url: str) -> anthropic.AsyncAnthropic:
    """The SDK as Tierbus uses it."""
    return anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0, open_telemetry=False)


async def one_call(client: anthropic.AsyncAnthropic) -> None:
    """One call of the size the benchmark's direct task makes."""
    await client.messages.create(
        model="claude-haiku-5-5",
        max_tokens=512,
        system=[{"type": "text", "text": "You are an executor of Tierbus."}],
        messages=[{"role": "user", "content": "BENCH direct: translate this."}],
    )


async def declare(nc: Client) -> None:
    """One work-queue stream with a durable consumer per stage."""
    js = nc.jetstream()
    await js.add_stream(
        StreamConfig(name=STREAM, subjects=["bare.>"], retention=RetentionPolicy.WORK_QUEUE, duplicate_window=120)
    )
    for stage in STAGES[:-1]:
        config = ConsumerConfig(durable_name=stage, filter_subject=f"bare.{stage}", ack_policy=AckPolicy.EXPLICIT)
        await js.add_consumer(STREAM, config)


async def work(stage: str) -> None:
    """Pull, do the stage's work, publish to the next one, acknowledge."""
    nc = await nats.connect(os.environ["BENCH_NATS_URL"])
    js = nc.jetstream()
    subscription = await js.pull_subscribe_bind(stage, STREAM)
    client = call_of(os.environ["BENCH_SIM_URL"]) if stage == "execute" else None
    following = STAGES[STAGES.index(stage) + 1]
    slots = asyncio.Semaphore(BATCH)

    async def handle(msg: Msg) -> None:
        try:
            if client is not None:
                await one_call(client)
            number = json.loads(msg.data)["n"]
            await js.publish(f"bare.{following}", msg.data, headers={"Nats-Msg-Id": f"{following}-{number}"})
            await msg.ack()
        finally:
            slots.release()

    tasks: set[asyncio.Task[None]] = set()
    while True:
        await slots.acquire()
        with contextlib.suppress(TimeoutError, nats.errors.TimeoutError):
            for msg in await subscription.fetch(1, timeout=5):
                task = asyncio.create_task(handle(msg))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            continue
        slots.release()


async def drive(nc: Client, count: int) -> float:
    """Push `count` tasks through the running workers; returns tasks per second."""
    js = nc.jetstream()
    done = asyncio.Event()
    seen = 0

    async def heard(_msg: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen >= count:
            done.set()

    await nc.subscribe("bare.result", cb=heard)
    await nc.flush()
    begun = time.monotonic()
    gate = asyncio.Semaphore(64)

    async def publish(number: int) -> None:
        async with gate:
            await js.publish("bare.route", json.dumps({"n": number, "text": "x" * 300}).encode())

    await asyncio.gather(*(publish(number) for number in range(count)))
    await asyncio.wait_for(done.wait(), timeout=120)
    return count / (time.monotonic() - begun)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(work(sys.argv[1]))
