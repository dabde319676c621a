"""Call logs of a company that does not exist, in every format that `tierbus audit` reads; the same for the same seed.

`python -m tests.audit_logs FOLDER [ROWS]` writes all of them. The prompts are SIMULATED: templates with numbers in them.
"""

import csv
import json
import random
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

SEED = 20
START = 1_793_491_200
"""1 November 2026, UTC."""
SPAN_S = 21 * 86_400
ROWS = 1_000_000


class Work(NamedTuple):
    """One use of models in the company: who asks what of which model, how often, at what size."""

    share: float
    tenant: str
    model: str
    provider: str
    system: str
    ask: str
    input: tuple[int, int]
    output: tuple[int, int]
    distinct: int


_RULES = "You work for Example Corp. Follow the house rules. " + " ".join(
    f"Rule {n}: keep to the style of section {n * 7 % 50}, name amounts with their currency, never guess."
    for n in range(1, 60)
)
_WORKS = (
    Work(
        0.26,
        "support",
        "claude-opus-4-6",
        "anthropic",
        _RULES,
        "Classify the intent of this ticket as billing, login or other: ticket {n} says the invoice of order {m} is wrong.",
        (1500, 1700),
        (4, 20),
        40_000,
    ),
    Work(
        0.18,
        "finance",
        "gpt-4o",
        "openai",
        "",
        "Extract vendor, date and total from this invoice as JSON. Invoice {n}: vendor no. {m}, 3 positions, total {n} EUR.",
        (120, 2500),
        (40, 120),
        500_000,
    ),
    Work(
        0.14,
        "support",
        "claude-sonnet-4-6",
        "anthropic",
        _RULES,
        "What is the return policy for article {m}?",
        (1500, 1800),
        (60, 220),
        900,
    ),
    Work(
        0.12,
        "marketing",
        "gpt-4o",
        "openai",
        "You are a translator.",
        "Translate to German: our new product number {n} ships on day {m} of the month.",
        (80, 500),
        (80, 500),
        300_000,
    ),
    Work(
        0.10,
        "product",
        "claude-opus-4-6",
        "anthropic",
        "",
        "Summarize the minutes of meeting {n}: team {m} discussed the roadmap, the budget and the open points at length.",
        (2000, 9000),
        (200, 500),
        300_000,
    ),
    Work(
        0.08,
        "engineering",
        "claude-opus-4-6",
        "anthropic",
        "You are a senior engineer.",
        "Fix the bug in this python function, then write a unittest:\n```python\ndef f{n}(x):\n    return x / {m}\n```",
        (800, 6000),
        (300, 1600),
        300_000,
    ),
    Work(
        0.05,
        "strategy",
        "claude-opus-4-6",
        "anthropic",
        "",
        "Compare the strategy of plan {n} with plan {m}, evaluate the trade-offs, then recommend an architecture and a migration.",
        (3000, 12000),
        (900, 2500),
        300_000,
    ),
    Work(
        0.03,
        "legal",
        "claude-opus-4-6",
        "anthropic",
        "",
        "Review contract {n} for compliance and liability; the penalty clause is number {m}.",
        (9000, 140_000),
        (300, 900),
        300_000,
    ),
    Work(
        0.03,
        "labs",
        "house-model-7b",
        "",
        "",
        "Rewrite sentence {n} in a friendlier tone; it is number {m}.",
        (60, 200),
        (40, 160),
        300_000,
    ),
    Work(
        0.01,
        "data",
        "text-embedding-3-small",
        "openai",
        "",
        "Article {n} about topic {m}.",
        (200, 400),
        (0, 0),
        300_000,
    ),
)


class Made(NamedTuple):
    """One simulated call."""

    number: int
    work: Work
    at: float
    prompt: str
    input: int
    output: int
    cached: int
    user: str


