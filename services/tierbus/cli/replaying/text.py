"""Figures of a replay as a person reads them. Pure."""

from collections.abc import Callable

from tierbus.replay.resample import Interval

UNKNOWN = "–"
_MILLI_S = 1e-3


def percent(share: float, digits: int = 1) -> str:
    """A share of 1; never minus nothing."""
    return f"{round(100 * share, digits) + 0.0:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of two shares, in points."""
    return f"{round(100 * difference, 2) + 0.0:+.2f}"


def margin(share: float) -> str:
    """How far below the strong model is equal quality."""
    told = f"{100 * share:g}"
    return f"{told} point" if told == "1" else f"{told} points"


def dollars(usd: float) -> str:
    """Dollars with three digits that say something."""
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.3g}"


def micros(seconds: float) -> str:
    """A short time."""
    return f"{seconds * 1e6:.1f} µs" if seconds < _MILLI_S else f"{seconds * 1e3:.1f} ms"


def spread(found: Interval, shown: Callable[[float], str]) -> str:
    """A figure and its interval."""
    return f"{shown(found.mean)} ({shown(found.low)} to {shown(found.high)})"
