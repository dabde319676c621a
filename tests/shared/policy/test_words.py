import json
import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared.policy.made import MODELS, tasks
from tests.shared.replay.recorded import output, row

from tierbus.errors import Misconfigured
from tierbus.policy.asked import asked
from tierbus.policy.features import Features
from tierbus.policy.fit import fit
from tierbus.policy.fit_words import SEEN, WEIGHTS, Worded, _bag, fit_words
from tierbus.policy.learned import Learned
from tierbus.policy.model import STRONG
from tierbus.policy.moves import Case, Seen
from tierbus.policy.reading import read
from tierbus.policy.store import Made, dump, parse
from tierbus.policy.words import Pair, Voice, Words, counted
from tierbus.replay.board import board
from tierbus.replay.learned import fitted
from tierbus.replay.seats import split

MADE = Made(1_700_000_000.0, "ab" * 32, 400)
EASY, HARD = ("apple", "river", "paper"), ("integral", "lemma", "tensor")
FEATURES: Features = {"prompt.chars": 3.0}
WORDS = Words(
    ("apple", "lemma"), (1.0, 2.0), ("prompt.chars",), (3.0,), (1.0,),
    {"0": Voice((1.0, -2.0), (0.5,), 0.2), STRONG: Voice((0.0, 0.0), (0.0,), 2.0)},
    {"0": Pair(Voice((0.0, 3.0), (0.0,), 0.5), Voice((0.0, 0.0), (0.0,), -1.0), Voice((0.0, 0.0), (0.0,), 1.0))},
)  # fmt: skip


def told(
    count: int, seed: int, group: str | None = None
) -> tuple[list[Case], list[tuple[Seen, ...]], list[list[bool]]]:
    """Tasks that are all of one length; one word says whether the small model fails."""
    rng = random.Random(seed)
    cases, seens, correct = [], [], []
    for at in range(count):
        hard = rng.random() < 0.5
        word = rng.choice(HARD if hard else EASY)
        cases.append(Case(f"t{seed}-{at}", "terms", group, f"Say what {word:<9} means to us."))
        seens.append(tuple(Seen(place, "yes", "yes", None, False, 9, 1, usd) for place, usd in enumerate((0.1, 1.0))))
        correct.append([rng.random() < (0.3 if hard else 0.9), rng.random() < 0.95])
    return cases, seens, correct


@cache
def taught() -> Learned:
    return fit(*told(400, 1), ("small", "strong"))


def worded(prompts: list[str], right: list[bool]) -> Worded | None:
    correct = np.array([[one, True] for one in right])
    return fit_words(prompts, [FEATURES] * len(prompts), ("0", STRONG), correct, np.arange(len(prompts)) % 5)


def test_a_task_with_a_word_that_the_small_model_fails_at_scores_higher() -> None:
    policy = taught()
    hard, easy = ([policy.score(Case("x", "terms", None, f"A {word} now?"), ()) for word in of] for of in (HARD, EASY))

    assert policy.lessons["terms"].words is not None
    assert min(one for one in hard if one is not None) > max(one for one in easy if one is not None) + 0.1


def test_a_task_without_a_known_word_scores_as_its_features_and_the_prior_say() -> None:
    chances = WORDS.chances("zebra", FEATURES)

    assert chances == pytest.approx({"0": 1 / (1 + np.exp(-0.2)), STRONG: 1 / (1 + np.exp(-2.0))})


def together(strong: float, place: float, both: float) -> float:
    """The chance of the first outcome less that of the second, by log-odds against none."""
    each = np.exp([strong, place, both])
    return float((each[0] - each[1]) / (1 + each.sum()))


@pytest.mark.parametrize(("prompt", "strong"), [("zebra", 0.5), ("lemma", 3.5)])
def test_what_is_gained_is_the_mean_of_two_chances_and_of_both_answers_together(prompt: str, strong: float) -> None:
    chances = WORDS.chances(prompt, FEATURES)
    apart = chances[STRONG] - chances["0"]

    assert WORDS.gain(prompt, FEATURES, 0) == pytest.approx((apart + together(strong, -1.0, 1.0)) / 2)


def test_a_word_counts_by_its_share_of_the_prompt_and_not_by_its_case() -> None:
    alone, beside = (WORDS.chances(text, FEATURES)["0"] for text in ("LEMMA", "lemma apple"))

    assert alone == pytest.approx(1 / (1 + np.exp(-(0.2 - 2.0))))
    assert beside == pytest.approx(1 / (1 + np.exp(-(0.2 + (1.0 - 4.0) / np.sqrt(5)))))


