"""What the rules see of a task: its instruction without wrappers and quoted material, and counts over it. Pure."""

import re
from dataclasses import dataclass

from tierbus.ledger.book import tokens_of

_NOISE = re.compile(
    r"<(system-reminder|system_reminder|environment_details|environment_context|ide_context|user_info|tool_result)\b[^>]*>"
    r".*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_BLOCK = re.compile(r"<([a-z][\w-]*)\b[^>]*>\s*\n.*?\n\s*</\1\s*>", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|\"\"\".*?(?:\"\"\"|\Z)", re.DOTALL)
_QUOTED_LINE = re.compile(r"^\s*>.*$", re.MULTILINE)
_QUOTE = re.compile(r"[\"“][^\"”\n]{40,}[\"”]")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)]|\(?[a-z]\))\s+\S", re.MULTILINE)
_WORD = re.compile(r"[a-zäöüßéèà]+(?:-[a-zäöüß]+)?", re.IGNORECASE)

PLAIN = frozenset(
    [
        "translate",
        "classify",
        "extract",
        "rewrite",
        "rephrase",
        "convert",
        "format",
        "list",
        "label",
        "tag",
        "sort",
        "proofread",
        "correct",
        "shorten",
        "title",
        "count",
        "transcribe",
        "normalise",
        "normalize",
        "categorise",
        "categorize",
        "paraphrase",
        "spell",
        "reply",
        "answer",
        "clean",
    ]
)
WORK = frozenset(
    [
        "compare",
        "analyse",
        "analyze",
        "summarise",
        "summarize",
        "evaluate",
        "research",
        "investigate",
        "plan",
        "design",
        "write",
        "draft",
        "review",
        "explain",
        "recommend",
        "reconcile",
        "derive",
        "estimate",
        "rank",
        "identify",
        "propose",
        "assess",
        "combine",
        "merge",
        "reconstruct",
        "determine",
        "prepare",
        "compile",
        "migrate",
        "refactor",
        "implement",
        "diagnose",
        "trace",
        "prioritise",
        "prioritize",
        "outline",
    ]
)
HARD = frozenset(
    [
        "architecture",
        "trade-off",
        "trade-offs",
        "strategy",
        "root-cause",
        "prove",
        "proof",
        "theorem",
        "optimise",
        "optimize",
        "concurrency",
        "deadlock",
        "negotiate",
        "forecast",
        "counterfactual",
        "threat",
        "due-diligence",
        "migration",
    ]
)
SEQUENCE = (
    "then ",
    "after that",
    "afterwards",
    "finally",
    "based on that",
    "from these",
    "first,",
    "in a second step",
)
SPREAD = (
    "each of",
    "across ",
    "all of the",
    "both documents",
    "between the",
    "every document",
    "the attached documents",
)
DOMAINS = {
    "law": frozenset(
        [
            "contract",
            "clause",
            "liability",
            "indemnity",
            "jurisdiction",
            "statute",
            "gdpr",
            "warranty",
            "termination",
            "compliance",
            "nda",
        ]
    ),
    "medicine": frozenset(
        [
            "patient",
            "dosage",
            "diagnosis",
            "clinical",
            "symptom",
            "contraindication",
            "therapy",
            "medication",
            "oncology",
        ]
    ),
    "finance": frozenset(
        [
            "ebitda",
            "amortisation",
            "amortization",
            "ledger",
            "audit",
            "vat",
            "hedge",
            "covenant",
            "valuation",
            "accrual",
            "ifrs",
        ]
    ),
    "security": frozenset(
        [
            "cve",
            "exploit",
            "vulnerability",
            "injection",
            "privilege",
            "authentication",
            "cryptography",
            "tls",
            "pentest",
        ]
    ),
    "engineering": frozenset(
        [
            "kernel",
            "compiler",
            "kubernetes",
            "database",
            "schema",
            "mutex",
            "latency",
            "throughput",
            "sql",
            "regex",
            "protocol",
        ]
    ),
}
RISKY = frozenset(
    [
        "production",
        "payment",
        "refund",
        "delete",
        "irreversible",
        "legal",
        "lawsuit",
        "patient",
        "dosage",
        "safety",
        "regulator",
        "customer-facing",
        "sign",
        "contract",
        "compliance",
        "medication",
        "termination",
        "penalty",
    ]
)


@dataclass(frozen=True)
class Signals:
    """Counts over the instruction; sizes in estimated tokens."""

    instruction: str
    plain_verbs: int
    work_verbs: int
    hard_words: int
    items: int
    chained: bool
    spread: bool
    domain: str | None
    domain_words: int
    risky_words: int
    attachments: int
    prompt_tokens: int
    largest_tokens: int
    total_tokens: int


def instruction_of(prompt: str) -> str:
    """The part of a prompt that says what to do: no harness wrappers, code, quotes or pasted blocks.

    Where nothing would be left, the prompt itself without the wrappers.
    """
    bare = _NOISE.sub(" ", prompt)
    cleaned = bare
    for pattern in (_CODE, _BLOCK, _QUOTED_LINE, _QUOTE):
        cleaned = pattern.sub(" ", cleaned)
    cleaned = cleaned.strip()
    return cleaned if _WORD.search(cleaned) else bare.strip()


def signals(prompt: str, attachment_sizes: list[int]) -> Signals:
    """Look at a task: its prompt, and the sizes of its attachments in bytes."""
    instruction = instruction_of(prompt)
    lower = instruction.lower()
    words = set(_WORD.findall(lower))
    domain, hits = max(
        ((name, len(words & vocabulary)) for name, vocabulary in DOMAINS.items()), key=lambda found: found[1]
    )
    sizes = [tokens_of(size) for size in attachment_sizes]
    prompt_tokens = tokens_of(len(prompt))
    return Signals(
        instruction=instruction,
        plain_verbs=len(words & PLAIN),
        work_verbs=len(words & WORK),
        hard_words=len(words & HARD),
        items=len(_ITEM.findall(instruction)),
        chained=any(phrase in lower for phrase in SEQUENCE),
        spread=any(phrase in lower for phrase in SPREAD),
        domain=domain if hits else None,
        domain_words=hits,
        risky_words=len(words & RISKY),
        attachments=len(attachment_sizes),
        prompt_tokens=prompt_tokens,
        largest_tokens=max([prompt_tokens, *sizes]),
        total_tokens=prompt_tokens + sum(sizes),
    )
