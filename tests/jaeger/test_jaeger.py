"""What a real Jaeger takes and tells."""

import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import psutil
import pytest
from tests.jaeger.conftest import Jaeger, Send, Told

from tierbus.cli.jaeger import Ports, Shape, fetch, has_page, shape, trace_url, wait_whole
from tierbus.cli.stack import Stack
from tierbus.errors import Misconfigured

pytestmark = pytest.mark.jaeger

WHOLE = (
    Told("tierbus-router", "task direct", 1, attributes={"tierbus.task.id": "t-1", "tierbus.run.steps": 1}),
    Told("tierbus-executor", "process step-released", 2, 1, {"tierbus.cost.usd": 0.5, "tierbus.last": True}),
    Told("tierbus-reviewer", "process step-executed", 3, 2, {"tierbus.models": ("a", "b")}),
)


def trace_id(number: int) -> str:
    return f"{number:032x}"


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    return {
        (one.laddr.ip, one.laddr.port)
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    }


def tierbus(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", *arguments],
        env={**os.environ, "NO_COLOR": "1", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_whole_trace_comes_back_with_its_services_and_attributes(jaeger: Jaeger, send: Send) -> None:
    send(0xA1, WHOLE)

    spans = wait_whole(jaeger.url, trace_id(0xA1), timeout_s=10)

    assert shape(spans) == Shape(3, 1, 0, ("tierbus-executor", "tierbus-reviewer", "tierbus-router"))
    assert {span["name"]: (span["service"], span["attributes"]) for span in spans} == {
        told.name: (
            told.service,
            {name: list(value) if isinstance(value, tuple) else value for name, value in told.attributes.items()},
        )
        for told in WHOLE
    }


def test_the_services_that_sent_spans_are_listed(jaeger: Jaeger, send: Send) -> None:
    send(0xA2, [Told("tierbus-planner", "task plan", 1)])
    wait_whole(jaeger.url, trace_id(0xA2), timeout_s=10)

    with urllib.request.urlopen(f"{jaeger.url}/api/v3/services", timeout=10) as answer:
        services = json.load(answer)["services"]

    assert "tierbus-planner" in services
    assert "jaeger" not in services


def test_a_span_without_its_parent_is_an_orphan_and_no_root(jaeger: Jaeger, send: Send) -> None:
    send(0xA3, [*WHOLE[:2], Told("tierbus-reviewer", "lost", 4, 9)])
    send(0xA4, WHOLE[1:])

    lost = shape(wait_whole(jaeger.url, trace_id(0xA3), timeout_s=1))
    rootless = shape(wait_whole(jaeger.url, trace_id(0xA4), timeout_s=1))

    assert (lost.spans, lost.roots, lost.orphans, lost.whole) == (3, 1, 1, False)
    assert (rootless.spans, rootless.roots, rootless.orphans, rootless.whole) == (2, 0, 1, False)


def test_two_roots_in_one_trace_are_counted(jaeger: Jaeger, send: Send) -> None:
    send(0xA5, [*WHOLE, Told("tierbus-router", "task direct", 7)])

    assert shape(wait_whole(jaeger.url, trace_id(0xA5), timeout_s=10)).roots == 2


def test_a_trace_that_becomes_whole_is_waited_for(jaeger: Jaeger, send: Send) -> None:
    send(0xA6, WHOLE[1:])
    assert not shape(wait_whole(jaeger.url, trace_id(0xA6), timeout_s=0.3)).whole
    later = threading.Timer(0.5, send, (0xA6, WHOLE[:1]))
    later.start()

    spans = wait_whole(jaeger.url, trace_id(0xA6), timeout_s=10)

    later.join()
    assert shape(spans).whole


def test_an_unknown_trace_has_no_spans(jaeger: Jaeger) -> None:
    assert fetch(jaeger.url, trace_id(0xDEAD)) == []


def test_what_is_told_about_the_page_is_true(jaeger: Jaeger, send: Send) -> None:
    send(0xA7, WHOLE)
    wait_whole(jaeger.url, trace_id(0xA7), timeout_s=10)
    page = has_page(jaeger.url)

    with urllib.request.urlopen(trace_url(jaeger.url, trace_id(0xA7), page=page), timeout=10) as answer:
        shown = answer.read().decode()

    assert page is ("<html" in shown)
    assert page is not ("task direct" in shown)
    assert "This is not the Jaeger UI" not in shown


def test_it_listens_on_loopback_and_on_its_five_ports_only(tmp_path: Path) -> None:
    ports = Ports.free()
    stack = Stack(data=tmp_path, jaeger_ports=ports)
    try:
        stack.start_jaeger()
        found = listening(psutil.Process(stack.processes[0].popen.pid))
    finally:
        stack.stop()

    assert found == {("127.0.0.1", port) for port in ports}


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        stack = Stack(data=tmp_path, jaeger_ports=Ports.free()._replace(otlp_http=taken))

        with pytest.raises(Misconfigured, match=rf"port {taken} is taken, and Jaeger needs it \(otlp_http\)"):
            stack.start_jaeger()

    assert stack.processes == []


def test_what_jaeger_said_last_is_in_the_error_when_it_does_not_start(
    tmp_path: Path, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tierbus.cli.stack._is_free", lambda _port: True)
    taken = int(jaeger.otlp_url.rpartition(":")[2])
    stack = Stack(data=tmp_path, jaeger_ports=Ports.free()._replace(otlp_grpc=taken))
    try:
        with pytest.raises(Misconfigured, match=rf"jaeger ended with exit code 1: .*{taken}: bind: address already"):
            stack.start_jaeger()
    finally:
        stack.stop()


def test_services_send_to_the_stack_s_own_jaeger_else_where_the_environment_says(
    tmp_path: Path, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=theirs")
    own, none = Stack(data=tmp_path, otlp_url=jaeger.otlp_url), Stack(data=tmp_path)

    def about(stack: Stack) -> dict[str, str]:
        return {name: value for name, value in stack._environment().items() if name.startswith("OTEL_EXPORTER_OTLP_")}

    assert about(own) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    assert about(none) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "key=theirs",
    }


def test_the_demo_tells_what_jaeger_has_of_each_task_and_leaves_nothing_running(jaeger: Jaeger) -> None:
    done = tierbus("demo", "--jaeger", "--only", "translation", "--only", "sql-from-schema")

    told = done.stdout.partition("Traces\n")[2].splitlines()
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in told] == ["sql-from-schema", "translation"]
    assert all(", 1 root, tierbus-executor, tierbus-reviewer, tierbus-router" in line for line in told), told
    running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline", "cwd"])]
    assert [line for line in running if any("tierbus-demo-" in part for part in line)] == []


def test_on_a_terminal_the_demo_leaves_jaeger_up_until_enter() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tierbus.cli.entry", "demo", "--jaeger", "--only", "translation"],
        env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as demo:
        told = ""
        while "Enter or Ctrl-C" not in told:
            assert demo.poll() is None, told
            told += os.read(ours, 4096).decode(errors="replace")
        line = next(line for line in told.splitlines() if "span" in line and "http" in line)
        url = line.split()[-1].partition("/trace/")[0].partition("/api/")[0]
        time.sleep(2)
        known = fetch(url, trace_id(0xDEAD))
        os.write(ours, b"\n")
        demo.wait(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert (known, demo.returncode) == ([], 0)
    assert "/traces/" in line or "/trace/" in line
    with pytest.raises(URLError):
        fetch(url, trace_id(0xDEAD))


def test_without_a_binary_there_is_one_line_that_says_how_to_get_it(tmp_path: Path) -> None:
    for command in (["demo", "--jaeger", "--only", "translation"], ["up", "--jaeger", "--data", str(tmp_path / "d")]):
        done = tierbus(*command, TIERBUS_JAEGER=str(tmp_path / "none"))

        errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert (done.returncode, len(errors)) == (6, 1), done.stderr
        assert "make jaeger" in errors[0]
