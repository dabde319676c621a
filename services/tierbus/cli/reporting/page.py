"""From the numbers of a report to one HTML page that needs nothing else: scripts, styles and data are inside it."""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from importlib import resources
from string import Template

from tierbus.cli.reporting import sections, watched
from tierbus.cli.reporting.charts import Chart, charts
from tierbus.cli.reporting.figures import Figures
from tierbus.cli.reporting.findings import bound, coverage, headline, warnings
from tierbus.cli.reporting.markup import Html, data, joined, tag
from tierbus.cli.reporting.text import AT_LEAST, UNKNOWN, cost, count, length, moment, share, span, usd


def page(figures: Figures, note: str | None = None, jaeger: str | None = None) -> str:
    """The page. `note` is a banner; `jaeger` is the address that trace ids are linked to, without it they are text."""
    return document(f"Tierbus report, {span(figures.period)}", _parts(figures, note, jaeger), charts(figures))


def document(title: str, parts: Iterable[Html], drawn: Mapping[str, Chart]) -> str:
    """Any page of ours: its parts, and the charts by the ids of their places (`chart-<id>`)."""
    from plotly.offline import get_plotlyjs

    script, plotly = _file("page.js"), get_plotlyjs()
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        policy=_policy(plotly, script),
        style=_file("page.css"),
        body=joined(parts),
        charts=data(drawn),
        plotly=plotly,
        script=script,
    )


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Only these scripts run, and nothing is loaded from anywhere."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def _parts(figures: Figures, note: str | None, jaeger: str | None) -> list[Html]:
    banner = [tag("p", note, class_="banner", role="note")] if note else []
    if not figures.tasks and not figures.rejected:
        empty = tag("p", "No task and no model call is on record in this period.", class_="empty")
        return [_header(figures), *banner, empty, _method(figures)]
    return [
        _header(figures),
        *banner,
        *_warnings(figures),
        _tiles(figures),
        sections.compared(figures),
        sections.over_time(figures),
        sections.where(figures),
        sections.quality(figures),
        watched.section(figures),
        sections.dearest(figures, jaeger),
        _method(figures),
    ]


def _header(figures: Figures) -> Html:
    facts = [
        ("Period", span(figures.period)),
        ("Tenants" if figures.tenant is None else "Tenant", _tenants(figures)),
        ("Tasks", f"{figures.tasks:,}"),
        ("Made", f"{moment(figures.period.until)} UTC"),
    ]
    return tag(
        "header",
        tag("p", "Tierbus cost report", class_="eyebrow"),
        tag("h1", headline(figures)),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )


def _tenants(figures: Figures) -> str:
    if figures.tenant is not None:
        return figures.tenant
    first = ", ".join(figures.tenants[:4])
    rest = len(figures.tenants) - 4
    return f"all: {first} and {rest} more" if rest > 0 else f"all: {first}" if first else "all"


def _warnings(figures: Figures) -> list[Html]:
    boxes = [
        ("warning", "Before you trust the sums", warnings(figures)),
        ("coverage", "What is from when", coverage(figures)),
    ]
    return [
        tag("aside", tag("h2", title), tag("ul", *(tag("li", line) for line in lines)), class_=f"box {kind}")
        for kind, title, lines in boxes
        if lines
    ]


def _tiles(figures: Figures) -> Html:
    return tag(
        "section",
        tag("div", *_money_tiles(figures), class_="tiles"),
        tag("div", *_work_tiles(figures), class_="tiles small"),
        aria_label="Key figures",
    )


def _money_tiles(figures: Figures) -> list[Html]:
    numbers, recent = figures.compared, _recent(figures)
    saving, percent = numbers.saving_nano_usd, share(numbers.saving_nano_usd, numbers.baseline_nano_usd)
    mood = "" if saving is None else "good" if saving >= 0 else "bad"
    spent_then = cost(numbers.spent_nano_usd, numbers.calls, numbers.unpriced)
    against = "of the baseline" if figures.period.results_complete else f"of the baseline, {spent_then} spent{recent}"
    least = AT_LEAST if numbers.unpriced and numbers.succeeded else ""
    return [
        _tile(
            "Spent",
            cost(figures.spent_nano_usd, figures.calls, figures.doubts.unpriced),
            f"{count(figures.calls, 'model call')}, those of failed tasks included",
        ),
        _tile("Baseline", usd(numbers.baseline_nano_usd), f"succeeded tasks on the frontier alone{recent}"),
        _tile("Saving", f"{bound(numbers) if saving is not None else ''}{usd(saving)}", f"{percent} {against}", mood),
        _tile(
            "Per accepted task",
            f"{least}{usd(numbers.per_accepted_nano_usd)}",
            f"including what failed ones cost{recent}",
        ),
    ]


def _work_tiles(figures: Figures) -> list[Html]:
    numbers, recent = figures.compared, _recent(figures)
    accepted, answered = figures.first_accepted, figures.first_answered
    succeeded = f"{numbers.succeeded:,} of {count(numbers.ended, 'ended task')}{recent}"
    return [
        _tile("Succeeded", share(numbers.succeeded, numbers.ended), succeeded),
        _tile("Accepted at first try", share(accepted, answered), f"{accepted:,} of {count(answered, 'step')}{recent}"),
        _tile(
            "Escalations",
            UNKNOWN if figures.climbs is None else f"{figures.climbs:,}",
            f"steps sent one tier up{recent}",
        ),
        _tile(
            "Overhead",
            share(figures.overhead_nano_usd, figures.spent_nano_usd),
            f"{usd(figures.overhead_nano_usd)} for all but the executor",
        ),
    ]


def _tile(name: str, value: str, about: str, mood: str = "") -> Html:
    return tag(
        "div",
        tag("p", name, class_="name"),
        tag("p", value, class_="value"),
        tag("p", about, class_="about"),
        class_=f"tile {mood}".rstrip(),
    )


def _recent(figures: Figures) -> str:
    kept = f", last {length(figures.period.until - figures.period.results_from)}"
    return "" if figures.period.results_complete else kept


def _method(figures: Figures) -> Html:
    lines = [
        "Spend is the sum of the ledger's calls that began in the period, failed and interrupted calls included.",
        f"Baseline, by name: {figures.compared.method}.",
        "Saving is the baseline of the succeeded tasks minus everything spent; it is negative where that was dearer.",
        "Everything spent: failed, cancelled and expired tasks, planning, review, quality watch, tasks without a result yet.",
        "Cost per accepted task is everything spent divided by the number of succeeded tasks.",
        "First attempts count once a step, when its task has ended, by the tier that answered first.",
        "Quality watch: a drawn share of succeeded tasks is given to the frontier too, whole, and both answers to a check.",
        "Without a check a judge who does not know whose they are reads them in both orders; only what both show counts.",
        "Intervals are for 95 %: quality by Agresti and Min's, true saving by the paired bootstrap, feedback by Wilson's.",
        "Amounts are whole nano-dollars inside and rounded only where they are shown; days and hours are UTC.",
    ]
    return tag("footer", tag("h2", "How it is counted"), tag("ul", *(tag("li", line) for line in lines)))
