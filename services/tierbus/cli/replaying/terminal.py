"""The figures of a replay as a terminal shows them."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tierbus.cli.replaying.tables import Figures, headline, tables
from tierbus.replay.baselines import Kind
from tierbus.replay.report import Report

_STYLE = {Kind.TIER: "", Kind.BASELINE: "", Kind.BOUND: "dim", Kind.POLICY: "bold green"}


def show(report: Report, console: Console) -> None:
    """Print every table that has something in it, and how its figures are counted."""
    console.print(escape(headline(report)), soft_wrap=True)
    for found in tables(report):
        console.print(_drawn(found))
        console.print(escape(found.about), soft_wrap=True)
    if not report.routes:
        models = report.models
        console.print(
            escape(f"No router to compare: none scores tasks, or {models[-1]} is not better than {models[0]} here."),
            soft_wrap=True,
        )


def _drawn(found: Figures) -> Table:
    table = Table(title=f"\n{found.title}", title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in found.words:
        table.add_column(name, no_wrap=True)
    for name in found.numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(*map(escape, row.cells), style=_STYLE[row.kind])
    return table
