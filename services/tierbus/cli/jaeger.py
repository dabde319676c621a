"""A real Jaeger beside the services: where its binary is, how it is started, and what it tells about a trace."""

import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from tierbus.errors import Misconfigured

TOOL = Path(".tools") / "jaeger"
CHECKOUT = Path(__file__).parents[3]
CONFIG = "jaeger.yaml"
UI_CONFIG = "jaeger-ui.json"
UI = {"topTagPrefixes": ["tierbus.cost.", "tierbus.", "gen_ai."]}
"""What Jaeger's web page shows first of a span."""
PLACEHOLDER = "not compiled with the UI assets"
NO_PAGE = "this Jaeger was built without its web page; its API is there, at /api/v3/traces/TRACE_ID"
POLL_S = 0.1
REQUEST_S = 10.0


class Ports(NamedTuple):
    """Where Jaeger listens, on loopback."""

    query_http: int
    otlp_grpc: int
    otlp_http: int
    query_grpc: int
    health: int

    @classmethod
    def free(cls) -> Self:
        """Ports that nobody listens on now."""
        return cls(*_free(5))

    @classmethod
    def usual(cls) -> Self:
        """The ports that everybody expects; free ones for what nobody looks for."""
        return cls(16686, 4317, 4318, *_free(2))

    @property
    def query_url(self) -> str:
        """Jaeger's web page and its API."""
        return f"http://127.0.0.1:{self.query_http}"

    @property
    def otlp_url(self) -> str:
        """Where spans go, as OTLP over HTTP."""
        return f"http://127.0.0.1:{self.otlp_http}"


class Shape(NamedTuple):
    """What a trace looks like from outside."""

    spans: int
    roots: int
    orphans: int
    """Spans whose parent is not there."""
    services: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """It has a root, and nothing hangs in the air."""
        return self.roots > 0 and self.orphans == 0

    def __str__(self) -> str:
        if not self.spans:
            return "no spans"
        orphans = f", {_count(self.orphans, 'orphan')}" if self.orphans else ""
        return f"{_count(self.spans, 'span')}, {_count(self.roots, 'root')}{orphans}, {', '.join(self.services)}"


def find() -> Path:
    """The Jaeger binary: `TIERBUS_JAEGER`, then `.tools/jaeger` here or in the checkout, then PATH.

    Raises:
        Misconfigured: there is none.
    """
    if given := os.environ.get("TIERBUS_JAEGER"):
        if os.access(given, os.X_OK) and Path(given).is_file():
            return Path(given).resolve()
        raise Misconfigured(f"TIERBUS_JAEGER is {given}, and that is no program; `make jaeger` gets one into {TOOL}")
    for place in (Path.cwd() / TOOL, CHECKOUT / TOOL):
        if os.access(place, os.X_OK):
            return place
    if found := shutil.which("jaeger"):
        return Path(found).resolve()
    raise Misconfigured(f"Jaeger is missing: there is no {TOOL} and no jaeger on PATH; `make jaeger` gets it")


def prepare(folder: Path, ports: Ports) -> list[str]:
    """Write its configuration into the folder; answer the command to run there."""
    binary = find()
    template = files("tierbus.cli").joinpath(CONFIG).read_text(encoding="utf-8")
    # `$names` in the comment on top are for readers.
    filled = Template(template).safe_substitute({name: str(port) for name, port in ports._asdict().items()})
    (folder / CONFIG).write_text(filled, encoding="utf-8")
    (folder / UI_CONFIG).write_text(json.dumps(UI), encoding="utf-8")
    return [str(binary), "--config", CONFIG]


def has_page(url: str) -> bool:
    """Whether this Jaeger has its web page; builds from Go modules answer with a placeholder."""
    with urllib.request.urlopen(url, timeout=REQUEST_S) as answer:  # noqa: S310 - an address of the operator's
        return PLACEHOLDER not in answer.read().decode(errors="replace")


def trace_url(url: str, trace_id: str, *, page: bool) -> str:
    """Where to look at a trace: on the web page, or in the API where there is no page."""
    return f"{url}/trace/{trace_id}" if page else f"{url}/api/v3/traces/{trace_id}"


def fetch(url: str, trace_id: str) -> list[dict[str, Any]]:
    """The spans of a trace as OTLP JSON, each with its `service` and its `attributes` as a plain dict; [] if unknown."""
    try:
        with urllib.request.urlopen(f"{url}/api/v3/traces/{quote(trace_id)}", timeout=REQUEST_S) as answer:  # noqa: S310
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return []
        raise
    return flat(body)


def flat(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The spans in an answer of `/api/v3/traces/{id}`."""
    return [
        {**span, "service": service, "attributes": _plain(span.get("attributes", []))}
        for resource in body["result"].get("resourceSpans", [])
        for service in [_plain(resource.get("resource", {}).get("attributes", [])).get("service.name", "")]
        for scope in resource.get("scopeSpans", [])
        for span in scope.get("spans", [])
    ]


def shape(spans: Sequence[Mapping[str, Any]]) -> Shape:
    """Count spans, roots, orphans and services."""
    there = {span["spanId"] for span in spans}
    parents = [span.get("parentSpanId") for span in spans]
    return Shape(
        spans=len(spans),
        roots=sum(not parent for parent in parents),
        orphans=sum(bool(parent) and parent not in there for parent in parents),
        services=tuple(sorted({span["service"] for span in spans})),
    )


def wait_whole(url: str, trace_id: str, timeout_s: float) -> list[dict[str, Any]]:
    """Wait for a root without orphans; the spans that are there then, or when the time is up."""
    until = time.monotonic() + timeout_s
    while not shape(spans := fetch(url, trace_id)).whole and time.monotonic() < until:
        time.sleep(POLL_S)
    return spans


def _plain(attributes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {one["key"]: _value(one.get("value", {})) for one in attributes}


def _value(value: Mapping[str, Any]) -> Any:
    match value:
        case {"intValue": number}:
            return int(number)
        case {"arrayValue": array}:
            return [_value(one) for one in array.get("values", [])]
        case {"kvlistValue": pairs}:
            return _plain(pairs.get("values", []))
    return next(iter(value.values()), None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _free(number: int) -> list[int]:
    # All are held before the first is let go, or the same one could come twice.
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
