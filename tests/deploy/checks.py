"""Checks of rendered manifests. Each takes all objects of a rendering and says in words what is wrong."""

import functools
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import kubernetes_validate
import yaml

from tests.deploy import code

Obj = dict[str, Any]
Check = Callable[[list[Obj]], list[str]]

KUBERNETES = ("1.30", "1.33", "1.37")
CRDS: frozenset[tuple[str, str]] = frozenset()
"""(apiVersion, kind) of custom resources that have no schema here. The first cut has none."""
OPTIONAL_SECRETS = {"tierbus-model-keys", "tierbus-nats"}
OPTIONAL_MAPS = {"tierbus-files"}
FOREIGN_ENV = {"jaeger": {"JAEGER_LISTEN_HOST"}}
FOREIGN_PATHS = {"nats": {"/healthz"}, "jaeger": {"/status"}}
CLUSTER_WIDE = {"Namespace"}
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared, not bound
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?")


@functools.cache
def rendered(name: str) -> list[Obj]:
    """All objects of a folder of `deploy/kustomize`, by the kubectl on PATH or that of a wheel."""
    kubectl = shutil.which("kubectl") or Path(sysconfig.get_path("scripts"), "kubectl")
    command = [kubectl, "kustomize", code.DEPLOY / "kustomize" / name]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


