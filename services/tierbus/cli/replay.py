"""The commands `replay` and `replay convert`: policies judged offline on recorded answers."""

import json
from dataclasses import asdict
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tierbus.cli.output import Exit, err, fail, out
from tierbus.cli.refusals import refused
from tierbus.replay.errors import INSTALL, Unplayable
from tierbus.replay.records import read, write
from tierbus.replay.routerbench import convert as converted

if TYPE_CHECKING:
    from tierbus.replay.report import Lesson, Report

PLAY = "play"
PICTURES = (".svg", ".html")


class Rows(StrEnum):
    """Which tasks are played."""

    TEST = "test"
    ALL = "all"


class _PlayFirst(TyperGroup):
    """A first word that is no command is a file to play."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [PLAY, *args]
        return super().parse_args(ctx, args)


replay = typer.Typer(
    cls=_PlayFirst,
    no_args_is_help=True,
    help="Judge routing policies offline, on recorded answers: `replay DATA --cheap M[,M] --strong M`.",
)


@replay.command(PLAY)
def play(
    data: Annotated[Path, typer.Argument(help="Recorded answers, .jsonl or .jsonl.gz.")],
    cheap: Annotated[str, typer.Option("--cheap", help="Cheap models in the order they are asked: M or M,M.")],
    strong: Annotated[str, typer.Option("--strong", help="The strong model.")],
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", "-p", help="`learned`, a policy file, or a baseline by name; repeat."),
    ] = None,
    rows: Annotated[
        Rows, typer.Option("--rows", help="Play the test split, or all tasks, each fifth fitted on the rest.")
    ] = Rows.TEST,
    fit: Annotated[
        Path | None, typer.Option("--fit", help="Fit on all of this file instead of DATA's train split.")
    ] = None,
    fit_cheap: Annotated[
        str | None, typer.Option("--fit-cheap", help="The cheap models there; default as --cheap.")
    ] = None,
    fit_strong: Annotated[
        str | None, typer.Option("--fit-strong", help="The strong one there; default as --strong.")
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0, max=100, help="Points below the strong model that are equal quality.")
    ] = 1.0,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
    orders: Annotated[int, typer.Option("--orders", min=0, help="Random orders of arrival.")] = 1000,
    resplits: Annotated[int, typer.Option("--resplits", min=0, help="Random 60/40 splits to fit on anew.")] = 8,
    review: Annotated[
        float, typer.Option("--review", min=0, help="A reviewer's look costs this share of the strong call.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Where everything random comes from.")] = 0,
    apgr_only: Annotated[bool, typer.Option("--apgr-only", help="Compare routers without money.")] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw cost and quality: .svg or .html.")] = None,
) -> None:
    """Play policies on recorded answers: accuracy, dollars, and how sure both are.

    Baselines: always-0, always-1, ..., always-strong, random, length, category, two-agree, perfect-review, single-best. They
    are all played unless some of them are named with --policy.
    """
    _targets(as_json, picture)
    _need_numpy()
    from tierbus.cli.replaying.chosen import chosen
    from tierbus.cli.replaying.page import page
    from tierbus.cli.replaying.picture import drawing
    from tierbus.cli.replaying.terminal import show
    from tierbus.replay.baselines import baselines
    from tierbus.replay.evaluate import Rules
    from tierbus.replay.report import Wish, report

    rules = Rules(margin=margin / 100, draws=draws, orders=orders, resplits=resplits, review_price=review, seed=seed)
    models = (*_names(cheap, "--cheap"), _name(strong, "--strong"))
    lesson = (fit, (*_names(fit_cheap or cheap, "--fit-cheap"), _name(fit_strong or strong, "--fit-strong")))

    def work() -> "Report":
        recorded = read(data)
        grouped = any(row.group is not None for row in recorded)
        known = baselines(models, rules.margin, grouped=grouped)
        players, best = chosen(tuple(policy or ()), known, models, rules.margin)
        wish = Wish(models, players, rules, rows is Rows.ALL, not apgr_only, best, _lesson(*lesson, models))
        with err.status("reading") as status:
            return report(recorded, wish, lambda name: status.update(f"playing {name}"))

    found = refused(work)
    show(found, out)
    if as_json is not None:
        _write(as_json, "--json", json.dumps(asdict(found), indent=1, allow_nan=False) + "\n")
    if picture is not None:
        _write(picture, "--picture", page(found) if picture.suffix == ".html" else drawing(found))


@replay.command("convert")
def convert(
    table: Annotated[Path, typer.Argument(help="RouterBench's table as .csv or .jsonl, also with .gz.")],
    target: Annotated[Path, typer.Argument(help="Where the records go: .jsonl or .jsonl.gz.")],
) -> None:
    """Make recorded answers from RouterBench's table; a pickle is never read. A score of .5 or more counts as right."""
    if not target.name.endswith((".jsonl", ".jsonl.gz")):
        fail(f"{str(target)!r} ends neither with .jsonl nor with .jsonl.gz", Exit.USAGE)
    count = refused(lambda: write(target, converted(table)))
    out.print(f"{count:,} tasks: {target}", markup=False, soft_wrap=True)


def _names(given: str, option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(","))
    if not all(names):
        fail(f"{option} {given!r} has an empty name; say M or M,M", Exit.USAGE)
    return names


def _name(given: str, option: str) -> str:
    name, *more = _names(given, option)
    if more:
        fail(f"{option} {given!r} names more than one model", Exit.USAGE)
    return name


def _lesson(file: Path | None, there: tuple[str, ...], here: tuple[str, ...]) -> "Lesson | None":
    from tierbus.replay.report import Lesson

    if file is None:
        return None
    if len(there) != len(here):
        raise Unplayable(f"the ladder to fit on has {len(there)} models, the one to play {len(here)}; they must match")
    return Lesson(read(file), there)


def _targets(as_json: Path | None, picture: Path | None) -> None:
    """Refuse before anything is worked out what could not be written after."""
    for option, path in (("--json", as_json), ("--picture", picture)):
        if path is not None and not path.parent.is_dir():
            fail(f"{option} {str(path)!r} cannot be written: there is no folder {str(path.parent)!r}", Exit.USAGE)
    if picture is not None and picture.suffix not in PICTURES:
        fail(f"--picture {str(picture)!r} must end in .svg or .html; other kinds are not drawn", Exit.USAGE)


def _write(path: Path, option: str, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{option} {str(path)!r} cannot be written: {error.strerror}", Exit.USAGE)


def _need_numpy() -> None:
    if find_spec("numpy") is None:
        fail(f"replay needs the library numpy; {INSTALL}", Exit.MISCONFIGURED)
