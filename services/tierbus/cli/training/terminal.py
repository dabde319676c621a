"""The summary of a training, as lines of text. Pure."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tierbus.policy.assess import Assessment, Mistake
from tierbus.policy.choose import Course
from tierbus.policy.learned import LABELS, Learned, Lesson
from tierbus.policy.verdicts import Tally

SURE_LABELS = 1350
"""Labels that it takes to be sure within one point (two-sided 95 %, as measured on recorded answers)."""


def trained(policy: Learned, found: Sequence[Assessment], mistakes: Sequence[Mistake], where: str) -> Iterator[str]:
    """What was learned, class by class, and how it does on the tasks named by `where`."""
    by_class = {one.task_class: one for one in found}
    for name, lesson in sorted(policy.lessons.items()):
        yield f"{name}: {lesson.rows:,} labelled tasks"
        yield from (f"  {line}" for line in _lesson(lesson, policy))
        if (one := by_class.get(name)) is not None:
            yield from (f"  {line}" for line in _assessed(one, where))
        if 0 < lesson.rows < SURE_LABELS and lesson.stages:
            yield f"  {lesson.rows:,} labels cannot show a difference of one point for sure; about {SURE_LABELS:,} can"
    for name in sorted(by_class.keys() - policy.lessons.keys()):
        yield f"{name}: not in the training tasks"
        yield from (f"  {line}" for line in _assessed(by_class[name], where))
    if policy.review_error is not None:
        yield (
            f"a reviewer's verdict is taken to be wrong in {100 * policy.review_error:.1f} % of cases (--review-error);"
            " the figures here are without one"
        )
    for kind in sorted({mistake.kind for mistake in mistakes}):
        yield f"{kind}: {sum(mistake.kind == kind for mistake in mistakes)} {where}"


def forgotten(policy: Learned, before: Learned | None, folder: Path) -> Iterator[str]:
    """Classes that the policy in use before had learned and this one did not."""
    for name, lesson in sorted(before.lessons.items() if before is not None else ()):
        if lesson.stages and not policy.covers(name):
            yield (
                f"warning: the version before had learned {name} from {lesson.rows:,} labels, this one has not;"
                f" `tierbus train --rollback --out {folder}` goes back"
            )


def _lesson(lesson: Lesson, policy: Learned) -> Iterator[str]:
    if not lesson.stages:
        yield (
            f"too few labels to learn from, {LABELS} are enough: two cheap answers that agree are taken, while that pays"
        )
    elif lesson.course is None:
        yield "no cheaper way holds the target: the strong model is asked at once"
    else:
        yield from _course(lesson.course, policy)
        yield (
            f"expected (out of fold): {100 * lesson.cost_share:.1f} % of the strong model's dollars,"
            f" {100 * lesson.quality:+.2f} points; target {-100 * policy.target:+.2f}"
        )


def _course(course: Course, policy: Learned) -> Iterator[str]:
    strong_usd = course.costs_usd[-1]
    second = "" if course.second is None else f", then perhaps {policy.models[course.second]}"
    yield f"asks {policy.models[course.first]} first{second}, then {policy.models[-1]}"
    yield (
        f"takes an answer if a strong call adds less than {100 * strong_usd / course.worth_usd:.1f} points to its chance"
        f" (one right answer more is worth {course.worth_usd / strong_usd:.1f} strong calls)"
    )


def _assessed(one: Assessment, where: str) -> Iterator[str]:
    share = "no prices" if one.cost_share is None else f"{100 * one.cost_share:.1f} % of the strong model's dollars"
    yield (
        f"{where}: {one.tasks:,} tasks, {100 * one.accuracy:.2f} % right (strong {100 * one.strong_accuracy:.2f} %), {share},"
        f" strong model asked for {100 * one.asked_strong:.1f} %, abstained from {one.abstained:,}"
    )
    if one.calibration is not None:
        yield f"{where}: a first answer's chance to be right is off by {100 * one.calibration:.1f} points on average"


def counts(policy: Learned) -> Iterator[str]:
    """What a policy's classes showed in use, and how they fare."""
    if not policy.used:
        yield "nothing is counted yet: this version of the policy has seen no task end"
    for name in sorted(policy.used):
        counted, lost_usd = policy.counted(name), policy.lost_usd(name)
        tally = counted.tally
        agreed = "" if not tally.asked else f", two cheap models agreed on {tally.agreed:,} of {tally.asked:,}"
        money = f"${abs(lost_usd):.6f} {'more' if lost_usd > 0 else 'less'} than the strong model alone"
        yield f"{name}: {tally.ended:,} tasks{agreed}, about {money}"
        standing = policy.standing(name, counted)
        if standing.away:
            yield "  its tasks are no longer as in training: it is treated as unknown until they are"
        if standing.given_up is not None:
            yield f"  given up for now: {standing.given_up}"


def counted(tally: Tally, policy: Learned, mistakes: Sequence[Mistake]) -> Iterator[str]:
    """What the ledger's verdicts added, and in how many tasks another model's answer was accepted than the first one's."""
    yield f"{tally.results:,} finished tasks; these labels are the reviewer's, not truth"
    for rung, count in sorted(tally.rungs.items()):
        yield f"  {rung}: {count:,}"
    if tally.elsewhere:
        yield f"  {tally.elsewhere:,} attempts by models that are not on the policy's ladder were left out"
    for name in sorted(tally.rates):
        rates = policy.lessons[name].rates
        told = (
            f"{model} {rate.accepted:,} of {rate.accepted + rate.rejected:,} ({100 * rate.mean:.0f} ± {100 * rate.error:.0f} %)"
            for model, rate in zip(policy.models, rates, strict=True)
            if rate.known
        )
        yield f"{name}: accepted so far: {', '.join(told)}"
    for kind in sorted({mistake.kind for mistake in mistakes}):
        yield f"{kind}, another model's accepted: {sum(mistake.kind == kind for mistake in mistakes):,}"
