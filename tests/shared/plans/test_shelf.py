"""What is kept for a shape: earned by accepted plans, dropped by its rate, each run counted once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import LEG, NOW, diamond, judged, new_run

from tierbus import limits
from tierbus.contracts import (
    Attachment,
    CallRecorded,
    CallStatus,
    Content,
    Plan,
    Role,
    Route,
    Step,
    TaskStatus,
    Tier,
    VerdictKind,
)
from tierbus.plans.rules import PlanRules
from tierbus.plans.shelf import REMEMBERED, WINDOW_TRIES, Ended, Shelf, Template, count, ended, is_good, standing
from tierbus.run import Origin, Run, adopt, advance, begin, close, finish

RULES = PlanRules(reuse=True, min_accepted=2, keep_rate=0.8, min_tries=3, ttl_s=1000)
SHELF = Shelf(tenant="acme", shape="f" * 32, task_class="offers")


def template(name: str = "first", at: float = NOW, **more: object) -> Template:
    given: dict[str, object] = {"id": name, "plan": diamond(), "prompt": "p", "made_at": at, "used_at": at, **more}
    return Template.model_validate(given)


def made(name: str, at: float = NOW) -> Ended:
    """A run whose frontier plan was accepted."""
    return Ended(name, at, None, False, template(name, at))


def tried(name: str, good: bool, at: float = NOW, of: str = "first") -> Ended:
    """A run that used a kept plan again."""
    return Ended(name, at, of, good, None)


def after(*runs: Ended, shelf: Shelf = SHELF, rules: PlanRules = RULES) -> Shelf:
    for run in runs:
        shelf = count(shelf, run, rules).shelf
    return shelf


def kept(shelf: Shelf) -> Template:
    assert shelf.template is not None
    return shelf.template


def test_a_plan_stands_once_enough_of_its_shape_were_accepted() -> None:
    one, two = after(made("first")), after(made("first"), made("second"))

    assert standing(one, RULES, NOW) is None
    assert (kept(two).id, kept(two).earned) == ("first", 2)
    assert standing(two, RULES, NOW) == kept(two)
    assert standing(two, PlanRules(min_accepted=2), NOW) is None, "reuse is off"


def test_a_plan_that_was_not_accepted_earns_nothing() -> None:
    shelf = after(made("first"), Ended("bad", NOW, None, False, None))

    assert kept(shelf).earned == 1


def test_tries_are_counted_and_a_good_rate_keeps_the_plan() -> None:
    shelf = after(made("first"), made("second"), *(tried(f"t{n}", n != 4) for n in range(5)))

    assert (kept(shelf).tried, kept(shelf).accepted, kept(shelf).rate) == (5, 4, 0.8)
    assert standing(shelf, RULES, NOW) is not None


def test_below_the_rate_the_plan_is_dropped_and_the_next_begins_anew() -> None:
    shelf = after(made("first"), made("second"), tried("a", True), tried("b", False))
    assert shelf.template is not None, "two tries say nothing yet"

    counted = count(shelf, tried("c", True), RULES)

    assert counted.dropped is not None
    assert (counted.dropped.id, counted.dropped.tried, counted.dropped.accepted) == ("first", 3, 2)
    assert counted.shelf.template is None
    again = after(made("fourth", NOW + 1), shelf=counted.shelf)
    assert (kept(again).id, kept(again).earned, standing(again, RULES, NOW)) == ("fourth", 1, None)


def test_a_frontier_plan_after_the_last_bad_try_takes_the_place() -> None:
    shelf = after(made("first"), made("second"), tried("a", False), tried("b", False))

    counted = count(shelf, Ended("c", NOW, "first", False, template("c")), RULES)

    assert counted.dropped is not None
    assert kept(counted.shelf).id == "c"


def test_a_frontier_plan_made_after_a_try_in_vain_earns_the_kept_one_nothing() -> None:
    shelf = after(made("first"), made("second"), Ended("c", NOW, "first", False, template("c")))

    assert (kept(shelf).id, kept(shelf).earned, kept(shelf).tried, kept(shelf).accepted) == ("first", 2, 1, 0)


def test_old_successes_do_not_hide_that_a_plan_turned_bad() -> None:
    shelf = after(made("first"), made("second"), *(tried(f"g{n}", True, NOW + n) for n in range(200)))
    bad = [tried(f"b{n}", False, NOW + 200 + n) for n in range(5)]

    assert len(kept(shelf).recent) == WINDOW_TRIES
    assert after(*bad[:4], shelf=shelf).template is not None
    assert after(*bad, shelf=shelf).template is None


def test_a_try_of_a_plan_that_is_no_longer_kept_changes_only_what_is_remembered() -> None:
    shelf = after(made("first"), made("second"))

    later = after(tried("late", False, of="older"), shelf=shelf)

    assert later.template == shelf.template
    assert [one.run for one in later.counted] == ["first", "late", "second"]


def test_a_plan_that_is_too_old_is_not_used_and_the_next_accepted_one_takes_its_place() -> None:
    shelf = after(made("first"), made("second"))

    assert standing(shelf, RULES, NOW + 999) is not None
    assert standing(shelf, RULES, NOW + 1000) is None
    assert kept(after(made("third", NOW + 1000), shelf=shelf)).id == "third"


def test_more_tries_than_the_window_may_be_asked_for() -> None:
    rules = RULES.model_copy(update={"min_tries": WINDOW_TRIES + 5})
    bad = [tried(f"b{n}", False) for n in range(WINDOW_TRIES + 5)]

    assert after(made("first"), *bad[:-1], rules=rules).template is not None
    assert after(made("first"), *bad, rules=rules).template is None


runs = st.builds(
    lambda n, bad, kind: made(f"r{n:03}", NOW + n) if kind else tried(f"r{n:03}", not bad, NOW + n, of="r000"),
    st.integers(0, 150),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, max_size=120), st.randoms(use_true_random=False))
def test_a_run_is_never_counted_twice(told: list[Ended], chance: object) -> None:
    """Whatever is said again, in whatever order: what was counted once changes nothing the second time."""
    shelf = SHELF
    seen: set[str] = set()
    for run in told:
        before = shelf
        shelf = count(shelf, run, RULES).shelf
        if run.run in seen:
            assert shelf is before
        seen.add(run.run)
        assert len(shelf.counted) <= REMEMBERED
    for run in told:
        assert count(shelf, run, RULES).shelf is shelf


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=60))
def test_each_run_in_its_turn_is_counted_once_and_the_counters_agree(outcomes: list[bool]) -> None:
    lenient = RULES.model_copy(update={"keep_rate": 1e-9, "min_tries": 100})
    shelf = after(made("first"), rules=lenient)
    for n, good in enumerate(outcomes):
        run = tried(f"t{n}", good, NOW + n)
        shelf = after(run, run, shelf=shelf, rules=lenient)

    found = kept(shelf)
    assert (found.tried, found.accepted) == (len(outcomes), sum(outcomes))
    assert 0 <= found.accepted <= found.tried


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, max_size=60))
def test_a_plan_that_stands_has_earned_it_and_holds_its_rate(told: list[Ended]) -> None:
    shelf = after(*told)
    found = standing(shelf, RULES, NOW)

    if found is not None:
        assert found.earned >= RULES.min_accepted
        assert len(found.recent) < RULES.min_tries or found.rate >= RULES.keep_rate


def call(tier: Tier, cost: int | None, role: Role = Role.PLANNER) -> CallRecorded:
    return CallRecorded(
        call=f"{tier}.{cost}",
        run="r",
        tenant="acme",
        step="_plan",
        attempt=1,
        role=role,
        tier=tier,
        provider="p",
        model="m",
        status=CallStatus.FINISHED,
        cost_nano_usd=cost,
        started_at=NOW,
    )


CALLS = (call(Tier.SMALL, 3), call(Tier.FRONTIER, 400), call(Tier.FRONTIER, 50), call(Tier.FRONTIER, 7, Role.EXECUTOR))


def adopted(
    origin: Origin = Origin(shape="f" * 32),  # noqa: B008 - a tuple
    plan: Plan | None = None,
    calls: tuple[CallRecorded, ...] = CALLS,
    fallback: str | None = None,
    **more: object,
) -> Run:
    run = begin(new_run(Route.PLAN, **more), NOW).run  # type: ignore[arg-type] # the run's fields by name
    return adopt(run, plan or diamond(), calls, LEG, origin=origin, fallback=fallback).run


def done(run: Run, climb: tuple[Tier, ...] = ()) -> Run:
    """Every step accepted; the first one only after it was sent up through these tiers."""
    tiers = (Tier.SMALL, *climb)
    for name in run.steps:
        path = tiers if name == next(iter(run.steps)) else tiers[:1]
        for place, tier in enumerate(path):
            kind = VerdictKind.ACCEPT if place == len(path) - 1 else VerdictKind.ESCALATE
            run = advance(run, judged(name, place + 1, kind, tier), NOW + 5).run
    return run


def test_a_plan_is_good_where_the_task_succeeded_without_being_sent_up_to_the_frontier() -> None:
    assert is_good(done(adopted()))
    assert is_good(done(adopted(), climb=(Tier.MID,)))
    assert not is_good(done(adopted(), climb=(Tier.MID, Tier.FRONTIER)))
    assert not is_good(adopted())


def test_a_step_that_the_plan_itself_gives_to_the_frontier_is_not_held_against_it() -> None:
    plan = Plan(steps=(Step(id="only", instruction="Do.", tier=Tier.FRONTIER),))
    run = adopted(plan=plan)

    assert is_good(advance(run, judged("only", 1, VerdictKind.ACCEPT, Tier.FRONTIER), NOW).run)


def test_an_accepted_plan_of_the_frontier_can_be_kept_with_what_it_cost() -> None:
    attachments = (Attachment(name="a.txt", content=Content.of("Solberg")),)
    found = ended(done(adopted(attachments=attachments)), "For Aurora: do 120.", "Solberg")

    assert found is not None
    assert (found.tried, found.good) == (None, False)
    assert found.made is not None
    assert (found.made.plan, found.made.prompt, found.made.attachments) == (
        diamond(),
        "For Aurora: do 120.",
        ("a.txt",),
    )
    assert found.made.planning_nano_usd == 450, (
        "the frontier's planning, repairs included; not the adapting, not the steps"
    )
    assert found.made.literals == ("Aurora", "120", "a.txt")


def test_a_plan_whose_price_nobody_knows_is_kept_without_one() -> None:
    found = ended(done(adopted(calls=(*CALLS, call(Tier.FRONTIER, None)))), "p", "")

    assert found is not None
    assert found.made is not None
    assert found.made.planning_nano_usd is None


@pytest.mark.parametrize(
    "run",
    [
        done(adopted(), climb=(Tier.MID, Tier.FRONTIER)),
        done(adopted(fallback="no plan")),
        done(adopted(Origin("f" * 32, "first", "first"))),
        done(adopted(plan=Plan(steps=(Step(id="a", instruction="x" * limits.TEMPLATE_BYTES),)))),
    ],
    ids=["sent up", "fallback", "taken over", "too large"],
)
def test_what_cannot_be_kept_is_not(run: Run) -> None:
    found = ended(run, "p", "")

    assert found is not None
    assert found.made is None


def test_a_reused_plan_is_judged_and_a_try_in_vain_is_not_good() -> None:
    good = ended(done(adopted(Origin("f" * 32, "first", "first"))), "p", "")
    vain = ended(done(adopted(Origin("f" * 32, "first", None))), "p", "")

    assert good is not None
    assert vain is not None
    assert (good.tried, good.good) == ("first", True)
    assert (vain.tried, vain.good, vain.made is not None) == ("first", False, True)


def _closed(status: TaskStatus, origin: Origin) -> Run:
    return finish(close(adopted(origin), status, "x", NOW).run, (), NOW).run


def test_a_failed_task_speaks_against_its_plan_one_that_was_called_off_does_not() -> None:
    used = Origin("f" * 32, "first", "first")
    failed = ended(_closed(TaskStatus.FAILED, used), "p", "")

    assert failed is not None
    assert (failed.tried, failed.good, failed.made) == ("first", False, None)
    assert ended(_closed(TaskStatus.CANCELLED, used), "p", "") is None
    assert ended(_closed(TaskStatus.EXPIRED, used), "p", "") is None
    assert ended(done(adopted(Origin())), "p", "") is None, "a class without rules"
    assert ended(adopted(used), "p", "") is None, "it has not ended"
