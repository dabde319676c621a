"""The Kubernetes manifests, rendered: right by themselves, and in agreement with the code."""

import copy
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy import checks, code
from tests.deploy.checks import Check, Obj, rendered
from tierbus.cli.build import SERVICES
from tierbus.cli.stack import nats_server

RENDERINGS = ("base", "overlays/dev")


def fresh(name: str = "overlays/dev") -> list[Obj]:
    return copy.deepcopy(rendered(name))


def test_every_overlay_is_rendered_here() -> None:
    """A new overlay must not escape the checks."""
    folders = {path.parent for path in (code.DEPLOY / "kustomize").rglob("kustomization.yaml")}

    assert {code.DEPLOY / "kustomize" / name for name in RENDERINGS} == folders


@pytest.mark.parametrize("name", RENDERINGS)
@pytest.mark.parametrize("check", checks.EVERYWHERE, ids=lambda check: check.__name__)
def test_manifests_are_right(check: Check, name: str) -> None:
    assert check(rendered(name)) == []


def test_what_the_dev_overlay_connects_to_is_in_it() -> None:
    assert checks.addresses(rendered("overlays/dev")) == []


@pytest.mark.parametrize("name", RENDERINGS)
def test_there_is_a_deployment_with_an_account_and_a_disruption_budget_per_service(name: str) -> None:
    for kind in ("Deployment", "ServiceAccount", "PodDisruptionBudget"):
        assert set(SERVICES) <= set(checks.named(rendered(name), kind))


@pytest.mark.parametrize("name", RENDERINGS)
def test_all_settings_that_services_share_come_from_one_config_map(name: str) -> None:
    sources = {
        source["configMapRef"]["name"] for _, box in checks.ours(rendered(name)) for source in box.get("envFrom", ())
    }

    [config] = sources

    assert config.startswith("tierbus-config-")


def test_the_bus_is_opened_where_its_configuration_says() -> None:
    conf = code.NATS_CONF.read_text(encoding="utf-8")
    [nats] = [pod for pod in checks.pods(rendered("overlays/dev")) if pod.owner == "nats"]
    mounts = {mount["name"]: mount["mountPath"] for mount in nats.containers[0]["volumeMounts"]}

    assert nats.ports() == {"client": 4222, "monitor": 8222}
    assert "\nport: 4222\n" in conf
    assert "\nhttp: 8222\n" in conf
    assert f"store_dir: {mounts['data']}\n" in conf


def test_a_real_server_accepts_the_bus_configuration() -> None:
    tried = subprocess.run([nats_server(), "-t", "-c", code.NATS_CONF], check=False, capture_output=True, text=True)

    assert (0, "is valid" in tried.stderr) == (tried.returncode, True), tried.stderr


# Each check is seen to fail: a break of the dev overlay, the check that finds it, and what it says.

Break = Callable[[list[Obj]], Any]


def deployment(objects: list[Obj], name: str = "executor") -> Obj:
    found: Obj = checks.named(objects, "Deployment")[name]
    return found


def pod_of(objects: list[Obj], name: str = "executor") -> Obj:
    found: Obj = deployment(objects, name)["spec"]["template"]["spec"]
    return found


def box_of(objects: list[Obj], name: str = "executor") -> Obj:
    found: Obj = pod_of(objects, name)["containers"][0]
    return found


def job(objects: list[Obj]) -> Obj:
    [found] = checks.named(objects, "Job").values()
    return found


def config(objects: list[Obj]) -> Obj:
    maps = checks.named(objects, "ConfigMap")
    found: list[Obj] = [thing["data"] for name, thing in maps.items() if name.startswith("tierbus-config-")]
    return found[0]


def security(objects: list[Obj]) -> Obj:
    found: Obj = box_of(objects)["securityContext"]
    return found


def with_env(name: str, value: str) -> Break:
    def set_it(objects: list[Obj]) -> None:
        entries = [entry for entry in box_of(objects)["env"] if entry["name"] != name]
        box_of(objects)["env"] = [*entries, {"name": name, "value": value}]

    return set_it


def with_key_of_config(key: str) -> Break:
    def add_it(objects: list[Obj]) -> None:
        name = box_of(objects)["envFrom"][0]["configMapRef"]["name"]
        source = {"configMapKeyRef": {"name": name, "key": key}}
        box_of(objects)["env"].append({"name": "TIERBUS_TIERS", "valueFrom": source})

    return add_it


