"""Spans of model calls in OTLP JSON, with the names of the GenAI conventions, present and earlier ones. Pure.

Names: OpenTelemetry's GenAI registry (`gen_ai.provider.name`, earlier `gen_ai.system`; `gen_ai.usage.input_tokens`, earlier
`prompt_tokens`), OpenLLMetry (`llm.usage.*`, `gen_ai.prompt.0.content`), OpenInference (`llm.token_count.*`). Input tokens
include cached ones. Spans of agents and tools repeat the tokens of the calls under them, so they are not counted.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tierbus.audit.call import Call, NotACall, Unreadable
from tierbus.audit.said import NOTHING, Said, of
from tierbus.audit.values import dollars, first, inner, meanings, moment, shown, tokens, told, word

_NO_CALLS = ("invoke_agent", "create_agent", "execute_tool", "invoke_workflow", "plan")
_CALL_KINDS = (None, "LLM", "EMBEDDING")
_TENANT = ("tenant", "tenant.id", "service.name")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "model": (
        "gen_ai.response.model",
        "gen_ai.request.model",
        "llm.response.model",
        "llm.request.model",
        "llm.model_name",
    ),
    "operation": ("gen_ai.operation.name",),
    "input": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.usage.prompt_tokens",
        "llm.token_count.prompt",
    ),
    "output": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.usage.completion_tokens",
        "llm.token_count.completion",
    ),
    "read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.details.cache_read_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "written": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.details.cache_write_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "cost": ("gen_ai.usage.cost", "operation.cost", "llm.cost.total"),
    "user": ("enduser.id", "user.id", "gen_ai.user", "enduser.pseudo.id"),
    "tenant": _TENANT,
    "prompt": ("gen_ai.input.messages", "gen_ai.prompt", "gen_ai.request.messages", "llm.prompts", "input.value"),
    "label": ("tierbus.task_class", "task_class", "gen_ai.prompt.name"),
}
_MEANS = meanings(_FIELDS)
_EVENTS = ("gen_ai.content.prompt", "gen_ai.user.message", "gen_ai.client.inference.operation.details")
_KINDS = (
    "stringValue",
    "intValue",
    "doubleValue",
    "boolValue",
    "string_value",
    "int_value",
    "double_value",
    "bool_value",
)


def spans(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every span of an OTLP document with the attributes of its resource; a bare span stands for itself."""
    batches = document.get("resourceSpans") or document.get("resource_spans")
    if batches is None:
        yield document, {}
        return
    for batch in batches if isinstance(batches, list) else []:
        if not isinstance(batch, dict):
            continue
        resource = attributes((batch.get("resource") or {}).get("attributes"))
        for scope in (
            batch.get("scopeSpans") or batch.get("scope_spans") or batch.get("instrumentationLibrarySpans") or []
        ):
            for span in scope.get("spans") or []:
                yield span, resource


def read(span: Mapping[str, Any], resource: Mapping[str, Any]) -> Iterator[Call]:
    """The call of one span.

    Raises:
        NotACall: a span of something else.
        Unreadable: a model call without model or tokens.
    """
    if not isinstance(span, dict):
        raise Unreadable("not a span", shown(span))
    own = attributes(span.get("attributes"))
    field = told(own, _MEANS).get
    model, operation = word(field("model")), word(field("operation"))
    given, produced = field("input"), field("output")
    if operation in _NO_CALLS or own.get("openinference.span.kind") not in _CALL_KINDS or (not model and given is None):
        raise NotACall("a span that is no model call")
    if given is None and produced is None:
        if (span.get("status") or {}).get("code") in (2, "STATUS_CODE_ERROR"):
            raise NotACall("the request failed, nothing to price")
        raise Unreadable("span without token counts", f"spanId {shown(span.get('spanId') or span.get('span_id'))}")
    if not model:
        raise Unreadable("no model name", f"spanId {shown(span.get('spanId') or span.get('span_id'))}")
    asked = _said(own, span, field("prompt"))
    input_, read_, written = (
        tokens(given, "input tokens"),
        tokens(field("read"), "cache read"),
        tokens(field("written"), "cache write"),
    )
    yield Call(
        model=model,
        input=input_ if read_ + written <= input_ else input_ + read_ + written,
        output=tokens(produced, "output tokens"),
        cache_read=read_,
        cache_write=written,
        provider=word(field("provider")),
        cost_nano_usd=dollars(field("cost"), "cost"),
        at=moment(first(span, "startTimeUnixNano", "start_time_unix_nano", "startTime", "start_time")),
        tenant=word(field("tenant") or first(resource, *_TENANT)),
        user=word(field("user")),
        label=word(field("label")),
        operation=operation or word(span.get("name")),
        system=asked.system,
        prompt=asked.prompt,
        whole=asked.whole,
        tools=asked.tools,
    )


def attributes(given: Any) -> Mapping[str, Any]:
    """OTLP's list of keys and typed values as a mapping; a mapping is taken as it is."""
    if isinstance(given, dict):
        return given
    found = {}
    for one in given or ():
        value = one.get("value")
        if not isinstance(value, dict):
            found[one.get("key")] = value
        elif "stringValue" in value:
            found[one.get("key")] = value["stringValue"]
        elif "intValue" in value:
            found[one.get("key")] = value["intValue"]
        else:
            found[one.get("key")] = _value(value)
    return found


def _value(typed: Mapping[str, Any]) -> Any:
    for kind in _KINDS:
        if kind in typed:
            return typed[kind]
    listed = typed.get("arrayValue") or typed.get("array_value")
    if isinstance(listed, dict):
        return [_value(one) for one in listed.get("values") or []]
    pairs = typed.get("kvlistValue") or typed.get("kvlist_value")
    return {one.get("key"): _value(one.get("value") or {}) for one in pairs.get("values") or []} if pairs else None


def _said(own: Mapping[str, Any], span: Mapping[str, Any], given: Any) -> Said:
    system, tools = own.get("gen_ai.system_instructions"), own.get("gen_ai.tool.definitions")
    if given is None and "gen_ai.prompt.0.content" in own:
        given = _numbered(own)
    if given is None:
        for event in span.get("events") or ():
            if event.get("name") in _EVENTS:
                said_ = attributes(event.get("attributes"))
                given = first(said_, "gen_ai.prompt", "gen_ai.input.messages", "content")
    if given is None:
        return NOTHING
    return of(given, str(system) if system else "", tools)


def _numbered(own: Mapping[str, Any]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    while (content := own.get(f"gen_ai.prompt.{len(turns)}.content")) is not None:
        turns.append({"role": own.get(f"gen_ai.prompt.{len(turns)}.role") or "user", "content": inner(content)})
    return turns
