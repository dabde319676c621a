"""Made-up recorded answers, and where the real ones are."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tierbus.replay.board import Board, board
from tierbus.replay.records import Output, Row, read

REAL = Path(__file__).parents[4] / "shared" / "data" / "replay"
WEAK, STRONG = "small", "large"
WEAK_USD, STRONG_USD = 0.001, 0.01
GEMINI, MINI, SONNET = "gemini-1.5-flash", "gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022"
MIXTRAL, GPT4 = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"


def real(name: str) -> list[Row]:
    """The recorded answers of real models, or a skip that says they are not here."""
    path = REAL / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no recorded answers at {path}")
    return read(path)


def output(*, correct: bool | None = True, answer: str | None = "4", usd: float | None = WEAK_USD) -> Output:
    return Output(correct, answer, answer, 10, 5, usd, None)


def row(
    name: str, outputs: Mapping[str, Output], split: str = "test", group: str | None = None, prompt: str = "?"
) -> Row:
    return Row(name, "sums", group, split, prompt, None, dict(outputs))


def pair(
    name: str, weak: str, strong: str = "4", gold: str = "4", split: str = "test", group: str | None = None
) -> Row:
    """A task with what the weak and the strong model answered."""
    outputs = {
        WEAK: output(correct=weak == gold, answer=weak),
        STRONG: output(correct=strong == gold, answer=strong, usd=STRONG_USD),
    }
    return row(name, outputs, split, group, prompt="x" * (1 + len(name)))


def pairs(right: str) -> list[Row]:
    """One task a letter: b both right, w only the weak, s only the strong, n none."""
    answers = {"b": ("4", "4"), "w": ("4", "5"), "s": ("5", "4"), "n": ("5", "5")}
    return [pair(f"{at}", *answers[letter]) for at, letter in enumerate(right)]


def pair_board(right: str) -> Board:
    return board(pairs(right), (WEAK, STRONG))
