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
        Unplayable: there is no such policy, or it is named twice.
        Misconfigured: it cannot be read by this release.
    """
    baselines = {player.name: player for player in known}
    named = [word for word in words if word in baselines or word == SINGLE_BEST]
    others = [_other(word, [*baselines, SINGLE_BEST]) for word in words if word not in named]
    names = [*named, *(player.name for player in others)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Unplayable(f"policy {twice!r} is named twice")
    played = [baselines[word] for word in named if word != SINGLE_BEST] if named else list(known)
    return (*played, *others), not named or SINGLE_BEST in named


def _other(word: str, baselines: Sequence[str]) -> Player:
    if word == LEARNED:
        return Player(LEARNED, "learned from the tasks to fit on", learned.fitted, Kind.POLICY, fitted=True)
    path = Path(word)
    if not path.is_file():
        raise Unplayable(
            f"--policy {word!r} is no file, not {LEARNED!r}, and no baseline; those are {', '.join(baselines)}"
        )
    policy = learned.stored(path)
    return Player(path.stem, "as stored", lambda _board: policy, Kind.POLICY)
