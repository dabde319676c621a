"""A model server that answers with what real models once said: `python -m tests.recorded FILE` (the format of `tierbus replay`).

It speaks the OpenAI API over HTTP. A question is known by the text of its task; tokens are the recorded ones. A question that
is not in the file is an error: nothing is made up. With `--judge MODEL` that model knows the worth of every recorded answer:
asked to review one, it says so after `--judge-latency` seconds, and its verdict is marked SIMULATED.
"""

import argparse
import asyncio
import json
import re
import socket
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tierbus.prompts import defuse
from tierbus.replay.records import Output, Row, read

_TASK = re.compile(r"<task>\n(.*?)\n</task>", re.DOTALL)
_ANSWER = re.compile(r"<answer>\n(.*?)\n</answer>", re.DOTALL)
VERDICT_TOKENS = 40


@dataclass
class Recorded:
    """The answers by task text, and what was served."""

    rows: dict[str, Row]
    judge: str | None = None
    latency_s: float = 0.0
    served: Counter[str] = field(default_factory=Counter)

    async def complete(self, http: Request) -> Response:
        """`/v1/chat/completions`."""
        body = await http.json()
        text = "\n".join(_texts(message["content"]) for message in body["messages"])
        asked = _TASK.search(text)
        row = self.rows.get(asked[1]) if asked else None
        judging = row is not None and body["model"] == self.judge
        output = _verdict(row, text) if row and judging else row.outputs.get(body["model"]) if row else None
        if row is None or output is None or output.response is None:
            return JSONResponse({"error": {"message": f"{body['model']} has no recorded answer to this"}}, 404)
        self.served[body["model"]] += 1
        if judging:
            await asyncio.sleep(self.latency_s)
        return JSONResponse(
            {
                "id": f"recorded-{row.id}",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": output.response},
                    }
                ],
                "usage": {
                    "prompt_tokens": output.input_tokens or 0,
                    "completion_tokens": output.output_tokens or 0,
                    "total_tokens": (output.input_tokens or 0) + (output.output_tokens or 0),
                },
            }
        )

    async def stats(self, _http: Request) -> Response:
        """Calls by model."""
        return JSONResponse(self.served)


def _verdict(row: Row, text: str) -> Output | None:
    """What a judge that knows their worth says of the recorded answer in its question."""
    asked = _ANSWER.search(text)
    found = next((one for one in row.outputs.values() if asked and defuse(one.response or "") == asked[1]), None)
    if found is None:
        return None
    said = {
        "verdict": "accept" if found.correct else "reject",
        "reason": f"SIMULATED: it is recorded as {'right' if found.correct else 'wrong'}",
        "critique": "" if found.correct else "SIMULATED: it is recorded as wrong",
    }
    return Output(found.correct, None, json.dumps(said), len(text) // 4, VERDICT_TOKENS, None, None)


def _texts(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def main() -> None:
    """Serve on a free port, told as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--judge")
    parser.add_argument("--judge-latency", type=float, default=0.0)
    given = parser.parse_args()
    recorded = Recorded({defuse(row.prompt): row for row in read(given.file)}, given.judge, given.judge_latency)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}) + "\n")
    sys.stdout.flush()
    routes = [
        Route("/v1/chat/completions", recorded.complete, methods=["POST"]),
        Route("/stats", recorded.stats),
    ]
    config = uvicorn.Config(Starlette(routes=routes), access_log=False, log_level="critical", lifespan="off")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
