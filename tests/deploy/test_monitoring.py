"""Alerts, dashboards and what they stand on: in agreement with the registry of names, with each other, with compose."""

import copy
import functools
import json
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from tests.deploy import checks, code, promql, test_compose
from tierbus.bus.acks import Fate
from tierbus.bus.topology import CONSUMERS
from tierbus.cli.build import SERVICES
from tierbus.cli.jaeger import UI
from tierbus.contracts import Comparison, PilotChange, Role, Route, TaskStatus, Tier, VerdictKind, WatchState
from tierbus.reviewer.verdict import Rung
from tierbus.tallies import Change
from tierbus.telemetry.names import COST_BANDS, METRICS, Attr, Kind, SpanName
from tierbus.telemetry.spans import queue_of

Obj = dict[str, Any]
FOLDER = code.DEPLOY / "monitoring"
DASHBOARDS = ("cost", "flow")
UNUSED: tuple[tuple[str, str], ...] = ()
"""Metrics that stand in no panel and no alert, each with the reason."""
TARGET = frozenset({"job", "instance"})
"""Labels that Prometheus adds to everything it scrapes."""
VALUES = {
    Attr.OUTCOME: {*TaskStatus, "rejected"},
    Attr.VERDICT: {*VerdictKind},
    Attr.RUNG: {*Rung},
    Attr.TIER: {*Tier},
    Attr.ROLE: {*Role},
    Attr.FATE: {*Fate},
    Attr.TOKEN_TYPE: {"input", "output", "cache_read", "cache_write"},
    Attr.WINDOW: {"month"},
    Attr.COMPARISON: {*Comparison, WatchState.OVER_CAP, WatchState.FAILED},
    Attr.ATTEMPT: {"1", "2", "3"},
    Attr.PILOT_PASSED: {"yes", "no"},
    Attr.PILOT_CHANGE: {*PilotChange},
    Attr.POLICY_CHANGE: {*Change},
}
"""Values of labels that have few."""
ALERTS = {
    "TierbusBudgetBurn", "TierbusBudgetForecast", "TierbusEscalationRate", "TierbusUnpricedCalls", "TierbusFirstPassDrop",
    "TierbusQueueWait", "TierbusStuckConsumer", "TierbusDeadLetters", "TierbusProviderErrors", "TierbusServiceDown",
    "TierbusQualityWorse", "TierbusFeedbackPoor", "TierbusWatchCap",
    "TierbusPilotRolledBack", "TierbusPolicyDrift",
}  # fmt: skip


class Monitoring(NamedTuple):
    """Everything in the folder, read."""

    rules: Obj
    tests: Obj
    scrape: Obj
    sources: Obj
    providers: Obj
    dashboards: dict[str, Obj]


