"""What can be wrong with a replay, and who must act."""

from tierbus.errors import TierbusError

INSTALL = "install with: make learn, or pip install tierbus[learn]"
"""What a missing library's error says."""


class BadRecords(TierbusError):
    """Whoever made the file of recorded answers must change it; the text says which line and field."""


class Unplayable(TierbusError):
    """The caller must name other models or another file; the text says why these cannot be played."""


class BadMove(TierbusError):
    """Whoever wrote the policy must change it: it made a move that the rules forbid."""
