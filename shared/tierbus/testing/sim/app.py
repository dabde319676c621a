"""The HTTP side of `sim`: both provider APIs, and a list of everything that was served."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import count, pairwise
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from tierbus.contracts import Tier
from tierbus.testing.sim.batches import Batches, Doors
from tierbus.testing.sim.cache import Cache, tokens
from tierbus.testing.sim.fallback import MARK
from tierbus.testing.sim.script import Book, Fault, Request, Said, tiers_by_model
from tierbus.testing.sim.wire import Anthropic, Api, Asked, OpenAI, Refused, Reply

TOKENS_PER_S = {Tier.SMALL: 900.0, Tier.MID: 500.0, Tier.FRONTIER: 350.0}
"""How quickly a simulated tier writes: several times quicker than real ones, so that a demo is short."""
FIRST_TOKEN_S = {Tier.SMALL: 0.1, Tier.MID: 0.2, Tier.FRONTIER: 0.3}
CLIENT_GONE = 499

_ERRORS = {
    400: "invalid request",
    401: "no such key",
    403: "not permitted",
    429: "rate limit reached",
    500: "internal error",
    529: "overloaded",
}


@dataclass(slots=True)
class Served:
    """One request as it was served: over HTTP by itself, or in a `batch`.

    `state` is open, done, aborted (the client went away) or dropped (the server cut the connection); in a batch also
    expired or canceled.
    """

    id: str
    api: str
    model: str
    at: float
    tier: str | None = None
    role: str | None = None
    scenario: str | None = None
    step: str | None = None
    state: str = "open"
    status: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    batch: str | None = None


@dataclass
class Sim:
    """What the server knows. `latency_s` is a fixed time per call, otherwise the tier's own times `scale`."""

    book: Book
    latency_s: float | None = None
    scale: float = 1.0
    served: list[Served] = field(default_factory=list)
    cache: Cache = field(default_factory=Cache)
    tiers: Mapping[str, Tier] = field(default_factory=tiers_by_model)
    batches: Batches = field(default_factory=Batches)
    _numbers: Any = field(default_factory=count)

    def open(self, api: Api, model: str, batch: str | None = None) -> Served:
        """Record a request that has come in."""
        served = Served(f"sim_{next(self._numbers):06d}", api.name, model, time.time(), batch=batch)
        self.served.append(served)
        return served

    def takes_s(self, request: Request, said: Said) -> float:
        """How long the simulated model thinks and writes."""
        if self.latency_s is not None:
            return self.latency_s
        if said.latency_s is not None:
            return said.latency_s * self.scale
        writes_s = tokens(said.text) / TOKENS_PER_S[request.tier]
        return (FIRST_TOKEN_S[request.tier] + writes_s) * self.scale

    def stats(self) -> dict[str, Any]:
        """Counts over everything served."""
        states = Counter(one.state for one in self.served)
        groups = {
            name: dict(Counter(str(getattr(one, name)) for one in self.served))
            for name in ("api", "model", "tier", "role", "scenario", "status")
        }
        summed = ("input_tokens", "output_tokens", "cache_read", "cache_write")
        totals = {name: sum(getattr(one, name) for one in self.served) for name in summed}
        batched = sum(one.batch is not None for one in self.served)
        return {
            "simulated": True,
            "requests": len(self.served),
            "in_batches": batched,
            **states,
            "by": groups,
            "tokens": totals,
        }

    def reset(self) -> None:
        """Forget what was served, what is cached and which faults have struck. Request ids stay unique."""
        self.served.clear()
        self.batches.clear()
        self.cache.clear()
        self.book.forget()


class _Gone(Exception):
    """The client went away."""


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise _Gone


def _read(api: Api, body: bytes, sim: Sim) -> Asked:
    """Understand a request.

    Raises:
        Refused: no such model, or not a request of this API.
    """
    try:
        return api.read(json.loads(body), sim.tiers)
    except (ValueError, AttributeError, TypeError) as error:
        raise Refused(400, f"this is no request of the {api.name} API: {error}", "") from None


async def _pause(receive: Receive, seconds: float) -> None:
    """Wait, unless the client goes away before."""
    if seconds <= 0:
        return
    message: Message | None = None
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        return
    if message["type"] == "http.disconnect":
        raise _Gone


