"""A policy as one JSON file, and a folder with numbered versions of it.

The file says what wrote it and what it was fitted on, so that a service can refuse one that does not fit. In a folder,
`policy-0001.json`, `policy-0002.json`, ... stay as they were written; `current` holds the name of the one in use.
"""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from tierbus.errors import Misconfigured
from tierbus.policy.choose import Course, Curve
from tierbus.policy.drift import Level, Norm
from tierbus.policy.learned import Learned, Lesson, Rate, stage_name
from tierbus.policy.model import STRONG, Head, Stage
from tierbus.policy.moves import Case, Seen
from tierbus.policy.words import Pair, Voice, Words

FORMAT = "tierbus-policy"
SCHEMA_VERSION = 5
"""Goes up when the file's form or the meaning of a feature changes: a file of another version is refused."""
CURRENT = "current"
DIGEST_CHARS = 16
_NAME = re.compile(r"policy-(\d{4,})\.json", re.ASCII)


@dataclass(frozen=True)
class Made:
    """Where a policy comes from.

    Args:
        trained_at: Unix seconds.
        fingerprint: SHA-256 of the training data.
        rows: labelled tasks in it.
        ledger_until: up to when (Unix seconds) the ledger's verdicts are counted in it, by tenant; under `*` for all others.
    """

    trained_at: float
    fingerprint: str
    rows: int
    ledger_until: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """A policy with its origin; `digest` is of the file's text: another file, another policy."""

    policy: Learned
    made: Made
    digest: str = ""


def fingerprint(cases: Sequence[Case], correct: Sequence[Sequence[bool]], seens: Sequence[tuple[Seen, ...]]) -> str:
    """The SHA-256 of training data: ids, labels and texts in order."""
    digest = sha256()
    for case, right, answers in zip(cases, correct, seens, strict=True):
        row = [
            case.id,
            case.task_class,
            case.group,
            case.prompt,
            [int(one) for one in right],
            [one.text for one in answers],
        ]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def dump(policy: Learned, made: Made) -> str:
    """The text of the file."""
    body = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "made": asdict(made),
        "models": list(policy.models),
        "target": policy.target,
        "review_error": policy.review_error,
        "classes": {name: asdict(lesson) for name, lesson in sorted(policy.lessons.items())},
    }
    return json.dumps(body, allow_nan=False) + "\n"


def parse(text: str, where: str) -> Stored:
    """The policy that a file's text holds.

    Raises:
        Misconfigured: it is no policy file, of another schema version, or a part of it does not fit.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{where} is no policy: not JSON: {error}") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise Misconfigured(f"{where} is no policy: its format is not {FORMAT!r}; write one with `tierbus train`")
    if body.get("schema_version") != SCHEMA_VERSION:
        raise Misconfigured(
            f"{where} has schema_version {body.get('schema_version')!r}, this release reads {SCHEMA_VERSION}; train again"
        )
    try:
        return replace(_stored(body), digest=sha256(text.encode()).hexdigest()[:DIGEST_CHARS])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Misconfigured(f"{where} is damaged: {type(error).__name__}: {error}; train again or roll back") from None


def _stored(body: dict[str, Any]) -> Stored:
    models = tuple(_text(name) for name in body["models"])
    if not models or len(set(models)) < len(models):
        raise ValueError(f"models {models!r} are none or not distinct")
    lessons = {_text(name): _lesson(lesson, len(models)) for name, lesson in body["classes"].items()}
    policy = Learned(models, lessons, _number(body["target"]), review_error=_error(body["review_error"]))
    return Stored(policy, _made(body["made"]))


def _made(body: Mapping[str, Any]) -> Made:
    until = {_text(tenant): _number(at) for tenant, at in body["ledger_until"].items()}
    return Made(_number(body["trained_at"]), _text(body["fingerprint"]), int(body["rows"]), until)


def _error(value: Any) -> float | None:
    """A reviewer's chance of error; None where nobody is to look."""
    if value is None:
        return None
    error = _number(value)
    if not 0 <= error <= 1:
        raise ValueError(f"review_error {error!r} is not between 0 and 1")
    return error


