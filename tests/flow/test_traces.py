"""One trace a task: whole, true to the nano-dollar, and still one tree when things go wrong."""

import asyncio
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector import ERROR, Collector, Seen, collecting
from tests.flow.conftest import Lab, result_of
from tests.scenarios import faulty, publish_all, write
from tests.traces import assert_true, critical_path, root_of

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import Result, run_id
from tierbus.telemetry.context import trace_of
from tierbus.telemetry.otlp import document
from tierbus.telemetry.story import story_of, trace
from tierbus.testing.sim.script import load_scenarios

TENANT = "traced"


class Traced(Lab):
    """A lab whose services send their spans to a collector of ours."""

    def __init__(self, stack: Stack, collector: Collector) -> None:
        super().__init__(stack)
        self.collector = collector

    def metrics(self) -> Counter[str]:
        """Every sample of every service, summed by its name and labels."""
        total: Counter[str] = Counter()
        for url in self.stack.health.values():
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
                for line in answer.read().decode().splitlines():
                    if line and not line.startswith("#"):
                        name, value = line.rsplit(" ", 1)
                        total[name] += float(value)  # type: ignore[assignment] # Counter adds floats as well
        return total


def labs(tmp_path: Path, scenarios: list[dict[str, Any]], *options: str, **env: str) -> Iterator[Traced]:
    folder = write(tmp_path / "scenarios", scenarios)
    with collecting() as collector, (tmp_path / "log").open("w") as log:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **env}
        arguments = ("--scenarios", str(folder), *options)
        with Stack(data=tmp_path, sim_options=arguments, logs=log, env=given) as stack:
            yield Traced(stack, collector)


@pytest.fixture(scope="module")
def faulty_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """The whole demo set with faults on."""
    yield from labs(tmp_path_factory.mktemp("faulty"), faulty())


@pytest.fixture(scope="module")
def results(faulty_lab: Traced) -> dict[str, Result]:
    """Every scenario's result, all published at once."""
    return asyncio.run(publish_all(faulty_lab.stack.settings, TENANT))


@pytest.fixture(scope="module")
def traces(faulty_lab: Traced, results: dict[str, Result]) -> dict[str, list[Seen]]:
    """Every scenario's whole trace."""
    return {name: faulty_lab.collector.whole(str(result.trace_id)) for name, result in results.items()}


