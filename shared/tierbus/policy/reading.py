"""All features of a task at one moment, by name: what `fit` learns from and what the policy reads."""

from collections.abc import Callable

from tierbus.policy.features import Features, answer_features, pair_features, prompt_features
from tierbus.policy.moves import Case, Seen

Reader = Callable[[Case, tuple[Seen, ...]], Features]

AGREE = "pair.agree"
"""The feature that says most wherever it is there."""


def read(case: Case, seen: tuple[Seen, ...]) -> Features:
    """Features of the prompt, of its category, and of up to two answers, whatever the order in which they were given."""
    features = dict(prompt_features(case.prompt))
    if case.group is not None:
        features[f"group.{case.group}"] = 1.0
    answers = sorted(seen[:2], key=lambda one: one.place)
    for one in answers:
        features.update(answer_features(case.prompt, one, f"a{one.place}"))
    if len(answers) > 1:
        features.update(pair_features(answers[0], answers[1]))
    return features