def _lesson(body: Mapping[str, Any], places: int) -> Lesson:
    stages = {name: _stage(stage) for name, stage in body["stages"].items()}
    course = None if body["course"] is None else _course(body["course"], places)
    lesson = Lesson(
        rows=int(body["rows"]),
        groups=tuple(_text(name) for name in body["groups"]),
        costs_usd=_numbers(body["costs_usd"], places),
        stages=stages,
        course=course,
        quality=_number(body["quality"]),
        cost_share=_number(body["cost_share"]),
        rates=tuple(Rate(int(rate["accepted"]), int(rate["rejected"])) for rate in body["rates"]),
        words=None if body.get("words") is None else _words(body["words"], places),
        norm=None if body.get("norm") is None else _norm(body["norm"]),
    )
    if lesson.rates and len(lesson.rates) != places:
        raise ValueError(f"rates of {len(lesson.rates)} places, there are {places}")
    _check_stages(lesson)
    return lesson


def _norm(body: Mapping[str, Any]) -> Norm:
    own, least, most = _level(body), _number(body["least"]), _number(body["most"])
    agreement = None if body["agreement"] is None else _curve(body["agreement"])
    groups = {_text(name): _level(level) for name, level in body["groups"].items()}
    norm = Norm(own.rows, own.mean, own.spread, least, most, agreement, groups)
    for level in (norm, *groups.values()):
        if level.rows < 1 or level.spread < 0 or not -1 <= least <= level.mean <= most <= 1:
            raise ValueError(f"norm {dict(body)!r} is of no signs between -1 and 1")
    return norm


def _level(body: Mapping[str, Any]) -> Level:
    return Level(int(body["rows"]), _number(body["mean"]), _number(body["spread"]))


def _check_stages(lesson: Lesson) -> None:
    """Every stage that the course comes to is there, with the heads that it reads."""
    course = lesson.course
    if course is None:
        return
    needed = [((), {course.first}), ((course.first,), {course.first})]
    if course.second is not None:
        both = (course.first, course.second)
        needed.append((both, set(both)))
    for places, heads in needed:
        stage = lesson.stages[stage_name(places)]
        missing = {STRONG, *map(str, heads)} - stage.heads.keys()
        if missing:
            raise ValueError(f"stage {stage_name(places)!r} has no head {min(missing)!r}")
        missing = {*map(str, heads)} - stage.gains.keys()
        if missing:
            raise ValueError(f"stage {stage_name(places)!r} has no gain {min(missing)!r}")


def _stage(body: Mapping[str, Any]) -> Stage:
    names = tuple(_text(name) for name in body["names"])
    scales = _numbers(body["scales"], len(names))
    if any(scale <= 0 for scale in scales):
        raise ValueError("a scale is not above 0")
    heads, gains = (
        {name: Head(_numbers(head["weights"], len(names)), _number(head["bias"])) for name, head in body[of].items()}
        for of in ("heads", "gains")
    )
    return Stage(names, _numbers(body["means"], len(names)), scales, _number(body["limit"]), heads, gains)


def _words(body: Mapping[str, Any], places: int) -> Words:
    terms, names = tuple(map(_text, body["terms"])), tuple(map(_text, body["names"]))
    if len(set(terms)) < len(terms):
        raise ValueError("a term is there twice")
    scales = _numbers(body["scales"], len(names))
    if any(scale <= 0 for scale in scales):
        raise ValueError("a scale of the words' features is not above 0")
    voices = {question: _voice(voice, len(terms), len(names)) for question, voice in body["voices"].items()}
    pairs = {
        place: Pair(*(_voice(pair[outcome], len(terms), len(names)) for outcome in ("strong", "place", "both")))
        for place, pair in body["pairs"].items()
    }
    cheap = {*map(str, range(places - 1))}
    missing = ({STRONG} | cheap) - voices.keys() or cheap - pairs.keys()
    if missing:
        raise ValueError(f"the words say nothing of {min(missing)!r}")
    rarity, means = _numbers(body["rarity"], len(terms)), _numbers(body["means"], len(names))
    return Words(terms, rarity, names, means, scales, voices, pairs)


