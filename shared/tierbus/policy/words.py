"""What the words of a prompt say, before anything was asked: a bag of words and the prompt's features in one linear model.

Prompts say little about one task, and every word very little. So the terms are few, each seen in many tasks, and their
weights are small. Fitting is in `fit_words`; plain floats and the standard library here.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import exp, log, sqrt
from operator import mul

from tierbus.policy.asked import asked
from tierbus.policy.features import Features, cut
from tierbus.policy.model import REACH, STRONG

COURSE_ROWS = 3_000
"""Labelled tasks from which a class's course goes by words; routes by prompt alone did not pay with fewer on recorded answers."""
_KEPT = 128
"""Texts whose terms are kept: all heads and places of one task read the same."""
_FAR = 30.0
"""Log-odds that count at most."""
_TERM = re.compile(r"\w\w+")


@lru_cache(maxsize=_KEPT)
def counted(prompt: str) -> dict[str, float]:
    """How much every term of a prompt counts: 1 + ln(times it is there). Of a long prompt beginning and end are read."""
    return {term: 1 + log(times) for term, times in Counter(_TERM.findall(cut(prompt).lower())).items()}


@dataclass(frozen=True)
class Voice:
    """One question's weights, aligned with `terms` and `names`; the logistic of their sum and the bias is a chance."""

    terms: tuple[float, ...]
    features: tuple[float, ...]
    bias: float


@dataclass(frozen=True)
class Pair:
    """What two answers may be together, fitted at once: the weights of each outcome against neither being right."""

    strong: Voice
    place: Voice
    both: Voice


@dataclass(frozen=True)
class Words:
    """A fitted bag of words.

    Args:
        terms: those that count, in lower case.
        rarity: how much each counts more for being in few tasks: ln((1 + tasks) / (1 + tasks with it)) + 1.
        names: features of the prompt, of its category and of how it asks that are read beside the terms.
        means: of the features, in training.
        scales: of the features, above 0.
        voices: by question: `strong`, or a place as text.
        pairs: by place: its answer and the strong one together.
    """

    terms: tuple[str, ...]
    rarity: tuple[float, ...]
    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    voices: Mapping[str, Voice]
    pairs: Mapping[str, Pair]

    def chances(self, prompt: str, features: Features) -> dict[str, float]:
        """For every question the chance that the answer is right, between 0 and 1."""
        found, values = self._found(prompt), self._values(prompt, features)
        return {question: _chance(voice, found, values) for question, voice in self.voices.items()}

    def gain(self, prompt: str, features: Features, place: int) -> float:
        """What a strong call is expected to add to this place's answer.

        The mean of two chances' difference and of what both answers are together, which err differently: on parts of
        gsm8k-pair and mmlu-pair that fitting did not see, the mean put tasks in better order than the difference.
        """
        found, values = self._found(prompt), self._values(prompt, features)
        strong, other = (_chance(self.voices[question], found, values) for question in (STRONG, str(place)))
        return (strong - other + _added(self.pairs[str(place)], found, values)) / 2

    def _values(self, prompt: str, features: Features) -> list[float]:
        """The standardised features."""
        features = features | asked(prompt)
        return [
            max(-REACH, min(REACH, (features.get(name, 0.0) - mean) / scale))
            for name, mean, scale in zip(self.names, self.means, self.scales, strict=True)
        ]

    def _found(self, prompt: str) -> list[tuple[int, float]]:
        """The known terms of a prompt with their shares of it, as a vector of length 1."""
        places, rarity = self._places, self.rarity
        found = [(places[term], count) for term, count in counted(prompt).items() if term in places]
        weighed = [(place, count * rarity[place]) for place, count in found]
        length = sqrt(sum([value * value for _, value in weighed])) or 1.0
        return [(place, value / length) for place, value in weighed]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}


def _chance(voice: Voice, found: list[tuple[int, float]], values: list[float]) -> float:
    return 1 / (1 + exp(-max(-_FAR, min(_FAR, _total(voice, found, values)))))


def _added(pair: Pair, found: list[tuple[int, float]], values: list[float]) -> float:
    """The chance that only the strong answer is right less the chance that only the other is."""
    totals = [_total(voice, found, values) for voice in (pair.strong, pair.place, pair.both)]
    strong, place, both = (exp(max(-_FAR, min(_FAR, total))) for total in totals)
    return (strong - place) / (1 + strong + place + both)


def _total(voice: Voice, found: list[tuple[int, float]], values: list[float]) -> float:
    weights = voice.terms
    total = voice.bias + sum([weights[place] * value for place, value in found])
    return total + float(sum(map(mul, voice.features, values)))
