"""Rules of the watch: how they are read, who is drawn, what two readings say, what the cap leaves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plans import NOW
from tests.shared.quality.test_measure import compared

from tierbus.classes import load
from tierbus.contracts import Comparison, Tier, WatchState
from tierbus.errors import Misconfigured
from tierbus.quality.blind import checked, combined, reading
from tierbus.quality.cap import Taken, left
from tierbus.quality.sample import day_of, drawn

B, T, W = Comparison.BETTER, Comparison.TIE, Comparison.WORSE
RUNS = st.text("0123456789abcdef", min_size=32, max_size=32)


def test_rules_are_read_from_the_classes_file(tmp_path: Path) -> None:
    file = tmp_path / "classes.yaml"
    file.write_text("classes:\n  letters: {watch: {share: 0.1, max_usd_per_day: 2.5}}\n", encoding="utf-8")
    rules = load(str(file)).of("letters").watch

    assert rules is not None
    assert (rules.share, rules.cap_nano_usd, rules.judge_tier, rules.check) == (0.1, 2_500_000_000, Tier.MID, None)
    assert load(str(file)).of("sums").watch is None


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("share: 1.5, max_usd_per_day: 1", "1.5"),
        ("share: -1, max_usd_per_day: 1", "-1"),
        ("share: .nan, max_usd_per_day: 1", "share"),
        ("share: 0.1", "max_usd_per_day"),
        ("share: 0.1, max_usd_per_day: 0", "max_usd_per_day"),
        ("share: 0.1, max_usd_per_day: .inf", "max_usd_per_day"),
        ("share: 0.1, max_usd_per_day: 1, judge_tier: huge", "'huge'"),
        ("share: 0.1, max_usd_per_day: 1, check: {command: []}", "check.command"),
        ("share: 0.1, max_usd_per_day: 1, cap: 3", "cap"),
    ],
)
def test_a_rule_that_does_not_fit_is_named(rules: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "classes.yaml"
    file.write_text(f"classes:\n  letters: {{watch: {{{rules}}}}}\n", encoding="utf-8")

    with pytest.raises(Misconfigured, match=r"classes\.yaml") as caught:
        load(str(file))
    assert said in str(caught.value)


@given(RUNS, st.floats(0, 1), st.floats(0, 1))
def test_who_is_drawn_for_a_share_is_drawn_for_every_larger_one(run: str, one: float, other: float) -> None:
    small, large = sorted((one, other))

    assert drawn(run, small) <= drawn(run, large)
    assert not drawn(run, 0.0)
    assert drawn(run, 1.0)


def test_about_as_many_are_drawn_as_the_share_says() -> None:
    found = sum(drawn(f"{number:032x}", 0.1) for number in range(10_000))

    assert 900 < found < 1100


CHOICES = st.sampled_from(["A", "B", "tie"])


@given(CHOICES, CHOICES)
def test_only_a_judge_who_follows_the_answer_and_not_the_place_finds_a_difference(first: str, second: str) -> None:
    found = combined(reading(first, "A"), reading(second, "B"))  # type: ignore[arg-type] # one of the three

    assert (found is T) == ((first, second) not in {("A", "B"), ("B", "A")})


@given(CHOICES, CHOICES)
def test_with_the_answers_exchanged_the_verdict_is_the_opposite(first: str, second: str) -> None:
    opposite = {B: W, W: B, T: T}
    one = combined(reading(first, "A"), reading(second, "B"))  # type: ignore[arg-type] # one of the three
    other = combined(reading(second, "A"), reading(first, "B"))  # type: ignore[arg-type] # one of the three

    assert other is opposite[one]


@pytest.mark.parametrize(
    ("own", "frontier", "found"), [(True, False, B), (False, True, W), (True, True, T), (False, False, T)]
)
def test_a_check_tells_answers_apart_only_where_one_alone_is_good(own: bool, frontier: bool, found: Comparison) -> None:
    assert checked(own=own, frontier=frontier) is found


def test_a_reservation_does_not_count_against_itself() -> None:
    mine = compared(1, None, state=WatchState.ASKING, own_nano_usd=40)
    taken = {
        mine.subject: Taken("letters", 40),
        compared(2).subject: Taken("letters", 30),
        compared(3).subject: Taken("*", 20),
        compared(1, tenant="globex").subject: Taken("letters", 5),
    }

    assert left(mine, taken, 100) == 65


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 100))
def test_reservations_that_are_let_in_never_pass_the_cap(costs: list[int], cap: int) -> None:
    """Each writes its reservation, then looks; one that finds no room takes it back."""
    taken: dict[str, Taken] = {}
    for number, cost in enumerate(costs):
        mine = compared(number, None, state=WatchState.ASKING, own_nano_usd=cost)
        taken[mine.subject] = Taken(mine.rules, cost)
        if cost > left(mine, taken, cap):
            del taken[mine.subject]

    assert sum(one.nano_usd for one in taken.values()) <= cap


def test_a_day_is_utc() -> None:
    assert (day_of(NOW), day_of(0.0), day_of(86_399.9)) == ("2027-01-15", "1970-01-01", "1970-01-01")
