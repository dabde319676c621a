"""The `tierbus` command.

Exit codes: 0 done, 1 the task did not succeed, 2 wrong use, 3 rejected, 4 no bus, 5 timed out waiting, 6 misconfigured.
"""

from collections.abc import Callable

import typer

from tierbus.cli import audit, busadmin, demo, money, pilot, quality, replay, report, tasks, trace, train, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Publish tasks to a bus; the cheapest model that does each well does it.",
    epilog="Exit codes: 0 done, 1 the task did not succeed, 2 wrong use, 3 rejected, 4 no bus, 5 timed out, 6 misconfigured.",
)
COMMANDS: tuple[Callable[..., None], ...] = (
    up.up,
    up.serve,
    tasks.submit,
    tasks.watch,
    tasks.result,
    tasks.cancel,
    tasks.tasks,
    trace.trace,
    train.train,
    money.costs,
    money.tiers,
    report.report,
    audit.audit,
    quality.feedback,
    quality.quality,
    demo.demo,
    up.doctor,
    up.sim,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(replay.replay, name="replay")
app.add_typer(busadmin.dead, name="dead")
app.add_typer(busadmin.bus, name="bus")
app.add_typer(pilot.pilot, name="pilot")
