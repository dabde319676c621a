"""What the numbers of a report say, in sentences: the headline, the doubts, and what is from when. Pure."""

from tierbus.cli.reporting.figures import HOUR_S, Compared, Figures
from tierbus.cli.reporting.text import ABOUT, AT_LEAST, AT_MOST, cost, count, interval, moment, share, usd
from tierbus.limits import EVENT_AGE_S
from tierbus.quality.measure import Interval, Quality

_MUCH_SPLIT = 0.2
"""A judge who prefers a place this often hides differences: they become ties."""


def bound(numbers: Compared) -> str:
    """How the true saving stands to the one shown, where prices or baselines are missing."""
    doubts = numbers.unpriced > 0, numbers.without_baseline > 0
    return {(True, False): AT_MOST, (False, True): AT_LEAST, (True, True): ABOUT}.get(doubts, "")


def headline(figures: Figures) -> str:
    """What the report says, in one line."""
    numbers = figures.compared
    if not figures.tasks:
        return "Nothing was done in this period"
    if numbers.saving_nano_usd is None:
        known = cost(figures.spent_nano_usd, figures.calls, figures.doubts.unpriced)
        return f"{known} spent; what it saved is not known"
    if not numbers.succeeded:
        return f"{cost(numbers.spent_nano_usd, numbers.calls, numbers.unpriced)} spent, and no task succeeded"
    saved = numbers.saving_nano_usd >= 0
    most, least = ("At most ", "At least ") if saved else ("At least ", "At most ")
    limit = {AT_MOST: most, AT_LEAST: least, ABOUT: "About "}.get(bound(numbers), "")
    percent = share(abs(numbers.saving_nano_usd), numbers.baseline_nano_usd)
    return f"{limit}{percent} {'less' if saved else 'more'} than on the frontier alone"


def warnings(figures: Figures) -> list[str]:
    """What a reader must know before trusting the sums."""
    return [*_calls_in_doubt(figures), *_tasks_in_doubt(figures)]


def _calls_in_doubt(figures: Figures) -> list[str]:
    doubts = figures.doubts
    told = []
    if doubts.unpriced:
        models = ", ".join(doubts.unpriced_models)
        calls = count(doubts.unpriced, "call has", "calls have")
        told.append(f"{calls} no known price ({models}): the true cost is higher, and the saving lower, than shown.")
    if doubts.interrupted:
        calls = count(doubts.interrupted, "call was", "calls were")
        told.append(f"{calls} interrupted and charged by estimate: {usd(doubts.interrupted_nano_usd)}.")
    if doubts.open:
        calls = count(doubts.open, "call is", "calls are")
        told.append(f"{calls} still open and charged by estimate: {usd(doubts.open_nano_usd)}.")
    return told


def _tasks_in_doubt(figures: Figures) -> list[str]:
    doubts, numbers = figures.doubts, figures.compared
    told = []
    if numbers.without_baseline:
        tasks = count(numbers.without_baseline, "succeeded task has", "succeeded tasks have")
        told.append(f"{tasks} no known baseline: the cost is counted, the baseline is not.")
    if doubts.differing_tasks:
        gap, word = usd(abs(doubts.differing_nano_usd)), "more" if doubts.differing_nano_usd > 0 else "less"
        tasks = count(doubts.differing_tasks, "task")
        told.append(f"The results of {tasks} add up to {gap} {word} than their calls in the ledger, which are shown.")
    return told


def coverage(figures: Figures) -> list[str]:
    """Which parts come from which span of time, where that is not the whole period."""
    period, first = figures.period, figures.first_call_at
    told = []
    if not period.results_complete:
        told.append(
            f"Spend is from the ledger, for the whole period. Results are kept for {EVENT_AGE_S / HOUR_S:.0f} hours:"
            f" baseline, saving, cost per accepted task, quality, failures and rejections are those since"
            f" {moment(period.results_from)} UTC."
        )
    if first is not None and period.bucket(first) > period.bucket(period.since):
        told.append(f"The first call on record in this period is of {moment(first)} UTC; before it there is none.")
    if figures.unkept_tasks:
        tasks = count(figures.unkept_tasks, "task has", "tasks have")
        told.append(f"{tasks} calls in the ledger but no result any more: how they ended is not known.")
    return told


def watch_findings(found: Quality) -> list[str]:
    """What the quality watch found, and what limits it, in sentences."""
    if found.all is None:
        return []
    told, numbers = [], found.all.measured
    if numbers.difference is not None:
        told.append(f"{count(numbers.n, 'task')} compared: {_difference(numbers.difference)}.")
    if numbers.saving.ratio is not None:
        told.append(
            f"True saving: {interval(numbers.saving.ratio)}; the watch itself cost {usd(numbers.own_nano_usd)}."
        )
    left = [(numbers.over_cap, "left out because the day's cap was reached"), (numbers.failed, "could not be compared")]
    told += [f"{count(number, 'task')} {why}." for number, why in left if number]
    if numbers.n and numbers.split > _MUCH_SPLIT * numbers.n:
        told.append(
            f"In {share(numbers.split, numbers.n)} of the comparisons the judge named the same place in both orders: a judge"
            " of a higher tier would see more differences."
        )
    if not numbers.own_complete:
        told.append("The watch made calls without a known price: it cost more than shown.")
    return told


def _difference(found: Interval) -> str:
    if found.high < 0:
        return f"worse than the frontier's own answers, {interval(found)}"
    if found.low > 0:
        return f"better than the frontier's own answers, {interval(found)}"
    return f"no difference to the frontier's own answers is seen, {interval(found)}"
