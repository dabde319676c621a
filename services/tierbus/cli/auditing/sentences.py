"""What an audit says in sentences: the headline, what to know before trusting it, and what caching would do. Pure."""

from datetime import UTC, datetime

from tierbus.audit.assumptions import FIRST_SHARE, WHOLE
from tierbus.audit.figures import Figures, Mover
from tierbus.cli.reporting.text import count, share, usd
from tierbus.llm.prefixes import CACHE_LIFE_S

_NAMED = 4


def dollars(nano_usd: int | None) -> str:
    """Dollars without cents from a thousand on: what a column of large and small amounts needs."""
    whole = nano_usd is not None and abs(nano_usd) >= 1000 * 10**9
    return usd(nano_usd, 0) if whole else usd(nano_usd, None if not nano_usd else 2 if abs(nano_usd) >= 10**7 else 4)


def saving(low: int, high: int, today: int) -> str:
    """A range of dollars with its share of today's cost."""
    return f"{dollars(low)} to {dollars(high)} ({share(low, today)} to {share(high, today)})"


def headline(found: Figures) -> str:
    """The audit in one line."""
    if not found.calls:
        return "No model call was found"
    spent = f"{'At least ' if found.unpriced else ''}{dollars(found.cost_nano_usd)} on {count(found.calls, 'call')}"
    if not found.high_nano_usd:
        return f"{spent}; nothing would be saved by moving calls to cheaper tiers"
    return f"{spent}; moving calls to cheaper tiers would save {saving(found.low_nano_usd, found.high_nano_usd, found.cost_nano_usd)}"


def nothing_first(found: Figures) -> str:
    """Why no call is among the first to move."""
    if found.calls * FIRST_SHARE < WHOLE:
        return f"a fifth of {count(found.calls, 'call')} is less than one"
    return "no class saves money in the cautious reckoning"


def period(found: Figures) -> str:
    """First to last day of the calls that are dated."""
    if not found.calls:
        return "nothing to date"
    if found.since is None or found.until is None:
        return "the calls have no dates"
    first, last = (datetime.fromtimestamp(at, UTC) for at in (found.since, found.until - 1))
    return f"{first:%-d %b %Y} to {last:%-d %b %Y}, UTC"


def doubts(found: Figures) -> list[str]:
    """What a reader must know before trusting the sums."""
    told = []
    if found.unpriced:
        names = ", ".join(list(found.unpriced_models)[:_NAMED])
        told.append(
            f"{count(found.unpriced, 'call has', 'calls have')} no known price ({names}): they are in no dollar figure of today; the true cost is higher."
        )
    if found.unreadable:
        told.append(
            f"{count(found.unreadable, 'row')} could not be read and {'is' if found.unreadable == 1 else 'are'} in no figure."
        )
    told += [f"{file.name}: {file.trouble}." for file in found.files if file.trouble]
    if found.estimated:
        told.append(
            f"{count(found.estimated, 'call has', 'calls have')} no token counts: they were estimated from the text, four characters a token."
        )
    if found.dated < found.calls:
        told.append(
            f"{count(found.calls - found.dated, 'call has', 'calls have')} no date: priced as of today, and taken to follow one another at once."
        )
    return told


def sources(found: Figures) -> list[str]:
    """Where prices, kinds and texts are from."""
    told = [
        f"Cost today: {count(found.logged, 'call')} as the log says, {found.listed:,} at the list price of their day"
        + (f", {found.unpriced:,} without a price." if found.unpriced else "."),
    ]
    if found.labelled:
        told.append(
            f"{count(found.labelled, 'call names', 'calls name')} a task class; the others are sorted by words."
        )
    without = found.calls - found.with_text
    if without:
        told.append(
            f"{count(without, 'call has', 'calls have')} no prompt in the log: sorted by label or size, not searched for prefixes."
        )
    if found.batch:
        told.append(f"{count(found.batch, 'call')} came from batches, priced at half here and on every tier.")
    return told


def why(row: Mover) -> str:
    """Why a class is among the first to move."""
    return f"saves {dollars(row.saved_per_up_nano_usd)} for each first answer going up; {row.why}"


def repeats(found: Figures) -> str:
    """What an exact cache would have saved."""
    again = found.again
    if not again.comparable:
        return "Repeated prompts: the log has no prompts and no cache keys, so none can be told."
    least = "" if again.exact else "at least "
    return (
        f"Repeated prompts: {least}{again.repeated:,} of {again.comparable:,} calls ({share(again.repeated, again.comparable)}) repeat an earlier"
        f" one word for word; an exact cache would have saved {least}{dollars(again.repeated_nano_usd)}"
        f" ({share(again.repeated_nano_usd, found.cost_nano_usd)})."
    )


def prefixes(found: Figures) -> str:
    """What the providers' prompt caching would have saved."""
    again = found.again
    if not found.with_text:
        return "Shared prefixes: the log has no prompts, so none can be told."
    undated = "" if found.dated == found.calls else ", undated calls taken to follow at once"
    least = "" if again.prefix_exact else "at least "
    gain = (
        f"saved {least}{dollars(again.prefix_nano_usd)}"
        if again.prefix_nano_usd >= 0
        else f"cost {dollars(-again.prefix_nano_usd)} more"
    )
    return (
        f"Shared prefixes: {least}{again.prefix_calls:,} calls begin with 1,024 tokens or more that were sent within {CACHE_LIFE_S / 60:.0f} minutes"
        f" before{undated}; marking them for prompt caching would have {gain} ({share(again.prefix_nano_usd, found.cost_nano_usd)}),"
        f" writes counted. {again.cached_tokens:,} tokens were read from a cache already."
    )
