"""The policy that learns: a model per task class that it was trained on, and rules for everything else.

For a class with enough labels it follows the course that fitting chose. Where it saw nothing like a task (an unknown
class or category, features far outside) it asks two cheap models and takes what they agree on, while that pays. In both
cases the stop-loss of `guard` has the last word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, sqrt
from zlib import crc32

from tierbus.policy.choose import Course, Step
from tierbus.policy.drift import Norm, sign
from tierbus.policy.features import agree, usable
from tierbus.policy.guard import GATE, MARGIN, Prices, added, allows, due, pays, unseen
from tierbus.policy.model import Stage
from tierbus.policy.moves import Ask, Case, Judge, Move, Seen, Take
from tierbus.policy.reading import Reader, read
from tierbus.policy.review import Look, Odds, Reviewing
from tierbus.policy.tally import Counted, Moment, Tally
from tierbus.policy.words import COURSE_ROWS, Words

LABELS = 300
"""Labelled tasks that a class needs; with fewer, learned thresholds lose points and two cheap answers that agree do not."""
PROBE_EVERY = 10
"""Of the tasks of a class that is no longer as in training, one in so many (by its id) is asked as in training, to see when it
is again. It costs a first answer; the stop-loss has the last word."""


def stage_name(places: Sequence[int]) -> str:
    """The stage after these places have answered: `prompt`, `0`, `0+1`."""
    return "+".join(str(place) for place in sorted(places)) or "prompt"


@dataclass(frozen=True)
class Rate:
    """How often a place's answers were accepted in use: a Beta posterior from a flat prior. A reviewer's word, not truth."""

    accepted: int = 0
    rejected: int = 0

    @property
    def known(self) -> bool:
        """Anything was counted."""
        return self.accepted + self.rejected > 0

    @property
    def mean(self) -> float:
        """The expected share of accepted answers."""
        return (self.accepted + 1) / (self.accepted + self.rejected + 2)

    @property
    def error(self) -> float:
        """The standard deviation of that share."""
        return sqrt(self.mean * (1 - self.mean) / (self.accepted + self.rejected + 3))

    def plus(self, other: "Rate") -> "Rate":
        """Both counts together."""
        return Rate(self.accepted + other.accepted, self.rejected + other.rejected)


@dataclass(frozen=True)
class Lesson:
    """What is known of one task class.

    Args:
        rows: labelled tasks it was fitted on.
        groups: categories seen; a task of another one is strange.
        costs_usd: mean dollars of a call by place; zeros where no price was recorded.
        stages: models by `stage_name`; empty without enough labels.
        course: what to do; None where nothing cheaper than the strong model holds the target.
        quality: expected difference to the strong model's accuracy, out of fold.
        cost_share: expected dollars as a share of always asking the strong model, out of fold.
        rates: accepted and rejected answers by place, from the ledger.
        words: what the words of a prompt say, where that is more than its other features do. Scores before any answer
            go by it; the course does too from `COURSE_ROWS` labels on.
        norm: what its tasks in use are held against; None where that is not known.
    """

    rows: int
    groups: tuple[str, ...]
    costs_usd: tuple[float, ...]
    stages: Mapping[str, Stage] = field(default_factory=dict)
    course: Course | None = None
    quality: float = 0.0
    cost_share: float = 1.0
    rates: tuple[Rate, ...] = ()
    words: Words | None = None
    norm: Norm | None = None


@dataclass(frozen=True)
class Gain:
    """What the models say after some answers: the best answer at hand, and its chances beside the strong model's."""

    place: int
    odds: Odds
    strange: bool

    @property
    def gain(self) -> float:
        """What a strong call would add."""
        return self.odds.strong - self.odds.right


@dataclass(frozen=True)
class Standing:
    """How a class fares in use: the guards have given it up for now (and why), or its tasks are not those of training."""

    given_up: str | None
    away: bool


_NOTHING = Counted()


