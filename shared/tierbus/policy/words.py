"""What the words of a prompt say, before anything was asked: a bag of words and the prompt's features in one linear model.

Prompts say little about one task, and every word very little. So the terms are few, each seen in many tasks, and their
weights are small. Fitting is in `fit_words`; plain floats and the standard library here.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import repeat
from math import copysign, exp, hypot, log
from operator import mul
from typing import NamedTuple

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


class _Read(NamedTuple):
    """A prompt as the weights see it: which known terms it has, their shares of it, and the standardised features."""

    places: list[int]
    shares: list[float]
    values: list[float]


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
        read = self._read(prompt, features)
        return {question: _chance(voice, read) for question, voice in self.voices.items()}

    def gain(self, prompt: str, features: Features, place: int) -> float:
        """What a strong call is expected to add to this place's answer.

        The mean of two chances' difference and of what both answers are together, which err differently. In repeated
        cross-validation on the train splits of gsm8k-pair and mmlu-pair it added .005 and .003 to the area under a
        router's curve, on crux and function-calls .003; on other pairs of models over gsm's questions it lost .0045.
        """
        read = self._read(prompt, features)
        strong, other = (_chance(self.voices[question], read) for question in (STRONG, str(place)))
        return (strong - other + _added(self.pairs[str(place)], read)) / 2

    def _read(self, prompt: str, features: Features) -> _Read:
        """Shares as a vector of length 1, features within reach."""
        known, rarity = self._places, self.rarity
        counts = counted(prompt)
        terms = [term for term in counts if term in known]
        places = [known[term] for term in terms]
        weighed = [counts[term] * rarity[place] for term, place in zip(terms, places, strict=True)]
        length = hypot(*weighed) or 1.0
        found = map((features | asked(prompt)).get, self.names, repeat(0.0))
        standard = [(value - mean) / scale for value, mean, scale in zip(found, self.means, self.scales, strict=True)]
        values = [value if -REACH < value < REACH else copysign(REACH, value) for value in standard]
        return _Read(places, [value / length for value in weighed], values)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}


def _chance(voice: Voice, read: _Read) -> float:
    return 1 / (1 + exp(-max(-_FAR, min(_FAR, _total(voice, read)))))


def _added(pair: Pair, read: _Read) -> float:
    """The chance that only the strong answer is right less the chance that only the other is."""
    totals = [_total(voice, read) for voice in (pair.strong, pair.place, pair.both)]
    strong, place, both = (exp(max(-_FAR, min(_FAR, total))) for total in totals)
    return (strong - place) / (1 + strong + place + both)


def _total(voice: Voice, read: _Read) -> float:
    terms = sum(map(mul, map(voice.terms.__getitem__, read.places), read.shares))
    return voice.bias + float(terms + sum(map(mul, voice.features, read.values)))
