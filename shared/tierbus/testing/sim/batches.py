"""Message batches as Anthropic serves them, SIMULATED: made at once, worked through in a set time, answered as JSON lines."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tierbus.testing.sim.cache import tokens
from tierbus.testing.sim.fallback import MARK
from tierbus.testing.sim.wire import Anthropic, Asked, Refused, Reply

if TYPE_CHECKING:
    from tierbus.testing.sim.app import Served, Sim

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LIFETIME_S = 24 * 3600.0
_PAGE = 20
_JSON_LINES = "application/x-jsonl"


@dataclass
class Timing:
    """How long things take, in seconds: a batch to be worked through, the answer to a create, each line of the results."""

    takes_s: float = 3.0
    create_pause_s: float = 0.0
    line_pause_s: float = 0.0


@dataclass
class _Wanted:
    """One request of a batch, and what became of it once the batch has ended."""

    custom_id: str
    params: Any
    served: "Served"
    result: dict[str, Any] | None = None


@dataclass
class _Batch:
    """One batch; `ends_at` moves to now when it is cancelled."""

    id: str
    created_at: float
    ends_at: float
    wanted: list[_Wanted]
    cancelled_at: float | None = None


@dataclass
class Batches:
    """Every batch of the server. `asked` counts the HTTP requests of each kind."""

    timing: Timing = field(default_factory=Timing)
    made: dict[str, _Batch] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    _numbers: Any = field(default_factory=count)

    def make(self, sim: "Sim", requests: list[tuple[str, Any]], now: float) -> _Batch:
        """Take a batch in."""
        identity = f"msgbatch_sim_{next(self._numbers):06d}"
        wanted = [
            _Wanted(custom_id, params, sim.open(_API, str((params or {}).get("model") or ""), batch=identity))
            for custom_id, params in requests
        ]
        batch = _Batch(identity, now, now + self.timing.takes_s, wanted)
        self.made[identity] = batch
        return batch

    def work(self, sim: "Sim", now: float) -> None:
        """Give every batch whose time is over its results."""
        for batch in self.made.values():
            if now >= batch.ends_at:
                for one in batch.wanted:
                    if one.result is None:
                        one.result = _canceled(one.served) if batch.cancelled_at is not None else _result(sim, one)

    def clear(self) -> None:
        """Forget every batch; ids stay unique."""
        self.made.clear()
        self.asked.clear()


_API = Anthropic()


def _canceled(served: "Served") -> dict[str, Any]:
    served.state = "canceled"
    return {"type": "canceled"}


def _result(sim: "Sim", one: _Wanted) -> dict[str, Any]:
    """What a request brings: its scenario's answer, or the fault that strikes it."""
    served = one.served
    try:
        asked = _API.read(one.params, sim.tiers).in_batch()
    except (Refused, AttributeError, TypeError, ValueError) as error:
        return _errored(served, 400, str(error))
    request = asked.request
    scenario = sim.book.find(request)
    served.tier, served.role, served.step = request.tier.value, request.role and request.role.value, request.step
    served.scenario = scenario.name if scenario else None
    fault = sim.book.fault(scenario, request)
    if fault is not None and fault.expired:
        served.state = "expired"
        return {"type": "expired"}
    if fault is not None and (fault.status is not None or fault.drop):
        return _errored(served, fault.status or 500, "this request failed")
    said = asked.cut(sim.book.answer(scenario, request))
    text = said.text[: len(said.text) // 2] if fault is not None and fault.malformed else said.text
    return {"type": "succeeded", "message": _API.body(_reply(sim, served, asked, text, said.stop))}


def _reply(sim: "Sim", served: "Served", asked: Asked, text: str, stop: str) -> Reply:
    served.input_tokens, served.output_tokens = tokens(asked.request.text), tokens(text)
    cached = _API.cached(sim.cache, asked)
    served.cache_read, served.cache_write = cached
    served.state, served.status = "done", 200
    return Reply(
        id=served.id,
        model=served.model,
        at=served.at,
        text=text,
        stop=stop,
        input_tokens=served.input_tokens,
        output_tokens=served.output_tokens,
        cache=cached,
    )


def _errored(served: "Served", status: int, what: str) -> dict[str, Any]:
    served.state, served.status = "done", status
    return {"type": "errored", "error": _API.error(status, what, served.id)}


def _form(batch: _Batch, base_url: str, now: float) -> dict[str, Any]:
    """A batch as the API tells it: results are counted only once all of it has ended."""
    over = now >= batch.ends_at
    kinds = Counter(one.result["type"] if over and one.result else "processing" for one in batch.wanted)
    status = "ended" if over else "canceling" if batch.cancelled_at is not None else "in_progress"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            name: kinds.get(name, 0) for name in ("processing", "succeeded", "errored", "canceled", "expired")
        },
        "created_at": _date(batch.created_at),
        "expires_at": _date(batch.created_at + _LIFETIME_S),
        "ended_at": _date(batch.ends_at) if over else None,
        "cancel_initiated_at": _date(batch.cancelled_at) if batch.cancelled_at is not None else None,
        "archived_at": None,
        "results_url": f"{base_url.rstrip('/')}/v1/messages/batches/{batch.id}/results" if over else None,
    }


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _requests(body: Any) -> list[tuple[str, Any]]:
    """The requests of a batch.

    Raises:
        Refused: it has none, or a custom id that is not one or is used twice.
    """
    given = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise Refused(400, "requests: a list of at least one is expected", "")
    names = [str(one.get("custom_id") or "") for one in given]
    for name, times in Counter(names).items():
        if times > 1 or not _CUSTOM_ID.fullmatch(name):
            raise Refused(400, f"custom_id {name!r} is used twice, or is not 1 to 64 letters, digits, - and _", "")
    return [(name, one.get("params")) for name, one in zip(names, given, strict=True)]