class Learned:
    """Fitted lessons, and what was counted since.

    Args:
        models: the ladder by name, cheapest first, the strong one last.
        lessons: by task class.
        target: points of accuracy (.01 is one) that may be lost against the strong model.
        reader: makes the features; another one may keep what it made.
        review_error: how often the services' reviewer is taken to err; None keeps them from asking it.
        look: what a reviewer's look costs; None where nobody looks.
    """

    def __init__(
        self,
        models: Sequence[str],
        lessons: Mapping[str, Lesson],
        target: float,
        reader: Reader = read,
        *,
        review_error: float | None = None,
        look: Look | None = None,
    ) -> None:
        self.models = tuple(models)
        self.lessons = dict(lessons)
        self.target = target
        self.review_error = review_error
        self._look = look
        self._read = reader
        self._strong = len(self.models) - 1
        self._used: dict[str, Counted] = {}
        self._kept: dict[tuple[str, str], Gain] = {}

    def covers(self, task_class: str) -> bool:
        """Whether it was fitted on tasks of this class; others are left to the rules of whoever asks."""
        lesson = self.lessons.get(task_class)
        return lesson is not None and bool(lesson.stages)

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        """The next move; the strong model's answer is always taken."""
        if any(one.place == self._strong for one in seen):
            return Take(self._strong, "the strong model answered")
        if not self._strong:
            return Ask(0, "there is one model only")
        judged = next((one for one in seen if one.judged is not None), None)
        if judged is not None:
            return self._judged(judged)
        lesson = self.lessons.get(case.task_class)
        if lesson is None or not lesson.stages:
            return self._untaught(case, seen, "no lesson for this class")
        if lesson.course is None:
            return Ask(self._strong, "nothing cheaper holds the target in this class")
        if self.counted(case.task_class).drift.away:
            return self._away(case, seen, lesson.course)
        at = self.gain(case, seen, lesson.course.first)
        if at is None or at.strange:
            what = "it and its answer" if seen else "it"
            return self._untaught(case, seen, f"nothing like {what} was seen in training")
        move = self._taught(case, seen, lesson.course, at)
        if any(isinstance(move, Ask) and one.place == move.place for one in seen):
            return self._untaught(
                case, seen, "its course was not begun, for nothing like its prompt was seen in training"
            )
        return move

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        """Count costs and agreement of a task that is done."""
        for moment in (*self.looked(case, seen), self.ended(case, seen)):
            self.count(case.task_class, moment)

    def looked(self, case: Case, seen: tuple[Seen, ...]) -> list[Moment]:
        """What the cheap answers of a task show one by one, up to the second: nothing, where there is nothing to count."""
        cheap = tuple(one for one in seen if one.place != self._strong)[:2]
        shown = [cheap] if cheap else []
        if len(cheap) > 1:
            shown = [(cheap[0]._replace(judged=None),), cheap]  # a look came after the second answer only
        return [moment for one in shown if (moment := self.moment(case, one))]

    def moment(self, case: Case, cheap: tuple[Seen, ...]) -> Moment | None:
        """What the last of these cheap answers shows; None where there is nothing to count."""
        agreed = agree(cheap[0], cheap[1]) if len(cheap) == 2 else None  # noqa: PLR2004 - a pair
        found = self._sign(case, cheap)
        return None if agreed is None and found is None else Moment(agreed=agreed, sign=found)

    def ended(self, case: Case, seen: tuple[Seen, ...]) -> Moment:
        """What a task that is done shows."""
        calls = tuple((one.place, one.cost_usd) for one in seen)
        if all(one.judged is None for one in seen):
            return Moment(calls=calls)
        prices = self._prices(case.task_class, self.counted(case.task_class).tally)
        looks_usd = sum(one.judged_usd for one in seen)
        return Moment(
            calls=calls,
            looks_usd=looks_usd,
            looks_saved_usd=self._looks_spared_usd(case, seen, prices.strong_usd(calls)) - looks_usd,
        )

    def count(self, task_class: str, moment: Moment) -> None:
        """Add what a moment of a task of this class shows to what was counted."""
        before, lesson = self.counted(task_class), self.lessons.get(task_class)
        tally = before.tally.plus(added(moment, before.tally, self._known(task_class)))
        drift = before.drift
        if moment.sign is not None and lesson is not None and lesson.norm is not None:
            drift = drift.after(moment.sign, lesson.norm)
        self._used[task_class] = Counted(tally, drift)

    def counted(self, task_class: str) -> Counted:
        """What was counted of a class."""
        return self._used.get(task_class, _NOTHING)

    @property
    def used(self) -> Mapping[str, Counted]:
        """What was counted, by class."""
        return self._used

    def resume(self, used: Mapping[str, Counted]) -> None:
        """Go on from what was counted before, by this process or another one."""
        self._used = dict(used)

    def standing(self, task_class: str, counted: Counted) -> Standing:
        """How a class fares by these counts."""
        return Standing(self._given_up(task_class, counted), counted.drift.away)

    def taught(self, rates: Mapping[str, Sequence[Rate]], costs_usd: Mapping[str, Sequence[float]]) -> "Learned":
        """The policy with a reviewer's verdicts counted in its class table; its models and thresholds stay.

        Args:
            rates: accepted and rejected answers by class and place, added to those counted before.
            costs_usd: mean dollars of a call by class and place; they fill in where none are known.
        """
        lessons = dict(self.lessons)
        for name, counted in rates.items():
            lesson = lessons.get(name, Lesson(0, (), (0.0,) * len(self.models)))
            before = lesson.rates or (Rate(),) * len(self.models)
            lessons[name] = replace(
                lesson,
                rates=tuple(one.plus(two) for one, two in zip(before, counted, strict=True)),
                costs_usd=tuple(one or two for one, two in zip(lesson.costs_usd, costs_usd[name], strict=True)),
            )
        return self._with(lessons, self._look, {})

    def fresh(self) -> "Learned":
        """The same lessons, with nothing counted in use."""
        return self.reviewed_by(self._look)

    def reviewed_by(self, look: Look | None) -> "Learned":
        """The same lessons, with nothing counted in use, beside a reviewer that may be asked to look at an answer; None: nobody."""
        return self._with(self.lessons, look, self._kept)

    def _with(self, lessons: Mapping[str, Lesson], look: Look | None, kept: dict[tuple[str, str], Gain]) -> "Learned":
        again = Learned(self.models, lessons, self.target, self._read, review_error=self.review_error, look=look)
        again._kept = kept
        return again

    def prepare(self, cases: Sequence[Case], seens: Sequence[tuple[Seen, ...]]) -> None:
        """Work out all models' gains for tasks that will be played, and keep them by case id instead of those kept before."""
        kept: dict[tuple[str, str], Gain] = {}
        for case, answers in zip(cases, seens, strict=True):
            lesson = self.lessons.get(case.task_class)
            for name in lesson.stages if lesson is not None else ():
                places = [] if name == "prompt" else [int(place) for place in name.split("+")]
                for first in range(self._strong) if not places else places[:1]:
                    gain = self._gain(case, tuple(answers[place] for place in places), first)
                    if gain is not None:
                        kept[case.id, _key(name, first)] = gain
        self._kept = kept

    def score(self, case: Case, seen: tuple[Seen, ...]) -> float | None:
        """What a strong call is expected to add to the first place's answer, or to those seen; None for unknown classes."""
        at = self.gain(case, seen, seen[0].place if seen else 0)
        if at is None:
            return None
        words = self.lessons[case.task_class].words
        return at.gain if seen or words is None else words.gain(case.prompt, self._read(case, ()), 0)

    def abstains(self, case: Case, seen: tuple[Seen, ...]) -> bool:
        """Nothing was learned that this task can be judged by: the rules without labels decide."""
        lesson = self.lessons.get(case.task_class)
        if lesson is None or not lesson.stages:
            return True
        at = self.gain(case, seen, lesson.course.first if lesson.course is not None else 0)
        return at is None or at.strange

    def gain(self, case: Case, seen: tuple[Seen, ...], first: int) -> Gain | None:
        """What the models say after these answers; `first` is the place that would be asked where none was. None: no model."""
        kept = self._kept.get((case.id, _key(stage_name([one.place for one in seen]), first)))
        return kept if kept is not None else self._gain(case, seen, first)

    def _gain(self, case: Case, seen: tuple[Seen, ...], first: int) -> Gain | None:
        lesson = self.lessons.get(case.task_class)
        stage = lesson.stages.get(stage_name([one.place for one in seen])) if lesson is not None else None
        if lesson is None or stage is None:
            return None
        features = self._read(case, seen)
        judged = stage.judged(features)
        places = [one.place for one in seen if usable(one)] or [one.place for one in seen] or [first]
        best = min(places, key=judged.gain)
        other = case.group is not None and bool(lesson.groups) and case.group not in lesson.groups
        words = lesson.words if not seen and lesson.rows >= COURSE_ROWS else None
        gain = judged.gain(best) if words is None else words.gain(case.prompt, features, best)
        right = judged.chances[str(best)]
        return Gain(best, Odds(right, right + gain), other or judged.strange)

    def _taught(self, case: Case, seen: tuple[Seen, ...], course: Course, at: Gain) -> Move:
        if not seen:
            if not course.starts_cheap(at.gain, self._look_usd(case, course, at)):
                return Ask(self._strong, "the cheap model will hardly save anything")
            return self._start(case, course.cheap, "the cheap model is expected to pay")
        step, told = self._step(case, seen, course, at), "" if len(seen) == 1 else ", with two answers seen"
        if step is Step.SECOND and course.second is not None:
            return Ask(course.second, "a second cheap answer is expected to pay")
        if step is Step.JUDGE:
            return Judge(at.place, f"a look at it is expected to pay{told}")
        if step is Step.TAKE:
            return Take(at.place, f"likely right{told}")
        return Ask(self._strong, f"likely wrong{told}")

    def _step(self, case: Case, seen: tuple[Seen, ...], course: Course, at: Gain) -> Step:
        """What to do with the answers so far.

        A look may cost more dollars than what would be done without it, for the accuracy it buys. Then what looks have saved
        pays for it, so that a class never costs more for its reviewer.
        """
        without, reviewing = _without_look(course, seen, at), self._reviewing(case, seen, at)
        if reviewing is None:
            return without
        look_usd = reviewing.expected_usd(at.odds, course.worth_usd, course.costs_usd[-1])
        step = course.step(at.gain, usable=_fine(seen), alone=len(seen) == 1, look_usd=look_usd)
        if step is not Step.JUDGE:
            return step
        strong_usd = course.costs_usd[-1]
        more_usd = reviewing.usd + (1 - reviewing.accepts(at.odds)) * strong_usd - course.next_usd(without, strong_usd)
        saved_usd = self.counted(case.task_class).tally.looks_saved_usd
        return step if more_usd <= max(saved_usd, 0.0) else without

    def _look_usd(self, case: Case, course: Course, at: Gain) -> float:
        """Expected dollars from the first answer on, if it is looked at whatever it is; infinite where nobody can."""
        reviewing = self._reviewing(case, (), at)
        return inf if reviewing is None else reviewing.expected_usd(at.odds, course.worth_usd, course.costs_usd[-1])

    def _reviewing(self, case: Case, seen: tuple[Seen, ...], at: Gain) -> Reviewing | None:
        """The reviewer, if one can look at the answer at hand and the stop-loss allows what that costs."""
        if self._look is None:
            return None
        found = self._look(case, next((one for one in seen if one.place == at.place), None))
        tally = self.counted(case.task_class).tally
        strong_usd = self._prices(case.task_class, tally).usd(self._strong)
        if found is None or strong_usd <= 0:
            return None
        spent_usd = sum(one.cost_usd for one in seen) + found.usd
        return found if allows(tally, spent_usd / strong_usd) else None

    def _looks_spared_usd(self, case: Case, seen: tuple[Seen, ...], strong_usd: float) -> float:
        """Dollars that would have been spent without a look on this task that had one, less what was spent after it.

        Of a second answer only its own dollars are counted.
        """
        cheap = tuple(one for one in seen if one.place != self._strong)
        after_usd = strong_usd if len(cheap) < len(seen) else 0.0
        lesson = self.lessons.get(case.task_class)
        course = lesson.course if lesson is not None else None
        at = self.gain(case, cheap, course.first) if course is not None else None
        if course is None or at is None:
            return -after_usd
        return course.next_usd(_without_look(course, cheap, at), strong_usd) - after_usd

    def _judged(self, judged: Seen) -> Move:
        """The reviewer was asked because its word decides."""
        if judged.judged:
            return Take(judged.place, "the reviewer accepts it")
        return Ask(self._strong, "the reviewer rejects it")

    def _away(self, case: Case, seen: tuple[Seen, ...], course: Course) -> Move:
        """Tasks that are no longer as in training: as unknown ones, but every so many show what the course would see.

        Only by those is it known that a class is as in training again, where two cheap models do not pay or show another model.
        """
        why = "its class is no longer as in training"
        if crc32(case.id.encode()) % PROBE_EVERY or not self._begins(case, course):
            return self._untaught(case, seen, why)
        if not seen:
            return self._start(case, course.cheap, f"{why}, or is it again?")
        at = self.gain(case, seen, course.first)
        second = course.second if len(seen) == 1 and seen[0].place == course.first else None
        if second is not None and at is not None and _without_look(course, seen, at) is Step.SECOND:
            return Ask(second, f"{why}, or is it again?")
        return Ask(self._strong, f"{why}: its cheap answers only show what it is like")

    def _untaught(self, case: Case, seen: tuple[Seen, ...], why: str) -> Move:
        """Two cheap answers that agree are taken, while asking for them pays."""
        cheap = [one for one in seen if usable(one)]
        if len(cheap) < len(seen):
            return Ask(self._strong, f"{why}; a free check failed")
        if len(seen) > 1:
            if agree(seen[0], seen[1]):
                return Take(seen[0].place, f"{why}; two cheap answers agree")
            return Ask(self._strong, f"{why}; two cheap answers differ")
        if seen:
            return Ask(int(seen[0].place == 0), f"{why}; a second opinion")
        if self._unpriced(case.task_class):
            return Ask(self._strong, f"{why}; to see what the strong model costs")
        if self._strong < 2 or not self._pair_pays(case):  # noqa: PLR2004 - two cheap models
            return Ask(self._strong, f"{why}; two cheap models do not pay")
        return self._start(case, (0, 1), f"{why}; two cheap models are asked")

    def lost_usd(self, task_class: str) -> float:
        """About how many dollars a class has cost beyond the strong model alone; below 0: what it saved."""
        tally = self.counted(task_class).tally
        return tally.lost * self._prices(task_class, tally).usd(self._strong)

    def _unpriced(self, task_class: str) -> bool:
        """It is time to see what a strong call costs."""
        tally = self.counted(task_class).tally
        called = bool(tally.calls) and tally.calls[self._strong] > 0
        return not called and self._prices(task_class, tally).usd(self._strong) <= 0 and unseen(tally)

    def _pair_pays(self, case: Case) -> bool:
        tally = self.counted(case.task_class).tally
        prices = self._prices(case.task_class, tally)
        price = prices.share(0) + prices.share(1)
        if prices.usd(self._strong) <= 0:
            return True
        if self._refused(case.task_class, price):
            return False
        return price < GATE and (pays(tally, price) or due(tally))

    def _refused(self, task_class: str, price: float) -> bool:
        """Reviewers accept too few of the cheap models' answers in this class for a pair at this price."""
        lesson = self.lessons.get(task_class)
        known = [rate for rate in lesson.rates[:2] if rate.known] if lesson is not None else []
        return bool(known) and min(rate.mean + rate.error for rate in known) < price + MARGIN

    def _start(self, case: Case, places: Sequence[int], why: str) -> Move:
        """Ask the first of these cheap places, unless the stop-loss forbids to lose what all of them cost."""
        tally = self.counted(case.task_class).tally
        prices = self._prices(case.task_class, tally)
        if prices.usd(self._strong) > 0 and not allows(tally, sum(prices.share(place) for place in places)):
            return Ask(self._strong, "the stop-loss: this class has cost more than the strong model alone")
        return Ask(places[0], why)

    def _given_up(self, task_class: str, counted: Counted) -> str | None:
        """Why the guards keep a class from its cheap models, where they do."""
        tally, lesson = counted.tally, self.lessons.get(task_class)
        course = lesson.course if lesson is not None else None
        prices = self._prices(task_class, tally)
        if self._strong < 1 or prices.usd(self._strong) <= 0:
            return None
        if course is not None and not counted.drift.away:
            stake = sum(prices.share(place) for place in course.cheap)
            return None if allows(tally, stake) else "the stop-loss"
        if self._strong < 2 or (lesson is not None and lesson.stages and course is None):  # noqa: PLR2004 - two cheap models
            return None
        price = prices.share(0) + prices.share(1)
        if price >= GATE or self._refused(task_class, price) or not pays(tally, price):
            return "two cheap models do not pay"
        return None if allows(tally, price) else "the stop-loss"

    def _sign(self, case: Case, cheap: tuple[Seen, ...]) -> float | None:
        """The sign of a task on which the course would ask its models, whoever asked them; None where it has none."""
        lesson = self.lessons.get(case.task_class)
        if lesson is None or lesson.norm is None or lesson.course is None or not cheap:
            return None
        course = lesson.course
        by_place = {one.place: one for one in cheap}
        first = by_place.get(course.first)
        second = by_place.get(course.second) if course.second is not None else None
        alone = cheap[-1].place == course.first and (course.second is None or cheap[-1].judged is not None)
        if first is None or (second is None and not alone):
            return None
        after = self.gain(case, (first,), course.first)
        if after is None or after.strange or not self._begins(case, course):
            return None
        shown = sign(course, after.gain, first, second, lesson.norm.agreement)
        return None if shown is None else lesson.norm.excess(shown, case.group)

    def _begins(self, case: Case, course: Course) -> bool:
        """Whether the course would ask its first model, if nobody may look at the answer."""
        before = self.gain(case, (), course.first)
        return before is not None and not before.strange and course.starts_cheap(before.gain)

    def _prices(self, task_class: str, tally: Tally) -> Prices:
        return Prices(self._known(task_class), tally)

    def _known(self, task_class: str) -> tuple[float, ...]:
        lesson = self.lessons.get(task_class)
        return lesson.costs_usd if lesson is not None else (0.0,) * len(self.models)


def _fine(seen: tuple[Seen, ...]) -> bool:
    return any(usable(one) for one in seen)


def _without_look(course: Course, seen: tuple[Seen, ...], at: Gain) -> Step:
    return course.step(at.gain, usable=_fine(seen), alone=len(seen) == 1)


def _key(stage: str, first: int) -> str:
    return f"{stage}/{first}" if stage == "prompt" else stage
