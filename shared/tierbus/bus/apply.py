"""Making the server match the topology, and saying where it does not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js.api import ObjectStoreConfig, StorageType
from nats.js.errors import APIError, NotFoundError

from tierbus import limits
from tierbus.bus import topology
from tierbus.errors import Misconfigured, Unavailable

_TIMEOUT_S = 10.0
_NOT_FOUND = {10059, 10014}


@dataclass(frozen=True)
class Drift:
    """One setting of a stream or consumer that is not as declared."""

    what: str
    setting: str
    declared: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.what}: {self.setting} is {self.found!r}, declared {self.declared!r}"


async def request(nc: Client, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One JetStream API request; the answer may carry an `error`.

    Raises:
        Unavailable: JetStream does not answer.
    """
    try:
        reply = await nc.request(
            f"$JS.API.{subject}", json.dumps(body).encode() if body is not None else b"", timeout=_TIMEOUT_S
        )
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
        raise Unavailable(f"JetStream does not answer {subject}: {type(error).__name__}") from error
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


async def apply(nc: Client, *, replicas: int = 1) -> list[str]:
    """Create what is missing, update what may be updated; returns a line for each thing done.

    Raises:
        Misconfigured: something differs that the server cannot change in place; the text names each setting.
    """
    done: list[str] = []
    for stream in topology.STREAMS:
        done += await _apply_stream(nc, stream, replicas)
    for consumer in topology.CONSUMERS:
        done += await apply_consumer(nc, consumer)
    done += await _apply_blobs(nc, replicas)
    left = await drift(nc, replicas=replicas)
    if left:
        raise Misconfigured("the bus differs from its declaration: " + "; ".join(map(str, left)))
    return done


async def _apply_stream(nc: Client, stream: topology.Stream, replicas: int) -> list[str]:
    config = {**stream.config, "num_replicas": replicas}
    info = await request(nc, f"STREAM.INFO.{stream.name}")
    if info.get("error", {}).get("err_code") in _NOT_FOUND:
        _check(await request(nc, f"STREAM.CREATE.{stream.name}", config), stream.name)
        return [f"stream {stream.name} created"]
    _check(info, stream.name)
    if not _differences(f"stream {stream.name}", config, info["config"]):
        return []
    _check(await request(nc, f"STREAM.UPDATE.{stream.name}", {**info["config"], **config}), stream.name)
    return [f"stream {stream.name} updated"]


async def apply_consumer(nc: Client, consumer: topology.Consumer) -> list[str]:
    """Create or update one consumer."""
    config = topology.consumer_config(consumer)
    info = await request(nc, f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
    missing = info.get("error", {}).get("err_code") in _NOT_FOUND
    if not missing:
        _check(info, consumer.name)
        if not _differences(f"consumer {consumer.name}", config, info["config"]):
            return []
    body = {"stream_name": consumer.stream, "config": config, "action": "create" if missing else "update"}
    subject = f"CONSUMER.CREATE.{consumer.stream}.{consumer.name}.{consumer.filter}"
    _check(await request(nc, subject, body), consumer.name)
    return [f"consumer {consumer.name} {'created' if missing else 'updated'}"]


async def _apply_blobs(nc: Client, replicas: int) -> list[str]:
    js = nc.jetstream(timeout=_TIMEOUT_S)
    try:
        await js.object_store(topology.BLOBS)
    except NotFoundError:
        config = ObjectStoreConfig(
            bucket=topology.BLOBS, ttl=limits.BLOB_TTL_S, storage=StorageType.FILE, replicas=replicas
        )
        try:
            await js.create_object_store(topology.BLOBS, config=config)
        except APIError as error:
            raise Misconfigured(f"object store {topology.BLOBS}: {error}") from error
        return [f"object store {topology.BLOBS} created"]
    return []


async def drift(nc: Client, *, replicas: int | None = None) -> list[Drift]:
    """Every difference between the server and the declaration, missing things included."""
    found: list[Drift] = []
    for stream in topology.STREAMS:
        info = await request(nc, f"STREAM.INFO.{stream.name}")
        wanted = dict(stream.config) if replicas is None else {**stream.config, "num_replicas": replicas}
        found += _compare(f"stream {stream.name}", wanted, info)
    for consumer in topology.CONSUMERS:
        info = await request(nc, f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        found += _compare(f"consumer {consumer.name}", topology.consumer_config(consumer), info)
    return found


def _compare(what: str, declared: Mapping[str, Any], info: Mapping[str, Any]) -> list[Drift]:
    if "error" in info:
        return [Drift(what, "existence", "present", info["error"].get("description", "missing"))]
    return _differences(what, declared, info["config"])


def _differences(what: str, declared: Mapping[str, Any], found: Mapping[str, Any]) -> list[Drift]:
    return [
        Drift(what, setting, value, found.get(setting))
        for setting, value in declared.items()
        if found.get(setting, _absent(value)) != value
    ]


def _absent(value: Any) -> Any:
    """What a setting that the server leaves out of its answer means."""
    return type(value)() if isinstance(value, bool | str | list) else None


def _check(answer: Mapping[str, Any], what: str) -> None:
    if "error" in answer:
        raise Misconfigured(f"{what}: {answer['error'].get('description')} (code {answer['error'].get('err_code')})")


async def status(nc: Client) -> list[dict[str, Any]]:
    """Depth of each consumer: waiting, being worked on, redelivered."""
    rows = []
    for consumer in topology.CONSUMERS:
        info = await request(nc, f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        rows.append(
            {
                "consumer": consumer.name,
                "service": consumer.service,
                "stream": consumer.stream,
                "filter": consumer.filter,
                "waiting": info.get("num_pending"),
                "in_flight": info.get("num_ack_pending"),
                "redelivered": info.get("num_redelivered"),
                "pulls_open": info.get("num_waiting"),
                "error": info.get("error", {}).get("description"),
            }
        )
    return rows