@functools.cache
def _loaded() -> Monitoring:
    def load(path: str) -> Obj:
        found: Obj = yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))
        return found

    return Monitoring(
        load("alerts.yaml"),
        load("alerts.test.yaml"),
        load("prometheus.yaml"),
        load("grafana/provisioning/datasources/tierbus.yaml"),
        load("grafana/provisioning/dashboards/tierbus.yaml"),
        {
            name: json.loads((FOLDER / "grafana" / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
            for name in DASHBOARDS
        },
    )


def loaded() -> Monitoring:
    """A fresh copy of all files."""
    return copy.deepcopy(_loaded())


def rules(mon: Monitoring) -> Iterator[Obj]:
    """Every rule."""
    return (rule for group in mon.rules["groups"] for rule in group["rules"])


def alerts(mon: Monitoring) -> dict[str, Obj]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules(mon) if "alert" in rule}


def panels(mon: Monitoring) -> Iterator[tuple[str, Obj]]:
    """Every panel that shows something, with where it stands."""
    for name, board in mon.dashboards.items():
        yield from ((f"{name}: {panel['title']}", panel) for panel in board["panels"] if panel["type"] != "row")


def expressions(mon: Monitoring) -> Iterator[tuple[str, str]]:
    """Every PromQL expression with where it stands."""
    for rule in rules(mon):
        yield rule.get("alert") or rule["record"], rule["expr"]
    for where, panel in panels(mon):
        yield from ((where, target["expr"]) for target in panel["targets"] if "expr" in target)


def scraped() -> dict[str, frozenset[str]]:
    """Every series that the services have when scraped, with its labels."""
    found = {"up": TARGET}
    for metric in METRICS:
        labels = TARGET | {label.replace(".", "_") for label in metric.labels}
        if metric.kind is Kind.HISTOGRAM:
            found |= {f"{metric.prometheus}_{end}": labels for end in ("count", "sum")}
            found[f"{metric.prometheus}_bucket"] = labels | {"le"}
        else:
            found[metric.prometheus] = labels
    return found


def series(mon: Monitoring) -> dict[str, frozenset[str]]:
    """Every series that an expression may name: what is scraped, and what rules record of it."""
    found = scraped()
    for rule in rules(mon):
        if "record" in rule:
            named = promql.read(rule["expr"])
            labels = [found[name] for name in named.metrics if name in found]
            found[rule["record"]] = frozenset().union(*labels) & (named.grouped | named.made)
    return found


def metric_names(mon: Monitoring) -> list[str]:
    """Every metric named is one that the services emit, or that a rule records."""
    known = series(mon)
    return [
        f"{where}: nobody emits {name}"
        for where, expr in expressions(mon)
        for name in sorted(promql.read(expr).metrics - known.keys())
    ]


def label_names(mon: Monitoring) -> list[str]:
    """Every label named is one of the metric it is asked of."""
    known = series(mon)
    wrong = []
    for where, expr in expressions(mon):
        named = promql.read(expr)
        labels = frozenset().union(*(known.get(name, frozenset()) for name in named.metrics))
        wrong += [
            f"{where}: {found.metric} has no label {found.label}"
            for found in named.matchers
            if found.label not in known.get(found.metric, frozenset())
        ]
        strange = (named.grouped - labels - named.made) | (named.copied - labels)
        wrong += [f"{where}: nothing in it has a label {label}" for label in sorted(strange)]
    return wrong


def label_values(mon: Monitoring) -> list[str]:
    """A label of few values is compared with one that it can have."""
    few = {str(label).replace(".", "_"): values for label, values in VALUES.items()}
    return [
        f"{where}: {found.label} is never {value}"
        for where, expr in expressions(mon)
        for found in promql.read(expr).matchers
        if found.label in few
        for value in found.value.split("|")
        if value not in few[found.label]
    ]


def use(mon: Monitoring) -> list[str]:
    """Every metric of the registry is in a panel or an alert."""
    named = frozenset().union(*(promql.read(expr).metrics for _, expr in expressions(mon)))
    excused = {name for name, _ in UNUSED}
    return [
        f"{metric.prometheus} is shown nowhere"
        for metric in METRICS
        if metric.name not in excused
        and not {metric.prometheus + end for end in ("", "_bucket", "_count", "_sum")} & named
    ]


def legends(mon: Monitoring) -> list[str]:
    """A legend names labels that the result has."""
    wrong = []
    for where, panel in panels(mon):
        for target in panel["targets"]:
            named = promql.read(target.get("expr", ""))
            asked = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            wrong += [f"{where}: no label {label} for the legend" for label in asked - named.grouped - named.made]
    return wrong


def variables(mon: Monitoring) -> list[str]:
    """Every variable used is declared, and asks for a label that its metric has."""
    known, wrong = series(mon), []
    for name, board in mon.dashboards.items():
        declared = {variable["name"] for variable in board["templating"]["list"]}
        wrong += [f"{name}: no variable {other}" for other in {"datasource", "tenant", "interval"} - declared]
        told = json.dumps(board["panels"])
        used = set(re.findall(r"\$(?:\{)?([a-z]\w*)", told))
        wrong += [f"{name}: ${other} is not declared" for other in used - declared]
        for variable in board["templating"]["list"]:
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
            if variable["type"] == "query" and not (asked and asked[2] in known.get(asked[1], ())):
                wrong.append(f"{name}: variable {variable['name']} asks {variable.get('definition')}")
    return wrong


def layout(mon: Monitoring) -> list[str]:
    """Panels have ids of their own, lie within 24 columns and not over each other."""
    wrong = []
    for name, board in mon.dashboards.items():
        ids = [panel["id"] for panel in board["panels"]]
        wrong += [f"{name}: id {one} twice" for one in set(ids) if ids.count(one) > 1]
        wrong += [
            f"{name}: {panel['title']} is too wide"
            for panel in board["panels"]
            if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24
        ]
        wrong += [
            f"{name}: {one['title']} lies over {other['title']}"
            for one, other in combinations(board["panels"], 2)
            if _overlap(one["gridPos"], other["gridPos"])
        ]
    return wrong


def _overlap(one: Obj, other: Obj) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not beside and not above


def explained(mon: Monitoring) -> list[str]:
    """Every panel says what it shows and in which unit; every dashboard can be read by Grafana 11 and newer."""
    wrong = [
        f"{where}: no {what}"
        for where, panel in panels(mon)
        for what, there in (
            ("description", len(panel.get("description", "")) > 20),
            ("unit", bool(panel["fieldConfig"]["defaults"].get("unit"))),
            ("target", bool(panel["targets"])),
        )
        if not there
    ]
    return wrong + [f"{name}: old schema" for name, board in mon.dashboards.items() if board["schemaVersion"] < 39]


def data_sources(mon: Monitoring) -> list[str]:
    """Every panel asks a data source that is provisioned, of its type; every address is a service of compose."""
    there = {source["uid"]: source["type"] for source in mon.sources["datasources"]}
    wrong = []
    for where, panel in panels(mon):
        for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            chosen = "prometheus" if source["uid"] == "${datasource}" else source["uid"]
            if there.get(chosen) != source["type"]:
                wrong.append(f"{where}: no data source {source['uid']} of type {source['type']}")
    services = test_compose.filled()["services"]
    for source in mon.sources["datasources"]:
        url = urlsplit(source["url"])
        if f"127.0.0.1:{url.port}:{url.port}" not in services.get(url.hostname, {}).get("ports", ()):
            wrong.append(f"{source['name']}: nothing at {source['url']}")
        for target in source["jsonData"].get("exemplarTraceIdDestinations", ()):
            wrong += [] if target["datasourceUid"] in there else [f"{source['name']}: {target['datasourceUid']}"]
    return wrong


def alert_texts(mon: Monitoring) -> list[str]:
    """Every alert says how bad it is, what is the matter, and what to do: commands and dashboards that there are."""
    titles = {board["title"] for board in mon.dashboards.values()}
    wrong = [f"no alert {name}" for name in ALERTS - alerts(mon).keys()]
    for name, rule in alerts(mon).items():
        notes = rule.get("annotations", {})
        wrong += [f"{name}: no {part}" for part in ("summary", "description", "runbook") if not notes.get(part)]
        if rule.get("labels", {}).get("severity") not in {"critical", "warning"}:
            wrong.append(f"{name}: no severity")
        if "$value" not in notes.get("description", "") and name != "TierbusServiceDown":
            wrong.append(f"{name}: does not tell the value")
        text = " ".join(notes.values())
        named = set(re.findall(r"dashboard (Tierbus \w+)", text))
        wrong += [f"{name}: no dashboard {title}" for title in named - titles]
        wrong += [
            f"{name}: no setting {found}" for found in set(re.findall(r"TIERBUS_\w+", text)) - code.setting_names()
        ]
    return wrong


def told_commands(mon: Monitoring) -> list[str]:
    """Every command that a text tells is one that there is."""
    texts = [(name, " ".join(rule.get("annotations", {}).values())) for name, rule in alerts(mon).items()]
    texts += [(where, panel.get("description", "")) for where, panel in panels(mon)]
    return [
        f"{where}: {problem}"
        for where, text in texts
        for command in re.findall(r"`tierbus ([^`]+)`", text)
        if (problem := code.wrong_command(command.split()))
    ]


def alert_tests(mon: Monitoring) -> list[str]:
    """Every alert is seen to fire, with its whole text, and seen not to, in tests that are called after it."""
    wrong = []
    for name in alerts(mon):
        cases = [
            (test["name"], case)
            for test in mon.tests["tests"]
            for case in test["alert_rule_test"]
            if case["alertname"] == name
        ]
        wrong += [f"{name}: in test {title!r}" for title, _ in cases if not title.startswith(f"{name} ")]
        firing = [alert for title, case in cases if " fires " in title for alert in case["exp_alerts"]]
        wrong += [] if firing else [f"{name}: is never seen to fire"]
        silent = [case for title, case in cases if " does not fire " in title and not case["exp_alerts"]]
        wrong += [] if silent else [f"{name}: is never seen not to fire"]
        wrong += [f"{name}: text not checked" for alert in firing if len(alert.get("exp_annotations", {})) < 3]
    groups = [group["name"] for group in mon.rules["groups"]]
    return wrong + ([] if mon.tests["group_eval_order"] == groups else ["the groups are tried in another order"])


def searches(mon: Monitoring) -> list[str]:
    """Searches in Jaeger ask for root spans, of the service that ends tasks, in price bands that are given."""
    roots = {SpanName.TASK.format(route=route) for route in Route}
    bands = {label for _, label in COST_BANDS}
    found: list[tuple[str, str]] = []
    wrong = []
    for where, panel in panels(mon):
        for target in panel["targets"]:
            if target["datasource"]["type"] != "jaeger":
                continue
            tag = re.fullmatch(rf'{re.escape(Attr.COST_BAND)}="(.+)"', target["tags"])
            band = tag[1] if tag else target["tags"]
            found.append((band, target["operation"]))
            wrong += [] if band in bands else [f"{where}: no band {band}"]
            wrong += [] if target["operation"] in roots else [f"{where}: no root {target['operation']}"]
            wrong += [] if target["service"] == "tierbus-reviewer" else [f"{where}: {target['service']} ends no task"]
    dear = [label for _, label in COST_BANDS[-3:]]
    return wrong + [
        f"nobody looks for {root} of {band}" for band in dear for root in roots if (band, root) not in found
    ]


def mounts(mon: Monitoring) -> list[str]:
    """What Grafana and Prometheus read in their containers is what is here."""
    compose = test_compose.filled()
    grafana, prometheus = (compose["services"][name] for name in ("grafana", "prometheus"))
    bound = {inside: outside for outside, inside, _ in (volume.split(":") for volume in grafana["volumes"])}
    env = grafana["environment"]
    wanted = {
        env["GF_PATHS_PROVISIONING"]: FOLDER / "grafana" / "provisioning",
        mon.providers["providers"][0]["options"]["path"]: FOLDER / "grafana" / "dashboards",
    }
    wrong = [
        f"grafana: {path} is not {folder.name}"
        for path, folder in wanted.items()
        if path not in bound or (test_compose.FOLDER / bound[path]).resolve() != folder
    ]
    home = env["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if home not in {f"{mon.providers['providers'][0]['options']['path']}/{name}.json" for name in DASHBOARDS}:
        wrong.append(f"grafana: no {home}")
    inside = {
        config["target"]: (test_compose.FOLDER / compose["configs"][config["source"]]["file"]).resolve()
        for config in prometheus["configs"]
    }
    asked = {
        prometheus["command"][0].removeprefix("--config.file="): FOLDER / "prometheus.yaml",
        **{f"/etc/prometheus/{path}": FOLDER / path for path in mon.scrape["rule_files"]},
    }
    return wrong + [
        f"prometheus: {path} is not {file.name}" for path, file in asked.items() if inside.get(path) != file
    ]


def scrapes(mon: Monitoring) -> list[str]:
    """Each service is scraped by its name, where it answers, in the job that the alert knows it by."""
    compose = test_compose.filled()["services"]
    wrong = [] if "/metrics" in code.health_paths() else ["nobody answers /metrics"]
    jobs = {job["job_name"]: job for job in mon.scrape["scrape_configs"]}
    down = alerts(mon)["TierbusServiceDown"]["expr"]
    for name in SERVICES:
        job = jobs.pop(f"tierbus-{name}", {"dns_sd_configs": [{}]})
        port = code.read(compose[name]["environment"]).health_port
        found = job["dns_sd_configs"][0]
        if (found.get("names"), found.get("port"), job.get("metrics_path", "/metrics")) != ([name], port, "/metrics"):
            wrong.append(f"{name} is not scraped at {name}:{port}/metrics")
        if f'absent(up{{job="tierbus-{name}"}})' not in down or name not in down.split("absent")[0]:
            wrong.append(f"nobody is told when {name} is gone")
    return wrong + [f"job {name} is no service" for name in jobs]


def stuck_queues(mon: Monitoring) -> list[str]:
    """TierbusStuckConsumer knows of every consumer which queue is its own."""
    expr = alerts(mon)["TierbusStuckConsumer"]["expr"]
    steps = re.findall(r'"tierbus_queue", "([^"]*)", "tierbus_consumer", "([^"]*)"', expr)
    wrong = []
    for consumer in CONSUMERS:
        found = ""
        for text, pattern in steps:
            match = re.fullmatch(pattern, consumer.name)
            found = match.expand(text.replace("$", "\\")) if match else found
        if found != queue_of(consumer.filter):
            wrong.append(f"{consumer.name} is taken for one of {found!r}, not {queue_of(consumer.filter)!r}")
    return wrong


Check = Callable[[Monitoring], list[str]]
CHECKS: tuple[Check, ...] = (
    metric_names, label_names, label_values, use, legends, variables, layout, explained, data_sources, alert_texts,
    told_commands, alert_tests, searches, mounts, scrapes, stuck_queues,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_monitoring_is_right(check: Check) -> None:
    assert check(loaded()) == []


def test_every_dashboard_is_read_here() -> None:
    assert {path.stem for path in (FOLDER / "grafana" / "dashboards").iterdir()} == set(DASHBOARDS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_written_so_that_changes_can_be_read(name: str) -> None:
    text = (FOLDER / "grafana" / "dashboards" / f"{name}.json").read_text(encoding="utf-8")

    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def test_the_saving_says_what_it_is_compared_with() -> None:
    [panel] = [panel for where, panel in panels(loaded()) if where == "cost: Saving against all-frontier"]

    assert (
        "accepted answers, same tokens, at the frontier tier's first model; planning, review and retries are charged to "
        "Tierbus" in panel["description"]
    )


def test_jaeger_shows_the_same_first_everywhere() -> None:
    config = json.loads((code.NATS_CONF.parent / "jaeger-ui.json").read_text(encoding="utf-8"))

    assert config["topTagPrefixes"] == UI["topTagPrefixes"]


@pytest.mark.parametrize("name", ["base", "overlays/dev"])
def test_pods_of_services_say_where_they_are_scraped(name: str) -> None:
    objects = checks.rendered(name)
    told = {
        thing["metadata"]["name"]: thing["spec"]["template"]["metadata"].get("annotations", {})
        for thing in objects
        if thing["kind"] == "Deployment"
    }

    for pod, box in checks.ours(objects):
        if pod.owner in SERVICES:
            assert told[pod.owner] == {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(code.read(checks.environment(objects, box)).health_port),
                "prometheus.io/path": "/metrics",
            }


def test_both_ways_to_run_jaeger_give_its_page_the_same_file() -> None:
    [pod] = [pod for pod in checks.pods(checks.rendered("overlays/dev")) if pod.owner == "jaeger"]
    there, here = pod.containers[0], test_compose.filled()["services"]["jaeger"]
    [mount] = [mount for mount in there["volumeMounts"] if mount["name"] == "ui"]

    assert there["args"] == here["command"]
    assert here["command"] == [f"--set=extensions.jaeger_query.ui.config_file={here['configs'][0]['target']}"]
    assert here["configs"][0]["target"] == f"{mount['mountPath']}/jaeger-ui.json"


# Each check is seen to fail.

Break = Callable[[Monitoring], Any]


def panel_of(mon: Monitoring, title: str) -> Obj:
    return next(panel for where, panel in panels(mon) if where == title)


def with_expr(expr: str) -> Break:
    def set_it(mon: Monitoring) -> None:
        panel_of(mon, "flow: Depth")["targets"][0]["expr"] = expr

    return set_it


def without_tests(words: str) -> Break:
    def drop(mon: Monitoring) -> None:
        mon.tests["tests"][:] = [test for test in mon.tests["tests"] if words not in test["name"]]

    return drop


def without_panels(words: str) -> Break:
    def drop(mon: Monitoring) -> None:
        for board in mon.dashboards.values():
            board["panels"] = [panel for panel in board["panels"] if not re.match(words, panel["title"])]

    return drop


def search_of(mon: Monitoring) -> Obj:
    found: Obj = panel_of(mon, "cost: Tasks above $1.00")["targets"][0]
    return found


def notes_of(mon: Monitoring) -> Obj:
    found: Obj = alerts(mon)["TierbusDeadLetters"]["annotations"]
    return found


BREAKS: list[tuple[Check, Break, str]] = [
    (metric_names, with_expr("max by (tierbus_consumer) (tierbus_queue_deep)"), "nobody emits tierbus_queue_deep"),
    (metric_names, with_expr("rate(tierbus_llm_cost_usd[5m])"), "nobody emits tierbus_llm_cost_usd"),
    (metric_names, lambda m: m.rules["groups"][1]["rules"].pop(), "nobody emits tierbus:first_pass:ratio1h"),
    (
        label_names,
        with_expr('tierbus_queue_depth{tierbus_queue="x"}'),
        "tierbus_queue_depth has no label tierbus_queue",
    ),
    (label_names, with_expr("max by (consumer) (tierbus_queue_depth)"), "a label consumer"),
    (label_names, with_expr('label_replace(up, "a", "$1", "pod", "(.+)")'), "a label pod"),
    (label_values, with_expr('tierbus_tasks_total{tierbus_task_outcome="success"}'), "is never success"),
    (label_values, with_expr('tierbus_messages_total{tierbus_message_fate=~"ack|term"}'), "is never term"),
    (use, without_panels("Work per message|Waiting against"), "handling"),
    (legends, lambda m: panel_of(m, "flow: Depth")["targets"][0].update(legendFormat="{{queue}}"), "no label queue"),
    (variables, lambda m: m.dashboards["cost"]["templating"]["list"].pop(1), "no variable tenant"),
    (variables, with_expr("rate(up[$window])"), "$window is not declared"),
    (variables, lambda m: _tenant(m).update(definition="label_values(tierbus_tasks_total, tenant)"), "asks"),
    (layout, lambda m: panel_of(m, "flow: Depth").update(id=1), "id 1 twice"),
    (layout, lambda m: panel_of(m, "flow: Depth")["gridPos"].update(w=9), "lies over"),
    (layout, lambda m: panel_of(m, "flow: In flight")["gridPos"].update(w=25), "too wide"),
    (explained, lambda m: panel_of(m, "flow: Depth").pop("description"), "no description"),
    (explained, lambda m: panel_of(m, "flow: Depth")["fieldConfig"]["defaults"].pop("unit"), "no unit"),
    (explained, lambda m: m.dashboards["cost"].update(schemaVersion=30), "old schema"),
    (data_sources, lambda m: search_of(m).update(datasource={"type": "jaeger", "uid": "tempo"}), "tempo"),
    (data_sources, lambda m: m.sources["datasources"].pop(), "no data source jaeger"),
    (data_sources, lambda m: m.sources["datasources"][1].update(url="http://jaeger:16687"), "nothing at"),
    (alert_texts, lambda m: notes_of(m).pop("summary"), "no summary"),
    (alert_texts, lambda m: notes_of(m).update(description="Some."), "does not tell the value"),
    (alert_texts, lambda m: notes_of(m).update(runbook="See dashboard Tierbus flaw."), "no dashboard"),
    (alert_texts, lambda m: notes_of(m).update(runbook="Raise TIERBUS_SLOT."), "no setting"),
    (alert_texts, lambda m: alerts(m)["TierbusDeadLetters"]["labels"].clear(), "no severity"),
    (alert_texts, lambda m: alerts(m)["TierbusDeadLetters"].update(alert="Other"), "no alert TierbusDeadLetters"),
    (told_commands, lambda m: notes_of(m).update(runbook="`tierbus dead ls`"), "no command"),
    (alert_tests, without_tests("TierbusQueueWait fires"), "TierbusQueueWait: is never seen to fire"),
    (alert_tests, without_tests("TierbusQueueWait does not"), "TierbusQueueWait: is never seen not to fire"),
    (alert_tests, lambda m: m.tests["tests"][0].update(name="Money"), "in test 'Money'"),
    (alert_tests, lambda m: _first_alert(m)["exp_annotations"].clear(), "text not checked"),
    (alert_tests, lambda m: m.tests["group_eval_order"].reverse(), "another order"),
    (searches, lambda m: search_of(m).update(tags='tierbus.cost.band=">2.00"'), "no band >2.00"),
    (searches, lambda m: search_of(m).update(operation="task planned"), "no root task planned"),
    (searches, lambda m: search_of(m).update(service="tierbus-router"), "ends no task"),
    (mounts, lambda m: m.providers["providers"][0]["options"].update(path="/dashboards"), "/dashboards is not"),
    (mounts, lambda m: m.scrape["rule_files"].append("more.yaml"), "more.yaml"),
    (scrapes, lambda m: m.scrape["scrape_configs"].pop(), "reviewer is not scraped"),
    (scrapes, lambda m: m.scrape["scrape_configs"][0].update(job_name="router"), "job router is no service"),
    (scrapes, lambda m: alerts(m)["TierbusServiceDown"].update(expr="up == 0"), "nobody is told"),
    (stuck_queues, lambda m: _replace(m, "tierbus.step.$1", "step.$1"), "executor-step-mid-high is taken for"),
]


def _tenant(mon: Monitoring) -> Obj:
    found: Obj = mon.dashboards["cost"]["templating"]["list"][1]
    return found


def _first_alert(mon: Monitoring) -> Obj:
    found: Obj = mon.tests["tests"][0]["alert_rule_test"][0]["exp_alerts"][0]
    return found


def _replace(mon: Monitoring, old: str, new: str) -> None:
    rule = alerts(mon)["TierbusStuckConsumer"]
    rule["expr"] = rule["expr"].replace(old, new)


@pytest.mark.parametrize(("check", "damage", "said"), BREAKS, ids=lambda value: getattr(value, "__name__", value))
def test_each_check_finds_what_it_is_for(check: Check, damage: Break, said: str) -> None:
    mon = loaded()

    damage(mon)

    assert any(said in problem for problem in check(mon)), check(mon)


def test_every_check_is_seen_to_fail() -> None:
    assert {check for check, *_ in BREAKS} == set(CHECKS)