@pytest.mark.timeout(240)
def test_calls_root_result_ledger_and_metrics_name_the_same_cost_with_faults_on(
    faulty_lab: Traced, results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    """The invariant, over the whole demo set, escalations, failed and interrupted calls included."""
    ledger = faulty_lab.ledger(TENANT)

    assert set(results) == {scenario.name for scenario in load_scenarios()}
    for name, result in results.items():
        assert_true(traces[name], result, ledger)
    spent = sum(result.cost_nano_usd for result in results.values())
    counted = sum(
        value for name, value in faulty_lab.metrics().items() if name.startswith("tierbus_llm_cost_usd_total")
    )
    assert round(counted * 1_000_000_000) == spent
    assert {call.status for call in ledger} == {"finished", "failed", "interrupted"}, "the faults struck"
    assert sum(result.escalations for result in results.values()) > 0


def test_a_redelivery_and_an_escalation_are_in_the_same_tree(traces: dict[str, list[Seen]]) -> None:
    redelivered = escalated = 0
    for spans in traces.values():
        root_of(spans)
        again = [span for span in spans if span.attributes.get("messaging.nats.delivery.count", 1) > 1]
        waits = [span.name for span in spans if span.name.startswith("wait ")]
        processes = [span for span in spans if span.name.startswith("process ")]
        redelivered += len(again)
        escalated += len({span.name for span in processes} & {"process tierbus.step.mid"})
        assert len(waits) == len(processes) - len(again), "a later delivery is a gap, not a wait"
    assert redelivered > 0
    assert escalated > 0


def test_the_critical_path_reaches_every_service(traces: dict[str, list[Seen]]) -> None:
    for name, spans in traces.items():
        path = critical_path(spans)

        assert "process tierbus.task" in path, (name, path)
        assert any(step.startswith("process tierbus.step") for step in path), (name, path)
        assert "process tierbus.review" in path, (name, path)
        assert any(step.startswith("chat ") for step in path), (name, path)


def test_names_are_few_and_say_nothing_of_a_single_task(
    results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    ids = {result.run for result in results.values()} | set(results)
    names = {span.name for spans in traces.values() for span in spans}

    assert not [name for name in names if any(one in name for one in ids)]
    assert len(names) < 40, sorted(names)


def test_what_a_task_says_is_not_in_its_spans(faulty_lab: Traced, traces: dict[str, list[Seen]]) -> None:
    assert traces
    sent = b"".join(faulty_lab.collector.bodies)
    for scenario in load_scenarios():
        words = scenario.task.prompt.strip()[:60].encode()
        assert words not in sent, scenario.name
    assert b"gen_ai.input.messages" not in sent


def test_the_bus_tells_the_same_trace_as_the_services(faulty_lab: Traced, traces: dict[str, list[Seen]]) -> None:
    """`tierbus trace` reads it from the records: the same spans by id, name and service, and the same tree of them.

    A delivery that was handed back leaves no record but a gap: it, its wait and its question are not there.
    """

    async def told(name: str) -> list[Any]:
        async with client(faulty_lab.stack.settings) as bus:
            run = await bus.run(run_id(TENANT, name))
            assert run is not None
            return trace(story_of(run, await bus.calls(run.id), run.finished_at or 0.0))

    for name, lived in traces.items():
        recorded = asyncio.run(told(name))
        found = {(span.span_id, span.name, span.service) for span in recorded}
        expected = {(span.span, span.name, span.service) for span in lived if not _unrecorded(span, lived)}

        assert len({span.span_id for span in recorded}) == len(recorded)
        assert expected <= found, (name, sorted(expected - found))
        assert {span.parent_id for span in recorded} <= {span.span_id for span in recorded} | {None}
        assert document(recorded, "0")["resourceSpans"]


def _unrecorded(span: Seen, spans: list[Seen]) -> bool:
    handed_back = {one.span for one in spans if "tierbus.message.fate" in one.attributes}
    asked_nothing = span.name.startswith(("invoke_agent", "plan ")) and span.span not in {one.parent for one in spans}
    redelivered = {one.parent for one in spans if one.attributes.get("messaging.nats.delivery.count", 1) > 1}
    waited = span.name.startswith("wait ") and span.parent in redelivered
    return bool({span.span, span.parent} & handed_back) or asked_nothing or waited


def test_logs_of_a_task_carry_where_they_belong(faulty_lab: Traced, results: dict[str, Result]) -> None:
    assert results
    log = Path(str(faulty_lab.stack.data)) / "log"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    about = [line for line in lines if line["msg"].startswith(("desk.", "bus.nak", "reviewer.", "planner."))]

    assert about
    for line in about:
        assert re.fullmatch("[0-9a-f]{32}", line["trace_id"]), line
        assert re.fullmatch("[0-9a-f]{16}", line["span_id"]), line
        assert (line["tenant"], bool(line["task"])) == (TENANT, True), line
    assert [line for line in about if "step" in line]


CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("join", [False, True])
def test_a_callers_trace_is_linked_or_joined(tmp_path: Path, join: bool) -> None:
    async def publish(lab: Traced) -> Result:
        async with client(lab.stack.settings) as bus:
            body = json.dumps({"id": "called", "prompt": "Translate into French: yes."}).encode()
            await bus.publisher.put("tierbus.task.normal.called", body, {"traceparent": CALLER})
            return await result_of(bus, [f"tierbus.event.called.{run_id('called', 'called')}.result"], 60)

    for lab in labs(tmp_path, [], TIERBUS_JOIN_TRACES=str(join)):
        result = asyncio.run(publish(lab))
        spans = lab.collector.whole(str(result.trace_id))

    roots = [span for span in spans if span.name.startswith("task ")]
    caller = tuple(CALLER.split("-")[1:3])
    assert len(roots) == 1
    if join:
        assert (roots[0].trace, roots[0].parent) == caller
        assert roots[0].links == ()
    else:
        assert (roots[0].trace, roots[0].parent) == (run_id("called", "called"), "")
        assert roots[0].links == (caller,)


def test_a_refused_task_has_a_trace_that_says_why(faulty_lab: Traced) -> None:
    [rejected] = faulty_lab.submit({"id": "bad", "prompt": "  ", "budget_usd": "-1"}, "refused", 30.0)

    assert rejected.kind == "rejected"
    spans = faulty_lab.collector.whole(trace_of(rejected.subject, None, join=False))
    root = root_of(spans)
    assert (root.name, root.status) == ("task rejected", ERROR)
    assert "budget_usd" in root.attributes["tierbus.task.reason"]
    assert {span.name for span in spans} == {"task rejected", "wait tierbus.task", "process tierbus.task"}


def test_without_a_collector_nothing_is_lost_and_little_is_said(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
        with Stack(data=tmp_path, logs=log, env=env) as stack:
            lab = Lab(stack)
            results = [lab.result({"id": f"t{n}", "prompt": "Translate into French: so."}, "alone") for n in range(3)]
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    away = Counter(json.loads(line)["service"] for line in lines if "telemetry" in json.loads(line)["msg"])

    assert [result.status for result in results] == ["succeeded"] * 3
    assert away
    assert max(away.values()) == 1, "said once"
    assert not [line for line in lines if json.loads(line)["logger"].startswith("opentelemetry")]
