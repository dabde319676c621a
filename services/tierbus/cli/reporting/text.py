"""How a report words numbers: dollars, shares, moments in UTC. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tierbus.cli.reporting.figures import DAY_S, HOUR_S, Period
from tierbus.contracts import NANO
from tierbus.quality.measure import Interval

UNKNOWN = "–"
AT_LEAST, AT_MOST, ABOUT = "≥\N{NO-BREAK SPACE}", "≤\N{NO-BREAK SPACE}", "≈\N{NO-BREAK SPACE}"
_PLACES = ((100 * NANO, 2), (NANO, 4))
_SHORT_PLACES = ((NANO, 2), (NANO // 100, 4))
_MOST_PLACES = 6
_LEAST_SHARE = 0.0005


def places(amounts: Iterable[int | None], steps: Sequence[tuple[int, int]] = _PLACES) -> int:
    """Decimal places for nano-dollars that stand in one column: fewer the larger the largest is."""
    largest = max((abs(amount) for amount in amounts if amount is not None), default=0)
    return next((digits for least, digits in steps if largest >= least), _MOST_PLACES)


def usd(nano_usd: int | None, digits: int | None = None) -> str:
    """Nano-dollars as dollars, short unless `digits` are given; what is not known is a dash, never $0."""
    if nano_usd is None:
        return UNKNOWN
    if not nano_usd and digits is None:
        return "$0"
    sign = "−" if nano_usd < 0 else ""
    shown = places([nano_usd], _SHORT_PLACES) if digits is None else digits
    return f"{sign}${Decimal(abs(nano_usd)) / NANO:,.{shown}f}"


def cost(nano_usd: int, calls: int, unpriced: int, digits: int | None = None) -> str:
    """The cost of calls of which some may have no known price: then it is at least this, or not known at all."""
    if unpriced and unpriced == calls:
        return "unpriced"
    return f"{AT_LEAST if unpriced else ''}{usd(nano_usd, digits)}"


def share(part: int | None, whole: int | None) -> str:
    """A part in percent, or a dash where there is no whole."""
    if part is None or not whole:
        return UNKNOWN
    if 0 < part / whole < _LEAST_SHARE:
        return "< 0.1 %"
    return f"{100 * part / whole:.1f} %".replace("-", "−")


def signed(ratio: float) -> str:
    """A ratio in percent, with its sign."""
    shown = f"{100 * ratio:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")


def interval(found: Interval | None) -> str:
    """An estimate with its interval, in percent with signs: `+4.0 % (+1.1 to +7.0)`."""
    return UNKNOWN if found is None else f"{signed(found.value)} % ({signed(found.low)} to {signed(found.high)})"


def rate(found: Interval | None) -> str:
    """A share with its interval, in percent: `80.0 % (62.1 to 90.5)`."""
    return UNKNOWN if found is None else f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def count(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def moment(at: float) -> str:
    """A moment to the minute, in UTC."""
    return f"{_utc(at):%-d %b %Y %H:%M}"


def bucket_name(at: int, bucket_s: int) -> str:
    """The hour or day that begins here, in UTC."""
    return f"{_utc(at):%-d %b %H:%M}" if bucket_s == HOUR_S else f"{_utc(at):%-d %b %Y}"


def tick_name(at: int, bucket_s: int) -> str:
    """The hour or day that begins here, short, for an axis."""
    return f"{_utc(at):%-d %b %H:%M}" if bucket_s == HOUR_S else f"{_utc(at):%-d %b}"


def span(period: Period) -> str:
    """A period with its length."""
    return f"{moment(period.since)} to {moment(period.until)} UTC ({length(period.until - period.since)})"


def length(seconds: float) -> str:
    """A length of time in the largest fitting unit."""
    unit, name = next(
        ((size, name) for size, name in ((DAY_S, "day"), (HOUR_S, "hour")) if seconds >= size), (60, "minute")
    )
    number = f"{seconds / unit:.1f}".removesuffix(".0")
    return f"{number} {name}{'' if number == '1' else 's'}"


def _utc(at: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
