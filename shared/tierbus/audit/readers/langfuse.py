"""Observations and traces as Langfuse exports them: API, interface and blob storage, camelCase and snake_case. Pure.

Field names: Langfuse's "blob storage export field reference" and its public API. `usageDetails` counts are disjoint: the
cached tokens stand beside `input`, unless the total says otherwise.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tierbus.audit.call import Call, NotACall, Unreadable
from tierbus.audit.said import NOTHING, of, said
from tierbus.audit.values import dollars, first, inner, mapping, moment, shown, tokens, word

_CALLS = ("GENERATION", "EMBEDDING")


def read(row: Mapping[str, Any]) -> Iterator[Call]:
    """The calls of one observation, or of a trace with its observations.

    Raises:
        NotACall: a span or an event, or a trace whose observations are elsewhere.
        Unreadable: a generation without model or tokens.
    """
    inside = row.get("observations")
    if inside is not None:
        found = inner(inside)
        rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        if not rows:
            raise NotACall("a trace without its observations")
        trace = {
            "userId": row.get("userId") or row.get("user_id"),
            "tags": row.get("tags"),
            "traceName": row.get("name"),
        }
        for one in rows:
            if _kind(one) in _CALLS:
                yield _call(one, trace)
        return
    if _kind(row) not in _CALLS:
        raise NotACall("not a generation", "")
    yield _call(row, row)


def _kind(row: Mapping[str, Any]) -> str:
    return str(row.get("type") or "GENERATION").upper()


def _call(row: Mapping[str, Any], trace: Mapping[str, Any]) -> Call:
    model = word(first(row, "model", "providedModelName", "provided_model_name", "modelId", "internalModel"))
    if not model:
        raise Unreadable("no model name", f"observation {shown(row.get('id'))}")
    counted = _counts(row)
    costs = mapping(first(row, "costDetails", "cost_details"))
    cost = first(row, "totalCost", "total_cost", "calculatedTotalCost", "calculated_total_cost") or costs.get("total")
    given = inner(row.get("input"))
    asked = NOTHING if not given else said(given) if isinstance(given, dict) and "messages" in given else of(given)
    meta = mapping(row.get("metadata"))
    return Call(
        model=model,
        input=counted[0],
        output=counted[1],
        cache_read=counted[2],
        cache_write=counted[3],
        cost_nano_usd=dollars(cost, "total cost"),
        at=moment(first(row, "startTime", "start_time", "timestamp")),
        tenant=word(first(meta, "tenant", "team", "organization") or first(row, "projectId", "project_id")),
        user=word(first(trace, "userId", "user_id")),
        label=word(first(meta, "task_class", "task") or inner(trace.get("tags"))),
        operation=_operation(row),
        system=asked.system,
        prompt=asked.prompt,
        whole=asked.whole,
        tools=asked.tools,
    )


def _operation(row: Mapping[str, Any]) -> str:
    return "embedding" if _kind(row) == "EMBEDDING" else word(first(row, "name", "promptName", "prompt_name"))


def _counts(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    details = mapping(first(row, "usageDetails", "usage_details"))
    if details:
        return _disjoint(details)
    usage = mapping(row.get("usage"))
    given = first(usage, "input", "promptTokens", "prompt_tokens") or first(
        row, "promptTokens", "prompt_tokens", "inputTokens", "input_tokens"
    )
    produced = first(usage, "output", "completionTokens", "completion_tokens") or first(
        row, "completionTokens", "completion_tokens", "outputTokens", "output_tokens"
    )
    if given is None and produced is None:
        raise Unreadable("no token counts", f"observation {shown(row.get('id'))}")
    return tokens(given, "input tokens"), tokens(produced, "output tokens"), 0, 0


def _disjoint(details: Mapping[str, Any]) -> tuple[int, int, int, int]:
    plain = output = read_ = written = others = spoken = 0
    for name, value in details.items():
        count = tokens(value, name) if name != "total" else 0
        if name in ("input", "prompt_tokens", "input_tokens"):
            plain += count
        elif name in ("output", "completion_tokens", "output_tokens"):
            output += count
        elif "cache_creation" in name or "cache_write" in name:
            written += count
        elif "cache" in name:
            read_ += count
        elif name.startswith("input"):
            others += count
        elif name.startswith("output"):
            spoken += count
    total = details.get("total")
    if total and plain + output == tokens(total, "total"):
        return plain, output, min(read_, plain), min(written, plain - min(read_, plain))
    return plain + others + read_ + written, output + spoken, read_, written
