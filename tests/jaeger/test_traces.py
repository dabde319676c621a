"""Whole tasks as a real Jaeger tells of them: found, whole, true to the nano-dollar, through every service."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

import grpc  # type: ignore[import-untyped] # it has no types
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests.collector import ERROR, Seen
from tests.flow.conftest import Lab
from tests.flow.test_kill import kill, until
from tests.jaeger.conftest import Jaeger
from tests.scenarios import faulty, write
from tests.traces import assert_true, critical_path, root_of

from tierbus.bus.client import client
from tierbus.bus.topology import TASKS, WORK
from tierbus.cli.jaeger import Ports, fetch, flat, shape
from tierbus.cli.stack import Stack
from tierbus.contracts import CallRecorded, Result, Role, Route, run_id
from tierbus.telemetry.context import trace_of, wait_span
from tierbus.telemetry.wire import _part, _tag, _varint
from tierbus.testing.sim.script import load_scenarios

pytestmark = [pytest.mark.jaeger, pytest.mark.timeout(180)]

TENANT = "seen"
PLAIN = {"prompt": "Translate into French: yes.", "risk": "low"}
"""A task that no scenario knows, so no fault strikes it; the free checks are all its review."""
DIRECT = Counter(
    {
        "task direct": 1,
        "wait tierbus.task": 1,
        "process tierbus.task": 1,
        "step 1": 1,
        "wait tierbus.step.small": 1,
        "process tierbus.step.small": 1,
        "invoke_agent executor": 1,
        "chat": 1,
        "wait tierbus.review": 1,
        "process tierbus.review": 1,
    }
)
SLOW = "Take your time over this one."
SLOW_SCENARIO = {
    "name": "slow",
    "about": "an answer that is long in coming, so that its task can end before it",
    "match": SLOW,
    "task": {"prompt": SLOW},
    "answers": [{"when": {"role": "executor"}, "text": "There.", "latency_s": 30}],
    "expect": {"route": "direct", "tier_path": {"answer": ["small"]}},
}
BODY = {"prompt": SLOW, "hints": {"route": "direct", "tier": "small"}}
SETTLED_S = 1.2
"""Spans leave a service every half second: what has not come by then does not come."""
HOUR = timedelta(hours=1)
MOST = 100
"""Traces in one answer of Jaeger's; it wants a number."""
FIND_TRACES = "/jaeger.api_v3.QueryService/FindTraces"


class Ran(NamedTuple):
    """What came of everything that was published at once: results by task, and that of the task whose worker died."""

    results: dict[str, Result]
    killed: Result


class Watched(Lab):
    """A lab whose services send their spans to a real Jaeger."""

    def __init__(self, stack: Stack, ports: Ports) -> None:
        super().__init__(stack)
        self.ports = ports
        self.url = ports.query_url

    def trace(self, result: Result) -> list[Seen]:
        """The settled trace of one result."""
        identity = str(result.trace_id)
        return settled(self.url, [identity])[identity]

    def search(self, operation: str) -> set[str]:
        """The traces that Jaeger finds by an operation of the reviewer, which tells of the tasks."""
        now = datetime.now(UTC)
        query = {
            "query.service_name": "tierbus-reviewer",
            "query.operation_name": operation,
            "query.start_time_min": (now - HOUR).isoformat(),
            "query.start_time_max": (now + HOUR).isoformat(),
            "query.num_traces": str(MOST),
        }
        with urllib.request.urlopen(f"{self.url}/api/v3/traces?{urlencode(query)}", timeout=10) as answer:
            return {span["traceId"] for span in flat(json.load(answer))}

    def search_tags(self, **attributes: str) -> set[str]:
        """The traces that Jaeger finds by tags, over gRPC: v2.13 takes none over HTTP in its stable API."""
        tags = [_part(1, f"tierbus.{name}".encode()) + _part(2, value.encode()) for name, value in attributes.items()]
        now = time.time()
        query = b"".join(
            [
                _part(1, b"tierbus-reviewer"),
                *[_part(3, tag) for tag in tags],
                _part(4, _number(1, int(now - HOUR.seconds))),
                _part(5, _number(1, int(now + HOUR.seconds))),
                _number(8, MOST),
            ]
        )
        with grpc.insecure_channel(f"127.0.0.1:{self.ports.query_grpc}") as channel:
            find = channel.unary_stream(FIND_TRACES, response_deserializer=TracesData.FromString)
            return {
                span.trace_id.hex()
                for chunk in find(_part(1, query), timeout=10)
                for resource in chunk.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            }


