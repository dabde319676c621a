"""What a policy sees and what it says. The same words in the running services and in `tierbus replay`.

A policy plays on a ladder: the models of one task, cheapest first, the strong one last. Places on it are counted from 0.
"""

from typing import NamedTuple, Protocol


class Case(NamedTuple):
    """A task as a policy sees it: its class, its category inside the class where one is known, its text."""

    id: str
    task_class: str
    group: str | None
    prompt: str


class Seen(NamedTuple):
    """An answer that was given at a place of the ladder.

    `answer` is the part that can be compared (None where none could be read), `valid` what a free check said (None where
    there is none), `cost_usd` the price of the call, tokens as billed (0 where unknown). `judged` is what a reviewer said to it
    (None: nobody looked), `judged_usd` what that look cost.
    """

    place: int
    text: str
    answer: str | None
    valid: bool | None
    truncated: bool
    input_tokens: int
    output_tokens: int
    cost_usd: float
    judged: bool | None = None
    judged_usd: float = 0.0


class Ask(NamedTuple):
    """Ask the model at this place."""

    place: int
    why: str


class Take(NamedTuple):
    """The answer of this place is the task's."""

    place: int
    why: str


class Judge(NamedTuple):
    """Have the reviewer look at the answer of this place."""

    place: int
    why: str


Move = Ask | Take | Judge


class Policy(Protocol):
    """Says the next move until it takes an answer; learns from what it saw go by, without labels."""

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        """The next move. The strong model's answer is always taken; a place is asked once at most.

        `Judge` is said only by policies that were told of a reviewer, once for an answer; what it said is in `seen` then.
        """
        ...

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        """A task is done and these answers were given for it, in this order: costs and agreement may be counted."""
        ...
