"""What the code says: the settings, commands, ports and paths that all of `deploy/` must agree with."""

import ast
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import typer.main
from typer.exceptions import TyperException

from tierbus.cli.build import SERVICES
from tierbus.cli.main import app
from tierbus.errors import Misconfigured
from tierbus.settings import Settings
from tierbus.tiers import catalog

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NATS_CONF = DEPLOY / "kustomize" / "overlays" / "dev" / "nats.conf"
MARGIN_S = 15
OTEL = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_METRICS_EXPORTER",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
)
"""Standard variables that the services honour beside their own."""


def version() -> str:
    """The version of the distribution."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def setting_names() -> set[str]:
    """Every variable that a process reads its settings from."""
    return {f"{Settings.model_config['env_prefix']}{name.upper()}" for name in Settings.model_fields} | set(OTEL)


def key_names() -> set[str]:
    """Every variable that a tier file takes a provider's key from."""
    files = [catalog.load(name) for name in catalog.names()]
    return {spec.api_key_env for file in files for spec in file.providers.values() if spec.api_key_env}


def health_paths() -> set[str]:
    """The routes of the health server, read from the source."""
    tree = ast.parse((ROOT / "shared" / "tierbus" / "bus" / "app.py").read_text(encoding="utf-8"))
    paths = set()
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="asgi_routes", value=ast.List(elts=routes)):
                paths |= {ast.literal_eval(route.elts[0]) for route in routes if isinstance(route, ast.Tuple)}
    return paths


def wrong_command(words: Sequence[str]) -> str | None:
    """Why the `tierbus` command would refuse these words, or None."""
    command, path, left = typer.main.get_command(app), "tierbus", list(words)
    while isinstance(command, typer.core.TyperGroup):
        if not left or left[0] not in command.commands:
            return f"{path} has no command {left[:1]}"
        command, path = command.commands[left[0]], f"{path} {left.pop(0)}"
    try:
        values = command.make_context(path, left).params
    except TyperException as error:
        return f"{path}: {error}"
    if path == "tierbus serve" and values["service"] not in SERVICES:
        return f"no service {values['service']!r}"
    return None


def wrong_environment(env: Mapping[str, str]) -> list[str]:
    """What is wrong with the environment of one of our processes: unknown names, values that do not fit."""
    unknown = [f"{name} is read by nobody" for name in sorted(set(env) - setting_names() - key_names())]
    try:
        catalog.load(read(env).tiers)
    except Misconfigured as error:
        return [*unknown, str(error)]
    return unknown


def read(env: Mapping[str, str]) -> Settings:
    """The settings that a process has in this environment."""
    with patch.dict(os.environ, env, clear=True):
        return Settings.read()


def wrong_times(env: Mapping[str, str], grace_s: float) -> list[str]:
    """Whether a process is killed before it has drained, or drains less long than a call may take."""
    drain, call = read(env).drain_s, read(env).call_timeout_s
    wrong = []
    if grace_s < drain + MARGIN_S:
        wrong.append(f"grace {grace_s:.0f} s < drain {drain:.0f} s + {MARGIN_S}")
    if drain < call:
        wrong.append(f"drain {drain:.0f} s < call timeout {call:.0f} s")
    return wrong


def addresses(env: Mapping[str, str]) -> list[tuple[str, int]]:
    """Host and port of everything that a process connects to."""
    settings = read(env)
    others = filter(None, [settings.sim_url, env.get("OTEL_EXPORTER_OTLP_ENDPOINT")])
    urls = [urlsplit(url) for url in (*settings.servers, *others)]
    return [(url.hostname or "", url.port or 0) for url in urls]


def option(words: Sequence[str], name: str) -> str:
    """The value of an option in a command."""
    return words[words.index(name) + 1]


def tag(image: str) -> str:
    """The tag of an image, empty where it has none."""
    name = image.rsplit("/", 1)[-1]
    return name.partition(":")[2]


def loose_image(image: str) -> str | None:
    """Why an image is not pinned, or None."""
    found = tag(image)
    return f"{image} is not pinned to a tag" if found in {"", "latest"} or not any(map(str.isdigit, found)) else None
