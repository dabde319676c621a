"""Scenarios: what a task asks, what each model says to it (YAML), and which rule fits a request. Pure.

The form of a scenario file is in `scenarios/README.md`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tierbus.contracts import Model, Role, Tier, explain
from tierbus.errors import Misconfigured
from tierbus.testing.sim.fallback import MARK, unscripted
from tierbus.tiers import catalog

_ROLES = {
    "You are the router of Tierbus": Role.ROUTER,
    "You are the planner of Tierbus": Role.PLANNER,
    "You are an executor of Tierbus": Role.EXECUTOR,
    "You are the reviewer of Tierbus": Role.REVIEWER,
    "You are the judge of Tierbus": Role.WATCH,
}
_STEP = re.compile(r'<step id="([^"]+)">')
_CRITIQUE = "<critique>\n"
_PACKAGE = "tierbus.testing.sim"
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C is ten times as fast, and not in every build of PyYAML."""

Stop = Literal["done", "truncated", "refused"]


class When(Model):
    """Which requests a rule fits; what is not given fits all."""

    role: Role | None = None
    step: str | None = None
    tier: Tier | None = None
    model: str | None = None
    contains: str | None = None
    """A text that the client sent: material, earlier outputs, the answer that is reviewed."""
    critique: bool | None = None
    """Whether an earlier answer was turned down."""
    batch: bool | None = None
    """Whether it is asked in a batch."""
    turn: int | None = None
    """1 is the first question, 2 the repair of its answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """The text that a model writes, the time it takes (None: the tier's own), and why it stops."""

    text: str
    latency_s: float | None = None
    stop: Stop = "done"


class Answer(Model):
    """What is said: a text, or a JSON document."""

    when: When = When()
    text: str | None = None
    json_: Any = Field(default=None, alias="json")
    latency_s: float | None = Field(default=None, ge=0)
    """Replaces the time that the tier would take."""
    stop: Stop = "done"
    after: int = Field(default=0, ge=0)
    """Speaks only when so many requests that fit have passed: a model that gets worse, or better, in the middle."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "Answer":
        if (self.text is None) == (self.json_ is None):
            raise ValueError("an answer has either `text` or `json`")
        return self

    @cached_property
    def said(self) -> Said:
        """The answer as the model writes it; a text says in its last line that no model wrote it."""
        if self.text is None:
            text = json.dumps(self.json_, ensure_ascii=False)
        else:
            text = self.text.strip()
            if text and MARK not in text and self.stop == "done":
                text = f"{text}\n\n[{MARK}]"
        return Said(text, self.latency_s, self.stop)


class Fault(Model):
    """What goes wrong for the first `times` fitting requests; then one passes, and the count begins anew."""

    when: When = When()
    times: int | Literal["always"] = 1
    status: int | None = Field(default=None, ge=400, le=599)
    retry_after_s: float | None = Field(default=None, ge=0)
    hang_s: float | None = Field(default=None, gt=0)
    drop: bool = False
    malformed: bool = False
    expired: bool = False
    """The request's batch ended before it was begun; `when` must have `batch: true`."""

    @model_validator(mode="after")
    def _does_something(self) -> "Fault":
        kinds = (self.status is not None, self.hang_s is not None, self.drop, self.malformed, self.expired)
        if sum(kinds) != 1:
            raise ValueError("a fault has exactly one of `status`, `hang_s`, `drop`, `malformed`, `expired`")
        if self.expired and self.when.batch is not True:
            raise ValueError("a fault `expired` strikes only requests in batches: say `when: {batch: true}`")
        return self


class Material(Model):
    """An attachment of a scenario's task."""

    name: str
    text: str


class ScenarioTask(Model):
    """The task as it is published; fields as in the contract, attachments as plain texts."""

    prompt: str
    attachments: tuple[Material, ...] = ()
    expects: dict[str, Any] = Field(default_factory=dict)
    risk: str | None = None
    priority: str = "normal"
    hints: dict[str, str] = Field(default_factory=dict)
    budget_usd: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class Expected(Model):
    """What the finished task must look like with the default tiers."""

    status: Literal["succeeded", "failed"] = "succeeded"
    route: Literal["direct", "plan"]
    tier_path: dict[str, tuple[Tier, ...]]
    steps: int = 1
    repaired: bool = False


class Scenario(Model):
    """One task with everything that is said about it. `match` is a phrase of its prompt that no other has."""

    name: str
    about: str
    match: str = Field(min_length=8)
    task: ScenarioTask
    answers: tuple[Answer, ...] = ()
    faults: tuple[Fault, ...] = ()
    expect: Expected

    @model_validator(mode="after")
    def _matches_itself(self) -> "Scenario":
        if self.match not in self.task.prompt:
            raise ValueError(f"match {self.match!r} does not occur in the task's prompt")
        return self

    def task_body(self) -> dict[str, Any]:
        """The task as JSON for the bus, without an id."""
        given = self.task.model_dump(mode="json", exclude_none=True)
        given["attachments"] = [{"name": item.name, "content": {"text": item.text}} for item in self.task.attachments]
        return {name: value for name, value in given.items() if value not in ({}, [], ())}

    def plans(self) -> list[dict[str, Any]]:
        """The plans that its planner answers with, bad ones too."""
        found = [answer.json_ for answer in self.answers if answer.when.role is Role.PLANNER]
        return [plan for plan in found if isinstance(plan, dict) and isinstance(plan.get("steps"), list)]

    def marks(self) -> list[str]:
        """Phrases by which a request is known as this scenario's: its own, and its steps' instructions."""
        steps = [step["instruction"].strip() for plan in self.plans() for step in plan["steps"]]
        return [self.match, *dict.fromkeys(steps)]


def load_scenarios(folder: str | None = None) -> list[Scenario]:
    """The scenarios of a folder, or those that come with Tierbus, by file name.

    Raises:
        Misconfigured: a file does not fit, or two have one name; the text names it and each wrong value.
    """
    root = Path(folder) if folder else Path(str(resources.files(_PACKAGE))) / "scenarios"
    if not root.is_dir():
        raise Misconfigured(f"there is no scenario folder {str(root)!r}")
    scenarios = [parse(file.name, file.read_text(encoding="utf-8")) for file in sorted(root.glob("*.yaml"))]
    for place, scenario in enumerate(scenarios):
        if any(scenario.name == other.name for other in scenarios[:place]):
            raise Misconfigured(f"two scenarios in {str(root)!r} are called {scenario.name!r}")
    return scenarios


def bench_scenarios() -> list[Scenario]:
    """The two scenarios of the benchmark."""
    return load_scenarios(str(Path(str(resources.files(_PACKAGE))) / "bench"))


def parse(name: str, text: str) -> Scenario:
    """Read one scenario.

    Raises:
        Misconfigured: it is not YAML or does not fit.
    """
    try:
        return Scenario.model_validate(yaml.load(text, Loader=_LOADER))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise Misconfigured(f"scenario {name!r} is not YAML: {error}") from None
    except ValidationError as error:
        raise Misconfigured(f"scenario {name!r}: {'; '.join(explain(error))}") from None


def tiers_by_model() -> dict[str, Tier]:
    """Every model of the shipped tier files with its tier; a model on two tiers counts on the cheaper one."""
    found: dict[str, Tier] = {}
    for name in catalog.names():
        listed = catalog.load(name).tiers
        for tier in Tier:
            for spec in listed[tier]:
                found[spec.id] = min(tier, found.get(spec.id, tier), key=list(Tier).index)
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """What matters of a request to either API. `asked`: what the client said; `text`: its rules too."""

    model: str
    tier: Tier
    role: Role | None
    step: str | None
    asked: str
    text: str
    turn: int
    json_schema: dict[str, Any] | None = None
    batch: bool = False


def understand(
    model: str, tier: Tier, system: str, turns: Sequence[str], json_schema: dict[str, Any] | None = None
) -> Request:
    """Read a request: the role from the system prompt's beginning, the step from the question's tags."""
    asked = "\n".join(turns)
    role = next((role for begins, role in _ROLES.items() if system.startswith(begins)), None)
    step = _STEP.search(asked)
    return Request(
        model=model,
        tier=tier,
        role=role,
        step=step.group(1) if step else None,
        asked=asked,
        text=f"{system}\n{asked}" if system else asked,
        turn=(len(turns) + 1) // 2,
        json_schema=json_schema,
    )


def fits(when: When, request: Request) -> bool:
    """Whether a rule is about this request."""
    return (
        when.role in (None, request.role)
        and when.step in (None, request.step)
        and when.tier in (None, request.tier)
        and when.model in (None, request.model)
        and when.turn in (None, request.turn)
        and when.batch in (None, request.batch)
        and (when.contains is None or when.contains in request.text)
        and (when.critique is None or when.critique == (_CRITIQUE in request.asked))
    )


class Book:
    """All scenarios, how often each of their faults has struck, and how many requests passed a rule that waits."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self.scenarios = list(scenarios)
        self._marks = [(mark, scenario) for scenario in scenarios for mark in scenario.marks()]
        self._struck: dict[tuple[str, int], int] = {}
        self._passed: dict[tuple[str, int], int] = {}

    def find(self, request: Request) -> Scenario | None:
        """The scenario that a request belongs to: the first with a mark in the text."""
        text = request.text
        return next((scenario for mark, scenario in self._marks if mark in text), None)

    def fault(self, scenario: Scenario | None, request: Request) -> Fault | None:
        """The fault that strikes this request: the first that fits strikes, or lets the request pass."""
        if scenario is None:
            return None
        for place, fault in enumerate(scenario.faults):
            if fits(fault.when, request):
                return fault if self._strikes((scenario.name, place), fault) else None
        return None

    def _strikes(self, key: tuple[str, int], fault: Fault) -> bool:
        struck = self._struck.get(key, 0)
        strikes = fault.times == "always" or struck < fault.times
        self._struck[key] = struck + 1 if strikes else 0
        return strikes

    def answer(self, scenario: Scenario | None, request: Request) -> Said:
        """What is said: the first rule that fits, or something plausible for the role."""
        name, answers = (scenario.name, scenario.answers) if scenario else ("", ())
        for place, answer in enumerate(answers):
            if fits(answer.when, request) and (not answer.after or self._is_due((name, place), answer)):
                return answer.said
        return Said(unscripted(request.role, request.asked, request.json_schema))

    def _is_due(self, key: tuple[str, int], answer: Answer) -> bool:
        passed = self._passed.get(key, 0)
        if passed >= answer.after:
            return True
        self._passed[key] = passed + 1
        return False

    def forget(self) -> None:
        """Begin to count faults and requests anew."""
        self._struck.clear()
        self._passed.clear()
