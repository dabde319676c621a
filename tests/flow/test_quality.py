"""The quality watch in a whole Tierbus: it finds what the reviewer let pass, keeps its cap, and pays once though it is killed."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from tests.flow.conftest import Lab, result_of
from tests.flow.test_cli import tierbus
from tests.flow.test_kill import kill
from tests.scenarios import write

from tierbus.bus.client import client
from tierbus.cli.stack import Stack
from tierbus.contracts import CallRecorded, CallStatus, Comparison, QualityMeasured, Result, Role, WatchState, spent

PHRASE = "Say in English what the note of the watch says"
RIGHT, WRONG = "Good evening, the train leaves at nine.", "Good morning, the train leaves at eight."
SCENARIO: dict[str, Any] = {
    "name": "watched",
    "about": "a small model's mistake that no free check finds",
    "match": PHRASE,
    "task": {"prompt": PHRASE},
    "answers": [
        {"when": {"role": "executor", "tier": "frontier"}, "text": RIGHT},
        {"when": {"role": "executor", "contains": "sums"}, "text": RIGHT},
        {"when": {"role": "executor"}, "text": WRONG},
        {
            "when": {"role": "watch", "contains": f'<answer name="A">\n{RIGHT}'},
            "json": {"reason": "SIMULATED: B has another hour", "verdict": "A"},
        },
        {"when": {"role": "watch"}, "json": {"reason": "SIMULATED: A has another hour", "verdict": "B"}},
    ],
    "expect": {"route": "direct", "tier_path": {"answer": ["small"]}},
}
CLASSES = {
    "letters": {"watch": {"share": 1, "max_usd_per_day": 5}},
    "sums": {"watch": {"share": 1, "max_usd_per_day": 5}},
    "capped": {"watch": {"share": 1, "max_usd_per_day": "0.000001"}},
    "checked": {"watch": {"share": 1, "max_usd_per_day": 5, "check": {"command": ["grep", "-q", "evening"]}}},
}


@pytest.fixture(scope="module")
def watched_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Models that take a second, so that a kill falls into a call."""
    folder = tmp_path_factory.mktemp("watched")
    scenarios = write(folder / "scenarios", [SCENARIO])
    classes = folder / "classes.yaml"
    classes.write_text(yaml.safe_dump({"classes": CLASSES}), encoding="utf-8")
    options = ("--scenarios", str(scenarios), "--latency", "1")
    env = {"TIERBUS_CLASSES": str(classes)}
    with (folder / "log").open("w") as log, Stack(data=folder, sim_options=options, logs=log, env=env) as stack:
        yield Lab(stack)


def body(name: str, task_class: str) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": f"{PHRASE}: {task_class}, {name}",
        "task_class": task_class,
        "risk": "low",
        "hints": {"route": "direct", "tier": "small"},
    }


def records(lab: Lab, tenant: str) -> dict[str, QualityMeasured]:
    async def work() -> dict[str, QualityMeasured]:
        async with client(lab.stack.settings) as bus:
            return {one.task: one async for one in bus.measured(tenant)}

    return asyncio.run(work())