def test_features_whose_weights_are_penalised_less_are_ones_that_are_read() -> None:
    case = Case("t", "terms", None, "What is 2.50 of 3?")

    assert WEIGHTS.keys() <= (read(case, ()) | asked(case.prompt)).keys()


def test_a_task_scores_higher_where_amounts_have_cents_and_the_small_model_fails_at_them() -> None:
    prompts = [f"What does it come to: {2 + at % 7}{'.50' if at % 2 else ''} and more?" for at in range(200)]
    told = worded(prompts, [at % 2 == 0 for at in range(200)])

    assert told is not None
    whole, cents = (told.words.gain(prompt, FEATURES, 0) for prompt in ("Is it 9 or more?", "Is it 9.25 or more?"))
    assert cents > whole + 0.2


def test_words_that_say_nothing_are_left_out() -> None:
    cases, seens, _ = told(400, 2)
    rng = random.Random(3)
    policy = fit(cases, seens, [[rng.random() < 0.7, rng.random() < 0.9] for _ in cases], ("small", "strong"))

    assert policy.lessons["terms"].words is None or abs(policy.score(cases[0], ()) or 0.0) < 0.5


def test_terms_of_few_tasks_are_not_learned() -> None:
    prompts = ["common word"] * 40 + ["rareword common"] * (SEEN - 1)
    found = worded(prompts, [at % 3 > 0 for at in range(len(prompts))])

    assert found is not None
    assert set(found.words.terms) == {"common", "word"}


def test_prompts_without_words_give_no_bag() -> None:
    assert worded(["?"] * 50, [at % 2 > 0 for at in range(50)]) is None


@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_alike_can_be_learned_from(right: bool) -> None:
    found = worded(["common word"] * 50, [right] * 50)

    assert found is not None
    assert (found.words.chances("common", FEATURES)["0"] > 0.9) == right


def test_what_is_said_of_a_task_out_of_fold_does_not_depend_on_its_own_label() -> None:
    prompts = [case.prompt for case in told(200, 4)[0]]
    right = [row[0] for row in told(200, 4)[2]]
    fold = np.arange(200) % 5
    correct = np.array([[one, True] for one in right])
    flipped = correct.copy()
    flipped[fold == 2, 0] ^= True
    whole = fit_words(prompts, [FEATURES] * 200, ("0", STRONG), correct, fold)
    other = fit_words(prompts, [FEATURES] * 200, ("0", STRONG), flipped, fold)

    assert whole is not None
    assert other is not None
    # one calibration is shared by all parts, so the order inside the part is what must stay
    assert np.array_equal(np.argsort(whole.away[fold == 2, 0]), np.argsort(other.away[fold == 2, 0]))
    assert np.array_equal(whole.added[fold == 2], other.added[fold == 2])
    assert not np.array_equal(whole.added[fold != 2], other.added[fold != 2])


