"""The compose file: right by itself, and in agreement with the code and the manifests."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.deploy import checks, code
from tierbus.cli.build import SERVICES

Obj = dict[str, Any]
Check = Callable[[Obj], list[str]]
FOLDER = code.DEPLOY / "compose"
ROOT_FOR = {"nats-data": {"CHOWN"}}
"""Services that run as root, without network, with these capabilities alone."""
FOREIGN_ENV = re.compile("JAEGER_LISTEN_HOST|GF_[A-Z_]+")
UNITS = {"s": 1, "m": 60}
TOP = {"name", "services", "configs", "volumes"}
KEYS = {
    "build", "cap_add", "cap_drop", "command", "configs", "depends_on", "entrypoint", "environment",
    "healthcheck", "image", "init", "logging", "mem_limit", "network_mode", "pids_limit", "ports",
    "profiles", "pull_policy", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip
"""What a service may say here; a word that is not among them is a slip (compose would refuse it at start)."""


def images() -> dict[str, str]:
    """The versions that the compose file fills in."""
    lines = (FOLDER / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled() -> Obj:
    """The compose file with `${NAME}` filled in from `.env`; a name that is not there is a KeyError."""
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    found: Obj = yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda name: images()[name[1]], text))
    return found


def ours(compose: Obj) -> Iterator[tuple[str, Obj]]:
    """The services that run our image."""
    return ((name, box) for name, box in compose["services"].items() if box["image"].startswith("tierbus:"))


def working(compose: Obj) -> Iterator[tuple[str, Obj]]:
    """The four services."""
    return ((name, box) for name, box in ours(compose) if box["command"][0] == "serve")


def seconds(duration: str) -> int:
    """A duration such as 30s or 5m."""
    return int(duration[:-1]) * UNITS[duration[-1]]


def words(compose: Obj) -> list[str]:
    """Only words that compose knows."""
    wrong = [word for word in compose if word not in TOP and not word.startswith("x-")]
    return wrong + [f"{name}: {word}" for name, box in compose["services"].items() for word in box.keys() - KEYS]


def env_names(compose: Obj) -> list[str]:
    """Every variable is read by someone, and every value fits its setting."""
    wrong = []
    for name, box in compose["services"].items():
        env = box.get("environment", {})
        found = [f"{key} is not text" for key, value in env.items() if not isinstance(value, str)]
        if not found:
            foreign = [key for key in env if not FOREIGN_ENV.fullmatch(key)]
            found = code.wrong_environment(env) if name in dict(ours(compose)) else foreign
        wrong += [f"{name}: {problem}" for problem in found]
    return wrong


def commands(compose: Obj) -> list[str]:
    """Every service of ours runs a command that there is."""
    tried = {name: code.wrong_command(box["command"]) for name, box in ours(compose)}
    wrong = [f"{name}: {problem}" for name, problem in tried.items() if problem]
    return wrong + [f"{name}: replaces the entry point" for name, box in ours(compose) if "entrypoint" in box]


def hardened(compose: Obj) -> list[str]:
    """Nobody is root, writes to the root file system, has a capability, or may take more than its share."""
    wanted = {
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - a mount in a container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    wrong = []
    for name, box in compose["services"].items():
        found = [key for key, value in wanted.items() if box.get(key) != value]
        found += [key for key in ("mem_limit", "pids_limit", "logging") if key not in box]
        root = name in ROOT_FOR and box.get("network_mode") == "none"
        if not root and not re.fullmatch(r"[1-9]\d*:[1-9]\d*", box.get("user", "")):
            found.append("user")
        if set(box.get("cap_add", ())) - ROOT_FOR.get(name, set()):
            found.append("cap_add")
        wrong += [f"{name}: {problem}" for problem in found]
    return wrong


def pinned(compose: Obj) -> list[str]:
    """Every image has a tag, ours the version of the code."""
    wrong = [code.loose_image(box["image"]) for box in compose["services"].values()]
    old = [f"{name}: {box['image']}" for name, box in ours(compose) if code.tag(box["image"]) != code.version()]
    return [problem for problem in wrong if problem] + old


def published(compose: Obj) -> list[str]:
    """Ports are open to this machine only, and no worker has one or a fixed name: workers are scaled."""
    wrong = [
        f"{name}: {port}"
        for name, box in compose["services"].items()
        for port in box.get("ports", ())
        if not port.startswith("127.0.0.1:")
    ]
    return wrong + [f"{name}: cannot be scaled" for name, box in working(compose) if "ports" in box]


def order(compose: Obj) -> list[str]:
    """Work begins when the bus is declared and the models answer; a bus is declared when it is up."""
    done, up = {"condition": "service_completed_successfully"}, {"condition": "service_healthy"}
    wanted = {name: {"bus-apply": done, "sim": up} for name in SERVICES}
    wanted |= {"bus-apply": {"nats": up}, "nats": {"nats-data": done}}
    services = compose["services"]
    wrong = [f"{name}: starts too early" for name, ask in wanted.items() if services[name].get("depends_on") != ask]
    asked = {other for ask in wanted.values() for other, how in ask.items() if how == up}
    return wrong + [f"{name}: nobody sees that it is up" for name in asked if "healthcheck" not in services[name]]


def times(compose: Obj) -> list[str]:
    """Nothing is killed before it has drained, and it drains as long as a call may take."""
    return [
        f"{name}: {problem}"
        for name, box in working(compose)
        for problem in code.wrong_times(box["environment"], seconds(box.get("stop_grace_period", "10s")))
    ]


def addresses(compose: Obj) -> list[str]:
    """What our processes connect to is a service here that listens there, and health is where it is asked."""
    listening = {
        ("nats", 4222),
        ("sim", int(code.option(compose["services"]["sim"]["command"], "--port"))),
        ("jaeger", 4318),
    }
    wrong = []
    for name, box in ours(compose):
        env = box.get("environment")
        if env is not None:
            wrong += [f"{name}: nothing at {place}" for place in {*code.addresses(env)} - listening]
    for name, box in working(compose):
        asked = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(box["healthcheck"]["test"]))
        port = str(code.read(box["environment"]).health_port)
        if not asked or any(found != port or path not in code.health_paths() for found, path in asked):
            wrong.append(f"{name}: health is asked at {asked}")
    return wrong


CHECKS: tuple[Check, ...] = (
    words, env_names, commands, hardened, pinned, published, order, times, addresses,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_compose_file_is_right(check: Check) -> None:
    assert check(filled()) == []


def test_all_four_services_are_there() -> None:
    assert {name: box["command"] for name, box in working(filled())} == {name: ["serve", name] for name in SERVICES}


def test_our_image_is_built_once_from_the_repository() -> None:
    built = {name: box["build"] for name, box in filled()["services"].items() if "build" in box}

    assert list(built) == ["bus-apply"]
    assert (FOLDER / built["bus-apply"]["context"]).resolve() == code.ROOT
    assert (code.ROOT / built["bus-apply"]["dockerfile"]).is_file()


def test_files_and_volumes_that_services_name_are_there() -> None:
    compose = filled()
    for config in compose["configs"].values():
        assert (FOLDER / config["file"]).is_file()
    for box in compose["services"].values():
        assert {config["source"] for config in box.get("configs", ())} <= set(compose["configs"])
        for source, _, how in (volume.partition(":") for volume in box.get("volumes", ())):
            assert source in compose["volumes"] or ((FOLDER / source).is_dir() and how.endswith(":ro"))


def test_compose_and_the_dev_overlay_run_the_same_images_and_times() -> None:
    """Two ways to run the same thing: what is tried on one holds on the other."""
    dev, services = checks.rendered("overlays/dev"), filled()["services"]

    for pod, box in checks.boxes(dev):
        name = "bus-apply" if pod.kind == "Job" else pod.owner
        assert services[name]["image"] == box["image"]
    for pod, box in checks.ours(dev):
        if pod.owner in SERVICES:
            here, there = (code.read(env) for env in (services[pod.owner]["environment"], checks.environment(dev, box)))
            assert (here.drain_s, here.call_timeout_s) == (there.drain_s, there.call_timeout_s)
            assert seconds(services[pod.owner]["stop_grace_period"]) == pod.spec["terminationGracePeriodSeconds"]


BREAKS: list[tuple[Check, str, Obj, str]] = [
    (words, "nats", {"helthcheck": {}}, "helthcheck"),
    (env_names, "router", {"environment": {"TIERBUS_SLOT": "4"}}, "TIERBUS_SLOT"),
    (env_names, "router", {"environment": {"TIERBUS_SLOTS": "0"}}, "TIERBUS_SLOTS"),
    (env_names, "router", {"environment": {"TIERBUS_SLOTS": 4}}, "is not text"),
    (env_names, "jaeger", {"environment": {"COLLECTOR": "1"}}, "COLLECTOR"),
    (commands, "router", {"command": ["serve", "routr"]}, "routr"),
    (commands, "sim", {"command": ["sim", "--prot", "1"]}, "--prot"),
    (commands, "router", {"entrypoint": ["python"]}, "entry point"),
    (hardened, "router", {"user": "0:0"}, "router: user"),
    (hardened, "router", {"user": "tierbus"}, "router: user"),
    (hardened, "nats-data", {"network_mode": "bridge"}, "nats-data: user"),
    (hardened, "nats-data", {"cap_add": ["CHOWN", "DAC_OVERRIDE"]}, "cap_add"),
    (hardened, "nats", {"read_only": False}, "read_only"),
    (hardened, "nats", {"cap_drop": []}, "cap_drop"),
    (hardened, "jaeger", {"mem_limit": None}, "mem_limit"),
    (pinned, "nats", {"image": "nats"}, "nats is not pinned"),
    (pinned, "nats", {"image": "nats:latest"}, "nats:latest is not pinned"),
    (pinned, "router", {"image": "tierbus:0.0.1"}, "tierbus:0.0.1"),
    (published, "nats", {"ports": ["4222:4222"]}, "4222:4222"),
    (published, "router", {"ports": ["127.0.0.1:8080:8080"]}, "cannot be scaled"),
    (order, "executor", {"depends_on": ["nats"]}, "executor: starts too early"),
    (order, "nats", {"healthcheck": None}, "nats: nobody sees"),
    (times, "executor", {"stop_grace_period": "5m"}, "grace 300 s"),
    (times, "executor", {"stop_grace_period": None}, "grace 10 s"),
    (times, "router", {"environment": {"TIERBUS_DRAIN_S": "100"}}, "drain 100 s < call timeout"),
    (addresses, "sim", {"command": ["sim", "--port", "9000"]}, "nothing at"),
    (addresses, "router", {"environment": {}}, "nothing at"),
    (addresses, "router", {"environment": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4319"}}, "4319"),
    (env_names, "router", {"environment": {"OTEL_EXPORTER_ENDPOINT": "http://jaeger:4318"}}, "OTEL_EXPORTER_ENDPOINT"),
    (addresses, "router", {"healthcheck": {"test": ["CMD", "http://127.0.0.1:8080/health"]}}, "/health"),
    (addresses, "router", {"healthcheck": {"test": ["CMD", "http://127.0.0.1:8081/readyz"]}}, "8081"),
]


@pytest.mark.parametrize(("check", "name", "damage", "said"), BREAKS)
def test_each_check_finds_what_it_is_for(check: Check, name: str, damage: Obj, said: str) -> None:
    compose = copy.deepcopy(filled())
    box = compose["services"][name]

    box.update(damage)
    for key in [key for key, value in damage.items() if value is None]:
        del box[key]

    assert any(said in problem for problem in check(compose)), check(compose)


def test_every_check_is_seen_to_fail() -> None:
    assert {check for check, *_ in BREAKS} == set(CHECKS)
