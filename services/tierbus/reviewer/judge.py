"""What the quality watch asks: the whole task of the frontier, and a blind judge which of two answers is better."""

from typing import Literal, NamedTuple

from tierbus import prompts
from tierbus.answers import fitting
from tierbus.contracts import Content, Role, Slot, Tier, Usage
from tierbus.ledger.book import CHARS_PER_TOKEN
from tierbus.ledger.desk import ESTIMATED_OUTPUT_TOKENS, size_of
from tierbus.llm.model import Question, Turn
from tierbus.pricing.cost import price
from tierbus.quality.blind import Choice
from tierbus.run import Run, StepState, whole
from tierbus.stores import Texts
from tierbus.tiers.catalog import Catalog
from tierbus.work import attachments, expectations, max_output, question

PACKAGE = "tierbus.reviewer"
JUDGE_TOKENS = 600
FRONTIER, OWN_FIRST, OWN_SECOND, OWN_FIRST_AGAIN, OWN_SECOND_AGAIN = range(5)
"""The questions about one task, by their place in its slot."""
STEP = "_watch"


class Order(NamedTuple):
    """One reading: the letter under which the task's own answer stands, and its question's places in the slot."""

    own: Literal["A", "B"]
    asks: tuple[int, int]


ORDERS = (Order("A", (OWN_FIRST, OWN_FIRST_AGAIN)), Order("B", (OWN_SECOND, OWN_SECOND_AGAIN)))


def slot(run: Run, ask: int = FRONTIER) -> Slot:
    """The slot of one of the watch's questions about a run."""
    return Slot(run=run.id, tenant=run.tenant, step=STEP, attempt=1, role=Role.WATCH, ask=ask)


async def whole_task(run: Run, texts: Texts, catalog: Catalog) -> Question:
    """The task as the frontier alone would be asked to do it: the executor's question for all of it, in one step."""
    [step] = whole(run, Tier.FRONTIER).steps
    state = StepState(spec=step, tier=Tier.FRONTIER)
    alone = run.model_copy(update={"steps": {step.id: state}})
    return await question(alone, state, texts, max_output(catalog, Tier.FRONTIER))


async def which_is_better(run: Run, first: str, second: str, texts: Texts, tokens: int) -> Question:
    """The judge's question: the task and its material, then both answers, by letter only."""
    parts = [prompts.fenced("task", await texts.read(run.prompt or Content.of("")))]
    expected = expectations(run.expects)
    if expected:
        parts.append(prompts.fenced("expected", expected))
    parts += [prompts.fenced("answer", text, name=name) for name, text in (("A", first), ("B", second))]
    return Question(
        system=prompts.load(PACKAGE, "judge.md"),
        shared=await attachments(run, tuple(item.name for item in run.attachments), texts),
        shared_later=True,  # the other order of the answers is asked next
        turns=(Turn("user", "\n\n".join(parts)),),
        json_schema=prompts.schema(PACKAGE, "judge.schema.json"),
        max_output=tokens,
    )


def read(text: str) -> Choice | None:
    """The judge's choice, or None where it gave no readable one."""
    value = fitting(text, prompts.schema(PACKAGE, "judge.schema.json"))
    if value is None:
        return None
    choice: Choice = value["verdict"]
    return choice


def estimated(asked: Question, catalog: Catalog, tier: Tier, at: float) -> int | None:
    """Nano-dollars that a question to a tier's first model is thought to cost, as the desk reckons; None without a price."""
    spec = catalog.tiers[tier][0]
    guess = Usage(input=size_of(asked), output=min(asked.max_output, spec.max_output, ESTIMATED_OUTPUT_TOKENS))
    return price(spec, guess, at).nano_usd


async def reservation(
    run: Run, asked: Question, own: str, texts: Texts, catalog: Catalog, judge: Tier | None, at: float
) -> int | None:
    """Nano-dollars that a whole comparison is thought to cost; None where a model has no known price.

    Where a judge is asked, the frontier's answer is taken to be as long as the desk assumes of any.
    """
    frontier = estimated(asked, catalog, Tier.FRONTIER, at)
    if judge is None or frontier is None:
        return frontier
    assumed = "x" * (CHARS_PER_TOKEN * ESTIMATED_OUTPUT_TOKENS)
    reading = await which_is_better(run, own, assumed, texts, max_output(catalog, judge, JUDGE_TOKENS))
    one = estimated(reading, catalog, judge, at)
    return None if one is None else frontier + len(ORDERS) * one
