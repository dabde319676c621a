"""From the words of `--policy` to the policies that are played."""

from collections.abc import Sequence
from pathlib import Path

from tierbus.replay import learned
from tierbus.replay.baselines import CATEGORY, Kind, Player
from tierbus.replay.errors import Unplayable
from tierbus.replay.report import SINGLE_BEST

LEARNED = "learned"


def chosen(
    words: Sequence[str], known: Sequence[Player], models: Sequence[str], margin: float
) -> tuple[tuple[Player, ...], bool]:
    """The policies, and whether the best single model is among them.

    Baselines by name are played alone; `learned` and files are played against all baselines, unless some are named too.

    Args:
        words: as given.
        known: the baselines.
        models: the ladder.
        margin: of accuracy, that a learned policy may lose.

    Raises:
        Unplayable: there is no such policy, it is for a ladder of another length, or it is named twice.
        Misconfigured: it cannot be read by this release.
    """
    baselines = {player.name: player for player in known}
    named = [word for word in words if word in baselines or word == SINGLE_BEST]
    others = [_learned(margin) if word == LEARNED else _stored(word, models) for word in words if word not in named]
    names = [*named, *(player.name for player in others)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Unplayable(f"policy {twice!r} is named twice")
    played = [baselines[word] for word in named if word != SINGLE_BEST] if named else list(known)
    return (*played, *others), not named or SINGLE_BEST in named


def _learned(margin: float) -> Player:
    about = "learned from the tasks to fit on"
    return Player(LEARNED, about, lambda train: learned.fitted(train, margin), Kind.POLICY, fitted=True)


def _stored(word: str, models: Sequence[str]) -> Player:
    path = Path(word)
    if word == CATEGORY:
        raise Unplayable(f"--policy {word!r} needs tasks with a group; none of these has one")
    if not path.exists():
        raise Unplayable(
            f"--policy {word!r} is no policy file, not {LEARNED!r}, and no baseline; `replay play --help` names those"
        )
    policy = learned.stored(path)
    ladder = getattr(policy, "models", models)
    if len(ladder) != len(models):
        raise Unplayable(
            f"policy {word!r} is for a ladder of {len(ladder)} models, {' → '.join(ladder)}; here are {len(models)}"
        )
    return Player(path.stem, f"as stored, fitted on {' → '.join(ladder)}", lambda _board: policy, Kind.POLICY)
