"""The command `train`: a policy learned from recorded answers or from the ledger, kept in numbered versions."""

import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from tierbus.bus.client import client
from tierbus.bus.tallies import JetTallies
from tierbus.cli.output import Exit, err, fail, out, run
from tierbus.cli.refusals import refused
from tierbus.cli.training.terminal import counted, counts, forgotten, trained
from tierbus.contracts import Result, Tier
from tierbus.errors import Unavailable
from tierbus.policy.assess import Mistake, assess
from tierbus.policy.learned import Learned
from tierbus.policy.looks import ASSUMED_ERROR
from tierbus.policy.store import Made, add, fingerprint, names, roll_back, stored, versions
from tierbus.policy.verdicts import Tally, overruled, tally
from tierbus.replay.errors import INSTALL, Unplayable
from tierbus.replay.records import Row, read
from tierbus.settings import Settings
from tierbus.tallies import START_S, SharedPolicy

if TYPE_CHECKING:
    from tierbus.replay.board import Board


def train(
    data: Annotated[
        list[str] | None, typer.Argument(help="Recorded answers, .jsonl or .jsonl.gz; with --rollback a version.")
    ] = None,
    out_: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder that keeps the versions: policy. With --used, TIERBUS_POLICY's."),
    ] = None,
    cheap: Annotated[str, typer.Option("--cheap", help="Cheap models, cheapest first: M or M,M.")] = "",
    strong: Annotated[str, typer.Option("--strong", help="The strong model.")] = "",
    target: Annotated[
        float, typer.Option("--target", min=0, max=100, help="Points of accuracy that may be lost against it.")
    ] = 1.0,
    review_error: Annotated[
        float | None,
        typer.Option(
            "--review-error",
            min=0,
            max=0.5,
            help="How often a reviewer's verdict is wrong; .5: never ask one. Default .15, or as it was with --from-ledger.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Learn from all tasks, not from the train split only.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write what it got wrong to this file, one JSON line a task.")
    ] = None,
    ledger: Annotated[bool, typer.Option("--from-ledger", help="Learn on from the verdicts in the ledger.")] = False,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Only this tenant's.")] = "*",
    used: Annotated[bool, typer.Option("--used", help="Show what the policy in use has counted on the bus.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the versions.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Use the version before, or the one named.")] = False,
) -> None:
    """Learn which model to ask and whether to take its answer, from recorded answers or from the ledger."""
    given = data or []
    to = out_ or Path("policy")
    options = {"--from-ledger": ledger, "--used": used, "--list": listed, "--rollback": rollback}
    asked = [*(name for name, on in options.items() if on), *([] if rollback else given)]
    if sum((bool(given) and not rollback, *options.values())) != 1:
        both = f"not {' with '.join(asked)}" if asked else "nothing was given"
        fail(f"name files of recorded answers, or one of {', '.join(options)}: {both}", Exit.USAGE)

    if report is not None and not report.parent.is_dir():
        fail(f"--report {str(report)!r} cannot be written: there is no folder {str(report.parent)!r}", Exit.USAGE)

    def work() -> None:
        if listed:
            _list(to)
        elif used:
            _used(out_ or Path(Settings.read().policy or to))
        elif rollback:
            out.print(f"in use: {roll_back(to, _number(given))}", markup=False)
        elif ledger:
            _from_ledger(to, tenant, review_error, report)
        else:
            wish = _Wish(_ladder(cheap, strong), target / 100, review_error, every, report)
            _from_files([Path(name) for name in given], to, wish)

    refused(work)


_VERSION = re.compile(r"(?:policy-)?([0-9]{1,9})(?:\.json)?")


class _Wish(NamedTuple):
    """What is to be learned: for which ladder, with what target, from all tasks or the train split; where mistakes go."""

    models: tuple[str, ...]
    target: float
    review_error: float | None
    every: bool
    report: Path | None


def _number(given: list[str]) -> int | None:
    if not given:
        return None
    named = _VERSION.fullmatch(given[0])
    if len(given) > 1 or named is None:
        fail(f"--rollback takes one version, as 2 or policy-0002.json, not {' '.join(given)!r}", Exit.USAGE)
    return int(named[1])


def _ladder(cheap: str, strong: str) -> tuple[str, ...]:
    models = tuple(name.strip() for name in (*cheap.split(","), strong))
    if not all(models) or "," in strong:
        fail(f"--cheap {cheap!r} and --strong {strong!r} must name the ladder: --cheap M[,M] --strong M", Exit.USAGE)
    return models


def _list(folder: Path) -> None:
    found, current = versions(folder)
    for name in found:
        made = stored(folder / name).made
        at = datetime.fromtimestamp(made.trained_at, UTC).strftime("%Y-%m-%d %H:%M")
        mark = "in use" if name == current else ""
        out.print(
            f"{name}  {at} UTC  {made.rows:,} labelled tasks  {made.fingerprint[:12]}  {mark}".rstrip(), markup=False
        )