class Pod(NamedTuple):
    """A pod template, with the object that it stands in."""

    owner: str
    kind: str
    labels: dict[str, str]
    spec: Obj

    @property
    def containers(self) -> list[Obj]:
        """Every container, those that run before the others too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def ports(self) -> dict[str, int]:
        """The named ports of all containers."""
        return {port["name"]: port["containerPort"] for box in self.containers for port in box.get("ports", ())}


def pods(objects: list[Obj]) -> Iterator[Pod]:
    """Every pod template."""
    for thing in objects:
        template = thing.get("spec", {}).get("template") if isinstance(thing.get("spec"), dict) else None
        if template:
            labels = template.get("metadata", {}).get("labels", {})
            yield Pod(thing["metadata"]["name"], thing["kind"], labels, template["spec"])


def boxes(objects: list[Obj]) -> Iterator[tuple[Pod, Obj]]:
    """Every container with its pod."""
    return ((pod, box) for pod in pods(objects) for box in pod.containers)


def ours(objects: list[Obj]) -> Iterator[tuple[Pod, Obj]]:
    """The containers that run our image."""
    return ((pod, box) for pod, box in boxes(objects) if box["image"].partition(":")[0] == "tierbus")


def named(objects: list[Obj], kind: str) -> dict[str, Obj]:
    """The objects of a kind by name."""
    return {thing["metadata"]["name"]: thing for thing in objects if thing["kind"] == kind}


def environment(objects: list[Obj], box: Obj) -> dict[str, str]:
    """What a container finds in its environment; a value from a secret is a placeholder."""
    env: dict[str, str] = {}
    for source in box.get("envFrom", ()):
        env |= named(objects, "ConfigMap").get(source["configMapRef"]["name"], {}).get("data", {})
    for entry in box.get("env", ()):
        if "value" in entry:
            env[entry["name"]] = entry["value"]
        elif "configMapKeyRef" in entry["valueFrom"]:
            ref = entry["valueFrom"]["configMapKeyRef"]
            env[entry["name"]] = named(objects, "ConfigMap").get(ref["name"], {}).get("data", {}).get(ref["key"], "")
        else:
            env[entry["name"]] = "secret"
    return env


def schema(objects: list[Obj]) -> list[str]:
    """Strictly valid for every version that we name; a kind without a schema is wrong too (removed APIs)."""
    wrong = []
    for version in KUBERNETES:
        for thing in objects:
            if (thing["apiVersion"], thing["kind"]) in CRDS:
                continue
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                wrong.append(f"{version} {thing['kind']} {thing['metadata']['name']}: {error}")
    return wrong


def place(objects: list[Obj]) -> list[str]:
    """Everything is in a namespace that enforces restricted Pod Security."""
    guarded = {
        name
        for name, thing in named(objects, "Namespace").items()
        if thing["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") == "restricted"
    }
    return [
        f"{thing['kind']} {thing['metadata']['name']}: {thing['metadata'].get('namespace')} is not restricted"
        for thing in objects
        if thing["kind"] not in CLUSTER_WIDE and thing["metadata"].get("namespace") not in guarded
    ]


def env_names(objects: list[Obj]) -> list[str]:
    """Every variable is read by someone, and every value fits its setting."""
    wrong = [
        f"{pod.owner}: {problem}"
        for pod, box in ours(objects)
        for problem in code.wrong_environment(environment(objects, box))
    ]
    theirs = [(pod, box) for pod, box in boxes(objects) if (pod, box) not in list(ours(objects))]
    return wrong + [
        f"{pod.owner}: {name} is not a variable of {pod.owner}"
        for pod, box in theirs
        for name in environment(objects, box)
        if name not in FOREIGN_ENV.get(pod.owner, set())
    ]


def commands(objects: list[Obj]) -> list[str]:
    """Every container of ours runs a command that there is."""
    wrong = []
    for pod, box in ours(objects):
        problem = "replaces the entry point" if "command" in box else code.wrong_command(box.get("args", []))
        wrong += [f"{pod.owner}: {problem}"] if problem else []
    return wrong


def probes(objects: list[Obj]) -> list[str]:
    """Whatever runs on has three probes, at ports that are open and paths that are answered."""
    wrong = []
    for pod, box in boxes(objects):
        found = {kind: box[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in box}
        if pod.kind != "Job" and len(found) < 3:
            wrong.append(f"{pod.owner}: has only {sorted(found)}")
        wrong += [f"{pod.owner} {kind}: {problem}" for kind, probe in found.items() for problem in _probe(pod, probe)]
    return wrong


def _probe(pod: Pod, probe: Obj) -> list[str]:
    how = probe.get("httpGet") or probe.get("tcpSocket")
    if how is None:
        return ["neither asks over HTTP nor opens a port"]
    wrong = [] if how["port"] in pod.ports() else [f"no port is named {how['port']}"]
    paths = FOREIGN_PATHS.get(pod.owner, code.health_paths())
    if "httpGet" in probe and how["path"].partition("?")[0] not in paths:
        wrong.append(f"nobody answers {how['path']}")
    return wrong


def ports(objects: list[Obj]) -> list[str]:
    """The health port is the one of the settings, where the kubelet reaches it; `sim` opens its own."""
    wrong = []
    for pod, box in ours(objects):
        opened, settings = pod.ports(), code.read(environment(objects, box))
        if "health" in opened and opened["health"] != settings.health_port:
            wrong.append(f"{pod.owner}: health is at {opened['health']}, not {settings.health_port}")
        if "health" in opened and settings.health_host != EVERY_ADDRESS:
            wrong.append(f"{pod.owner}: health is on {settings.health_host} only")
        if box["args"][0] == "sim" and str(opened.get("http")) != (port := code.option(box["args"], "--port")):
            wrong.append(f"{pod.owner}: opens {opened.get('http')}, but listens on {port}")
    return wrong


def addresses(objects: list[Obj]) -> list[str]:
    """What our processes connect to is a Service of this rendering (the base has its bus elsewhere)."""
    services = named(objects, "Service")
    return [
        f"{pod.owner}: nothing at {host}:{port}"
        for pod, box in ours(objects)
        if box["args"][0] != "sim"  # it connects to nobody
        for host, port in code.addresses(environment(objects, box))
        if port not in [entry["port"] for entry in services.get(host, {}).get("spec", {}).get("ports", ())]
    ]


def references(objects: list[Obj]) -> list[str]:
    """Every ConfigMap, key, Secret, ServiceAccount and volume named is there, or known to be optional."""
    wrong = []
    for pod in pods(objects):
        if pod.spec.get("serviceAccountName") not in named(objects, "ServiceAccount"):
            wrong.append(f"{pod.owner}: no ServiceAccount {pod.spec.get('serviceAccountName')}")
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
        wrong += [
            f"{pod.owner}: no volume {mount['name']}"
            for box in pod.containers
            for mount in box.get("volumeMounts", ())
            if mount["name"] not in volumes
        ]
        wrong += [f"{pod.owner}: {problem}" for ref in _references(pod.spec) for problem in _missing(objects, *ref)]
    return wrong


def _references(node: Any) -> Iterator[tuple[str, Obj]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"configMapRef", "configMapKeyRef", "configMap", "secretRef", "secretKeyRef", "secret"}:
                yield key, value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _missing(objects: list[Obj], how: str, ref: Obj) -> list[str]:
    name = ref.get("name") or ref.get("secretName")
    if how.startswith("secret"):
        known = name in OPTIONAL_SECRETS and ref.get("optional") is True
        return [] if known else [f"Secret {name} is unknown, or is not optional"]
    there = named(objects, "ConfigMap").get(name or "")
    if there is None:
        known = name in OPTIONAL_MAPS and ref.get("optional") is True
        return [] if known else [f"no ConfigMap {name}"]
    return [f"no key {ref['key']} in {name}"] if ref.get("key", next(iter(there["data"]))) not in there["data"] else []


def selectors(objects: list[Obj]) -> list[str]:
    """Whatever selects pods selects those of its own name alone, and a Service at open ports."""
    wrong = []
    for thing in objects:
        spec, name = thing.get("spec", {}), f"{thing['kind']} {thing['metadata']['name']}"
        labels = (
            spec.get("selector", {}) if thing["kind"] == "Service" else spec.get("selector", {}).get("matchLabels", {})
        )
        if thing["kind"] not in {"Service", "Deployment", "PodDisruptionBudget"}:
            continue
        chosen = [pod for pod in pods(objects) if labels and labels.items() <= pod.labels.items()]
        if len(chosen) != 1 or chosen[0].owner != thing["metadata"]["name"]:
            wrong.append(f"{name}: selects {[pod.owner for pod in chosen]}")
        elif thing["kind"] == "Service":
            shut = [port["targetPort"] for port in spec["ports"] if port["targetPort"] not in chosen[0].ports()]
            wrong += [f"{name}: no port is named {port}" for port in shut]
    return wrong


def quantities(objects: list[Obj]) -> list[str]:
    """Every amount of CPU, memory and disk is one that Kubernetes reads; every container has its share."""
    wrong = []
    for pod, box in boxes(objects):
        resources = box.get("resources", {})
        asked = {kind: set(resources.get(kind, {})) for kind in ("requests", "limits")}
        if not {"cpu", "memory"} <= asked["requests"] or "memory" not in asked["limits"]:
            wrong.append(f"{pod.owner}: lacks requests or a memory limit")
        amounts = [amount for kind in resources.values() for amount in kind.values()]
        amounts += [
            volume["emptyDir"].get("sizeLimit") for volume in pod.spec.get("volumes", ()) if "emptyDir" in volume
        ]
        wrong += [
            f"{pod.owner}: {amount!r} is no quantity" for amount in amounts if not QUANTITY.fullmatch(str(amount))
        ]
    return wrong


def restricted(objects: list[Obj]) -> list[str]:
    """What the Pod Security admission of Kubernetes refuses at the level `restricted`."""
    wrong = []
    for pod in pods(objects):
        shared = pod.spec.get("securityContext", {})
        found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key)]
        found += [
            f"volume {key}" for volume in pod.spec.get("volumes", ()) for key in volume if key not in VOLUMES | {"name"}
        ]
        found += ["sysctls"] if shared.get("sysctls") else []
        for box in pod.containers:
            found += _restricted_box(shared, box)
        wrong += [f"{pod.owner}: {problem}" for problem in found]
    return wrong


def _restricted_box(shared: Obj, box: Obj) -> list[str]:
    own = box.get("securityContext", {})
    merged = shared | own
    caps = own.get("capabilities", {})
    allowed = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities.drop": "ALL" in caps.get("drop", ()),
        "capabilities.add": set(caps.get("add", ())) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": merged.get("runAsNonRoot") is True,
        "runAsUser": merged.get("runAsUser", 1) != 0,
        "seccompProfile": merged.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
        "procMount": own.get("procMount", "Default") == "Default",
        "appArmorProfile": merged.get("appArmorProfile", {}).get("type") != "Unconfined",
        "seLinuxOptions": not merged.get("seLinuxOptions", {}).keys() & {"user", "role"},
        "windowsOptions": not merged.get("windowsOptions", {}).get("hostProcess"),
        "hostPort": not any(port.get("hostPort") for port in box.get("ports", ())),
        "probe host": not any(
            box.get(f"{kind}Probe", {}).get("httpGet", {}).get("host") for kind in ("startup", "readiness", "liveness")
        ),
    }
    return [name for name, fine in allowed.items() if not fine]


def hardened(objects: list[Obj]) -> list[str]:
    """What we ask beyond `restricted`."""
    wrong = []
    for pod in pods(objects):
        found = [
            key for key in ("automountServiceAccountToken", "enableServiceLinks") if pod.spec.get(key) is not False
        ]
        found += (
            ["runAsUser is not a number"] if not isinstance(pod.spec["securityContext"].get("runAsUser"), int) else []
        )
        for box in pod.containers:
            found += ["root is writable"] if box["securityContext"].get("readOnlyRootFilesystem") is not True else []
            found += [problem for problem in [code.loose_image(box["image"])] if problem]
            mounts = {PurePosixPath(mount["mountPath"]) for mount in box.get("volumeMounts", ())}
            found += ["no /tmp"] if PurePosixPath("/tmp") not in mounts else []  # noqa: S108 - a mount in a container
        wrong += [f"{pod.owner}: {problem}" for problem in found]
    return wrong


def keys(objects: list[Obj]) -> list[str]:
    """Providers' keys go to the four services and to nobody else, each from the key of its own name."""
    wrong = []
    for pod, box in boxes(objects):
        found = {entry["name"]: entry.get("valueFrom", {}).get("secretKeyRef") for entry in box.get("env", ())}
        for name in found.keys() & code.key_names():
            wanted = {"name": "tierbus-model-keys", "key": name, "optional": True}
            if box.get("args", [""])[0] != "serve" or found[name] != wanted:
                wrong.append(f"{pod.owner}: {name} from {found[name]}")
    return wrong


