"""How a pilot goes on: pure functions from its state and an outcome, or an operator's word, to the next state.

Outcomes are counted in the order of the stream that holds them, each by its sequence there: an outcome that is said twice, or
counted by two replicas, counts once. Nothing here reads a clock, a bus or a model.
"""

from pydantic import Field

from tierbus.contracts import Model, PilotArm, PilotChange, PilotChanged, PilotOutcome
from tierbus.pilot.evidence import Evidence
from tierbus.pilot.rules import PilotRules, RampStep

KEPT_CHANGES = 32
"""Changes that a state remembers; the stream has them all."""
_CHEAP = (PilotArm.CANARY, PilotArm.SHADOW)


class Bill(Model):
    """What the runs of one arm cost; `unpriced` runs are in no sum.

    `baseline_nano_usd` prices the accepted answers of succeeded runs on the frontier tier, as a result's baseline does.
    """

    runs: int = 0
    cost_nano_usd: int = 0
    baseline_nano_usd: int = 0
    unpriced: int = 0

    def plus(self, outcome: PilotOutcome) -> "Bill":
        """The bill with one more run."""
        if outcome.cost_nano_usd is None:
            return self.model_copy(update={"runs": self.runs + 1, "unpriced": self.unpriced + 1})
        return Bill(
            runs=self.runs + 1,
            cost_nano_usd=self.cost_nano_usd + outcome.cost_nano_usd,
            baseline_nano_usd=self.baseline_nano_usd + (outcome.baseline_nano_usd or 0),
            unpriced=self.unpriced,
        )


class Change(Model):
    """Something that happened to the pilot; `sequence` is the outcome's that made it happen, 0 for an operator's word."""

    number: int
    change: PilotChange
    sequence: int
    generation: int
    percent: float
    tries: int
    passes: int
    why: str
    at: float


class PilotState(Model):
    """All that is known of one pilot. `generation` counts its beginnings; `sequence` is the last outcome that is counted."""

    task_class: str
    rules: PilotRules
    generation: int = 1
    sequence: int = 0
    step: int = 0
    tries: int = 0
    passes: int = 0
    step_tries: int = 0
    step_passes: int = 0
    unjudged: int = 0
    evidence: Evidence = Evidence()
    rolled_back: bool = False
    paused: bool = False
    held: bool = False
    bills: dict[PilotArm, Bill] = Field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    updated_at: float = 0.0

    @property
    def stage(self) -> RampStep | None:
        """Who may be drawn now; None: nobody."""
        if self.rolled_back or self.paused or not self.rules.ramp:
            return None
        return self.rules.ramp[min(self.step, len(self.rules.ramp) - 1)]

    @property
    def percent(self) -> float:
        """The share of the class that is drawn now."""
        return self.stage.percent if self.stage else 0.0

    @property
    def last_step(self) -> bool:
        """Whether there is no wider step."""
        return self.step >= len(self.rules.ramp) - 1

    def bill(self, *arms: PilotArm) -> Bill:
        """What the runs of these arms cost together."""
        found = [self.bills[arm] for arm in arms if arm in self.bills]
        return Bill(
            runs=sum(one.runs for one in found),
            cost_nano_usd=sum(one.cost_nano_usd for one in found),
            baseline_nano_usd=sum(one.baseline_nano_usd for one in found),
            unpriced=sum(one.unpriced for one in found),
        )


def count(state: PilotState, outcome: PilotOutcome, sequence: int) -> PilotState:
    """The state with one outcome more; one that is counted already, or of an earlier generation, changes no count."""
    if sequence <= state.sequence:
        return state
    state = state.model_copy(update={"sequence": sequence, "updated_at": outcome.at})
    if outcome.generation != state.generation:
        return state
    if outcome.source == "review":
        bills = {**state.bills, outcome.arm: state.bills.get(outcome.arm, Bill()).plus(outcome)}
        state = state.model_copy(update={"bills": bills})
    if outcome.arm not in _CHEAP or not outcome.counted:
        return state
    if outcome.passed is None:
        return state.model_copy(update={"unjudged": state.unjudged + 1})
    return _decided(_tried(state, passed=outcome.passed), sequence, outcome.at)


def _tried(state: PilotState, *, passed: bool) -> PilotState:
    return state.model_copy(
        update={
            "tries": state.tries + 1,
            "passes": state.passes + passed,
            "step_tries": state.step_tries + 1,
            "step_passes": state.step_passes + passed,
            "evidence": state.evidence
            if state.rolled_back
            else state.evidence.after(passed=passed, target=state.rules.target),
        }
    )


def _decided(state: PilotState, sequence: int, at: float) -> PilotState:
    """What follows from the counts: roll back, widen, say once that it is held, or nothing."""
    rules = state.rules
    if state.rolled_back:
        return state
    if state.evidence.value >= 1 / rules.alpha:
        why = (
            f"{state.passes} of {state.tries} passed, in the last step {state.step_passes} of {state.step_tries}:"
            f" below {rules.target:g} at level {rules.alpha:g}"
        )
        return _changed(state, PilotChange.ROLLED_BACK, why, at, sequence, rolled_back=True)
    if state.paused or state.last_step or state.step_tries < rules.ramp[state.step].tries:
        return state
    passed = f"{state.step_passes} of {state.step_tries} passed at {state.percent:g} %"
    if state.step_passes >= rules.target * state.step_tries:
        fresh = {"step": state.step + 1, "step_tries": 0, "step_passes": 0, "held": False}
        return _changed(state, PilotChange.WIDENED, passed, at, sequence, **fresh)
    if state.held:
        return state
    why = f"{passed}, below {rules.target:g}, which is no proof yet: it goes on as wide as it is"
    return _changed(state, PilotChange.HELD, why, at, sequence, held=True)


def pause(state: PilotState, at: float) -> PilotState:
    """Draw nobody until `resume`; what is under way still counts."""
    if state.paused:
        return state
    return _changed(state, PilotChange.PAUSED, "by an operator", at, paused=True)


def resume(state: PilotState, at: float) -> PilotState:
    """Go on after a pause. A pilot that was rolled back stays so: only `reset` begins anew."""
    if not state.paused:
        return state
    return _changed(state, PilotChange.RESUMED, "by an operator", at, paused=False)


def reset(state: PilotState, at: float) -> PilotState:
    """Begin anew at the first step with nothing counted; outcomes of runs that began before count no more."""
    fresh = PilotState(
        task_class=state.task_class,
        rules=state.rules,
        generation=state.generation + 1,
        sequence=state.sequence,
        changes=state.changes,
        updated_at=at,
    )
    return _changed(fresh, PilotChange.RESET, "by an operator", at)


def _changed(
    state: PilotState, change: PilotChange, why: str, at: float, sequence: int = 0, **update: object
) -> PilotState:
    after = state.model_copy(update={**update, "updated_at": at})
    number = state.changes[-1].number + 1 if state.changes else 1
    noted = Change(
        number=number,
        change=change,
        sequence=sequence,
        generation=after.generation,
        percent=after.percent,
        tries=state.tries,
        passes=state.passes,
        why=why,
        at=at,
    )
    return after.model_copy(update={"changes": (*state.changes, noted)[-KEPT_CHANGES:]})


def told(state: PilotState, change: Change) -> PilotChanged:
    """A change as the bus is told of it: the same however often."""
    return PilotChanged(
        task_class=state.task_class,
        rules=state.rules.id,
        generation=change.generation,
        number=change.number,
        change=change.change,
        percent=change.percent,
        tries=change.tries,
        passes=change.passes,
        why=change.why,
        at=change.at,
    )