def _voice(body: Mapping[str, Any], terms: int, features: int) -> Voice:
    return Voice(_numbers(body["terms"], terms), _numbers(body["features"], features), _number(body["bias"]))


def _course(body: Mapping[str, Any], places: int) -> Course:
    course = Course(
        first=int(body["first"]),
        second=None if body["second"] is None else int(body["second"]),
        worth_usd=_number(body["worth_usd"]),
        costs_usd=_numbers(body["costs_usd"], places),
        after_prompt=_curve(body["after_prompt"]),
        after_first=None if body["after_first"] is None else _curve(body["after_first"]),
    )
    cheap = [*course.cheap]
    if len(set(cheap)) < len(cheap) or not all(0 <= place < places - 1 for place in cheap):
        raise ValueError(f"course over places {cheap!r} of {places}")
    return course


def _curve(body: Mapping[str, Any]) -> Curve:
    gains = tuple(_number(gain) for gain in body["gains"])
    if not gains or any(left >= right for left, right in itertools.pairwise(gains)):
        raise ValueError("a curve's gains do not rise")
    return Curve(gains, _numbers(body["means"], len(gains)))


def _numbers(values: Sequence[Any], count: int) -> tuple[float, ...]:
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers where {count} belong")
    return tuple(_number(value) for value in values)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def load(path: Path, models: Sequence[str] | None = None) -> Learned:
    """The policy of a file, or the one in use in a folder of versions.

    Args:
        path: the file or the folder.
        models: the ladder that it must be for; any without it.

    Raises:
        Misconfigured: it cannot be read, is no policy of this release, or is for other models.
    """
    return stored(path, models).policy


def stored(path: Path, models: Sequence[str] | None = None) -> Stored:
    """As `load`, with the policy's origin."""
    if path.is_dir():
        path = path / versions(path)[1]
    found = parse(_read(path), str(path))
    if models is not None and tuple(models) != found.policy.models:
        raise Misconfigured(
            f"{path} was trained for the models {', '.join(found.policy.models)}, not for {', '.join(models)}; train for these"
        )
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"policy {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def save(path: Path, policy: Learned, made: Made) -> None:
    """Write one file; it is there whole or not at all.

    Raises:
        Misconfigured: it cannot be written.
    """
    _write(path, dump(policy, made))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".part-{path.name}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def add(folder: Path, policy: Learned, made: Made) -> Path:
    """Keep a policy as the folder's next version and put it into use; its file.

    Raises:
        Misconfigured: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made: {error.strerror or error}") from None
    last = max((_number_of(name) for name in names(folder)), default=0)
    path = folder / f"policy-{last + 1:04d}.json"
    save(path, policy, made)
    _write(folder / CURRENT, path.name + "\n")
    return path


def names(folder: Path) -> list[str]:
    """The versions in a folder, oldest first."""
    found = [path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=_number_of)


def versions(folder: Path) -> tuple[list[str], str]:
    """The versions in a folder, oldest first, and the one in use.

    Raises:
        Misconfigured: there is none, or `current` names one that is not there.
    """
    found = names(folder)
    if not found:
        raise Misconfigured(f"there is no policy in {folder}; make one with `tierbus train`")
    current = _read(folder / CURRENT).strip()
    if current not in found:
        raise Misconfigured(
            f"{folder / CURRENT} names {current!r}, which is not there; roll back to one of {', '.join(found)}"
        )
    return found, current


def roll_back(folder: Path, number: int | None = None) -> str:
    """Put an earlier version into use: the one of this number, or the one before the current one; its name.

    Raises:
        Misconfigured: there is no such version.
    """
    if number is None:
        found, current = versions(folder)
        place = found.index(current)
        if not place:
            raise Misconfigured(f"{current} is the oldest policy in {folder}: there is none before it")
        name = found[place - 1]
    else:
        found = names(folder)
        wanted = [name for name in found if _number_of(name) == number]
        if not wanted:
            raise Misconfigured(f"there is no version {number} in {folder}; there are {', '.join(found) or 'none'}")
        name = wanted[0]
    parse(_read(folder / name), str(folder / name))
    _write(folder / CURRENT, name + "\n")
    return name


def _number_of(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found.group(1)) if found else 0
