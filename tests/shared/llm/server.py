"""A tiny HTTP server that answers what a test tells it to, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server says: a JSON or text body, nothing at all (`hang`), or a closed connection (`drop`; `cut`: after the body)."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False
    cut: bool = False

    def encode(self) -> bytes:
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        payload = text.encode()
        headers = {"content-type": "application/json", "content-length": str(len(payload)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} -", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + payload


@dataclass(frozen=True)
class Seen:
    """A request as it reached the server; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Server:
    """Where the server is and what it was asked."""

    answers: list[Answer]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.seen.append(request)
                answer = self.answers.pop(0)
                if answer.drop:
                    return
                if answer.hang:
                    await asyncio.Event().wait()
                writer.write(answer.encode())
                await writer.drain()
                if answer.cut:
                    return
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(path=first.split(" ")[1], headers=headers, body=json.loads(body or b"{}"))


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    """A server on a free port that gives these answers, one per request."""
    server = Server(list(answers))
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        listening.close()
        await listening.wait_closed()