def _number(field: int, number: int) -> bytes:
    return _tag(field, 0) + _varint(number)


def settled(url: str, ids: Sequence[str], timeout_s: float = 30.0) -> dict[str, list[Seen]]:
    """The spans of these traces once each has a root and no orphans, and no more have come for a while."""
    give_up = time.monotonic() + timeout_s
    before: dict[str, int] = {}
    while True:
        found = {one: fetch(url, one) for one in ids}
        counts = {one: len(spans) for one, spans in found.items()}
        if counts == before and all(shape(spans).whole for spans in found.values()):
            return {one: [_seen(span) for span in spans] for one, spans in found.items()}
        assert time.monotonic() < give_up, {one: str(shape(spans)) for one, spans in found.items()}
        before = counts
        time.sleep(SETTLED_S)


def _seen(span: Mapping[str, Any]) -> Seen:
    return Seen(
        service=span["service"].removeprefix("tierbus-"),
        name=span["name"],
        trace=span["traceId"],
        span=span["spanId"],
        parent=span.get("parentSpanId", ""),
        start=int(span["startTimeUnixNano"]),
        end=int(span["endTimeUnixNano"]),
        kind=span["kind"],
        status=span.get("status", {}).get("code", 0),
        message=span.get("status", {}).get("message", ""),
        attributes=span["attributes"],
        links=tuple((link["traceId"], link["spanId"]) for link in span.get("links", [])),
        events=tuple(event["name"] for event in span.get("events", [])),
    )


def _post(url: str, body: str) -> Any:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _kinds(spans: Sequence[Seen]) -> Counter[str]:
    """How many there are by name; which model of a tier answers depends on what the others are busy with."""
    return Counter("chat" if span.name.startswith("chat ") else span.name for span in spans)


def _deliveries(span: Seen) -> int:
    return int(span.attributes.get("messaging.nats.delivery.count", 0))


def _expected(result: Result, calls: Sequence[CallRecorded]) -> int:
    """Spans of a task whose messages came once each.

    The task and each step one, each message that was worked on two (it waited, it was handled), each question and each
    call one.
    """
    attempts = [attempt for step in result.steps for attempt in step.attempts]
    messages = [result.routed, result.planned, *(leg for one in attempts for leg in (one.executed, one.reviewed))]
    steps = [step for step in result.steps if step.released_at is not None]
    questions = {call.asked_in for call in calls}
    return 1 + len(steps) + 2 * sum(leg is not None for leg in messages) + len(questions) + len(calls)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The demo's scenarios with one more fault each, and a slow one; spans go to a Jaeger of this stack's own."""
    folder = tmp_path_factory.mktemp("watched")
    scenarios = write(folder / "scenarios", [*faulty(), SLOW_SCENARIO])
    ports = Ports.free()
    with (
        (folder / "log").open("w") as log,
        Stack(
            data=folder, jaeger=True, jaeger_ports=ports, sim_options=("--scenarios", str(scenarios)), logs=log
        ) as stack,
    ):
        yield Watched(stack, ports)


@pytest.fixture(scope="module")
def slow(lab: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A second stack with slow models, which speaks gRPC to the first one's Jaeger."""
    folder = tmp_path_factory.mktemp("slow")
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{lab.ports.otlp_grpc}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    with (
        (folder / "log").open("w") as log,
        Stack(data=folder, sim_options=("--latency", "1"), logs=log, env=env) as stack,
    ):
        yield Watched(stack, lab.ports)


