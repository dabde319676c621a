"""Tables whose columns a person names, or whose headers say it themselves. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tierbus.audit.call import Call, Unreadable
from tierbus.audit.said import NOTHING, of
from tierbus.audit.values import dollars, moment, tokens, word

FIELDS: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "model_id", "mdl", "llm", "engine", "deployment"),
    "input_tokens": (
        "input_tokens",
        "prompt_tokens",
        "tokens_in",
        "in_tokens",
        "input",
        "n_input_tokens",
        "context_tokens",
    ),
    "output_tokens": (
        "output_tokens",
        "completion_tokens",
        "tokens_out",
        "out_tokens",
        "output",
        "n_output_tokens",
        "generated_tokens",
    ),
    "cache_read_tokens": ("cache_read_tokens", "cache_read_input_tokens", "cached_tokens", "cached_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens"),
    "cost_usd": ("cost_usd", "cost", "total_cost", "spend", "price", "usd", "amount_usd"),
    "time": ("time", "timestamp", "created_at", "start_time", "starttime", "date", "datetime", "ts", "created"),
    "provider": ("provider", "vendor", "custom_llm_provider"),
    "tenant": ("tenant", "team", "team_id", "organization", "org", "project", "customer", "department"),
    "user": ("user", "user_id", "end_user", "username"),
    "key": ("key", "api_key", "api_key_alias", "key_alias"),
    "task_class": ("task_class", "task", "class", "kind", "category", "feature", "use_case", "tag", "tags", "label"),
    "system": ("system", "system_prompt", "instructions"),
    "prompt": ("prompt", "input_text", "question", "request", "messages", "query", "user_message"),
}
"""What a column can hold, and the headers that say so (lower case, anything else than letters and digits as `_`)."""
_NAME = re.compile(r"[\w .\-/]{1,32}")
NEEDED = ("model", "input_tokens", "output_tokens")
Columns = Mapping[str, str]


def parse(text: str) -> Columns:
    """Read `model=mdl,input_tokens=in`: our field, then the log's column.

    Raises:
        ValueError: an unknown field, one that is named twice, or a part without `=`.
    """
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        field, sign, column = part.partition("=")
        if not sign or not column:
            raise ValueError(f"--columns {part!r} is not of the form field=column")
        if field not in FIELDS:
            raise ValueError(f"--columns names the unknown field {field!r}; there are {', '.join(FIELDS)}")
        if field in found:
            raise ValueError(f"--columns names {field!r} twice: {found[field]!r} and {column!r}")
        found[field] = column
    return found


def matched(headers: list[str], given: Columns) -> Columns:
    """Which column holds what: as given, the rest by the headers' names.

    Raises:
        Unreadable: model or token columns are missing, or a given column is.
    """
    missing = [column for column in given.values() if column not in headers]
    if missing:
        raise Unreadable("a column of --columns is not there", f"{', '.join(missing)}; there are {_listed(headers)}")
    plain = {re.sub(r"[^a-z0-9]+", "_", header.lower()).strip("_"): header for header in reversed(headers)}
    found = dict(given)
    for field, names in FIELDS.items():
        if field not in found:
            column = next((plain[name] for name in names if name in plain and plain[name] not in given.values()), None)
            if column is not None:
                found[field] = column
    absent = [field for field in NEEDED if field not in found]
    if absent:
        raise Unreadable("no column for it", f"{', '.join(absent)}; there are {_listed(headers)}")
    return found


def _listed(headers: list[str]) -> str:
    """The first headers; what does not look like a name is not shown, for a table without headers begins with somebody's data."""
    return ", ".join(header if _NAME.fullmatch(header) else "…" for header in headers[:12])


def read(row: Mapping[str, Any], columns: Columns) -> Iterator[Call]:
    """The call of one row.

    Raises:
        Unreadable: no model, no token count, or a value that is not what its column should hold.
    """
    got = {field: row.get(column) for field, column in columns.items()}
    model = word(got["model"])
    if not model:
        raise Unreadable("no model name", f"column {columns['model']!r} is empty")
    given, produced = got["input_tokens"], got["output_tokens"]
    if given in (None, "") and produced in (None, ""):
        raise Unreadable(
            "no token counts", f"columns {columns['input_tokens']!r} and {columns['output_tokens']!r} are empty"
        )
    input_, read_ = tokens(given, columns["input_tokens"]), tokens(got.get("cache_read_tokens"), "cache read tokens")
    written = tokens(got.get("cache_write_tokens"), "cache write tokens")
    asked = of(got["prompt"], str(got.get("system") or "")) if got.get("prompt") else NOTHING
    yield Call(
        model=model,
        input=input_ if read_ + written <= input_ else input_ + read_ + written,
        output=tokens(produced, columns["output_tokens"]),
        cache_read=read_,
        cache_write=written,
        provider=word(got.get("provider")),
        cost_nano_usd=dollars(got.get("cost_usd"), columns.get("cost_usd", "cost")),
        at=moment(got.get("time")),
        tenant=word(got.get("tenant")),
        user=word(got.get("user")),
        key=word(got.get("key")),
        label=word(got.get("task_class")),
        system=asked.system,
        prompt=asked.prompt,
        whole=asked.whole,
        tools=asked.tools,
    )
