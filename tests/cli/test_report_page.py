"""The page: self-contained, nothing of a task in it but as text, a table beside every chart."""

import json
import re
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs
from tests.cli.records import DAY, HOUR, NOW, TRACE, World, call, rejection, result, step, world

from tierbus.cli.reporting.charts import FILL, INK, LINE, charts, label
from tierbus.cli.reporting.figures import Figures, Period, figures
from tierbus.cli.reporting.markup import Html, data, tag
from tierbus.cli.reporting.page import page
from tierbus.cli.reporting.terminal import show
from tierbus.contracts import CallStatus, TaskStatus, Tier
from tierbus.result import BASELINE_METHOD

WEEK_BACK = Period.of(NOW - 7 * DAY, NOW)
EVIL = "</script><script>alert(1)</script>"
CHARTS = {"compared", "over-time", "by-role", "by-model", "by-tenant", "first-pass"}


class Seen(HTMLParser):
    """What a browser would find: elements, their attributes, the text outside of scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append(data)
        elif self._open != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def addresses(self) -> list[str]:
        loading = ("src", "href", "action", "data", "poster", "srcset", "background", "xlink:href")
        return [attributes[name] for _, attributes in self.tags for name in loading if name in attributes]


def numbers(records: World | None = None, period: Period = WEEK_BACK) -> Figures:
    return figures(*(records or world(60)), period)


@pytest.fixture(scope="module")
def whole() -> str:
    return page(numbers(), "SIMULATED answers")


def test_nothing_is_loaded_from_anywhere(whole: str) -> None:
    own = whole.replace(get_plotlyjs(), "")

    assert Seen(own).addresses() == []
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", own)
    assert "default-src 'none'" in own


def test_plotly_is_inlined_once_and_only_our_scripts_may_run(whole: str) -> None:
    seen = Seen(whole)

    assert whole.count(get_plotlyjs()) == 1
    assert seen.count("script") == 3
    policy = next(
        attributes["content"]
        for name, attributes in seen.tags
        if name == "meta" and "content" in attributes and "src" in attributes["content"]
    )
    assert policy.count("'sha256-") == 2
    assert "script-src 'unsafe-inline'" not in policy


def evil() -> World:
    calls = [call(EVIL, model=EVIL, at=NOW - HOUR), call("odd", cost=None, model="<img src=x onerror=alert(1)>")]
    lost = result(EVIL, status=TaskStatus.FAILED, reason=f"{EVIL} <b>&amp;", steps=[step(Tier.SMALL, accepted=False)])
    return calls, [lost.model_copy(update={"trace_id": f'"><script>{TRACE}'})], [rejection(EVIL, task=EVIL)]


def test_text_of_tasks_stays_text() -> None:
    found = numbers(evil()).model_copy(update={"tenants": (EVIL,), "tenant": EVIL})

    source = page(found, note=f"{EVIL} note", jaeger="http://localhost:16686/")

    seen = Seen(source)
    assert (seen.count("script"), seen.count("img"), seen.count("b")) == (3, 0, 0)
    assert "alert(1)" not in "".join(seen.scripts[1:]).replace(get_plotlyjs(), "")
    assert seen.text.count(EVIL) >= 5
    assert "<b>&amp;" in seen.text


def test_text_in_the_charts_data_cannot_close_it_and_is_no_markup_for_plotly() -> None:
    found = charts(numbers(evil()))

    source = data(found)

    assert not set("<>&\u2028\u2029") & set(source)
    assert json.loads(source) == found
    labels = found["by-model"]["layout"]["yaxis"]["ticktext"]
    assert all("<" not in one and "&lt;" in one for one in labels)


def test_escaping_is_the_rule_and_markup_the_exception() -> None:
    assert tag("p", "a<b", Html("<i>x</i>"), title='"') == '<p title="&quot;">a&lt;b<i>x</i></p>'
    assert label("<" * 99) == "&lt;" * 25 + "…"


def test_every_chart_has_a_place_a_description_and_a_table(whole: str) -> None:
    seen = Seen(whole)
    drawn = json.loads(seen.scripts[0])
    places = {one["id"]: one for _, one in seen.tags if one.get("class") == "chart"}

    assert set(drawn) == CHARTS
    assert set(places) == {f"chart-{name}" for name in CHARTS}
    assert all(one["role"] == "img" and one["aria-label"] for one in places.values())
    captions = (
        "The reckoning",
        "Spend by day and tier",
        "Cost by role",
        "Cost by model",
        "Cost by tenant",
        "of those answered",
    )
    assert all(caption in seen.text for caption in captions)


def test_a_table_says_what_its_chart_shows() -> None:
    found = numbers()
    drawn = charts(found)

    assert sum(sum(bar["y"]) for bar in drawn["over-time"]["data"]) == pytest.approx(found.spent_nano_usd / 1e9)
    for name in ("by-role", "by-model", "by-tenant"):
        assert sum(sum(bar["x"]) for bar in drawn[name]["data"]) == pytest.approx(found.spent_nano_usd / 1e9)
    text = Seen(page(found)).text
    for one in (*found.by_model, *found.by_tenant):
        assert f"{one.name} {one.calls:,} " in text


def test_the_key_figures_and_the_named_baseline_are_there(whole: str) -> None:
    text = Seen(whole).text

    assert BASELINE_METHOD in text
    assert "SIMULATED answers" in text
    assert all(
        name in text for name in ("Spent", "Baseline", "Saving", "Per accepted task", "Overhead", "Rejected tasks")
    )
    assert "8 Jan 2027 08:00 to 15 Jan 2027 08:00 UTC (7 days)" in text
    assert "Results are kept for 72 hours" in text


def test_a_loss_is_shown_as_one() -> None:
    records: World = ([call(cost=12_000_000_000)], [result(baseline=9_000_000_000)], [])

    text = Seen(page(numbers(records))).text

    assert "33.3 % more than on the frontier alone" in text
    assert "−$3.00" in text
    assert "−33.3 %" in text


def test_calls_without_a_price_or_an_answer_are_called_out() -> None:
    records: World = (
        [call("a", cost=None, model="mystery"), call("b", status=CallStatus.INTERRUPTED)],
        [result("b")],
        [],
    )

    text = Seen(page(numbers(records))).text

    assert "1 call has no known price (mystery)" in text
    assert "1 call was interrupted" in text
    assert "mystery 1 unpriced –" in text
    assert Seen(page(numbers())).text.count("Before you trust") == 0


def test_what_is_not_kept_is_a_gap_and_said(whole: str) -> None:
    found = numbers(world(60, days=7))
    drawn = charts(found)["first-pass"]

    assert drawn["layout"]["annotations"][0]["text"] == "results no longer kept"
    assert all(at >= WEEK_BACK.bucket(WEEK_BACK.results_from) for line in drawn["data"] for at in line["x"])
    quiet = [call(at=NOW - 5 * HOUR), call("b")]
    ends = [result(steps=[step(Tier.SMALL)], at=NOW - 5 * HOUR), result("b", steps=[step(Tier.SMALL)])]
    [small, mid, _] = charts(numbers((quiet, ends, []), Period.of(NOW - DAY, NOW)))["first-pass"]["data"]
    assert small["y"] == [100, None, None, None, 100, None]
    assert small["connectgaps"] is False
    assert set(mid["y"]) == {None}


def test_a_year_shows_all_its_spend_but_little_of_the_time_without_results() -> None:
    year = Period.of(NOW - 365 * DAY, NOW)
    calls = [call("old", at=NOW - 300 * DAY), call("new")]

    drawn = charts(numbers((calls, [result("new", steps=[step(Tier.SMALL)])], []), year))

    days = {name: drawn[name]["layout"]["xaxis"]["range"] for name in ("over-time", "first-pass")}
    assert [round((end - start) / DAY) for start, end in days.values()] == [301, 8]
    assert len(drawn["over-time"]["layout"]["xaxis"]["tickvals"]) <= 9


def test_a_long_name_is_cut_and_whole_in_its_title() -> None:
    long = "x" * 200

    source = page(numbers(([call(long)], [result(long)], [])))

    assert f'title="{long}"' in source
    assert f"{'x' * 59}…" in Seen(source).text
    assert long not in Seen(source).text


def test_no_task_is_said_and_draws_nothing() -> None:
    seen = Seen(page(numbers(([], [], []))))

    assert "No task and no model call is on record in this period." in seen.text
    assert seen.scripts[0] == "{}"
    assert "$0" not in seen.text


def test_only_rejected_tasks_are_a_report_too() -> None:
    seen = Seen(page(numbers(([], [], [rejection("prompt is empty")]))))

    assert "Rejected tasks: 1" in seen.text
    assert "prompt is empty" in seen.text


def test_one_task_makes_a_page() -> None:
    records: World = ([call()], [result(steps=[step(Tier.SMALL)])], [])

    seen = Seen(page(numbers(records)))

    assert set(json.loads(seen.scripts[0])) == CHARTS
    assert TRACE in seen.text


def test_traces_are_links_only_where_an_address_was_given() -> None:
    found = numbers(([call()], [result()], []))

    assert Seen(page(found)).addresses() == []
    linked = Seen(page(found, jaeger="http://localhost:16686/")).addresses()
    assert linked == [f"http://localhost:16686/trace/{TRACE}"]


def test_the_page_of_ten_thousand_tasks_is_small() -> None:
    source = page(numbers(world(10_000, days=7)))

    assert len(source) - len(get_plotlyjs()) < 200_000


def luminance(colour: str) -> float:
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_tier_colours_can_be_read() -> None:
    assert all(contrast(FILL[tier], INK[tier]) >= 4.5 for tier in Tier)
    assert all(contrast(LINE[tier], "#ffffff") >= 3 for tier in Tier)


def test_the_terminal_summary_has_the_same_numbers() -> None:
    from rich.console import Console

    found = numbers(evil())
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        show(found, console, "[red]note")

    told = captured.get()
    assert "[red]note" in told
    assert EVIL in told
    assert "unpriced" in told
    with console.capture() as captured:
        show(numbers(([], [], [])), console)
    assert "Nothing was done" in captured.get()
