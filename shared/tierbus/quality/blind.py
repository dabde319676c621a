"""What two blind readings of the same two answers say together. Pure."""

from typing import Literal

from tierbus.contracts import Comparison

Choice = Literal["A", "B", "tie"]
"""What a judge may say: it knows the answers by these letters only."""


def reading(choice: Choice, own: Literal["A", "B"]) -> Comparison:
    """One reading, from the side of the task's own answer, which stood under the letter `own`."""
    if choice == "tie":
        return Comparison.TIE
    return Comparison.BETTER if choice == own else Comparison.WORSE


def combined(first: Comparison, second: Comparison) -> Comparison:
    """Both orders together: a difference counts only where both readings see it, so a judge who prefers a place sees none."""
    return first if first is second else Comparison.TIE


def checked(*, own: bool, frontier: bool) -> Comparison:
    """What a check of both answers says: whether the task's own is good, and whether the frontier's is."""
    if own is frontier:
        return Comparison.TIE
    return Comparison.BETTER if own else Comparison.WORSE