@pytest.mark.parametrize("outcomes", [[(1, 0)], [(0, 0), (1, 1)], [(1, 0), (1, 1)], [(0, 0), (0, 1), (1, 1)]])
def test_outcomes_that_never_were_are_held_to_be_rare(outcomes: list[tuple[int, int]]) -> None:
    """Columns: the small model's answer, the strong one's."""
    correct = np.array(outcomes * (60 // len(outcomes)), dtype=bool)
    found = fit_words(["common word"] * 60, [FEATURES] * 60, ("0", STRONG), correct, np.arange(60) % 5)
    wanted = float((correct[:, 1].astype(float) - correct[:, 0]).mean())

    assert found is not None
    assert found.added.mean() == pytest.approx(wanted, abs=0.1)
    assert found.words.gain("common word", FEATURES, 0) == pytest.approx(wanted, abs=0.1)


def test_a_pair_says_of_a_prompt_what_was_said_of_tasks_like_it_out_of_fold() -> None:
    cases, _, correct = told(600, 9)
    prompts = [case.prompt for case in cases]
    found = fit_words(prompts, [FEATURES] * 600, ("0", STRONG), np.array(correct), np.arange(600) % 5)

    assert found is not None
    said = np.array([found.words.gain(prompt, FEATURES, 0) for prompt in prompts])
    assert np.corrcoef(said, found.gain(0))[0, 1] > 0.95
    assert said.mean() == pytest.approx(found.gain(0).mean(), abs=0.02)


def test_fitting_on_the_train_split_never_sees_the_other_tasks() -> None:
    cases, _, correct = told(500, 8)
    rows, flipped = (
        [
            row(
                case.id,
                {"a": output(correct=right[0] ^ (other and at >= 400)), "b": output(correct=right[1])},
                "train" if at < 400 else "test",
                prompt=case.prompt if at < 400 or not other else "unheard",
            )
            for at, (case, right) in enumerate(zip(cases, correct, strict=True))
        ]
        for other in (False, True)
    )
    one, two = (fitted(split(some, board(some, ("a", "b"), priced=False))[0].train, 0.01) for some in (rows, flipped))

    assert isinstance(one, Learned)
    assert isinstance(two, Learned)
    assert one.lessons["sums"].words is not None
    assert one.lessons == two.lessons


def test_a_policy_with_words_read_back_scores_the_same() -> None:
    policy = taught()
    text = dump(policy, MADE)
    back = parse(text, "here").policy

    assert back.lessons["terms"].words == policy.lessons["terms"].words
    assert [back.score(case, ()) for case in told(50, 5)[0]] == [policy.score(case, ()) for case in told(50, 5)[0]]
    assert dump(back, MADE) == text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda words: words["terms"].__setitem__(0, words["terms"][1]), "a term is there twice"),
        (lambda words: words["rarity"].pop(), "numbers where"),
        (lambda words: words["voices"].pop("0"), "the words say nothing of '0'"),
        (lambda words: words["voices"]["0"]["terms"].pop(), "numbers where"),
        (lambda words: words["pairs"].pop("0"), "the words say nothing of '0'"),
        (lambda words: words["pairs"]["0"].pop("both"), "KeyError"),
        (lambda words: words["pairs"]["0"]["place"]["features"].pop(), "numbers where"),
        (lambda words: words["scales"].__setitem__(0, 0), "features is not above 0"),
    ],
)
def test_stored_words_that_do_not_fit_are_refused_with_the_reason(change: object, said: str) -> None:
    body = json.loads(dump(taught(), MADE))
    change(body["classes"]["terms"]["words"])  # type: ignore[operator]

    with pytest.raises(Misconfigured, match=f"here.*{said}"):
        parse(json.dumps(body), "here")


def test_a_policy_stored_without_words_can_be_read() -> None:
    body = json.loads(dump(taught(), MADE))
    del body["classes"]["terms"]["words"]

    assert parse(json.dumps(body), "here").policy.lessons["terms"].words is None


def test_with_few_labels_words_change_scores_but_no_move() -> None:
    policy = taught()
    without = Learned(policy.models, {"terms": replace(policy.lessons["terms"], words=None)}, policy.target)
    cases = told(50, 6)[0]

    assert [policy.next(case, ()) for case in cases] == [without.next(case, ()) for case in cases]
    assert [policy.gain(case, (), 0) for case in cases] == [without.gain(case, (), 0) for case in cases]
    assert any(policy.score(case, ()) != without.score(case, ()) for case in cases)


def test_with_many_labels_the_course_goes_by_words() -> None:
    policy = taught()
    lesson = policy.lessons["terms"]
    many = Learned(policy.models, {"terms": replace(lesson, rows=3_000)}, policy.target)
    case = told(1, 7)[0][0]
    at = many.gain(case, (), 0)

    assert at is not None
    assert lesson.words is not None
    assert at.gain == policy.score(case, ())


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab c.?\n", max_size=60), st.floats(-1e6, 1e6))
def test_plain_python_says_what_the_matrix_says(prompt: str, chars: float) -> None:
    prompts = ["aa bb", "ab ba aa", "cc aa bb bb", "ab"] * 15
    table: list[Features] = [
        {"prompt.chars": float(len(one)), "other": float(at % 3)} for at, one in enumerate(prompts)
    ]
    raw = np.array([[row["other"], row["prompt.chars"]] for row in table])
    bag = _bag([counted(one) for one in prompts], raw, np.array([1.0, 1.0]))
    rng = np.random.default_rng(0)
    weights = rng.normal(size=len(bag.terms) + 2)
    voice = Voice(tuple(weights[:-2].tolist()), tuple(weights[-2:].tolist()), 0.3)
    words = Words(
        bag.terms, tuple(bag.rarity.tolist()), ("other", "prompt.chars"),
        tuple(bag.means.tolist()), tuple(bag.scales.tolist()), {"0": voice}, {},
    )  # fmt: skip
    margin = float((bag.rows([counted(prompt)], np.array([[2.0, chars]])) @ weights)[0]) + 0.3

    assert words.chances(prompt, {"other": 2.0, "prompt.chars": chars})["0"] == pytest.approx(1 / (1 + np.exp(-margin)))


def test_made_up_sums_still_make_a_policy_of_three_models() -> None:
    words = fit(*tasks(400, 1), MODELS).lessons["sums"].words

    assert words is None or set(words.voices) == {"0", "1", STRONG}