def until(true: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


def ended(lab: Lab, tenant: str, count: int) -> dict[str, QualityMeasured]:
    """The records of so many tasks, each in its last state."""
    until(
        lambda: sum(one.final for one in records(lab, tenant).values()) == count,
        f"{count} comparisons of {tenant}",
    )
    return records(lab, tenant)


def submit_all(lab: Lab, tenant: str, bodies: list[dict[str, Any]]) -> dict[str, Result]:
    async def work() -> dict[str, Result]:
        async with client(lab.stack.settings) as bus:

            async def one(said: dict[str, Any]) -> Result:
                published = await bus.publish(said, tenant, "normal", said["id"])
                return await result_of(bus, published.subjects, 90)

            return {found.task: found for found in await asyncio.gather(*map(one, bodies))}

    return asyncio.run(work())


def by_role(calls: list[CallRecorded], *, watch: bool) -> list[CallRecorded]:
    return [call for call in calls if (call.role is Role.WATCH) is watch]


def test_the_watch_finds_what_the_review_let_pass_and_its_cost_stands_apart(watched_lab: Lab) -> None:
    tenant = "watched"
    wanted = [body(f"l-{n}", "letters") for n in range(4)] + [body(f"s-{n}", "sums") for n in range(2)]
    wanted += [body("c-0", "capped"), body("k-0", "checked"), body("n-0", "unwatched")]
    results = submit_all(watched_lab, tenant, wanted)
    found = ended(watched_lab, tenant, 8)
    calls = watched_lab.ledger(tenant)

    assert {result.status.value for result in results.values()} == {"succeeded"}
    assert {name: one.comparison for name, one in found.items()} == {
        **{f"l-{n}": Comparison.WORSE for n in range(4)},
        **{f"s-{n}": Comparison.TIE for n in range(2)},
        "c-0": None,
        "k-0": Comparison.WORSE,
    }
    assert (found["s-0"].decided_by, found["k-0"].decided_by, found["l-0"].decided_by) == (
        "agreement",
        "check",
        "judge",
    )
    assert found["c-0"].state is WatchState.OVER_CAP
    assert [call for call in by_role(calls, watch=True) if call.run in (results["c-0"].run, results["n-0"].run)] == []
    for name, result in results.items():
        mine = [call for call in calls if call.run == result.run]
        assert (
            result.cost_nano_usd
            == spent(by_role(mine, watch=False))
            == (found[name].task_nano_usd if name in found else result.cost_nano_usd)
        )
        assert spent(by_role(mine, watch=True)) == (found[name].own_nano_usd if name in found else 0)


def test_quality_costs_and_report_tell_the_same_of_it(watched_lab: Lab) -> None:
    tenant = "watched"
    ended(watched_lab, tenant, 8)
    told = json.loads(tierbus(watched_lab, "quality", "--tenant", tenant, "--json").stdout)
    bill = json.loads(tierbus(watched_lab, "costs", "--by", "role", "--tenant", tenant, "--json").stdout)
    report = json.loads(tierbus(watched_lab, "report", "--tenant", tenant, "--json").stdout)
    shown = tierbus(watched_lab, "quality", "--tenant", tenant)
    letters = next(one for one in told["classes"] if one["task_class"] == "letters")
    [watch] = [row for row in bill["rows"] if row["role"] == "watch"]

    assert (letters["measured"]["worse"], letters["measured"]["difference"]["value"]) == (4, -1.0)
    assert letters["measured"]["difference"]["high"] < 0
    assert letters["measured"]["saving"]["ratio"]["low"] > 0
    assert watch["cost_nano_usd"] == told["all"]["measured"]["own_nano_usd"] > 0
    assert report["watched"]["all"] == told["all"]
    assert report["compared"]["watch_nano_usd"] == watch["cost_nano_usd"]
    assert (report["doubts"]["differing_tasks"], report["tasks"]) == (0, 9)
    assert ("letters" in shown.stdout, "worse than the frontier" in shown.stdout) == (True, True)


def test_its_metrics_are_counted_by_the_classes_of_the_file(watched_lab: Lab) -> None:
    import urllib.request

    ended(watched_lab, "watched", 8)
    url = watched_lab.stack.health["reviewer"]
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("tierbus_quality_comparisons_total{")]

    assert any(
        'tierbus_task_class="letters"' in line and 'comparison="worse"' in line and line.endswith(" 4.0")
        for line in counted
    )
    assert any(
        line.startswith("tierbus_quality_cap_usd{") and "letters" in line and line.endswith(" 5.0") for line in lines
    )
    assert not [line for line in counted if "unwatched" in line]


def test_feedback_is_counted_by_the_classes_of_the_file(watched_lab: Lab) -> None:
    import urllib.request

    submit_all(watched_lab, "rated", [body("one", "letters"), body("two", "unwatched")])
    for words in (("one", "--good"), ("one", "--score", "0.25"), ("two", "--bad")):
        assert tierbus(watched_lab, "feedback", "--tenant", "rated", *words).returncode == 0
    found: dict[str, float] = {}

    def counted() -> bool:
        with urllib.request.urlopen(f"{watched_lab.stack.health['reviewer']}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        told = (line.rpartition(" ") for line in lines if line.startswith("tierbus_quality_feedback"))
        found.update({name: float(value) for name, _, value in told})
        return sum(value for name, value in found.items() if "feedback_total" in name) == 3

    until(counted, "three words")

    assert sorted(value for name, value in found.items() if "letters" in name) == [1.25, 2.0]
    assert not [name for name in found if "unwatched" in name]


@pytest.mark.timeout(300)
def test_a_reviewer_killed_in_the_frontiers_and_in_the_judges_call_pays_for_what_was_in_flight_alone(
    watched_lab: Lab,
) -> None:
    tenant = "killed"
    [result] = submit_all(watched_lab, tenant, [body("one", "letters")]).values()

    def open_call(**about: object) -> bool:
        return bool(watched_lab.served(state="open", **about))

    until(lambda: open_call(role="executor", tier="frontier"), "the frontier's call")
    kill(watched_lab, "reviewer")
    until(lambda: open_call(role="watch"), "the judge's call")
    kill(watched_lab, "reviewer")
    found = ended(watched_lab, tenant, 1)["one"]
    calls = by_role(watched_lab.ledger(tenant), watch=True)
    finished = [call for call in calls if call.status is CallStatus.FINISHED]
    lost = [call for call in calls if call.status is CallStatus.INTERRUPTED]

    assert (found.comparison, found.decided_by) == (Comparison.WORSE, "judge")
    assert len(finished) == 3
    assert {call.call.rsplit(".", 1)[0] for call in finished} == {
        f"{result.run}._watch.1.watch.{ask}" for ask in range(3)
    }
    assert len(lost) == 2
    assert all(call.estimated for call in lost)
    assert found.own_nano_usd == spent(calls)
    assert found.frontier_nano_usd == next(call.cost_nano_usd for call in finished if call.call.split(".")[-2] == "0")
    assert result.cost_nano_usd == spent(by_role(watched_lab.ledger(tenant), watch=False))


def test_the_trace_of_a_watched_task_shows_the_watch_in_its_own_role(watched_lab: Lab) -> None:
    ended(watched_lab, "watched", 8)
    shown = tierbus(watched_lab, "trace", "l-0", "--tenant", "watched")

    assert shown.returncode == 0, shown.stderr
    assert "watch" in shown.stdout
