"""What an operator says about the pilot of a class, in the classes file.

```yaml
classes:
  invoice-fields:
    pilot:
      mode: ramp            # shadow | canary | ramp
      target: 0.95          # the pass rate to hold
      alpha: 0.05           # the most often that a pilot which holds it is rolled back all the same
      tenants: {acme: 20}   # percent of one tenant; in a ramp the most that it reaches
      judge_percent: 25     # so many of the drawn tasks get the strict review, and only those count
      steps:                # a ramp's
        - {percent: 5, tries: 100, complexity_below: 0.4}
        - {percent: 50, tries: 300}
        - {percent: 100, tries: 300}
```
"""

import hashlib
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from tierbus.contracts import Model, TenantName

Percent = Annotated[float, Field(ge=0, le=100)]
Complexity = Annotated[float, Field(gt=0, le=1)]


class Mode(StrEnum):
    """How the cheap way is tried.

    shadow: the frontier tier answers, the cheap way runs beside it and is only judged. canary: drawn tasks go the cheap way.
    ramp: a canary that widens by itself.
    """

    SHADOW = "shadow"
    CANARY = "canary"
    RAMP = "ramp"


class RampStep(Model):
    """So many percent, until so many tries were judged; only tasks simpler than `complexity_below` where that is given."""

    percent: Annotated[float, Field(gt=0, le=100)]
    tries: int = Field(ge=1)
    complexity_below: Complexity | None = None


DEFAULT_PERCENT = 10.0
DEFAULT_STEPS = (
    RampStep(percent=5, tries=100),
    RampStep(percent=25, tries=200),
    RampStep(percent=50, tries=400),
    RampStep(percent=100, tries=400),
)


class PilotRules(Model):
    """The pilot of one class."""

    mode: Mode = Mode.CANARY
    percent: Percent | None = None
    """Tasks that are drawn, of those that may be, 10 if nothing is said; a ramp has steps instead."""
    tenants: dict[TenantName, Percent] = Field(default_factory=dict)
    """Percent of one tenant instead of the class's; in a ramp the most that the tenant reaches."""
    complexity_below: Complexity | None = None
    """Simplest first: only tasks whose complexity score (0 to 1) is below this are drawn."""
    target: float = Field(default=0.95, gt=0, lt=1)
    """The pass rate to hold: cheap first answers that the review accepts, of all that it judged."""
    alpha: float = Field(default=0.05, gt=0, le=0.5)
    """The most often that a pilot is rolled back although it holds the target, over its whole life."""
    steps: tuple[RampStep, ...] = ()
    """A ramp's steps, each wider than the one before."""
    judge_percent: Percent = 0.0
    """Of the drawn tasks, how many get the strict review (a model judges). Above 0 only these count towards the pass rate."""

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if self.mode is Mode.RAMP:
            for name in ("percent", "complexity_below"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for shadow and canary: a ramp has steps with a {name} each")
        elif self.steps:
            raise ValueError(f"steps are a ramp's, and mode is {self.mode.value!r}")
        for before, after in pairwise(self.steps):
            if after.percent < before.percent:
                raise ValueError(f"steps must not narrow: {after.percent:g} % stands after {before.percent:g} %")
        return self

    @property
    def ramp(self) -> tuple[RampStep, ...]:
        """The steps that are gone through; one that never ends for shadow and canary."""
        if self.mode is Mode.RAMP:
            return self.steps or DEFAULT_STEPS
        percent = DEFAULT_PERCENT if self.percent is None else self.percent
        return (RampStep(percent=percent, tries=1, complexity_below=self.complexity_below),) if percent else ()

    @property
    def id(self) -> str:
        """Names what is tested. Other rules are another pilot with counts of its own; who is drawn may change within one."""
        ramp = [(step.percent, step.tries) for step in self.ramp] if self.mode is Mode.RAMP else []
        tested = f"{self.mode.value} {self.target!r} {self.alpha!r} {ramp} {self.judge_percent > 0}"
        return hashlib.sha256(tested.encode()).hexdigest()[:8]
