"""What the rules see of a prompt: the instruction, whatever is wrapped around it."""

import dataclasses

import pytest
from tests.plans import NOW

from tierbus.contracts import Hints, Risk, Route, Tier
from tierbus.router.decide import by_rules, decide
from tierbus.router.signals import Signals, instruction_of, signals
from tierbus.tiers.catalog import load

SIMPLE = "Translate this sentence into French."
COMPOUND = (
    "Compare the attached documents, then draft a migration strategy.\n"
    "- analyse the risks\n- estimate the effort\n- recommend one option"
)
WORDS = "First, compare, design, review and rank the architecture of each of the contracts; then delete production."
QUOTE = "compare and review every contract, then draft a strategy"

WRAPPERS = {
    "system-reminder": f"<system-reminder>{WORDS}\n- one\n- two</system-reminder>\n{{}}",
    "system-reminder behind": f"{{}}\n<system-reminder>\n{WORDS}\n</system-reminder>",
    "environment": f'<environment_details os="linux">{WORDS}</environment_details>\n\n{{}}',
    "document": f'{{}}\n\n<document name="a.txt">\n{WORDS}\n- one\n- two\n</document>',
    "two documents": f"{{}}\n<document>\n{WORDS}\n</document>\n<document>\n- {WORDS}\n</document>",
    "fenced code": f"{{}}\n\n```python\n# {WORDS}\n- one\n```\n",
    "fence that is not closed": f"{{}}\n\n```\n{WORDS}",
    "triple quotes": f'{{}}\n"""\n{WORDS}\n"""',
    "quoted lines": f"{{}}\n\n> {WORDS}\n> - one",
    "quotation": f'{{}}\n"{QUOTE}"',
    "curly quotation": f"{{}}\n“{QUOTE}”",
}


def seen(prompt: str) -> dict[str, object]:
    """The signals that are about what is asked, not about size."""
    found = dataclasses.asdict(signals(prompt, []))
    return {name: value for name, value in found.items() if not name.endswith("_tokens") and name != "instruction"}


def place(prompt: str) -> tuple[Route, Tier]:
    """Where the rules send a prompt."""
    found = signals(prompt, [])
    made = decide(
        found,
        by_rules(found),
        risk=Risk.NORMAL,
        hints=Hints(),
        catalog=load("default"),
        at=NOW,
        decided_by="rules",
    )
    return made.route, made.tier


@pytest.mark.parametrize("prompt", [SIMPLE, COMPOUND], ids=["simple", "compound"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_and_material_do_not_change_what_is_asked(name: str, prompt: str) -> None:
    wrapped = WRAPPERS[name].format(prompt)

    assert " ".join(instruction_of(wrapped).split()) == " ".join(prompt.split())
    assert seen(wrapped) == seen(prompt)
    assert place(wrapped) == place(prompt)


def test_the_material_would_have_changed_it() -> None:
    """The wrappers above hold words that count: without the cleaning the decision is another."""
    assert place(SIMPLE) == (Route.DIRECT, Tier.SMALL)
    assert place(f"{SIMPLE} {WORDS}") == (Route.PLAN, Tier.FRONTIER)


@pytest.mark.parametrize(
    ("clean", "dirty"),
    [
        (SIMPLE, "Trnaslate this sentense into Frensh."),
        (SIMPLE, "tRANSLATE THIS SENTENCE INTO FRENCH"),
        (SIMPLE, "\n\n  pls translate   this sentence\tinto french!!!"),
        (COMPOUND, COMPOUND.replace("Compare", "Comapre")),
        (COMPOUND, COMPOUND.replace("estimate", "estmate")),
        (COMPOUND, COMPOUND.upper()),
    ],
)
def test_typos_and_shouting_do_not_flip_the_decision(clean: str, dirty: str) -> None:
    assert place(dirty) == place(clean)


def test_a_prompt_that_is_all_wrapping_is_read_whole() -> None:
    """Nothing would be left to judge, so the quoted text is the instruction."""
    assert instruction_of(f"```\n{SIMPLE}\n```") == f"```\n{SIMPLE}\n```"
    assert signals(f"> {SIMPLE}", []).plain_verbs == 1


def test_a_harness_wrapper_is_never_the_instruction() -> None:
    assert instruction_of(f"<system-reminder>{WORDS}</system-reminder>") == ""


def test_a_short_quotation_belongs_to_the_instruction() -> None:
    assert signals('Add a heading and "summarise" it.', []).work_verbs == 1


def test_what_is_counted() -> None:
    found = signals(COMPOUND, [4000, 8001])

    assert found == Signals(
        instruction=COMPOUND,
        plain_verbs=0,
        work_verbs=5,
        hard_words=2,
        items=3,
        chained=True,
        spread=True,
        domain=None,
        domain_words=0,
        risky_words=0,
        attachments=2,
        prompt_tokens=-(-len(COMPOUND) // 4),
        largest_tokens=2001,
        total_tokens=-(-len(COMPOUND) // 4) + 1000 + 2001,
    )


def test_sizes_are_of_the_whole_prompt_not_of_the_instruction() -> None:
    wrapped = f"{SIMPLE}\n<document>\n{'x' * 4000}\n</document>"

    assert signals(wrapped, []).prompt_tokens == -(-len(wrapped) // 4)


def test_the_domain_is_the_one_with_most_words() -> None:
    found = signals("Does the contract's liability clause cover the database?", [])

    assert (found.domain, found.domain_words, found.risky_words) == ("law", 3, 1)
