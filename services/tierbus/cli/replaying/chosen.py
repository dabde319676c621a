"""From the words of `--policy` to the policies that are played."""

from collections.abc import Sequence
from pathlib import Path

from tierbus.replay import learned
from tierbus.replay.baselines import Kind, Player
from tierbus.replay.errors import Unplayable
from tierbus.replay.report import SINGLE_BEST

LEARNED = "learned"


def chosen(words: Sequence[str], known: Sequence[Player]) -> tuple[tuple[Player, ...], bool]:
    """The policies, and whether the best single model is among them.

    Baselines by name are played alone; `learned` and files are played against all baselines, unless some are named too.

    Raises:
        Unplayable: a policy is named twice.
        Misconfigured: there is no such policy, or it cannot be read.
    """
    baselines = {player.name: player for player in known}
    named = [word for word in words if word in baselines or word == SINGLE_BEST]
    others = [_other(word) for word in words if word not in named]
    names = [*named, *(player.name for player in others)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Unplayable(f"policy {twice!r} is named twice")
    played = [baselines[word] for word in named if word != SINGLE_BEST] if named else list(known)
    return (*played, *others), not named or SINGLE_BEST in named


def _other(word: str) -> Player:
    if word == LEARNED:
        return Player(LEARNED, "learned from the tasks to fit on", learned.fitted, Kind.POLICY, fitted=True)
    policy = learned.stored(Path(word))
    return Player(Path(word).stem, "as stored", lambda _board: policy, Kind.POLICY)