def calls(rows: int, seed: int = SEED) -> Iterator[Made]:
    """So many calls, in the order of time."""
    dice = random.Random(seed)
    picks, shares = range(len(_WORKS)), [work.share for work in _WORKS]
    order = dice.choices(picks, shares, k=4096)
    for number in range(rows):
        work = _WORKS[order[number % 4096]]
        n = int(dice.random() * work.distinct)
        prompt = work.ask.format(n=n, m=n % 97)
        input_ = work.input[0] + int(dice.random() ** 3 * (work.input[1] - work.input[0]))
        output = work.output[0] + int(dice.random() * (work.output[1] - work.output[0]))
        cached = 1024 if work.provider == "openai" and input_ > 1500 and n % 3 == 0 else 0
        yield Made(
            number,
            work,
            START + SPAN_S * number / rows,
            prompt,
            input_,
            output,
            cached,
            f"user-{int(dice.random() ** 2 * 4000)}@example.com",
        )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _turns(made: Made) -> list[dict[str, str]]:
    head = [{"role": "system", "content": made.work.system}] if made.work.system else []
    return [*head, {"role": "user", "content": made.prompt}]


def request(made: Made) -> dict[str, Any]:
    """`{request, response}` of Anthropic, and the same of OpenAI under `body`."""
    if made.work.provider == "anthropic":
        body: dict[str, Any] = {
            "model": made.work.model,
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": made.prompt}],
        }
        if made.work.system:
            body["system"] = made.work.system
        usage = {
            "input_tokens": made.input,
            "output_tokens": made.output,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
        }
        answer: dict[str, Any] = {
            "id": f"msg_{made.number}",
            "type": "message",
            "model": made.work.model,
            "content": [{"type": "text", "text": "SIMULATED " * 12}],
            "usage": usage,
        }
        return {
            "timestamp": _iso(made.at),
            "tenant": made.work.tenant,
            "user": made.user,
            "request": body,
            "response": answer,
        }
    spent = {
        "prompt_tokens": made.input,
        "completion_tokens": made.output,
        "prompt_tokens_details": {"cached_tokens": made.cached},
    }
    answer = {
        "id": f"chatcmpl-{made.number}",
        "model": made.work.model,
        "created": int(made.at),
        "choices": [{"message": {"role": "assistant", "content": "SIMULATED " * 12}}],
        "usage": spent,
    }
    body = {"model": made.work.model, "messages": _turns(made), "user": made.user}
    return {"tenant": made.work.tenant, "body": body, "response": {"status_code": 200, "body": answer}}


def litellm(made: Made) -> dict[str, Any]:
    """A row of LiteLLM_SpendLogs, with prompts stored."""
    meta = {
        "user_api_key_alias": f"key-{made.number % 40}",
        "user_api_key_team_alias": made.work.tenant,
        "usage_object": {"prompt_tokens_details": {"cached_tokens": made.cached}},
    }
    return {
        "request_id": f"req-{made.number}", "call_type": "acompletion", "api_key": f"{made.number % 40:064x}", "spend": 0.0,
        "total_tokens": made.input + made.output, "prompt_tokens": made.input, "completion_tokens": made.output,
        "startTime": _iso(made.at), "endTime": _iso(made.at + 2), "model": made.work.model, "model_group": made.work.model,
        "custom_llm_provider": made.work.provider, "user": made.user, "metadata": meta, "cache_hit": "False", "cache_key": "Cache OFF",
        "request_tags": [], "team_id": made.work.tenant, "end_user": made.user, "messages": _turns(made), "response": {}, "status": "success",
    }  # fmt: skip


def langfuse(made: Made) -> dict[str, Any]:
    """An observation as Langfuse exports it."""
    plain = made.input - made.cached
    return {
        "id": f"obs-{made.number}", "traceId": f"trace-{made.number}", "type": "GENERATION", "name": "chat", "environment": "production",
        "startTime": _iso(made.at), "endTime": _iso(made.at + 2), "model": made.work.model, "userId": made.user, "metadata": {"tenant": made.work.tenant},
        "input": _turns(made), "output": "SIMULATED " * 12,
        "usageDetails": {"input": plain, "output": made.output, "input_cached_tokens": made.cached, "total": made.input + made.output},
        "costDetails": {}, "totalCost": 0,
    }  # fmt: skip


def _attribute(key: str, value: object) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}


