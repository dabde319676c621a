"""What an operator lets Tierbus do with tasks of a class: a YAML file named by `TIERBUS_CLASSES`.

```yaml
classes:
  translate: {…}
  "*": {…}        # every class that is not named
```
"""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError, field_validator

from tierbus.batch.rules import BatchRules
from tierbus.cache.rules import CacheRules
from tierbus.contracts import TASK_CLASS, Model, explain
from tierbus.errors import Misconfigured
from tierbus.pilot.rules import PilotRules
from tierbus.plans.rules import PlanRules
from tierbus.quality.rules import WatchRules

OTHERS = "*"


class ClassRules(Model):
    """The rules of one class; what is not said is off."""

    cache: CacheRules | None = None
    plans: PlanRules | None = None
    """When a plan may be used again by a cheaper model."""
    watch: WatchRules | None = None
    """A share of its finished tasks is compared with the frontier."""
    batch: BatchRules | None = None
    pilot: PilotRules | None = None


class Classes(Model):
    """The rules of all classes."""

    classes: dict[str, ClassRules] = Field(default_factory=dict)

    @field_validator("classes")
    @classmethod
    def _named(cls, value: dict[str, ClassRules]) -> dict[str, ClassRules]:
        for name in value:
            if name != OTHERS and not TASK_CLASS.match(name):
                raise ValueError(f"{name!r} is not a class: lower-case letters, digits, _ . -, at most 64 characters")
        return value

    def name_of(self, task_class: str) -> str:
        """The name under which a class has its rules: its own, else `*`. There are few of them, whatever classes tasks name."""
        return task_class if task_class in self.classes else OTHERS

    def of(self, task_class: str) -> ClassRules:
        """The rules of a class: its own, else those of `*`, else none."""
        return self.classes.get(task_class) or self.classes.get(OTHERS) or ClassRules()


def load(path: str | None) -> Classes:
    """Read the file; without a path there are no rules.

    Raises:
        Misconfigured: no such file, not YAML, or a value that does not fit; the text names file and value.
    """
    if not path:
        return Classes()
    try:
        return Classes.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise Misconfigured(f"TIERBUS_CLASSES={path!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"classes file {path!r} is not YAML: {error}") from None
    except ValidationError as error:
        raise Misconfigured(f"classes file {path!r}: {'; '.join(explain(error))}") from None
