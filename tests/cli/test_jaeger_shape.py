"""What is told about a trace, where Jaeger is looked for, and what its configuration says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tierbus.cli import jaeger
from tierbus.cli.jaeger import Ports, Shape, find, flat, prepare, shape, trace_url
from tierbus.errors import Misconfigured


def span(number: int, parent: int | None = None, service: str = "tierbus-router") -> dict[str, Any]:
    known = {"spanId": f"{number:016x}", "service": service}
    return known if parent is None else known | {"parentSpanId": f"{parent:016x}"}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Jaeger; the current directory and the checkout are two folders of it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(jaeger, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("TIERBUS_JAEGER", raising=False)
    return tmp_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_tree_has_one_root_and_no_orphans() -> None:
    spans = [span(1), span(2, 1, "tierbus-executor"), span(3, 2, "tierbus-executor")]

    assert shape(spans) == Shape(3, 1, 0, ("tierbus-executor", "tierbus-router"))
    assert shape(spans).whole


def test_an_empty_parent_is_a_root() -> None:
    assert shape([span(1) | {"parentSpanId": ""}]).roots == 1


def test_a_parent_that_is_not_there_makes_an_orphan() -> None:
    counted = shape([span(1), span(3, 2)])

    assert (counted.roots, counted.orphans, counted.whole) == (1, 1, False)


def test_a_trace_without_a_root_or_without_spans_is_not_whole() -> None:
    assert not shape([span(1, 2), span(2, 1)]).whole
    assert not shape([]).whole


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ("no spans", Shape(0, 0, 0, ())),
        ("1 span, 1 root, tierbus-router", Shape(1, 1, 0, ("tierbus-router",))),
        ("3 spans, 0 roots, 1 orphan, a, b", Shape(3, 0, 1, ("a", "b"))),
    ],
)
def test_a_shape_is_told_in_words(told: str, counted: Shape) -> None:
    assert str(counted) == told


def test_spans_of_every_resource_and_scope_are_flattened_with_plain_attributes() -> None:
    values = {
        "text": {"stringValue": "x"},
        "number": {"intValue": "12"},
        "share": {"doubleValue": 0.5},
        "no": {"boolValue": False},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}},
        "none": {"arrayValue": {}},
        "pairs": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
        "empty": {},
    }
    attributes = [{"key": key, "value": value} for key, value in values.items()]
    named = {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]}
    body = {
        "result": {
            "resourceSpans": [
                {
                    "resource": named,
                    "scopeSpans": [
                        {"spans": [{"spanId": "1", "attributes": attributes}]},
                        {"spans": [{"spanId": "2"}]},
                    ],
                },
                {"resource": {}, "scopeSpans": [{"spans": [{"spanId": "3"}]}]},
            ]
        }
    }

    spans = flat(body)

    assert [(one["spanId"], one["service"]) for one in spans] == [("1", "a"), ("2", "a"), ("3", "")]
    assert spans[0]["attributes"] == {
        "text": "x",
        "number": 12,
        "share": 0.5,
        "no": False,
        "list": ["a", 1],
        "none": [],
        "pairs": {"k": "v"},
        "empty": None,
    }
    assert spans[1]["attributes"] == {}


def test_a_trace_is_shown_on_the_page_or_in_the_api() -> None:
    assert trace_url("http://j", "ab", page=True) == "http://j/trace/ab"
    assert trace_url("http://j", "ab", page=False) == "http://j/api/v3/traces/ab"


def test_the_binary_is_looked_for_from_the_nearest_place_on(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="make jaeger"):
        find()
    places = [nowhere / "path/jaeger", nowhere / "checkout/.tools/jaeger", nowhere / "here/.tools/jaeger"]
    for place in places:
        made = program(place)
        assert find() == made

    monkeypatch.setenv("TIERBUS_JAEGER", str(program(nowhere / "mine")))

    assert find() == nowhere / "mine"


def test_a_binary_that_is_named_but_not_there_is_not_replaced_by_another(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(nowhere / "path/jaeger")
    monkeypatch.setenv("TIERBUS_JAEGER", str(nowhere))

    with pytest.raises(Misconfigured, match=r"TIERBUS_JAEGER is .* no program"):
        find()


def test_the_configuration_has_every_port_on_loopback_and_nothing_left_to_fill_in(nowhere: Path) -> None:
    binary = program(nowhere / "path/jaeger")

    command = prepare(nowhere, Ports(1, 2, 3, 4, 5))

    config = (nowhere / "jaeger.yaml").read_text()
    extensions = yaml.safe_load(config)["extensions"]
    protocols = yaml.safe_load(config)["receivers"]["otlp"]["protocols"]
    assert command == [str(binary), "--config", "jaeger.yaml"]
    assert [line for line in config.splitlines() if "$" in line.partition("#")[0]] == []
    assert [
        endpoint["endpoint"]
        for endpoint in (
            extensions["jaeger_query"]["http"],
            protocols["grpc"],
            protocols["http"],
            extensions["jaeger_query"]["grpc"],
            extensions["healthcheckv2"]["http"],
        )
    ] == [f"127.0.0.1:{port}" for port in (1, 2, 3, 4, 5)]
    shown = json.loads((nowhere / extensions["jaeger_query"]["ui"]["config_file"]).read_text())
    assert shown["topTagPrefixes"][0] == "tierbus.cost."


def test_the_usual_ports_are_those_that_everybody_expects() -> None:
    usual = Ports.usual()

    assert usual[:3] == (16686, 4317, 4318)
    assert len(set(usual)) == len(set(Ports.free())) == 5