def span(made: Made) -> dict[str, Any]:
    """A span of the GenAI conventions; one in ten with the earlier names."""
    new = made.number % 10 != 0
    start = int(made.at * 1e9)
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name" if new else "gen_ai.system": made.work.provider or "self-hosted",
        "gen_ai.request.model": made.work.model, "gen_ai.response.model": made.work.model,
        "gen_ai.usage.input_tokens" if new else "gen_ai.usage.prompt_tokens": made.input,
        "gen_ai.usage.output_tokens" if new else "gen_ai.usage.completion_tokens": made.output,
        "gen_ai.usage.cache_read.input_tokens": made.cached, "enduser.id": made.user, "tenant": made.work.tenant,
        "gen_ai.input.messages": json.dumps([{"role": t["role"], "parts": [{"type": "text", "content": t["content"]}]} for t in _turns(made)]),
    }  # fmt: skip
    return {
        "traceId": f"{made.number:032x}", "spanId": f"{made.number:016x}", "name": f"chat {made.work.model}", "kind": 3,
        "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 2_000_000_000),
        "attributes": [_attribute(key, value) for key, value in attributes.items()], "status": {},
    }  # fmt: skip


HEADER = ("when", "mdl", "tokens_in", "tokens_out", "cached_tokens", "team", "user", "prompt")
COLUMNS = "time=when,model=mdl"


def row(made: Made) -> list[Any]:
    """A row of the table."""
    return [
        _iso(made.at),
        made.work.model,
        made.input,
        made.output,
        made.cached,
        made.work.tenant,
        made.user,
        made.prompt,
    ]


def _lines(of: Callable[[Made], dict[str, Any]]) -> Callable[[Path, int], None]:
    def write(path: Path, rows: int) -> None:
        with path.open("w", encoding="utf-8") as out:
            for made in calls(rows):
                out.write(json.dumps(of(made)) + "\n")

    return write


def _array(of: Callable[[Made], dict[str, Any]]) -> Callable[[Path, int], None]:
    def write(path: Path, rows: int) -> None:
        with path.open("w", encoding="utf-8") as out:
            for made in calls(rows):
                out.write(("[\n" if not made.number else ",\n") + json.dumps(of(made)))
            out.write("\n]\n")

    return write


def _litellm_csv(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        for made in calls(rows):
            one = litellm(made)
            if not made.number:
                writer.writerow(one)
            writer.writerow([json.dumps(value) if isinstance(value, (dict, list)) else value for value in one.values()])


def _table(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(HEADER)
        writer.writerows(row(made) for made in calls(rows))


def _otlp(path: Path, rows: int) -> None:
    """One document: a resource for every thousand spans."""
    resource = json.dumps({"attributes": [_attribute("service.name", "chat-gateway")]})
    with path.open("w", encoding="utf-8") as out:
        out.write('{"resourceSpans": [')
        for made in calls(rows):
            if made.number % 1000 == 0:
                out.write(
                    ("]}]},\n" if made.number else "")
                    + f'{{"resource": {resource}, "scopeSpans": [{{"scope": {{}}, "spans": ['
                )
            out.write((", " if made.number % 1000 else "") + json.dumps(span(made)))
        out.write("]}]}]}\n")


def _otlp_lines(path: Path, rows: int) -> None:
    """A document a line, of a hundred spans, as the collector's file exporter writes them."""
    batch: list[dict[str, Any]] = []
    with path.open("w", encoding="utf-8") as out:
        for made in calls(rows):
            batch.append(span(made))
            if len(batch) == 100 or made.number == rows - 1:
                out.write(json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": batch}]}]}) + "\n")
                batch = []


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "requests.jsonl": _lines(request),
    "litellm.jsonl": _lines(litellm),
    "litellm.json": _array(litellm),
    "litellm.csv": _litellm_csv,
    "langfuse.jsonl": _lines(langfuse),
    "langfuse.json": _array(langfuse),
    "otel.json": _otlp,
    "otel.jsonl": _otlp_lines,
    "table.csv": _table,
}
"""Every format by the name of its file."""


def write(name: str, folder: Path, rows: int = ROWS) -> Path:
    """Write one log."""
    path = folder / name
    WRITERS[name](path, rows)
    return path


if __name__ == "__main__":
    target, number = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    target.mkdir(parents=True, exist_ok=True)
    for each in WRITERS:
        sys.stderr.write(f"{write(each, target, number)}\n")
