"""The seam to the learned policy: fitted on a board here, or read from a file where it was stored."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

from tierbus.errors import Misconfigured
from tierbus.policy.moves import Policy
from tierbus.replay.board import Board
from tierbus.replay.errors import INSTALL


def fitted(train: Board, margin: float) -> Policy:
    """A policy learned from these tasks: `tierbus.policy.fit.fit(cases, seens, correct, models, aim)`.

    `cases` and `seens` are as on the board; `correct` says for every task, place by place, whether the answer was right. The aim
    is to lose no more accuracy than the margin (.01 is one point).

    Raises:
        Misconfigured: this release has no learned policy, or a library for it is missing.
    """
    module = _module("tierbus.policy.fit")
    correct = tuple(tuple(row) for row in train.correct.tolist())
    return cast("Policy", module.fit(train.cases, train.seens, correct, train.models, module.Aim(target=margin)))


def stored(path: Path) -> Policy:
    """A policy from a file: `tierbus.policy.store.load(path)`.

    Raises:
        Misconfigured: this release cannot read it, or a library for it is missing.
    """
    return cast("Policy", _module("tierbus.policy.store").load(path))


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("tierbus."):
            raise Misconfigured(f"this release has no {error.name}: it cannot learn or read policies") from error
        raise Misconfigured(f"no library {error.name}; {INSTALL}") from error
