"""A pilot's rules, outcomes and states for tests."""

from collections.abc import Iterable

from tierbus.contracts import PilotArm, PilotOutcome
from tierbus.pilot.progress import PilotState, count
from tierbus.pilot.rules import Mode, PilotRules, RampStep

NOW = 1_800_000_000.0
STEPS = (RampStep(percent=10, tries=20), RampStep(percent=50, tries=20), RampStep(percent=100, tries=20))
RAMP = PilotRules(mode=Mode.RAMP, target=0.9, alpha=0.05, steps=STEPS)
CANARY = PilotRules(target=0.9, percent=10)


def pilot(rules: PilotRules = RAMP, **more: object) -> PilotState:
    return PilotState.model_validate({"task_class": "sums", "rules": rules, **more})


def outcome(number: int, passed: bool | None = True, **more: object) -> PilotOutcome:
    given: dict[str, object] = {
        "task_class": "sums",
        "rules": RAMP.id,
        "generation": 1,
        "of_run": f"{number:032x}",
        "pair": f"{number:032x}",
        "arm": PilotArm.CANARY,
        "counted": True,
        "passed": passed,
        "cost_nano_usd": 10,
        "baseline_nano_usd": 100,
        "at": NOW + number,
    }
    return PilotOutcome.model_validate({**given, **more})


def counted(state: PilotState, verdicts: Iterable[bool | None], **more: object) -> PilotState:
    """The state after outcomes with these verdicts, one after the other."""
    for verdict in verdicts:
        number = state.sequence + 1
        state = count(state, outcome(number, verdict, **more), number)
    return state
