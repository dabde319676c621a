"""Counts are sums: how they are put together, and in which order, changes nothing."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tierbus.policy.guard import added
from tierbus.policy.tally import Moment, Tally

counts = st.integers(min_value=0, max_value=10_000)
dollars = st.integers(min_value=0, max_value=2**30).map(lambda parts: parts / 1024)
"""Sums of these are exact: what is tested is the adding up, not the last digit of a float."""
places = st.integers(min_value=1, max_value=4)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    size = draw(places)
    row = st.tuples(*[dollars] * size)
    return Tally(
        draw(row | st.just(())),
        draw(st.tuples(*[counts] * size) | st.just(())),
        draw(row | st.just(())),
        draw(row | st.just(())),
        draw(dollars) - draw(dollars),
        draw(dollars) - draw(dollars),
        draw(dollars),
        *(draw(counts) for _ in range(5)),
    )


@given(st.lists(tallies(), max_size=6), st.randoms(use_true_random=False))
def test_the_order_in_which_counts_are_added_does_not_matter(found: list[Tally], rng: random.Random) -> None:
    mixed = rng.sample(found, len(found))

    assert _sum(found) == _sum(mixed)


@given(tallies(), tallies(), tallies())
def test_counts_may_be_added_in_any_groups(one: Tally, two: Tally, three: Tally) -> None:
    assert one.plus(two).plus(three) == one.plus(two.plus(three))


@given(tallies())
def test_nothing_counted_adds_nothing(one: Tally) -> None:
    assert one.plus(Tally()) == Tally().plus(one) == one


moments = st.one_of(
    st.builds(Moment, agreed=st.booleans()),
    st.lists(st.tuples(st.integers(0, 2), dollars), min_size=1, max_size=3, unique_by=lambda call: call[0]).map(
        lambda calls: Moment(calls=tuple(calls))
    ),
)


@given(st.lists(moments, max_size=30))
def test_counts_only_grow_and_every_moment_is_in_them(seen: list[Moment]) -> None:
    steps = [Tally()]
    for moment in seen:
        steps.append(steps[-1].plus(added(moment, steps[-1], (0.0, 0.0, 0.0))))

    for before, after in pairwise(steps):
        assert after.ended + after.asked == before.ended + before.asked + 1
        assert after.worth >= before.worth
        assert after.skipped_at <= after.skipped
        assert after.agreed <= after.asked
    assert sum(steps[-1].calls) == sum(len(moment.calls) for moment in seen)


def _sum(found: list[Tally]) -> Tally:
    total = Tally()
    for one in found:
        total = total.plus(one)
    return total
