"""What a pilot's counts say, and what they cannot say yet. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple

from tierbus.contracts import PilotArm, PilotOutcome
from tierbus.pilot.interval import Interval, interval, tries_for
from tierbus.pilot.progress import PilotState
from tierbus.pilot.rules import Mode

WITHIN = 0.01
"""A pass rate that is known to one point is known well enough."""


class Advice(NamedTuple):
    """What to do, and why."""

    do: Literal["widen", "hold", "roll back"]
    why: str


class Agreement(NamedTuple):
    """Shadows whose accepted answer says the same as the frontier tier's, of those where both can be compared."""

    same: int
    compared: int


def pass_interval(state: PilotState) -> Interval:
    """Where the pass rate lies, by all tries of this generation."""
    return interval(state.tries, state.passes, state.rules.alpha)


def advise(state: PilotState) -> Advice:
    """Widen, hold, or roll back."""
    if state.rolled_back:
        last = next((change for change in reversed(state.changes) if change.change == "rolled-back"), None)
        return Advice("roll back", f"done: {last.why if last else 'below the target'}; mend it, then `reset`")
    if state.paused:
        return Advice("hold", "paused by an operator; `resume` goes on")
    if not state.tries:
        return Advice("hold", "nothing has been judged yet")
    rate, target = pass_interval(state), state.rules.target
    if rate.high < target:
        return Advice("roll back", f"at most {rate.high:.1%} pass, below {target:.1%}")
    if state.rules.mode is Mode.RAMP and not state.last_step:
        return Advice("hold", _ramping(state))
    if rate.low >= target:
        return _good(state, rate)
    return Advice("hold", f"whether {target:.1%} pass is not known yet; {_missing(state)}")


def _ramping(state: PilotState) -> str:
    left = state.rules.ramp[state.step].tries - state.step_tries
    if left > 0:
        return f"widens by itself after {left} more tries, if {state.rules.target:.1%} pass; {_missing(state)}"
    return f"{state.step_passes} of {state.step_tries} passed in this step, below {state.rules.target:.1%}; {_missing(state)}"


def _good(state: PilotState, rate: Interval) -> Advice:
    known = f"at least {rate.low:.1%} pass, the target is {state.rules.target:.1%}"
    if state.percent >= 100:  # noqa: PLR2004 - all of them
        return Advice("hold", f"{known}; every task goes the cheap way")
    return Advice("widen", known)


def _missing(state: PilotState) -> str:
    """What cannot be said yet, with the tries that it would take."""
    rate = state.passes / state.tries
    needed = tries_for(min(rate, state.rules.target), WITHIN, state.rules.alpha)
    if state.tries >= needed:
        return f"{state.tries} tries tell the rate to about one point"
    return f"to tell the rate to one point takes about {needed} tries, there are {state.tries}"


def saved(state: PilotState) -> float | None:
    """The share of the frontier tier's price that the cheap way saves; None where it is not known.

    Canary and ramp: one minus what drawn tasks cost, escalations, reviews and failures included, by what the accepted answers
    would have cost on the frontier tier. Shadow: reckoned, as if each rejected answer cost one answer of the frontier tier more.
    """
    if state.rules.mode is not Mode.SHADOW:
        bill = state.bill(PilotArm.CANARY)
        return 1 - bill.cost_nano_usd / bill.baseline_nano_usd if bill.baseline_nano_usd else None
    shadow, frontier = state.bill(PilotArm.SHADOW), state.bill(PilotArm.SHADOWED)
    priced = shadow.runs - shadow.unpriced, frontier.runs - frontier.unpriced
    if not all(priced) or not frontier.cost_nano_usd or not state.tries:
        return None
    cheap, dear = shadow.cost_nano_usd / priced[0], frontier.cost_nano_usd / priced[1]
    return 1 - (cheap + (1 - state.passes / state.tries) * dear) / dear


def overhead_nano_usd(state: PilotState) -> int:
    """What shadows cost: it brings no answer, only knowledge."""
    return state.bill(PilotArm.SHADOW).cost_nano_usd


def agreement(outcomes: Iterable[PilotOutcome], generation: int) -> Agreement:
    """How often a shadow that passed says the same as the frontier tier."""
    pairs: defaultdict[str, dict[PilotArm, str]] = defaultdict(dict)
    for outcome in outcomes:
        if outcome.generation == generation and outcome.likeness is not None:
            pairs[outcome.pair][outcome.arm] = outcome.likeness
    both = [arms for arms in pairs.values() if PilotArm.SHADOW in arms and PilotArm.SHADOWED in arms]
    return Agreement(sum(arms[PilotArm.SHADOW] == arms[PilotArm.SHADOWED] for arms in both), len(both))
