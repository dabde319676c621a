"""The command `audit`: what your call logs say about where the money goes, before anything is adopted. No bus, no model.

Exit codes: 0 every file was read and held calls (rows that could not be read are counted in the report), 1 the report was
made, but a file could not be read to its end or held no call, 2 wrong use, 3 no call was found at all, 6 the tier file
cannot be used.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tierbus.audit.detect import Format
from tierbus.audit.figures import Figures, figures
from tierbus.audit.readers.columns import Columns, parse
from tierbus.audit.scan import Wanted, scan
from tierbus.audit.tally import Known
from tierbus.cli.auditing.page import page
from tierbus.cli.auditing.terminal import show
from tierbus.cli.output import Exit, err, fail, out
from tierbus.errors import Misconfigured, Unavailable
from tierbus.settings import Settings
from tierbus.tiers.catalog import Catalog, load

_MOST_SAMPLES = 20


class FormatWord(StrEnum):
    """What `--format` takes."""

    AUTO = "auto"
    REQUESTS = "requests"
    LITELLM = "litellm"
    LANGFUSE = "langfuse"
    OTEL = "otel"
    COLUMNS = "columns"


def audit(
    logs: Annotated[list[Path], typer.Argument(help="Call logs, or folders of them; .gz too.", show_default=False)],
    html: Annotated[Path | None, typer.Option("--html", help="Write one HTML page that needs nothing else.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    format_: Annotated[
        FormatWord, typer.Option("--format", help="How the logs are written; auto looks at each file.")
    ] = FormatWord.AUTO,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="What a table's columns hold: model=mdl,input_tokens=in,… Logs of a known format that lack them are read as such.",
        ),
    ] = None,
    tiers: Annotated[
        str | None, typer.Option("--tiers", help="The tier file to compare with; without it, the one in force.")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=0, max=_MOST_SAMPLES, help="Show so many prompts a kind, cut and redacted.")
    ] = 0,
    show_users: Annotated[
        bool, typer.Option("--show-users", help="Show users and keys by name, not by a hash.")
    ] = False,
) -> None:
    """Audit call logs: where the money goes, what each tier would cost, what to move first. Calls nothing.

    Exit codes: 0 all files were read, 1 some file was not read to its end or held no call, 2 wrong use, 3 no call was found,
    6 misconfigured. Rows that cannot be read are counted by reason and named with file and line; they change no exit code.
    """
    paths = _paths(logs)
    if columns and format_ not in (FormatWord.AUTO, FormatWord.COLUMNS):
        fail(f"--columns says what a table holds, --format {format_} reads none: give one of them", Exit.USAGE)
    wanted = Wanted(None if format_ is FormatWord.AUTO else Format(format_.value), _columns(columns))
    for option, target in (("--html", html), ("--json", json_)):
        if target is not None and not target.absolute().parent.is_dir():
            fail(f"{option} {str(target)!r} cannot be written: there is no folder {str(target.parent)!r}", Exit.USAGE)
    known = Known(_catalog(tiers), time.time(), samples)
    found = _read(paths, known, wanted, show_users=show_users)
    _write("--json", json_, lambda: found.model_dump_json(indent=2))
    if found.calls:
        _write("--html", html, lambda: page(found))
    show(found, out)
    if html is not None and found.calls:
        out.print(f"\npage: {html}", soft_wrap=True, markup=False)
    _end(found)


def _paths(logs: list[Path]) -> list[Path]:
    found: list[Path] = []
    for log in logs:
        if log.is_dir():
            found += sorted(path for path in log.rglob("*") if path.is_file() and not path.name.startswith("."))
        elif log.exists():
            found.append(log)
        else:
            fail(f"there is no file {str(log)!r}", Exit.USAGE)
    if not found:
        fail(f"there is no file in {', '.join(repr(str(log)) for log in logs)}", Exit.USAGE)
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def _columns(text: str | None) -> Columns | None:
    try:
        return parse(text) if text else None
    except ValueError as error:
        fail(str(error), Exit.USAGE)


def _catalog(name: str | None) -> Catalog:
    try:
        return load(name or Settings.read().tiers)
    except Misconfigured as error:
        fail(str(error), Exit.MISCONFIGURED)


def _read(paths: list[Path], known: Known, wanted: Wanted, *, show_users: bool) -> Figures:
    try:
        with _progress(paths) as told:
            tally, files = scan(paths, known, wanted, told)
    except Unavailable as error:
        fail(str(error), Exit.NOT_SUCCEEDED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    return figures(tally, files, known, show_users=show_users)


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Callable[[Path, int], None]]:
    """A bar over the bytes on disk, on stderr, only where a person looks."""
    if not sys.stderr.isatty():
        yield lambda _path, _bytes: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("reading", total=sum(path.stat().st_size for path in paths))
        yield lambda path, more: bar.update(task, advance=more, description=path.name)


def _write(option: str, target: Path | None, made: Callable[[], str]) -> None:
    if target is None:
        return
    try:
        target.write_text(made(), encoding="utf-8")
    except OSError as error:
        fail(f"{option} {str(target)!r} cannot be written: {error.strerror}", Exit.USAGE)


def _end(found: Figures) -> NoReturn:
    if not found.calls:
        fail(
            "no call was found in these files: see above why, or say the format with --format or --columns",
            Exit.REJECTED,
        )
    whole = all(file.calls and not file.trouble for file in found.files)
    raise typer.Exit(int(Exit.OK if whole else Exit.NOT_SUCCEEDED))
