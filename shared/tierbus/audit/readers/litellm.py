"""Rows of LiteLLM's table LiteLLM_SpendLogs, exported as JSON, JSONL or CSV. Pure.

Field names: `schema.prisma` of BerriAI/litellm. Prompts are there only where `store_prompts_in_spend_logs` is on; where
they are not, `cache_key` still tells equal requests apart. `prompt_tokens` includes cached tokens.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tierbus.audit.call import Call, NotACall, Unreadable
from tierbus.audit.said import NOTHING, of, said
from tierbus.audit.values import dollars, first, inner, mapping, moment, shown, tokens, word

_NO_KEY = ("", "Cache OFF")
_EMPTY = ("", "{}", "[]", None)


def read(row: Mapping[str, Any]) -> Iterator[Call]:
    """The call of one row.

    Raises:
        NotACall: a failed request, or an answer from LiteLLM's own cache.
        Unreadable: no model, or a value that is not what its column holds.
    """
    meta = mapping(row.get("metadata"))
    if row.get("status") == "failure" or meta.get("status") == "failure":
        raise NotACall("the request failed, nothing to price")
    if str(row.get("cache_hit")).lower() == "true":
        raise NotACall("answered by the gateway's own cache")
    model = word(first(row, "model", "model_group"))
    if not model:
        raise Unreadable("no model name", f"request_id {shown(row.get('request_id'))}")
    given, output = (
        tokens(row.get("prompt_tokens"), "prompt_tokens"),
        tokens(row.get("completion_tokens"), "completion_tokens"),
    )
    read_, written = _cached(meta)
    turns, body = row.get("messages"), row.get("proxy_server_request")
    asked = (
        of(turns) if turns and turns not in _EMPTY else said(mapping(body)) if body and body not in _EMPTY else NOTHING
    )
    cache_key = row.get("cache_key") or ""
    yield Call(
        model=model,
        input=given if read_ + written <= given else given + read_ + written,
        output=output,
        cache_read=read_,
        cache_write=written,
        provider=word(row.get("custom_llm_provider")),
        cost_nano_usd=dollars(row.get("spend"), "spend"),
        at=moment(row.get("startTime") or row.get("start_time")),
        tenant=word(first(meta, "user_api_key_team_alias") or first(row, "team_id", "organization_id")),
        user=word(first(row, "end_user", "user") or meta.get("user_api_key_user_id")),
        key=word(meta.get("user_api_key_alias") or row.get("api_key")),
        label=word(inner(row.get("request_tags"))) if row.get("request_tags") not in _EMPTY else "",
        operation=word(row.get("call_type")),
        system=asked.system,
        prompt=asked.prompt,
        whole=asked.whole,
        tools=asked.tools,
        fingerprint="" if cache_key in _NO_KEY else str(cache_key),
        batch="batch" in str(row.get("call_type")),
    )


def _cached(meta: Mapping[str, Any]) -> tuple[int, int]:
    for name in ("usage_object", "additional_usage_values"):
        usage = meta.get(name)
        if not isinstance(usage, dict):
            continue
        details = mapping(usage.get("prompt_tokens_details"))
        read_ = first(usage, "cache_read_input_tokens") or details.get("cached_tokens")
        written = first(usage, "cache_creation_input_tokens") or details.get("cache_creation_tokens")
        if read_ or written:
            return tokens(read_, "cached tokens"), tokens(written, "cache creation tokens")
    return 0, 0
