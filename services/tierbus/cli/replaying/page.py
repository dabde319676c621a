"""A replay as one HTML page that needs nothing else and runs no script: the drawing, and every figure as a table."""

import html
from collections.abc import Iterator
from importlib import resources
from string import Template

from tierbus.cli.replaying.picture import drawing
from tierbus.cli.replaying.tables import headline, tables
from tierbus.cli.reporting.markup import Column, Html, joined, table, tag
from tierbus.replay.report import Report


def page(report: Report) -> str:
    """The page."""
    style = resources.files("tierbus.cli.reporting").joinpath("page.css").read_text(encoding="utf-8")
    source = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    title = f"Tierbus replay, {report.tasks:,} tasks"
    return Template(source).substitute(title=html.escape(title), style=style, body=joined(_parts(report)))


def _parts(report: Report) -> Iterator[Html]:
    yield tag("header", tag("p", "Tierbus replay", class_="eyebrow"), tag("h1", "Cost and quality of policies"))
    yield tag("p", headline(report), class_="lead")
    yield tag("section", Html(drawing(report)), class_="drawing")
    for found in tables(report):
        first = len(found.words)
        columns = [Column(name, number=at >= first) for at, name in enumerate((*found.words, *found.numbers))]
        yield tag("section", tag("h2", found.title), table(found.about, columns, [row.cells for row in found.rows]))
    yield tag(
        "footer",
        tag("h2", "Policies"),
        tag("ul", *(tag("li", f"{line.policy}: {line.about}") for line in report.lines)),
    )