@dataclass(frozen=True)
class Door:
    """One API's endpoint for questions: an ASGI application of its own, for speed."""

    sim: Sim
    api: Api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and record how it went."""
        del scope
        try:
            body = await _body(receive)
        except _Gone:
            return
        try:
            asked = _read(self.api, body, self.sim)
        except Refused as error:
            await self._refuse(send, self.sim.open(self.api, error.model), error.status, str(error))
            return
        served = self.sim.open(self.api, asked.request.model)
        try:
            await self._serve(_Visit(self, asked, served, receive, send))
        except _Gone:
            served.state, served.status = "aborted", CLIENT_GONE

    async def _serve(self, visit: "_Visit") -> None:
        request, served, book = visit.asked.request, visit.served, self.sim.book
        scenario = book.find(request)
        served.tier, served.role, served.step = (
            request.tier.value,
            request.role and request.role.value,
            request.step,
        )
        served.scenario = scenario.name if scenario else None
        served.input_tokens = tokens(request.text)
        fault = book.fault(scenario, request)
        if fault is not None and fault.status is not None:
            await self._refuse(
                visit.send, served, fault.status, _ERRORS.get(fault.status, "error"), fault.retry_after_s
            )
            return
        if fault is not None and fault.hang_s is not None:
            await _pause(visit.receive, fault.hang_s)
        await visit.answer(visit.asked.cut(book.answer(scenario, request)), fault)

    async def _refuse(
        self, send: Send, served: Served, status: int, what: str, retry_after_s: float | None = None
    ) -> None:
        served.status = status
        headers = [(b"retry-after", f"{retry_after_s:g}".encode())] if retry_after_s is not None else []
        await self.send(send, served, self.api.error(status, what, served.id), *headers)

    async def send(self, send: Send, served: Served, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> None:
        """Send one JSON document; the request is done when it is on its way."""
        data = json.dumps(body, separators=(",", ":")).encode()
        length = (b"content-length", str(len(data)).encode())
        await send(self.start(served, b"application/json", length, *headers))
        served.state = "done"
        await send({"type": "http.response.body", "body": data})

    def start(self, served: Served, media: bytes, *headers: tuple[bytes, bytes]) -> Message:
        """The beginning of a response, with the request id where the SDK looks for it."""
        own = [
            (b"content-type", media),
            (self.api.id_header.encode(), served.id.encode()),
            (b"x-simulated", b"true"),
        ]
        return {"type": "http.response.start", "status": served.status, "headers": [*own, *headers]}


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request that gets an answer."""

    door: Door
    asked: Asked
    served: Served
    receive: Receive
    send: Send

    async def answer(self, said: Said, fault: Fault | None) -> None:
        """Answer in the time that the model takes, whole or as a stream, or break off in the middle."""
        text = said.text[: len(said.text) // 2] if fault is not None and fault.malformed else said.text
        drop = fault is not None and fault.drop
        takes_s = self.door.sim.takes_s(self.asked.request, said)
        if not self.asked.stream:
            await _pause(self.receive, takes_s)
        self.served.status = 200
        reply = self._reply(text, said.stop)
        if self.asked.stream:
            await self._stream(reply, takes_s, drop=drop)
        elif drop:
            await self._break_off()
        else:
            self._count(reply)
            await self.door.send(self.send, self.served, self.door.api.body(reply))

    def _reply(self, text: str, stop: str) -> Reply:
        served = self.served
        cached = self.door.api.cached(self.door.sim.cache, self.asked)
        return Reply(
            id=served.id,
            model=served.model,
            at=served.at,
            text=text,
            stop=stop,
            input_tokens=served.input_tokens,
            output_tokens=tokens(text),
            cache=cached,
        )

    def _count(self, reply: Reply) -> None:
        self.served.output_tokens = reply.output_tokens
        self.served.cache_read, self.served.cache_write = reply.cache

    async def _break_off(self) -> None:
        """Promise more than is sent: the server then closes the connection."""
        self.served.state = "dropped"
        await self.send(self.door.start(self.served, b"application/json", (b"content-length", b"1000")))
        await self.send({"type": "http.response.body", "body": b"{", "more_body": True})

    async def _stream(self, reply: Reply, takes_s: float, *, drop: bool) -> None:
        events = list(self.door.api.events(reply, usage=self.asked.stream_usage))
        shown = events[: len(events) // 2] if drop else events
        await _pause(self.receive, takes_s / len(events))
        await self.send(self.door.start(self.served, b"text/event-stream"))
        for event, following in pairwise([*shown, None]):
            if following is None and not drop:
                self.served.state = "done"
                self._count(reply)
            await self.send({"type": "http.response.body", "body": event, "more_body": following is not None or drop})
            await _pause(self.receive, takes_s / len(events) if following is not None else 0)
        if drop:
            self.served.state = "dropped"


def application(sim: Sim) -> Starlette:
    """The ASGI application."""
    anthropic, openai = Anthropic(), OpenAI()

    async def count_tokens(http: HttpRequest) -> Response:
        try:
            asked = _read(anthropic, await http.body(), sim)
        except Refused as error:
            return JSONResponse(anthropic.error(error.status, str(error), "none"), status_code=error.status)
        return JSONResponse({"input_tokens": tokens(asked.request.text)})

    async def models(_http: HttpRequest) -> Response:
        return JSONResponse(_models(sim.tiers))

    async def served(_http: HttpRequest) -> Response:
        sim.batches.work(sim, time.time())
        return JSONResponse([asdict(one) for one in sim.served])

    async def stats(_http: HttpRequest) -> Response:
        sim.batches.work(sim, time.time())
        return JSONResponse(sim.stats())

    async def reset(_http: HttpRequest) -> Response:
        sim.reset()
        return JSONResponse({"simulated": True, "reset": True})

    async def healthz(_http: HttpRequest) -> Response:
        return JSONResponse({"simulated": True, "scenarios": len(sim.book.scenarios), "models": len(sim.tiers)})

    return Starlette(
        routes=[
            Route("/v1/messages", Door(sim, anthropic), methods=["POST"]),
            Route("/v1/chat/completions", Door(sim, openai), methods=["POST"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            *Doors(sim).routes(),
            Route("/v1/models", models),
            Route("/sim/served", served),
            Route("/sim/stats", stats),
            Route("/sim/reset", reset, methods=["POST"]),
            Route("/healthz", healthz),
        ]
    )


def _models(tiers: Mapping[str, Tier]) -> dict[str, Any]:
    """Every model, in a form that both SDKs read."""
    names = sorted(tiers)
    data = [
        {
            "id": name,
            "object": "model",
            "type": "model",
            "display_name": f"{MARK} {name}",
            "created": 0,
            "created_at": "1970-01-01T00:00:00Z",
            "owned_by": MARK,
        }
        for name in names
    ]
    return {"object": "list", "data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}
