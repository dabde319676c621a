"""Fitting a bag of words: regularised logistic regressions over terms and features.

Every place has one, calibrated out of fold, and one of what its answer and the strong one are together.
Settings were chosen by repeated cross-validation on the train splits of the recorded sets: gsm8k-pair, mmlu-pair whole and
in parts of 800 and 3,200 tasks, and 13 pairs of models of gsm, crux and function-calls. Near them little changes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]  # scikit-learn stands on it; no stubs
from sklearn.linear_model import LogisticRegression

from tierbus.policy.asked import asked
from tierbus.policy.features import Features
from tierbus.policy.model import REACH
from tierbus.policy.words import Pair, Voice, Words, counted

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

SEEN = 10
"""Tasks that a term must be in; rarer ones name a subject and say nothing of the next task."""
MOST_TERMS = 7_000
"""The most frequent ones are kept: a lesson of three models stays below 1 MB."""
STRENGTH = 0.2
"""Inverse strength of the penalty on weights (scikit-learn's C)."""
FEATURE = 0.1
"""What a standardised feature counts beside a prompt's terms, which together have length 1."""
WEIGHTS = {"prompt.chars": 5.0, "ask.cents": 3.0}
"""Features that are penalised less, and how much less: with few labels length alone beats what is learned of words."""
ONLY_PLACE, ONLY_STRONG, OUTCOMES = 1, 2, 4
"""What two answers are together: neither right, one of them, both."""
_DIGITS = 5
"""Significant digits of stored weights; more would double the file and change no rank."""
_FLAT = 1e-9
_PLATT = 1e3


@dataclass(frozen=True)
class Worded:
    """A fitted bag, and what fits that did not see a task say of it.

    Args:
        words: the bag.
        away: chances of every task and place, last the strong one.
        added: for every task and place but the strong one, the chance that only the strong answer is right less the chance
            that only the place's is, from fits of both together.
    """

    words: Words
    away: Floats
    added: Floats

    def gain(self, place: int) -> Floats:
        """What a strong call is expected to add to this place's answers."""
        return (self.away[:, -1] - self.away[:, place] + self.added[:, place]) / 2


@dataclass(frozen=True)
class _Bag:
    """What makes a row of numbers from a task."""

    terms: tuple[str, ...]
    rarity: Floats
    means: Floats
    scales: Floats
    weigh: Floats

    def rows(self, counts: Sequence[dict[str, float]], raw: Floats) -> csr_matrix:
        """Terms as vectors of length 1, then features."""
        place = {term: at for at, term in enumerate(self.terms)}
        data: list[float] = []
        columns: list[int] = []
        ends = [0]
        for row in counts:
            known = {place[term]: count for term, count in row.items() if term in place}
            weighed = np.array([*known.values()]) * self.rarity[[*known]] if known else np.zeros(0)
            data += (weighed / (np.linalg.norm(weighed) or 1.0)).tolist()
            columns += known
            ends.append(len(columns))
        terms = csr_matrix((data, columns, ends), shape=(len(counts), len(self.terms)))
        values = np.clip((raw - self.means) / self.scales, -REACH, REACH) * self.weigh
        return csr_matrix(hstack([terms, csr_matrix(values)]))

    def voice(self, weights: Floats, bias: float) -> Voice:
        """The weights of such a row, as they are stored."""
        terms, features = np.split(weights, [len(self.terms)])
        return Voice(_rounded(terms), _rounded(features * self.weigh), float(bias))


def fit_words(
    prompts: Sequence[str], table: Sequence[Features], questions: Sequence[str], correct: Bools, fold: Ints
) -> Worded | None:
    """A bag of words for a class; None where no term is in enough tasks.

    Args:
        prompts: of the tasks.
        table: features of the prompts and their categories.
        questions: names of the columns of `correct`.
        correct: for each task, place by place, whether the answer was right.
        fold: for each task the number of the part that is held out together.
    """
    table = [row | asked(prompt) for prompt, row in zip(prompts, table, strict=True)]
    names = tuple(sorted({name for row in table for name in row}))
    raw = np.array([[row.get(name, 0.0) for name in names] for row in table])
    weigh = np.array([FEATURE * WEIGHTS.get(name, 1.0) for name in names])
    counts = [counted(prompt) for prompt in prompts]
    bag = _bag(counts, raw, weigh)
    if not bag.terms:
        return None
    whole = bag.rows(counts, raw)
    margins, added = _away(counts, raw, weigh, (correct, fold))
    voices, away = {}, np.zeros(correct.shape)
    for at, question in enumerate(questions):
        right = correct[:, at]
        slope, shift = _calibration(margins[:, at], right)
        weights, bias = _fitted(whole, right)
        voices[question] = bag.voice(slope * weights, slope * bias + shift)
        away[:, at] = 1 / (1 + np.exp(-(slope * margins[:, at] + shift)))
    words = Words(
        bag.terms,
        tuple(bag.rarity.tolist()),
        names,
        tuple(bag.means.tolist()),
        tuple(bag.scales.tolist()),
        voices,
        {question: _pair(bag, whole, correct[:, [-1, at]]) for at, question in enumerate(questions[:-1])},
    )
    return Worded(words, away, added)


def _bag(counts: Sequence[dict[str, float]], raw: Floats, weigh: Floats) -> _Bag:
    """The terms that are in enough of these tasks, with their rarity here."""
    tasks = Counter(term for row in counts for term in row)
    kept = sorted((term for term, seen in tasks.items() if seen >= SEEN), key=lambda term: (-tasks[term], term))
    terms = tuple(sorted(kept[:MOST_TERMS]))
    seen = np.array([tasks[term] for term in terms], dtype=float)
    rarity = np.array(_rounded(np.log((1 + len(counts)) / (1 + seen)) + 1))
    scales = raw.std(axis=0)
    scales[scales < _FLAT] = 1.0
    return _Bag(terms, rarity, raw.mean(axis=0), scales, weigh)


def _away(
    counts: Sequence[dict[str, float]], raw: Floats, weigh: Floats, judged: tuple[Bools, Ints]
) -> tuple[Floats, Floats]:
    """Log-odds of every task and place, and what is added, from fits on the other parts; these choose their own terms."""
    correct, fold = judged
    margins, added = np.zeros(correct.shape), np.zeros((len(correct), correct.shape[1] - 1))
    for part in range(int(fold.max()) + 1):
        kept, out = np.flatnonzero(fold != part).tolist(), np.flatnonzero(fold == part).tolist()
        lesson = [counts[at] for at in kept]
        bag = _bag(lesson, raw[kept], weigh)
        here, there = bag.rows(lesson, raw[kept]), bag.rows([counts[at] for at in out], raw[out])
        for at in range(correct.shape[1]):
            weights, bias = _fitted(here, correct[kept, at])
            margins[out, at] = there @ weights + bias
        for at in range(correct.shape[1] - 1):
            each, biases = _together(here, correct[kept][:, [-1, at]])
            odds = np.exp(there @ each.T + biases)
            added[out, at] = (odds[:, ONLY_STRONG] - odds[:, ONLY_PLACE]) / odds.sum(axis=1)
    return margins, added


def _fitted(rows: csr_matrix, right: Bools) -> tuple[Floats, float]:
    if right.all() or not right.any():
        share = (right.sum() + 1) / (len(right) + 2)
        return np.zeros(rows.shape[1]), float(np.log(share / (1 - share)))
    model = _regression().fit(rows, right)
    return model.coef_[0], float(model.intercept_[0])


def _pair(bag: _Bag, rows: csr_matrix, right: Bools) -> Pair:
    each, biases = _together(rows, right)
    place, strong, both = (
        bag.voice(weights - each[0], bias - biases[0]) for weights, bias in zip(each[1:], biases[1:], strict=True)
    )
    return Pair(strong, place, both)


def _together(rows: csr_matrix, right: Bools) -> tuple[Floats, Floats]:
    """Weights and bias of the four outcomes of the strong answer and another (the columns): neither right, and as named above."""
    outcome = 2 * right[:, 0] + right[:, 1]
    counts = np.bincount(outcome, minlength=OUTCOMES)
    each, biases = np.zeros((OUTCOMES, rows.shape[1])), np.log((counts + 1) / (len(right) + OUTCOMES))
    if np.count_nonzero(counts) > 1:
        model = _regression().fit(rows, outcome)
        two = len(model.classes_) == 2  # noqa: PLR2004 - then one row of weights is of the second
        seen = model.classes_[1:] if two else model.classes_
        if two:
            biases[model.classes_[0]] = 0.0
        each[seen], biases[seen] = model.coef_, model.intercept_
    return each, biases


def _regression() -> LogisticRegression:
    return LogisticRegression(C=STRENGTH, max_iter=300)


def _calibration(margins: Floats, right: Bools) -> tuple[float, float]:
    """Slope and shift by Platt; a slope below 0 would turn the order round and is none."""
    if right.all() or not right.any():
        return 1.0, 0.0
    platt = LogisticRegression(C=_PLATT).fit(margins[:, None], right)
    return max(float(platt.coef_[0, 0]), 0.0), float(platt.intercept_[0])


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