def _used(path: Path) -> None:
    """What every process that uses the policy decides from now."""
    found = stored(path)
    policy = run(_counted(found.policy, found.digest))
    for line in counts(policy):
        out.print(line, markup=False, soft_wrap=True)


async def _counted(policy: Learned, digest: str) -> Learned:
    async with client(Settings.read()) as bus:
        tallies = JetTallies(bus.publisher, bus.nc)
        await tallies.born()
        shared = SharedPolicy(policy, digest, tallies, keeps=False)
        await shared.start()
        await shared.stop()
        if not shared.read:
            raise Unavailable(f"the counts of the policy were not all read in {START_S:g} s; try again")
    return policy


def _from_files(paths: list[Path], folder: Path, wish: _Wish) -> None:
    _need("numpy")
    _need("sklearn")
    from tierbus.policy.fit import Aim, fit
    from tierbus.replay.board import board

    report, models = wish.report, wish.models
    rows = [row for path in paths for row in read(path)]
    lesson, exam = _halves(rows, wish.every)
    known = board(lesson, models)
    right = known.correct.tolist()
    with err.status(f"learning from {len(lesson):,} tasks"):
        policy = fit(known.cases, known.seens, right, models, Aim(wish.target))
    policy.review_error = ASSUMED_ERROR if wish.review_error is None else wish.review_error
    made = Made(time.time(), fingerprint(known.cases, right, known.seens), len(lesson))
    before = stored(folder).policy if names(folder) else None
    path = add(folder, policy, made)
    if exam:
        where, tried = "test split", board(exam, models)
    else:
        where, tried = "the training tasks themselves", known
    _tell(policy, tried, where, report)
    for line in forgotten(policy, before, folder):
        err.print(line, markup=False, soft_wrap=True)
    out.print(f"in use: {path}", markup=False, soft_wrap=True)


def _halves(rows: list[Row], every: bool) -> tuple[list[Row], list[Row]]:
    """Tasks to learn from, and tasks to report on."""
    if every:
        return rows, []
    lesson = [row for row in rows if row.split == "train"]
    if not lesson:
        raise Unplayable(f"none of {len(rows)} tasks is of the train split; --all learns from all of them")
    return lesson, [row for row in rows if row.split == "test"]


def _tell(policy: Learned, tried: "Board", where: str, report: Path | None) -> None:
    found, mistakes = assess(policy, tried.cases, tried.seens, tried.correct.tolist())
    for line in trained(policy, found, mistakes, where):
        out.print(line, markup=False, soft_wrap=True)
    if report is not None:
        _write(report, mistakes)


def _write(path: Path, mistakes: list[Mistake]) -> None:
    try:
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in mistakes), encoding="utf-8")
    except OSError as error:
        fail(f"--report {str(path)!r} cannot be written: {error.strerror}", Exit.USAGE)


def _from_ledger(folder: Path, tenant: str, review_error: float | None, report: Path | None) -> None:
    """Count what reviewers said since the last time; the policy in use, or a new one over the tiers, learns on.

    The reviewer's error stays as it was unless it is given.
    """
    if names(folder):
        before = stored(folder)
        policy, made = before.policy, before.made
    else:
        policy, made = Learned(tuple(Tier), {}, 0.01), Made(0.0, "", 0)
    results = run(_results(tenant))
    found = tally(results, policy.models, made.ledger_until)
    if not found.rates:
        _nothing(found)
    again = policy.taught(found.rates, {name: found.costs_usd(name) for name in found.rates})
    again.review_error = policy.review_error if review_error is None else review_error
    path = add(folder, again, Made(time.time(), made.fingerprint, made.rows, found.until))
    mistakes = overruled(results, policy.models, made.ledger_until)
    for line in counted(found, again, mistakes):
        out.print(line, markup=False, soft_wrap=True)
    if report is not None:
        _write(report, mistakes)
    out.print(f"in use: {path}", markup=False, soft_wrap=True)


def _nothing(found: Tally) -> NoReturn:
    fail(
        f"the ledger has nothing new to learn from: {found.results} finished tasks since the last time,"
        f" {found.elsewhere} attempts by models that are not on the policy's ladder",
        Exit.NOT_SUCCEEDED,
    )


async def _results(tenant: str) -> list[Result]:
    async with client(Settings.read()) as bus:
        return [event async for event in bus.events(f"tierbus.event.{tenant}.*.result") if isinstance(event, Result)]


def _need(library: str) -> None:
    if find_spec(library) is None:
        fail(f"train needs the library {library}; {INSTALL}", Exit.MISCONFIGURED)