MODEL_KEY = {
    "name": "ANTHROPIC_API_KEY",
    "valueFrom": {"secretKeyRef": {"name": "tierbus-model-keys", "key": "ANTHROPIC_API_KEY", "optional": True}},
}
BARE = {"name": "bare", "image": "busybox:1.37"}
NAME = "app.kubernetes.io/name"
BREAKS: list[tuple[Check, Break, str]] = [
    (checks.schema, lambda o: deployment(o)["spec"].update(replica=2), "replica"),
    (checks.schema, lambda o: deployment(o)["spec"].update(minReadySeconds="5"), "minReadySeconds"),
    (
        checks.schema,
        lambda o: checks.named(o, "PodDisruptionBudget")["router"].update(apiVersion="policy/v1beta1"),
        "1.30",
    ),
    (
        checks.schema,
        lambda o: o[0].update(kind="ScaledObject", apiVersion="keda.sh/v1alpha1"),
        "ScaledObject",
    ),
    (
        checks.place,
        lambda o: checks.named(o, "Namespace")["tierbus"]["metadata"].pop("labels"),
        "is not restricted",
    ),
    (checks.place, lambda o: job(o)["metadata"].update(namespace="default"), "default"),
    (checks.env_names, lambda o: config(o).update(TIERBUS_SLOT="4"), "TIERBUS_SLOT is read by nobody"),
    (checks.env_names, lambda o: config(o).update(TIERBUS_SLOTS="many"), "TIERBUS_SLOTS"),
    (checks.env_names, lambda o: config(o).update(TIERBUS_LOG_FORMAT="yaml"), "TIERBUS_LOG_FORMAT"),
    (checks.env_names, lambda o: config(o).update(TIERBUS_TIERS="none-such"), "unknown tier file"),
    (checks.env_names, with_env("ANTROPIC_API_KEY", "x"), "ANTROPIC_API_KEY"),
    (checks.env_names, lambda o: box_of(o, "jaeger")["env"].append({"name": "A", "value": "b"}), "A is not"),
    (checks.commands, lambda o: box_of(o).update(args=["serve", "executer"]), "executer"),
    (checks.commands, lambda o: box_of(o).update(args=["run", "executor"]), "no command"),
    (checks.commands, lambda o: box_of(o).update(args=["serve"]), "serve"),
    (checks.commands, lambda o: box_of(o, "sim").update(args=["sim", "--prot", "8900"]), "--prot"),
    (checks.commands, lambda o: box_of(o).update(command=["tierbus"]), "entry point"),
    (
        checks.probes,
        lambda o: box_of(o)["livenessProbe"]["httpGet"].update(path="/healthz"),
        "nobody answers /healthz",
    ),
    (
        checks.probes,
        lambda o: box_of(o)["livenessProbe"]["httpGet"].update(port="http"),
        "no port is named http",
    ),
    (checks.probes, lambda o: box_of(o).pop("startupProbe"), "has only"),
    (checks.probes, lambda o: box_of(o).update(livenessProbe={"exec": {"command": ["true"]}}), "neither"),
    (checks.ports, lambda o: config(o).update(TIERBUS_HEALTH_PORT="8081"), "8081"),
    (checks.ports, lambda o: config(o).update(TIERBUS_HEALTH_HOST="127.0.0.1"), "127.0.0.1"),
    (checks.ports, lambda o: box_of(o, "sim")["ports"][0].update(containerPort=8901), "8901"),
    (checks.addresses, lambda o: config(o).update(TIERBUS_NATS_URL="nats://bus:4222"), "bus:4222"),
    (checks.addresses, lambda o: config(o).update(TIERBUS_SIM_URL="http://sim:8901"), "sim:8901"),
    (
        checks.addresses,
        lambda o: config(o).update(OTEL_EXPORTER_OTLP_ENDPOINT="http://jaeger:4319"),
        "jaeger:4319",
    ),
    (
        checks.references,
        lambda o: box_of(o)["envFrom"][0]["configMapRef"].update(name="tierbus-config"),
        "no ConfigMap",
    ),
    (checks.references, with_key_of_config("TIERS"), "no key TIERS"),
    (checks.references, lambda o: pod_of(o).update(serviceAccountName="default"), "no ServiceAccount"),
    (checks.references, lambda o: pod_of(o).update(volumes=[]), "no volume tmp"),
    (checks.references, lambda o: box_of(o)["env"][0]["valueFrom"]["secretKeyRef"].pop("optional"), "Secret"),
    (checks.references, lambda o: pod_of(o)["volumes"][-1]["configMap"].pop("optional"), "tierbus-files"),
    (
        checks.selectors,
        lambda o: deployment(o)["spec"]["selector"]["matchLabels"].update({NAME: "router"}),
        "router",
    ),
    (
        checks.selectors,
        lambda o: deployment(o)["spec"]["selector"].update(matchLabels={"app.kubernetes.io/part-of": "tierbus"}),
        "selects",
    ),
    (
        checks.selectors,
        lambda o: checks.named(o, "Service")["nats"]["spec"]["ports"][0].update(targetPort="clients"),
        "clients",
    ),
    (checks.quantities, lambda o: box_of(o)["resources"]["limits"].update(memory="256MB"), "256MB"),
    (checks.quantities, lambda o: box_of(o)["resources"].pop("limits"), "lacks"),
    (checks.quantities, lambda o: pod_of(o)["volumes"][0]["emptyDir"].update(sizeLimit="32 Mi"), "32 Mi"),
    (checks.restricted, lambda o: pod_of(o).update(hostNetwork=True), "hostNetwork"),
    (
        checks.restricted,
        lambda o: pod_of(o)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "volume hostPath",
    ),
    (
        checks.restricted,
        lambda o: pod_of(o)["securityContext"].update(sysctls=[{"name": "a", "value": "b"}]),
        "sysctls",
    ),
    (checks.restricted, lambda o: security(o).update(privileged=True), "privileged"),
    (checks.restricted, lambda o: security(o).pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    (checks.restricted, lambda o: security(o)["capabilities"].update(drop=["NET_RAW"]), "capabilities.drop"),
    (checks.restricted, lambda o: security(o)["capabilities"].update(add=["SYS_ADMIN"]), "capabilities.add"),
    (checks.restricted, lambda o: pod_of(o)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
    (checks.restricted, lambda o: security(o).update(runAsNonRoot=False), "runAsNonRoot"),
    (checks.restricted, lambda o: security(o).update(runAsUser=0), "runAsUser"),
    (checks.restricted, lambda o: pod_of(o)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    (
        checks.restricted,
        lambda o: security(o).update(seccompProfile={"type": "Unconfined"}),
        "seccompProfile",
    ),
    (checks.restricted, lambda o: security(o).update(procMount="Unmasked"), "procMount"),
    (
        checks.restricted,
        lambda o: security(o).update(appArmorProfile={"type": "Unconfined"}),
        "appArmorProfile",
    ),
    (checks.restricted, lambda o: security(o).update(seLinuxOptions={"user": "system_u"}), "seLinuxOptions"),
    (checks.restricted, lambda o: security(o).update(windowsOptions={"hostProcess": True}), "windowsOptions"),
    (checks.restricted, lambda o: box_of(o)["ports"][0].update(hostPort=8080), "hostPort"),
    (
        checks.restricted,
        lambda o: box_of(o)["livenessProbe"]["httpGet"].update(host="10.0.0.1"),
        "probe host",
    ),
    (checks.restricted, lambda o: pod_of(o).update(initContainers=[BARE]), "allowPrivilegeEscalation"),
    (
        checks.hardened,
        lambda o: pod_of(o).pop("automountServiceAccountToken"),
        "automountServiceAccountToken",
    ),
    (checks.hardened, lambda o: pod_of(o).pop("enableServiceLinks"), "enableServiceLinks"),
    (checks.hardened, lambda o: pod_of(o)["securityContext"].pop("runAsUser"), "runAsUser"),
    (checks.hardened, lambda o: security(o).pop("readOnlyRootFilesystem"), "root is writable"),
    (checks.hardened, lambda o: box_of(o, "nats").update(image="nats:latest"), "not pinned"),
    (checks.hardened, lambda o: box_of(o)["volumeMounts"].clear(), "no /tmp"),
    (checks.keys, with_env("ANTHROPIC_API_KEY", "sk-1"), "ANTHROPIC_API_KEY"),
    (checks.keys, lambda o: box_of(o, "sim").update(env=[MODEL_KEY]), "sim"),
    (
        checks.times,
        lambda o: pod_of(o).update(terminationGracePeriodSeconds=310),
        "grace 310 s < drain 300 s",
    ),
    (checks.times, lambda o: pod_of(o).pop("terminationGracePeriodSeconds"), "grace 30 s"),
    (checks.times, with_env("TIERBUS_CALL_TIMEOUT_S", "301"), "drain 300 s < call timeout 301 s"),
    (checks.scaling, lambda o: deployment(o)["spec"].update(replicas=1), "executor: replicas"),
    (checks.versions, lambda o: box_of(o).update(image="tierbus:0.0.1"), "tierbus:0.0.1"),
    (checks.versions, lambda o: job(o)["metadata"].update(name="bus-apply"), "Job bus-apply"),
]


@pytest.mark.parametrize(("check", "damage", "said"), BREAKS, ids=lambda value: getattr(value, "__name__", value))
def test_each_check_finds_what_it_is_for(check: Check, damage: Break, said: str) -> None:
    objects = fresh()

    damage(objects)

    assert any(said in problem for problem in check(objects)), check(objects)


def test_every_check_is_seen_to_fail() -> None:
    assert {*checks.EVERYWHERE, checks.addresses} == {check for check, _, _ in BREAKS}


def test_readme_tells_the_times_as_they_are() -> None:
    text = (code.DEPLOY / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    told = {
        name: tuple(map(float, row[1:]))
        for row in rows
        if len(row) == 4 and row[1].isdigit()
        for name in row[0].split(", ")
    }

    found = {}
    for pod, box in checks.ours(rendered("base")):
        settings = code.read(checks.environment(rendered("base"), box))
        if pod.owner in SERVICES:
            grace = float(pod.spec["terminationGracePeriodSeconds"])
            found[pod.owner] = (grace, settings.drain_s, settings.call_timeout_s)

    assert told == found