@pytest.fixture(scope="module")
def ran(lab: Watched, slow: Watched) -> Ran:
    """Every scenario and a task that nothing goes wrong with, published at once; meanwhile the slow executor dies once."""
    bodies = [{**scenario.task_body(), "id": scenario.name} for scenario in load_scenarios()]
    bodies.append({**PLAIN, "id": "plain"})
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        found = [pool.submit(lab.result, body, TENANT) for body in bodies]
        killed = pool.submit(slow.result, {**PLAIN, "id": "killed"}, "killed")
        asyncio.run(until(lambda: bool(slow.served(role=Role.EXECUTOR, state="open")), "the executor's call"))
        kill(slow, "executor")
        results = {str(body["id"]): one.result() for body, one in zip(bodies, found, strict=True)}
        return Ran(results, killed.result())


@pytest.fixture(scope="module")
def results(ran: Ran) -> dict[str, Result]:
    """The results of the first stack."""
    return ran.results


@pytest.fixture(scope="module")
def traces(lab: Watched, results: dict[str, Result]) -> dict[str, list[Seen]]:
    """Every result's settled trace."""
    found = settled(lab.url, [str(result.trace_id) for result in results.values()])
    return {name: found[str(result.trace_id)] for name, result in results.items()}


def test_every_task_is_found_by_its_id(lab: Watched, results: dict[str, Result], traces: dict[str, list[Seen]]) -> None:
    for name in traces:
        assert lab.search_tags(**{"task.id": name, "tenant.id": TENANT}) == {results[name].trace_id}, name
    assert lab.search_tags(**{"task.id": "no-such-task"}) == set()


