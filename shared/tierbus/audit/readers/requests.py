"""Requests and responses of the Anthropic and OpenAI APIs, in the wrappings that teams log them in. Pure.

`{request, response}`, `{body, response: {body}}`, OpenAI batch output (`response.status_code`, `custom_id`), Anthropic
message batches (`result.message`), a bare response with `usage`, a flat row with a prompt and an answer; a list of stream
events stands for the response that they make.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tierbus.audit.call import Call, NotACall, Unreadable
from tierbus.audit.said import Said, said, text
from tierbus.audit.values import dollars, first, mapping, moment, shown, tokens, word
from tierbus.ledger.book import tokens_of

_REQUESTS = ("request", "req", "request_body", "requestBody", "request_json", "body", "kwargs", "params")
_RESPONSES = (
    "response", "resp", "res", "response_body", "responseBody", "response_json", "response_obj", "completion", "result", "output",
)  # fmt: skip
_TIMES = ("created_at", "timestamp", "time", "ts", "start_time", "startTime", "created", "createdAt", "date")
_USERS = ("user", "user_id", "userId", "safety_identifier", "end_user", "username")
_TENANTS = ("tenant", "tenant_id", "team", "team_id", "organization", "org", "org_id", "project", "customer")
_KEYS = ("api_key_alias", "api_key_id", "key_alias", "api_key", "apiKey")
_LABELS = ("task_class", "task", "class", "kind", "feature", "route", "use_case", "tag", "tags")
_COSTS = ("cost_usd", "cost", "total_cost", "spend", "price_usd")
_MEANS = {
    name: (field, rank)
    for field, names in (("tenant", _TENANTS), ("user", _USERS), ("key", _KEYS), ("label", _LABELS))
    for rank, name in enumerate(names)
}
_OK_STATUS = 400


def read(row: Mapping[str, Any]) -> Iterator[Call]:
    """The call of one row.

    Raises:
        NotACall: the request failed, or has no answer.
        Unreadable: no model, or no usage and no text to estimate it from.
    """
    request, answer = _parts(row)
    usage = _usage(answer, row)
    _refuse_failed(row, answer, usage)
    asked = said(request) if request else said(row)
    counted = _counts(usage) if usage else _estimated(asked, answer)
    told = {**_told(mapping(request.get("metadata"))), **_told(mapping(row.get("metadata"))), **_told(row)}
    model = word(answer.get("model") or first(request, "model", "model_id") or first(row, "model", "model_name"))
    if not model:
        raise Unreadable("no model name", f"fields {shown(', '.join(list(row)[:8]))}")
    user = told.get("user") or word(first(request, "user", "safety_identifier"))
    yield Call(
        model=model,
        input=counted[0],
        output=counted[1],
        cache_read=counted[2],
        cache_write=counted[3],
        provider=word(first(row, "provider", "custom_llm_provider")),
        cost_nano_usd=dollars(first(row, *_COSTS), "cost"),
        at=moment(first(row, *_TIMES) or answer.get("created") or answer.get("created_at")),
        tenant=told.get("tenant", ""),
        user=user,
        key=told.get("key", ""),
        label=told.get("label", ""),
        system=asked.system,
        prompt=asked.prompt,
        whole=asked.whole,
        tools=asked.tools,
        batch="custom_id" in row,
        estimated=not usage,
    )


def _parts(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    request: Any = {}
    for name in _REQUESTS:
        found = row.get(name)
        if found:
            request = mapping(found)
            if request:
                break
    answer: Any = None
    for name in _RESPONSES:
        found = row.get(name)
        if found:
            answer = found
            break
    request = mapping(request.get("body")) or request
    if answer is None:
        return request, row if row.get("usage") or row.get("error") else {}
    return request, _answer(answer)


def _answer(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, list):
        return _joined(answer)
    found = mapping(answer)
    if not found:
        return {"text": answer} if isinstance(answer, str) else {}
    inside = found.get("body") or found.get("message") or found.get("data")
    if isinstance(inside, list):
        return found
    return {**mapping(inside), "status_code": found.get("status_code"), "type": found.get("type")} if inside else found


def _joined(events: list[Any]) -> Mapping[str, Any]:
    """What a list of stream events comes to: the last word on each field, usage added up field by field."""
    model, usage = "", {}
    for event in events:
        for part in (event, mapping(mapping(event).get("message")), mapping(mapping(event).get("response"))):
            if isinstance(part, dict):
                model = word(part.get("model")) or model
                usage.update({name: value for name, value in mapping(part.get("usage")).items() if value is not None})
    return {"model": model, "usage": usage}


def _usage(answer: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    usage = answer.get("usage") or row.get("usage") or answer.get("usageMetadata")
    return usage if isinstance(usage, dict) else mapping(usage)


def _refuse_failed(row: Mapping[str, Any], answer: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
    if usage:
        return
    status = answer.get("status_code") or row.get("status_code") or row.get("status")
    error = answer.get("error") or row.get("error") or answer.get("type") in ("error", "errored", "expired", "canceled")
    if error or (isinstance(status, int) and status >= _OK_STATUS):
        raise NotACall("the request failed, nothing to price")
    if not answer:
        raise NotACall("a request without a response")


def _counts(usage: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Anthropic counts cached tokens beside the input, OpenAI and Gemini inside it."""
    given = first(usage, "input_tokens", "prompt_tokens", "promptTokenCount", "input")
    produced = first(usage, "output_tokens", "completion_tokens", "candidatesTokenCount", "output")
    if given is None and produced is None:
        raise Unreadable("usage without token counts", f"fields {shown(', '.join(list(usage)[:8]))}")
    plain, output = tokens(given, "input tokens"), tokens(produced, "output tokens")
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    inside = first(mapping(details), "cached_tokens") or usage.get("cachedContentTokenCount")
    read_ = tokens(first(usage, "cache_read_input_tokens", "cache_read_tokens"), "cache read tokens")
    written = tokens(first(usage, "cache_creation_input_tokens", "cache_write_tokens"), "cache write tokens")
    if inside and not read_:
        return plain, output, min(plain, tokens(inside, "cached tokens")), 0
    if "prompt_tokens" in usage and read_ + written <= plain:
        return plain, output, read_, written
    return plain + read_ + written, output, read_, written


def _estimated(asked: Said, answer: Mapping[str, Any]) -> tuple[int, int, int, int]:
    spoken = text(answer.get("content") or answer.get("text") or answer.get("output") or answer.get("choices") or "")
    if not asked.whole or not spoken:
        raise Unreadable(
            "no token counts, and no text to estimate them from", f"fields {shown(', '.join(list(answer)[:8]))}"
        )
    return tokens_of(len(asked.whole)), tokens_of(len(spoken)), 0, 0


def _told(place: Mapping[str, Any]) -> dict[str, str]:
    """Tenant, user, key and label as a part of a row names them; of several names the one that stands first above."""
    ranks: dict[str, int] = {}
    found: dict[str, str] = {}
    for name, value in place.items():
        hit = _MEANS.get(name)
        if hit is not None and value and hit[1] < ranks.get(hit[0], len(_MEANS)) and (plain := word(value)):
            ranks[hit[0]], found[hit[0]] = hit[1], plain
    return found