@dataclass(frozen=True)
class Doors:
    """The batch endpoints."""

    sim: "Sim"
    clock: Callable[[], float] = time.time

    def routes(self) -> list[Route]:
        """Where they are; the last two are the simulator's own."""
        return [
            Route("/v1/messages/batches", self.create, methods=["POST"]),
            Route("/v1/messages/batches", self.list),
            Route("/v1/messages/batches/{batch}", self.retrieve),
            Route("/v1/messages/batches/{batch}/results", self.results),
            Route("/v1/messages/batches/{batch}/cancel", self.cancel, methods=["POST"]),
            Route("/sim/batches", self.state),
            Route("/sim/batches", self.set, methods=["POST"]),
        ]

    async def create(self, http: HttpRequest) -> Response:
        """Take a batch in; it stands even if the client goes away before it is told so."""
        batches = self._batches("create")
        try:
            requests = _requests(await http.json())
        except (Refused, ValueError) as error:
            return _refused(400, str(error))
        now = self.clock()
        batch = batches.make(self.sim, requests, now)
        form = _form(batch, str(http.base_url), now)
        await asyncio.sleep(batches.timing.create_pause_s)
        return _answer(form)

    async def list(self, http: HttpRequest) -> Response:
        """The latest batches first, in pages."""
        batches = self._batches("list")
        every = [*reversed(batches.made.values())]
        after, limit = http.query_params.get("after_id"), int(http.query_params.get("limit", _PAGE))
        names = [batch.id for batch in every]
        start = names.index(after) + 1 if after in names else 0
        shown = every[start : start + limit]
        now, base = self.clock(), str(http.base_url)
        return _answer(
            {
                "data": [_form(batch, base, now) for batch in shown],
                "has_more": start + limit < len(every),
                "first_id": shown[0].id if shown else None,
                "last_id": shown[-1].id if shown else None,
            }
        )

    async def retrieve(self, http: HttpRequest) -> Response:
        """How far a batch is."""
        batch = self._batches("retrieve").made.get(http.path_params["batch"])
        return _answer(_form(batch, str(http.base_url), self.clock())) if batch else _refused(404, "no such batch")

    async def results(self, http: HttpRequest) -> Response:
        """What became of each request, one JSON line each."""
        batches = self._batches("results")
        batch = batches.made.get(http.path_params["batch"])
        if batch is None or self.clock() < batch.ends_at:
            return _refused(404, "no such batch, or it has not ended")

        async def lines() -> AsyncIterator[bytes]:
            for one in reversed(batch.wanted):  # in no order, as the API says
                yield json.dumps({"custom_id": one.custom_id, "result": one.result}).encode() + b"\n"
                await asyncio.sleep(batches.timing.line_pause_s)

        return StreamingResponse(lines(), media_type=_JSON_LINES, headers=_SIMULATED)

    async def cancel(self, http: HttpRequest) -> Response:
        """Stop a batch: what has not ended is not charged."""
        batches = self._batches("cancel")
        batch = batches.made.get(http.path_params["batch"])
        if batch is None:
            return _refused(404, "no such batch")
        now = self.clock()
        if now < batch.ends_at:
            batch.cancelled_at = batch.ends_at = now
            batches.work(self.sim, now)
        return _answer(_form(batch, str(http.base_url), now))

    async def state(self, http: HttpRequest) -> Response:
        """Every batch with its custom ids, and how often each endpoint was asked."""
        batches = self._batches(None)
        now, base = self.clock(), str(http.base_url)
        made = [
            {**_form(batch, base, now), "custom_ids": [one.custom_id for one in batch.wanted]}
            for batch in batches.made.values()
        ]
        return JSONResponse({"simulated": True, "asked": dict(batches.asked), "batches": made})

    async def set(self, http: HttpRequest) -> Response:
        """Change how long things take from now on."""
        given = await http.json()
        timing = self.sim.batches.timing
        for name in ("takes_s", "create_pause_s", "line_pause_s"):
            setattr(timing, name, float(given.get(name, getattr(timing, name))))
        return JSONResponse({"simulated": True, **vars(timing)})

    def _batches(self, kind: str | None) -> Batches:
        batches = self.sim.batches
        batches.work(self.sim, self.clock())
        if kind is not None:
            batches.asked[kind] += 1
        return batches


_SIMULATED = {"x-simulated": "true"}


def _answer(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers=_SIMULATED)


def _refused(status: int, what: str) -> Response:
    return JSONResponse(_API.error(status, what, MARK), status_code=status, headers=_SIMULATED)
