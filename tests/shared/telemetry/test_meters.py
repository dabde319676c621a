"""What is scraped: every declared metric under its declared name, with its declared labels and no others."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tierbus.telemetry import names
from tierbus.telemetry.meters import OTHER, TENANTS, OtelMeters
from tierbus.telemetry.names import METRICS, Attr, Kind, Metric


@pytest.fixture
def meters() -> Iterator[OtelMeters]:
    """Meters that nobody is sent."""
    made = OtelMeters("router", "1.2.3", {})
    yield made
    made.close()


def labels_of(metric: Metric) -> dict[Attr, str]:
    return {name: f"{place}-of-{name}" for place, name in enumerate(metric.labels)}


def scraped(meters: OtelMeters, name: str | None = None) -> list[Sample]:
    """All samples of our own metrics, or those of one name."""
    families = text_string_to_metric_families(meters.scrape().decode())
    found = [sample for family in families for sample in family.samples if sample.name != "target_info"]
    return [sample for sample in found if name in (None, sample.name)]


def text(value: str) -> str:
    return value.replace(".", "_")


def use(meters: OtelMeters, metric: Metric, value: float) -> None:
    """Give a metric one value."""
    if metric.kind is Kind.COUNTER:
        meters.add(metric, value, labels_of(metric))
    elif metric.kind is Kind.HISTOGRAM:
        meters.record(metric, value, labels_of(metric))
    else:
        meters.watch(metric, lambda: [(value, labels_of(metric))])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_scraped_under_its_own_name_with_its_own_labels(meters: OtelMeters, metric: Metric) -> None:
    use(meters, metric, 0.75)

    name = f"{metric.prometheus}_sum" if metric.kind is Kind.HISTOGRAM else metric.prometheus
    [sample] = scraped(meters, name)
    assert sample.value == 0.75
    assert sample.labels == {text(label): value for label, value in labels_of(metric).items()}
    assert {
        one.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for one in scraped(meters)
    } == {metric.prometheus}, "and nothing else is scraped"


@pytest.mark.parametrize(
    "metric", [one for one in METRICS if one.kind is Kind.HISTOGRAM], ids=lambda metric: metric.name
)
def test_a_distribution_has_its_own_buckets(meters: OtelMeters, metric: Metric) -> None:
    use(meters, metric, metric.buckets[2])

    buckets = {float(one.labels["le"]): one.value for one in scraped(meters, f"{metric.prometheus}_bucket")}
    assert sorted(buckets) == [*metric.buckets, math.inf]
    assert [count for _, count in sorted(buckets.items())] == [0.0] * 2 + [1.0] * (len(metric.buckets) - 1)
    [count] = scraped(meters, f"{metric.prometheus}_count")
    assert count.value == 1


def test_names_are_told_apart_and_say_their_unit() -> None:
    assert len({metric.prometheus for metric in METRICS}) == len(METRICS)
    assert names.LLM_COST.prometheus == "tierbus_llm_cost_usd_total"
    assert names.LLM_DURATION.prometheus == "gen_ai_client_operation_duration_seconds"
    assert names.HANDLING.prometheus == "tierbus_handling_seconds_total"
    assert names.TASK_COST.prometheus == "tierbus_task_cost_usd"
    assert names.QUEUE_AGE.prometheus == "tierbus_queue_oldest_age_seconds"
    assert names.BUDGET_LIMIT.prometheus == "tierbus_budget_limit_usd"


def test_no_metric_is_counted_by_what_has_many_values() -> None:
    many = {Attr.TASK, Attr.RUN, Attr.STEP, Attr.CALL, Attr.SEQUENCE, Attr.RESPONSE_ID, Attr.REASON}

    assert [metric.name for metric in METRICS if many & set(metric.labels)] == []


def test_it_says_what_each_metric_is(meters: OtelMeters) -> None:
    use(meters, names.TASKS, 1)

    assert f"# HELP {names.TASKS.prometheus} {names.TASKS.about}" in meters.scrape().decode()


def test_tenants_beyond_the_bound_are_counted_together(meters: OtelMeters) -> None:
    for number in range(TENANTS + 20):
        meters.add(names.BASELINE, 1, {Attr.TENANT: f"t{number}"})
    meters.add(names.BASELINE, 5, {Attr.TENANT: "t0"})

    found = {sample.labels["tierbus_tenant_id"]: sample.value for sample in scraped(meters, names.BASELINE.prometheus)}
    assert len(found) == TENANTS + 1
    assert found[OTHER] == 20
    assert found["t0"] == 6, "who was there first keeps the name"
    assert "t99" in found
    assert "t100" not in found


def test_classes_have_a_bound_of_their_own(meters: OtelMeters) -> None:
    for number in range(TENANTS + 20):
        meters.add(names.PILOT_OVERHEAD, 1, {Attr.CLASS: f"c{number}"})
    meters.add(names.BASELINE, 1, {Attr.TENANT: "t0"})

    found = {one.labels["tierbus_task_class"]: one.value for one in scraped(meters, names.PILOT_OVERHEAD.prometheus)}
    assert (len(found), found[OTHER]) == (TENANTS + 1, 20)
    [tenant] = scraped(meters, names.BASELINE.prometheus)
    assert tenant.labels["tierbus_tenant_id"] == "t0"


def test_the_bound_holds_over_all_metrics_together(meters: OtelMeters) -> None:
    for number in range(TENANTS):
        meters.add(names.BASELINE, 1, {Attr.TENANT: f"t{number}"})
    meters.add(names.TASKS, 1, {**labels_of(names.TASKS), Attr.TENANT: "late"})

    [sample] = scraped(meters, names.TASKS.prometheus)
    assert sample.labels["tierbus_tenant_id"] == OTHER


def test_tenants_that_are_reserved_keep_their_names_whoever_comes_first(meters: OtelMeters) -> None:
    meters.reserve(["mine"])
    for tenant in (*(f"t{number}" for number in range(TENANTS + 20)), "mine"):
        meters.add(names.BASELINE, 1, {Attr.TENANT: tenant})

    found = {sample.labels["tierbus_tenant_id"] for sample in scraped(meters, names.BASELINE.prometheus)}
    assert "mine" in found
    assert len(found) == TENANTS + 1


def test_a_label_that_is_missing_is_a_mistake(meters: OtelMeters) -> None:
    with pytest.raises(KeyError):
        meters.add(names.TASKS, 1, {Attr.OUTCOME: "succeeded", Attr.ROUTE: "direct"})
    with pytest.raises(KeyError):
        meters.add(names.REDELIVERIES, 1, {})

    assert scraped(meters) == []


@pytest.mark.parametrize("metric", [names.REDELIVERIES, names.QUEUE_WAIT], ids=lambda metric: metric.name)
def test_a_label_too_many_is_a_mistake(meters: OtelMeters, metric: Metric) -> None:
    labels = {**labels_of(metric), Attr.TASK: "t-1"}

    with pytest.raises((KeyError, ValueError)):
        meters.add(metric, 1, labels) if metric.kind is Kind.COUNTER else meters.record(metric, 1, labels)


def test_what_is_read_cannot_be_added_to(meters: OtelMeters) -> None:
    with pytest.raises(KeyError):
        meters.add(names.QUEUE_DEPTH, 1, labels_of(names.QUEUE_DEPTH))
    with pytest.raises(KeyError):
        meters.add(names.TASK_COST, 1, labels_of(names.TASK_COST))
    with pytest.raises(KeyError):
        meters.record(names.TASKS, 1, labels_of(names.TASKS))


def test_labels_in_another_order_are_the_same(meters: OtelMeters) -> None:
    labels = labels_of(names.TASKS)
    meters.add(names.TASKS, 1, labels)
    meters.add(names.TASKS, 1, dict(reversed(labels.items())))

    [sample] = scraped(meters, names.TASKS.prometheus)
    assert sample.value == 2


@settings(max_examples=20, deadline=None)
@given(amounts=st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_a_sum_of_nano_dollars_is_exact_to_the_nano_dollar(amounts: list[int]) -> None:
    meters = OtelMeters("router", "1.2.3", {})
    for amount in amounts:
        meters.add(names.LLM_COST, amount / 1e9, labels_of(names.LLM_COST))
    meters.add(names.LLM_TOKENS, sum(amounts), labels_of(names.LLM_TOKENS))

    [dollars] = scraped(meters, names.LLM_COST.prometheus)
    [tokens] = scraped(meters, names.LLM_TOKENS.prometheus)
    assert round(dollars.value * 1e9) == sum(amounts)
    assert tokens.value == sum(amounts)
    meters.close()


def test_many_adds_are_all_counted(meters: OtelMeters) -> None:
    for number in range(30_000):
        meters.add(names.REDELIVERIES, 1, {Attr.QUEUE: f"q{number % 3}"})

    assert {sample.value for sample in scraped(meters, names.REDELIVERIES.prometheus)} == {10_000}


def test_counters_are_not_lost_by_reading_them(meters: OtelMeters) -> None:
    for expected in (1, 2, 3):
        use(meters, names.REDELIVERIES, 1)

        assert [sample.value for sample in scraped(meters, names.REDELIVERIES.prometheus)] == [expected]


def test_a_gauge_is_read_whenever_it_is_asked_for(meters: OtelMeters) -> None:
    depths: dict[str, float] = {"one": 3}
    reads: list[None] = []

    def read() -> list[tuple[float, dict[Attr, str]]]:
        reads.append(None)
        return [(depth, {Attr.CONSUMER: name}) for name, depth in depths.items()]

    meters.watch(names.QUEUE_DEPTH, read)
    assert reads == [], "not before"
    assert [sample.value for sample in scraped(meters, names.QUEUE_DEPTH.prometheus)] == [3]
    depths.update(one=0, two=7)
    found = {one.labels["tierbus_consumer"]: one.value for one in scraped(meters, names.QUEUE_DEPTH.prometheus)}
    assert found == {"one": 0, "two": 7}


def test_several_may_be_read_for_one_gauge(meters: OtelMeters) -> None:
    for name in ("one", "two"):
        meters.watch(names.SLOTS, lambda name=name: [(1, {Attr.CONSUMER: name})])  # type: ignore[misc] # bound here

    assert {one.labels["tierbus_consumer"] for one in scraped(meters, names.SLOTS.prometheus)} == {"one", "two"}


def test_nothing_is_scraped_before_something_happened(meters: OtelMeters) -> None:
    assert scraped(meters) == []
