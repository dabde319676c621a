"""A service's parts in memory, for tests with a scripted model."""

from dataclasses import dataclass, field

from tierbus.cache.reuse import Sharing
from tierbus.classes import Classes
from tierbus.ledger.desk import Desk
from tierbus.reviewer.quality import QualityWatch
from tierbus.runs import Runs
from tierbus.testing.memory import (
    MemoryAnswers,
    MemoryLedger,
    MemoryMeasures,
    MemoryOutputs,
    MemoryRuns,
    MemoryTexts,
)
from tierbus.testing.scripted import Script, ScriptedModels
from tierbus.tiers.catalog import Catalog, load


@dataclass
class Parts:
    """Everything a service is made of."""

    script: Script = ()
    catalog: Catalog = field(default_factory=lambda: load("default"))
    store: MemoryRuns = field(default_factory=MemoryRuns)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    outputs: MemoryOutputs = field(default_factory=MemoryOutputs)
    texts: MemoryTexts = field(default_factory=MemoryTexts)
    answers: MemoryAnswers = field(default_factory=MemoryAnswers)
    measures: MemoryMeasures = field(default_factory=MemoryMeasures)
    classes: Classes = field(default_factory=Classes)

    def __post_init__(self) -> None:
        self.models = ScriptedModels(self.script)
        self.runs = Runs(self.store, self.ledger, followers=self.answers.followers)
        self.reuse = Sharing(self.runs, self.answers, "set-up")
        self.desk = Desk(self.catalog, self.models, self.ledger, self.outputs)
        self.quality = QualityWatch(
            self.runs, self.texts, self.desk, self.catalog, self.ledger, self.measures, self.classes
        )