def test_every_task_is_found_by_its_route(
    lab: Watched, results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    routes: defaultdict[str, set[str]] = defaultdict(set)
    for name, spans in traces.items():
        routes[root_of(spans).name].add(str(results[name].trace_id))

    assert set(routes) == {"task direct", "task plan"}
    mine = {str(result.trace_id) for result in results.values()}
    for operation, ids in routes.items():
        assert lab.search(operation) & mine == ids, operation


def test_tasks_are_found_by_what_they_cost(
    lab: Watched, results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    bands: defaultdict[str, set[str]] = defaultdict(set)
    for name, spans in traces.items():
        bands[root_of(spans).attributes["tierbus.cost.band"]].add(str(results[name].trace_id))

    assert len(bands) > 1
    for band, ids in bands.items():
        assert lab.search_tags(**{"cost.band": band, "tenant.id": TENANT}) == ids, band


def test_the_four_services_are_listed_and_nothing_else(lab: Watched, traces: dict[str, list[Seen]]) -> None:
    with urllib.request.urlopen(f"{lab.url}/api/v3/services", timeout=10) as answer:
        listed = json.load(answer)["services"]

    assert sorted(listed) == ["tierbus-executor", "tierbus-planner", "tierbus-reviewer", "tierbus-router"]


def test_every_trace_is_one_tree_and_names_the_cost_of_result_and_ledger(
    lab: Watched, results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    ledger = lab.ledger(TENANT)

    for name, result in results.items():
        assert_true(traces[name], result, ledger)
    assert {call.status for call in ledger} == {"finished", "failed", "interrupted"}, "the faults struck"
    assert sum(result.escalations for result in results.values()) > 0


def test_every_service_that_worked_on_a_task_is_in_its_trace_and_on_its_critical_path(
    results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    for name, spans in traces.items():
        decision = results[name].decision
        assert decision is not None
        expected = {"router", "executor", "reviewer"} | ({"planner"} if decision.route is Route.PLAN else set())
        worked = {span.name: span.service for span in spans if span.name.startswith("process ")}
        path = critical_path(spans)

        assert {span.service for span in spans} == expected, name
        assert path[0] == root_of(spans).name
        assert {worked[step] for step in path if step in worked} == expected, (name, path)
        assert [step for step in path if step.startswith("chat ")], (name, path)


def test_what_follows_begins_after_what_it_follows_from_has_ended(traces: dict[str, list[Seen]]) -> None:
    """Jaeger leaves what overlaps out of the critical path."""
    for name, spans in traces.items():
        known = {span.span: span for span in spans}
        for work in (span for span in spans if span.name.startswith("process ")):
            stream = TASKS if work.name == "process tierbus.task" else WORK
            wait = known.get(wait_span(stream, work.attributes["messaging.nats.stream.sequence"]))
            before = [known[span] for _trace, span in work.links]

            assert len(before) == (0 if stream == TASKS else 1), (name, work)
            assert (wait is not None) or _deliveries(work) > 1, (name, work)
            if wait is not None and _deliveries(work) == 1:
                assert wait.end < work.start, (name, work)
            for producer in before:
                first = work if wait is None else wait
                assert producer.end < first.start, (name, producer.name, first.name)


def test_there_are_as_many_spans_as_was_done(
    lab: Watched, results: dict[str, Result], traces: dict[str, list[Seen]]
) -> None:
    ledger = lab.ledger(TENANT)
    once = 0
    for name, spans in traces.items():
        calls = [call for call in ledger if call.run == results[name].run]
        deliveries = [_deliveries(span) for span in spans if span.name.startswith("process ")]

        assert len(spans) >= 3 * deliveries.count(1), name
        if max(deliveries) == 1:
            once += 1
            assert len(spans) == _expected(results[name], calls), (name, _kinds(spans))
    assert once >= len(traces) / 2
    assert once < len(traces), "something was delivered again"
    assert _kinds(traces["plain"]) == DIRECT


@pytest.fixture(scope="module")
def early(lab: Watched, ran: Ran) -> dict[str, Result]:
    """Tasks that end before their answer is there, and one that is cancelled before it is published."""

    async def cancelled() -> Result:
        run = run_id("early", "cancelled")
        pending = asyncio.create_task(asyncio.to_thread(lab.result, {**BODY, "id": "cancelled"}, "early"))
        async with client(lab.stack.settings) as bus:
            while not await bus.calls(run):
                await asyncio.sleep(0.1)
            await bus.cancel("early", run, "no longer wanted")
        return await pending

    async def expired() -> Result:
        body = {**BODY, "id": "expired", "deadline_at": time.time() + 3}
        return await asyncio.to_thread(lab.result, body, "early")

    async def never_begun() -> Result:
        async with client(lab.stack.settings) as bus:
            await bus.cancel("early", run_id("early", "never-begun"), "never wanted")
            async for event in bus.follow([f"tierbus.event.early.{run_id('early', 'never-begun')}.result"], 30):
                assert isinstance(event, Result)
                await bus.publish({**PLAIN, "id": "never-begun"}, "early", "normal", "never-begun")
                return event
        raise AssertionError("no result")

    async def work() -> tuple[Result, ...]:
        return await asyncio.gather(cancelled(), expired(), never_begun())

    return dict(zip(("cancelled", "expired", "never-begun"), asyncio.run(work()), strict=True))


@pytest.mark.parametrize(("name", "status"), [("cancelled", "cancelled"), ("expired", "expired")])
def test_a_task_that_ends_early_has_a_root_and_no_orphans(
    lab: Watched, early: dict[str, Result], name: str, status: str
) -> None:
    result = early[name]

    spans = lab.trace(result)

    assert_true(spans, result, lab.ledger("early"))
    assert result.status == status
    assert result.reason in root_of(spans).attributes["tierbus.task.reason"]
    [step] = [span for span in spans if span.name == "step 1"]
    assert step.attributes["tierbus.step.status"] == "unfinished"
    assert [span.name for span in spans if span.name.startswith("chat ")], "its call is on the bill"


def test_a_task_that_was_cancelled_before_it_came_has_a_root_and_no_orphans(
    lab: Watched, early: dict[str, Result]
) -> None:
    result = early["never-begun"]

    spans = lab.trace(result)

    assert (root_of(spans).name, result.status) == ("task unrouted", "cancelled")
    assert {"process tierbus.cancel", "process tierbus.task"} <= {span.name for span in spans}
    assert "step 1" not in {span.name for span in spans}
    assert root_of(spans).attributes["tierbus.cost.total_nano_usd"] == 0


def test_a_refused_task_has_a_root_that_says_why_and_no_orphans(lab: Watched) -> None:
    [rejected] = lab.submit({"id": "bad", "prompt": "  ", "budget_usd": "-1"}, "refused", 30.0)
    identity = trace_of(rejected.subject, None, join=False)

    spans = settled(lab.url, [identity])[identity]

    root_of(spans)
    [root] = [span for span in spans if not span.parent]
    assert rejected.kind == "rejected"
    assert (root.name, root.status) == ("task rejected", ERROR)
    assert "budget_usd" in root.message
    assert {span.name for span in spans} == {"task rejected", "wait tierbus.task", "process tierbus.task"}


def _told(lab: Watched, task: str) -> str:
    """What `tierbus trace TASK --json` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", "trace", task, "--tenant", TENANT, "--json"],
        env={**os.environ, "TIERBUS_NATS_URL": lab.stack.nats_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def _spans(told: str) -> list[dict[str, Any]]:
    return flat({"result": json.loads(told)})


@pytest.mark.parametrize("task", ["plain", "incident-report"])
def test_the_upload_page_takes_what_the_trace_command_prints(
    lab: Watched, traces: dict[str, list[Seen]], task: str
) -> None:
    told = _told(lab, task)

    [shown] = _post(f"{lab.url}/api/transform", told)["data"]

    spans = [_seen({**span, "status": {}}) for span in _spans(told)]
    parents = {
        span["spanID"]: [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"]
        for span in shown["spans"]
    }
    services = {span["spanID"]: shown["processes"][span["processID"]]["serviceName"] for span in shown["spans"]}
    assert shown["traceID"] == traces[task][0].trace
    assert len(shown["spans"]) == len(spans)
    assert parents == {span.span: [span.parent] if span.parent else [] for span in spans}
    assert {span["spanID"]: span["operationName"] for span in shown["spans"]} == {
        span.span: span.name for span in spans
    }
    assert services == {span.span: f"tierbus-{span.service}" for span in spans}
    assert {(span.span, span.parent) for span in spans} <= {(span.span, span.parent) for span in traces[task]}


def test_the_otlp_port_takes_what_the_trace_command_prints_and_twice_is_once(
    lab: Watched, jaeger: Jaeger, traces: dict[str, list[Seen]]
) -> None:
    """Sent to another Jaeger, which has not heard of the trace; there it is as in the one that the services told."""
    identity = traces["plain"][0].trace
    assert fetch(jaeger.url, identity) == []

    for _ in range(2):
        assert _post(f"{jaeger.otlp_url}/v1/traces", _told(lab, "plain")) == {"partialSuccess": {}}
        spans = settled(jaeger.url, [identity])[identity]

        assert sorted((span.span, span.parent, span.name, span.service) for span in spans) == sorted(
            (span.span, span.parent, span.name, span.service) for span in traces["plain"]
        )
        assert root_of(spans).attributes == root_of(traces["plain"]).attributes


def test_a_whole_trace_comes_by_grpc_too(slow: Watched) -> None:
    result = slow.result({**PLAIN, "id": "grpc"}, "grpc")

    spans = slow.trace(result)

    assert_true(spans, result, slow.ledger("grpc"))
    assert _kinds(spans) == DIRECT


def test_an_executor_killed_in_its_call_leaves_one_root_the_right_cost_and_no_orphans(slow: Watched, ran: Ran) -> None:
    spans = slow.trace(ran.killed)

    assert_true(spans, ran.killed, slow.ledger("killed"))
    chats = sorted((span for span in spans if span.name.startswith("chat ")), key=lambda span: span.start)
    assert [span.attributes["tierbus.call.status"] for span in chats] == ["interrupted", "finished"]
    assert [_deliveries(span) for span in spans if span.name == "process tierbus.step.small"] == [2]