def times(objects: list[Obj]) -> list[str]:
    """Nothing is killed before it has drained, and it drains as long as a call may take."""
    return [
        f"{pod.owner}: {problem}"
        for pod, box in ours(objects)
        if box.get("args", [""])[0] == "serve"
        for problem in code.wrong_times(environment(objects, box), pod.spec.get("terminationGracePeriodSeconds", 30))
    ]


def scaling(objects: list[Obj]) -> list[str]:
    """Nobody sets `replicas`: applying again would undo what an autoscaler or a person has set."""
    return [f"{thing['metadata']['name']}: replicas" for thing in objects if "replicas" in (thing.get("spec") or {})]


def versions(objects: list[Obj]) -> list[str]:
    """Our image and the Job that cannot be changed carry the version of the code."""
    version = code.version()
    wrong = [f"{pod.owner}: {box['image']}" for pod, box in ours(objects) if code.tag(box["image"]) != version]
    ending = version.replace(".", "-")
    return wrong + [f"Job {name}" for name in named(objects, "Job") if not name.endswith(f"-{ending}")]


EVERYWHERE: tuple[Check, ...] = (
    schema, place, env_names, commands, probes, ports, references, selectors, quantities, restricted,
    hardened, keys, times, scaling, versions,
)  # fmt: skip
