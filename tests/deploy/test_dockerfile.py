"""The Dockerfile and what is let into its context."""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.deploy import code

Check = Callable[["Dockerfile"], list[str]]
OCI = {"title", "description", "version", "revision", "source", "licenses"}


class Dockerfile(NamedTuple):
    """Every stage as its instructions in order; what stands before the first stage is stage 0."""

    stages: list[list[tuple[str, str]]]

    @classmethod
    def parse(cls, text: str) -> "Dockerfile":
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        stages: list[list[tuple[str, str]]] = [[]]
        for line in "\n".join(lines).replace("\\\n", " ").splitlines():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                stages.append([])
            stages[-1].append((word, " ".join(rest.split())))
        return cls(stages)

    def last(self, word: str) -> str:
        """What the final stage says last with this instruction."""
        return next((rest for found, rest in reversed(self.stages[-1]) if found == word), "")


def base(file: Dockerfile) -> list[str]:
    """Every stage stands on ARG BASE, which is pinned."""
    wrong = [code.loose_image(rest.removeprefix("BASE=")) for word, rest in file.stages[0] if rest.startswith("BASE=")]
    stages = [rest for stage in file.stages[1:] for word, rest in stage if word == "FROM"]
    wrong += [f"FROM {rest}" for rest in stages if rest.split()[0] != "${BASE}"]
    return [problem for problem in wrong or ["no ARG BASE"] if problem]


def user(file: Dockerfile) -> list[str]:
    """The user is a number: Kubernetes cannot tell that a name is not root."""
    return [] if re.fullmatch(r"[1-9]\d*:[1-9]\d*", file.last("USER")) else [f"USER {file.last('USER')}"]


def start(file: Dockerfile) -> list[str]:
    """No shell stands between the process and the signal that stops it."""
    wrong = []
    for word in ("ENTRYPOINT", "CMD"):
        try:
            words = json.loads(file.last(word))
        except ValueError:
            wrong.append(f"{word} is not in exec form")
        else:
            wrong += [] if word == "CMD" or words == ["tierbus"] else [f"ENTRYPOINT {words}"]
    return wrong + ([] if file.last("STOPSIGNAL") == "SIGTERM" else ["STOPSIGNAL"])


def lock(file: Dockerfile) -> list[str]:
    """What we stand on is installed by hash and before the sources; nothing is fetched without a hash."""
    build = file.stages[1]
    installs = [index for index, (word, rest) in enumerate(build) if word == "RUN" and "pip install" in rest]
    sources = [index for index, (word, rest) in enumerate(build) if word == "COPY" and rest.startswith("services")]
    if len(installs) != 2 or len(sources) != 1:
        return ["two installs and one copy of the sources are looked for"]
    first, second = (build[index][1] for index in installs)
    fine = {
        "hashes": "--require-hashes" in first and "--no-deps" in first and "requirements.lock" in first,
        "no dependencies": "--no-deps" in second and "--no-build-isolation" in second,
        "sources last": installs[0] < sources[0] < installs[1],
    }
    return [name for name, good in fine.items() if not good]


def read_only(file: Dockerfile) -> list[str]:
    """Nothing is written at run time outside /tmp, and the final stage takes the environment alone."""
    env = " ".join(rest for word, rest in file.stages[-1] if word == "ENV")
    wrong = [each for each in ("PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "HOME=/tmp") if each not in env]
    wrong += [
        rest for word, rest in file.stages[-1] if word in {"COPY", "ADD"} and not rest.startswith("--from=build ")
    ]
    return wrong + [f"RUN {rest}" for word, rest in file.stages[-1] if word == "RUN"]


def labels(file: Dockerfile) -> list[str]:
    """The image says what it is, of which version."""
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', file.last("LABEL")))
    wrong = sorted(OCI - found.keys())
    return wrong if ("ARG", f"VERSION={code.version()}") in file.stages[-1] else [*wrong, "VERSION is not the code's"]


CHECKS: tuple[Check, ...] = (base, user, start, lock, read_only, labels)
TEXT = (code.DEPLOY / "Dockerfile").read_text(encoding="utf-8")
BREAKS: list[tuple[Check, str, str, str]] = [
    (base, "python:3.12-slim-bookworm", "python", "not pinned"),
    (base, "python:3.12-slim-bookworm", "python:latest", "not pinned"),
    (base, "FROM ${BASE} AS build", "FROM python:3.12 AS build", "FROM python:3.12"),
    (base, "ARG BASE", "ARG OTHER", "no ARG BASE"),
    (user, "USER 65532:65532", "", "USER"),
    (user, "USER 65532:65532", "USER nobody", "USER nobody"),
    (user, "USER 65532:65532", "USER 0:0", "USER 0:0"),
    (start, 'ENTRYPOINT ["tierbus"]', "ENTRYPOINT tierbus", "ENTRYPOINT is not in exec form"),
    (start, 'CMD ["--help"]', "CMD --help", "CMD is not in exec form"),
    (start, 'ENTRYPOINT ["tierbus"]', 'ENTRYPOINT ["sh"]', "ENTRYPOINT ['sh']"),
    (start, "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "STOPSIGNAL"),
    (lock, "--require-hashes ", "", "hashes"),
    (lock, "--no-build-isolation ", "", "no dependencies"),
    (
        lock,
        "COPY requirements.lock /src/",
        "COPY requirements.lock /src/\nCOPY services /src/services",
        "two installs",
    ),
    (read_only, "PYTHONDONTWRITEBYTECODE=1", "A=1", "PYTHONDONTWRITEBYTECODE"),
    (read_only, "USER 65532:65532", "COPY . /app\nUSER 65532:65532", ". /app"),
    (read_only, "USER 65532:65532", "RUN true\nUSER 65532:65532", "RUN true"),
    (labels, "image.licenses", "image.license", "licenses"),
    (labels, f"VERSION={code.version()}", "VERSION=0.0.1", "VERSION"),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_dockerfile_is_right(check: Check) -> None:
    assert check(Dockerfile.parse(TEXT)) == []


@pytest.mark.parametrize(("check", "old", "new", "said"), BREAKS)
def test_each_check_finds_what_it_is_for(check: Check, old: str, new: str, said: str) -> None:
    assert old in TEXT

    problems = check(Dockerfile.parse(TEXT.replace(old, new)))

    assert any(said in problem for problem in problems), problems


def test_every_check_is_seen_to_fail() -> None:
    assert {check for check, *_ in BREAKS} == set(CHECKS)


def test_every_requirement_in_the_lock_has_a_hash() -> None:
    lines = (code.ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    named = [line for line in lines if "==" in line and not line.lstrip().startswith("#")]

    assert named
    assert [line for line in named if "--hash=sha256:" not in line] == []


def test_the_context_is_what_is_copied_and_nothing_else() -> None:
    lines = (code.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for word, rest in Dockerfile.parse(TEXT).stages[1] if word == "COPY" for name in rest.split()[:-1]}

    assert rules[0] == "*"
    assert let_in == copied
    assert all((code.ROOT / name).exists() for name in copied)
