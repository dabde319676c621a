"""Playing policies over a board."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.shared.replay.recorded import STRONG_USD, WEAK_USD, pair_board

from tierbus.policy.moves import Ask, Case, Judge, Move, Seen, Take
from tierbus.policy.review import Look, Reviewing
from tierbus.replay.baselines import Always
from tierbus.replay.errors import BadMove
from tierbus.replay.play import (
    Played,
    Reviewer,
    asks_looks,
    decisions_s,
    fresh,
    play,
    prepared,
    stateless,
    told,
)


@dataclass
class Scripted:
    """Makes these moves, one after the other, for every task; remembers what it learned."""

    moves: tuple[Move, ...]
    learned: list[tuple[str, list[int]]] = field(default_factory=list)

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:  # noqa: ARG002 - the protocol's argument
        return self.moves[len(seen)]

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        self.learned.append((case.id, [one.place for one in seen]))


@dataclass
class Careful:
    """Asks for a look at every first answer and does what it says; nobody looks where none of the reviewer was told."""

    look: Look | None = None
    learned: list[tuple[Seen, ...]] = field(default_factory=list)

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:  # noqa: ARG002 - the protocol's argument
        if not seen:
            return Ask(0, "")
        if self.look is None or seen[0].judged:
            return Take(0, "")
        return Judge(0, "") if seen[0].judged is None else Ask(1, "")

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:  # noqa: ARG002 - the protocol's argument
        self.learned.append(seen)

    def reviewed_by(self, look: Look) -> "Careful":
        return Careful(look)


CLIMB = (Ask(0, ""), Ask(1, ""))
CHEAP = (Ask(0, ""), Take(0, ""))


def test_every_attempt_is_paid() -> None:
    found = play(Scripted(CLIMB), pair_board("ws"))

    assert found.usd == pytest.approx([WEAK_USD + STRONG_USD] * 2)
    assert found.correct.tolist() == [False, True]
    assert (found.taken.tolist(), found.asked.tolist(), found.strong.tolist()) == ([1, 1], [2, 2], [True, True])


def test_what_deciding_costs_is_paid_on_every_task() -> None:
    policy = Scripted(CHEAP)
    policy.router_usd, policy.planner_usd = 0.1, 0.2  # type: ignore[attr-defined]

    assert play(policy, pair_board("b")).usd == pytest.approx([WEAK_USD + 0.3])


def test_tasks_come_in_the_order_of_arrival_and_results_stay_in_their_places() -> None:
    policy = Scripted(CHEAP)

    found = play(policy, pair_board("bsw"), np.array([2, 0, 1]))

    assert policy.learned == [("2", [0]), ("0", [0]), ("1", [0])]
    assert found.correct.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("moves", "told"),
    [
        ((Take(0, ""),), "takes place 0, which gave no answer"),
        ((Ask(2, ""),), "places are 0 to 1"),
        ((Ask(-1, ""),), "places are 0 to 1"),
        ((Ask(0, ""), Ask(0, "")), "asks place 0 twice"),
        (("strong",), "says 'strong'"),
        ((Ask(0, ""), Judge(0, "")), "asks for a look at place 0, but there is no reviewer"),
    ],
)
def test_a_forbidden_move_is_named_with_policy_and_task(moves: tuple[Move, ...], told: str) -> None:
    with pytest.raises(BadMove) as caught:
        play(Scripted(moves), pair_board("b"))

    assert str(caught.value).startswith("policy Scripted ")
    assert told in str(caught.value)
    assert "(task '0')" in str(caught.value)


@pytest.mark.parametrize("place", [0, 1], ids=["looked at before", "no answer there"])
def test_a_look_that_cannot_be_had_is_named_with_policy_and_task(place: int) -> None:
    policy = Scripted((Ask(0, ""), Judge(place, "")))

    with pytest.raises(BadMove, match=rf"place {place}, which has no answer or had its look \(task '0'\)"):
        play(policy, pair_board("b"), reviewer=Reviewer(0.0, 0.5))


def test_a_reviewer_that_never_errs_sends_up_what_is_wrong_and_is_paid_for_each_look() -> None:
    policy = Scripted(CHEAP)

    found = play(policy, pair_board("bs"), reviewer=Reviewer(0.0, 0.5))

    assert found.correct.tolist() == [True, True]
    assert found.usd == pytest.approx([WEAK_USD + 0.5 * STRONG_USD, WEAK_USD + 1.5 * STRONG_USD])
    assert policy.learned == [("0", [0]), ("1", [0, 1])]


def test_a_reviewer_that_always_errs_accepts_what_is_wrong_and_sends_up_what_is_right() -> None:
    luck = np.zeros((2, 2))

    found = play(Scripted(CHEAP), pair_board("ws"), reviewer=Reviewer(1.0, 0.0), luck=luck)

    assert found.taken.tolist() == [1, 0]
    assert found.correct.tolist() == [False, False]


def test_the_strong_models_answer_is_not_reviewed() -> None:
    found = play(Always(1), pair_board("n"), reviewer=Reviewer(0.0, 9.0))

    assert found.usd == pytest.approx([STRONG_USD])


def test_a_policy_that_was_told_of_the_reviewer_asks_for_its_looks_and_each_is_paid_as_on_that_task() -> None:
    here, reviewer = pair_board("bs"), Reviewer(0.0, 0.5)
    policy = told(Careful(), here, reviewer)

    found = play(policy, here, reviewer=reviewer)

    assert found.looked.tolist() == [1, 1]
    assert found.correct.tolist() == [True, True]
    assert found.usd == pytest.approx([WEAK_USD + 0.5 * STRONG_USD, WEAK_USD + 1.5 * STRONG_USD])
    assert isinstance(policy, Careful)
    assert [(seen[0].judged, seen[0].judged_usd) for seen in policy.learned] == [
        (True, 0.5 * STRONG_USD),
        (False, 0.5 * STRONG_USD),
    ]


def test_its_reviewer_errs_as_any_other() -> None:
    here, reviewer = pair_board("bs"), Reviewer(0.3, 0.5)
    luck = np.array([[0.2, 0.9], [0.4, 0.9]])

    found = play(told(Careful(), here, reviewer), here, reviewer=reviewer, luck=luck)

    assert found.taken.tolist() == [1, 1]


def test_what_such_a_policy_takes_without_a_look_is_not_looked_at() -> None:
    found = play(Careful(), pair_board("bs"), reviewer=Reviewer(0.0, 0.5))

    assert found.looked.tolist() == [0, 0]
    assert found.correct.tolist() == [True, False]


def test_a_policy_is_told_what_a_look_costs_on_average_in_a_class_and_how_it_errs() -> None:
    here = pair_board("bsw")
    policy = told(Careful(), here, Reviewer(0.2, 0.5))

    assert isinstance(policy, Careful)
    assert policy.look is not None
    assert policy.look(here.cases[0], None) == Reviewing(0.5 * STRONG_USD, 0.2)
    assert policy.look(Case("x", "other", None, "?"), None) is None


def test_a_policy_that_knows_of_no_reviewers_is_only_made_afresh() -> None:
    policy = Scripted(CHEAP, [("0", [0])])

    again = told(policy, pair_board("b"), Reviewer(0.2, 0.5))

    assert not asks_looks(policy)
    assert isinstance(again, Scripted)
    assert again.moves == CHEAP


def test_a_fresh_policy_has_learned_nothing_and_leaves_the_first_as_it_was() -> None:
    policy = Scripted(CHEAP)

    play(fresh(policy), pair_board("bb"))

    assert policy.learned == []


def test_a_policy_can_say_how_it_is_made_afresh_and_be_shown_what_comes() -> None:
    class Told(Scripted):
        shown = 0

        def prepare(self, cases: tuple[Case, ...], seens: tuple[tuple[Seen, ...], ...]) -> None:
            self.shown = len(cases) + len(seens)

        def fresh(self) -> "Told":
            return Told(CLIMB)

    told = Told(CHEAP)

    assert prepared(told, pair_board("bb")) is told
    assert told.shown == 4
    assert fresh(told).next(pair_board("b").cases[0], ()) == Ask(0, "")
    assert not stateless(told)
    assert stateless(Always(0))


def test_plays_of_parts_are_put_together_by_place() -> None:
    parts = [(np.array([2]), play(Always(0), pair_board("s"))), (np.array([0, 1]), play(Always(1), pair_board("ws")))]

    whole = Played.joined(parts, 3)

    assert whole.taken.tolist() == [1, 1, 0]
    assert whole.correct.tolist() == [False, True, False]


def test_every_decision_is_timed_by_itself_for_no_more_tasks_than_asked_for() -> None:
    took = decisions_s(Scripted(CLIMB), pair_board("bwsn"), most=2)

    assert [len(one) for one in took] == [2, 2]
    assert all((one > 0).all() for one in took)
