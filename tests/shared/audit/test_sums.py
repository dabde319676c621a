"""Prices by lines, kinds, repeats, prefixes, spenders, and what moving saves."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierbus.audit import moving, repeats
from tierbus.audit.assumptions import UNMEASURED, evidence, told
from tierbus.audit.call import Call
from tierbus.audit.figures import _mover, figures
from tierbus.audit.kinds import HARD, MODERATE, SIMPLE, _words, sort
from tierbus.audit.prices import Edges, PriceBook, line, nearest_nano
from tierbus.audit.repeats import Prefixes, Repeats, digest, request_digest
from tierbus.audit.tally import OTHER_LABELS, Cell, Known, Spenders, Sums, Tally, hidden
from tierbus.contracts import Tier, Usage
from tierbus.llm.prefixes import CACHE_LIFE_S
from tierbus.pricing.cost import price
from tierbus.tiers.catalog import load, names

NOW = 1_795_500_000.0
KNOWN = Known(load("default"), NOW)
CALL = Call(model="claude-opus-4-6", input=1000, output=100, at=NOW - 86_400)


def tally(*calls: Call, samples: int = 0) -> Tally:
    made = Tally(KNOWN._replace(samples=samples))
    for call in calls:
        made.add(call)
    return made


@pytest.mark.parametrize("name", names())
def test_a_line_gives_the_same_price_as_the_price_list_on_both_sides_of_its_step(name: str) -> None:
    catalog = load(name)
    edges = Edges(catalog, NOW)
    rough = 1e-4 if name == "self-hosted" else 1e-9

    for spec in {spec.id: spec for models in catalog.tiers.values() for spec in models}.values():
        for size in (900, 40_000, 99_999, 100_001, 190_000, 210_000, 900_000):
            usage = Usage(input=size, output=777, cache_read=300, cache_write=20)
            found = line(spec, NOW, edges.above(edges.bucket(size)))
            exact = price(spec, usage, NOW).nano_usd

            assert (found is None) == (exact is None)
            if found is not None and exact is not None:
                assert nearest_nano(found.pico(1, size, 777, 300, 20)) == pytest.approx(exact, rel=rough, abs=2)


def test_a_long_request_costs_what_the_step_says() -> None:
    haiku = load("default").tiers[Tier.SMALL][0]
    short, long = line(haiku, NOW), line(haiku, NOW, 100_000)

    assert short is not None
    assert long is not None
    assert long.input == 5 * short.input


@pytest.mark.parametrize("size", [99_999, 100_000, 100_001, 400_000])
def test_a_logged_call_costs_its_list_price_on_either_side_of_the_step(size: int) -> None:
    haiku = load("default").tiers[Tier.SMALL][0]
    made = tally(Call(model=haiku.id, input=size, output=100, at=NOW))

    [sums] = made.cells.values()
    assert sums.cost_nano_usd == price(haiku, Usage(input=size, output=100), NOW).nano_usd


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("gpt-4o-2024-08-06", "", "gpt-4o-2024-08-06"),
        ("azure/gpt-4o", "azure", "gpt-4o"),
        ("anthropic/claude-3-5-sonnet-20241022", "", "claude-3-5-sonnet-20241022"),
        ("bedrock/us.anthropic.claude-3-haiku-20240307-v1:0", "bedrock", "claude-3-haiku-20240307"),
        ("text-embedding-3-small", "", "text-embedding-3-small"),
    ],
)
def test_a_model_is_known_under_the_names_that_gateways_give_it(model: str, provider: str, name: str) -> None:
    found = PriceBook(load("default")).named(model, provider)

    assert found.name == name
    assert found.spec is not None


def test_an_unknown_model_is_unpriced_and_never_free() -> None:
    found = figures(tally(CALL, replace(CALL, model="house-model")), [], KNOWN)

    assert (found.unpriced, dict(found.unpriced_models), found.listed) == (1, {"house-model": 1}, 1)
    [row] = [row for row in found.models if row.name == "house-model"]
    assert (row.calls, row.unpriced, row.cost_nano_usd) == (1, 1, 0)
    assert found.high_nano_usd == figures(tally(CALL), [], KNOWN).high_nano_usd


def test_a_logged_cost_wins_over_the_price_list_and_a_batch_costs_half() -> None:
    logged = tally(replace(CALL, cost_nano_usd=123))
    plain, batch = tally(CALL), tally(replace(CALL, batch=True))

    assert sum(sums.cost_nano_usd for sums in logged.cells.values()) == 123
    [full], [half] = plain.cells.values(), batch.cells.values()
    assert half.cost_nano_usd == full.cost_nano_usd // 2 > 0


@pytest.mark.parametrize(
    ("prompt", "kind", "band"),
    [
        ("Translate this to French: good morning", "translation", SIMPLE),
        ("Classify the sentiment of this review", "classification", SIMPLE),
        ("Extract the vendor and the total of this invoice", "extraction", SIMPLE),
        ("Summarize the meeting", "summary", SIMPLE),
        ("Fix the bug in this python function:\n```\nx\n```", "code", SIMPLE),
        ("What is the capital of Peru?", "question", SIMPLE),
        ("Compare both plans, evaluate the risks, then recommend an architecture and a migration", "analysis", HARD),
        ("Prove that there are infinitely many primes, then write it down", "reasoning", MODERATE),
        ("zzz", "other", SIMPLE),
    ],
)
def test_the_kind_and_the_complexity_come_from_words(prompt: str, kind: str, band: str) -> None:
    assert sort(replace(CALL, prompt=prompt, whole=prompt))[:2] == (kind, band)


def test_words_are_runs_of_letters_whatever_stands_between_them() -> None:
    text = "".join(f"a{chr(sign)}Éz " for sign in range(0x11000))

    assert _words(text) == re.findall(r"[a-zà-ÿ]+", text.lower())


@pytest.mark.parametrize(
    ("system", "prompt", "found"),
    [
        ("Classify each ticket.", "zzz", ("classification", SIMPLE, False)),
        ("Translate.", "Classify", ("classification", SIMPLE, False)),
        ("Translate. Summarize.", "zzz", ("translation", SIMPLE, False)),
        ("Classify.", "zzz " * 300 + "translate the summary, translate", ("translation", SIMPLE, False)),
        ("Translate.", "zzz " * 300 + "summary", ("translation", SIMPLE, False)),
        ("Compare, evaluate; then recommend a strategy.", "zzz", ("analysis", HARD, False)),
        ("Watch the dosage.", "zzz", ("other", SIMPLE, True)),
        ("zzz", "z " * 600 + "contract", ("other", SIMPLE, True)),
        ("7", "8", ("no text", SIMPLE, False)),
    ],
)
def test_words_of_the_system_part_and_of_the_end_count_once_each_time_they_are_heard(
    system: str, prompt: str, found: tuple[str, str, bool]
) -> None:
    call = replace(CALL, system=system, prompt=prompt)

    assert (sort(call), sort(call)) == (found, found)


def test_a_label_of_the_log_wins_and_risk_words_are_seen() -> None:
    assert sort(replace(CALL, prompt="Translate the dosage for the patient", label="triage")) == (
        "triage",
        SIMPLE,
        True,
    )


@pytest.mark.parametrize(
    ("output", "kind"), [(5, "no text, short answer"), (500, "no text"), (5000, "no text, long answer")]
)
def test_a_call_without_text_is_sorted_by_its_shape(output: int, kind: str) -> None:
    assert sort(replace(CALL, output=output)).kind == kind


def test_repeats_count_every_call_but_the_first_of_a_prompt() -> None:
    repeats = Repeats()
    for name in (1, 2, 1, 1):
        repeats.add(name, 30)

    assert repeats.saving() == (2, 60)
    assert [(one.sent, one.cost_nano_usd) for one in repeats.top(5)] == [(3, 90)]
    assert repeats.exact


def test_a_full_table_forgets_what_it_saw_once_and_says_that_it_did() -> None:
    repeats = Repeats(cap=100)
    for _ in range(3):
        repeats.add(1, 10)
    for name in range(1000, 1500):
        repeats.add(name, 10)

    assert repeats.saving() == (2, 20)
    assert not repeats.exact
    assert len(repeats.table.rows) <= 100


def test_merged_repeats_are_those_of_both() -> None:
    some, others = Repeats(), Repeats()
    some.add(1, 10)
    others.add(1, 10)
    some.merge(others)

    assert some.saving() == (1, 10)


def test_a_hash_is_the_same_in_every_process() -> None:
    assert digest("tierbus") == 3523507159467624737


@pytest.mark.parametrize("size", [0, 4095, 4096, 5000, 6144, 32_768, 32_769])
@pytest.mark.parametrize("letter", ["x", "é", "\N{GRINNING FACE}", "\ud800"])
def test_a_request_has_one_hash_however_long_its_system_part_is(letter: str, size: int) -> None:
    for prompt in ("Hello", "", "Hello"):
        whole = f"{letter * size}\n{prompt}"

        assert request_digest("m", letter * size, whole) == digest(f"m\0{whole}")
        assert request_digest("n", letter * size, whole) == digest(f"n\0{whole}")


@pytest.mark.parametrize("size", [4096, 5000, 6144, 7000, 20_000])
def test_a_system_part_that_was_seen_has_the_same_prefixes_as_a_new_one(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> tuple[dict[int, int], int]:
        prefixes = Prefixes()
        for number, letter in enumerate("aba"):
            prefixes.add("é" * size + letter * 9000, "é" * size, 60.0 * number, (100, 10, 125))
        return prefixes.table.rows, prefixes.saved_pico

    remembered = seen()
    monkeypatch.setattr(repeats, "_remembered", lambda _: False)

    assert remembered == seen()
    assert remembered[1] > 0


def test_a_prefix_sent_again_in_time_is_read_from_the_cache_and_a_late_one_is_written_anew() -> None:
    text = "x" * 5000
    prefixes = Prefixes()

    prefixes.add(text, "", 1000.0, (100, 10, 125))
    assert prefixes.saved_pico == 0
    prefixes.add(text, "", 1000.0 + CACHE_LIFE_S, (100, 10, 125))
    assert (prefixes.hits, prefixes.tokens_read, prefixes.saved_pico) == (1, 1024, 1024 * 90 - 1024 * 25)
    prefixes.add(text, "", 1001.0 + 2 * CACHE_LIFE_S, (100, 10, 125))
    assert (prefixes.hits, prefixes.saved_pico) == (1, 1024 * 90 - 2 * 1024 * 25)


def test_a_log_with_its_newest_calls_first_has_the_same_late_prefixes() -> None:
    prefixes = Prefixes()
    for at in (9000.0, 1000.0):
        prefixes.add("x" * 5000, "", at, (100, 10, 125))

    assert (prefixes.hits, prefixes.saved_pico) == (0, -1024 * 25)


def test_prefixes_of_several_processes_are_at_least_so_many() -> None:
    some, others = Prefixes(), Prefixes()
    for prefixes in (some, some, others, others):
        prefixes.add("x" * 5000, "", 0.0, (100, 10, 125))
    some.merge(others)

    assert (some.hits, some.exact, others.exact) == (2, False, True)


def test_the_end_of_the_system_part_is_where_a_prefix_may_end() -> None:
    prefixes = Prefixes()
    for tail in ("a" * 50, "b" * 50):
        prefixes.add("x" * 4400 + tail, "x" * 4400, 0.0, (100, 10, 100))

    assert prefixes.tokens_read == 1024 + 76


def test_a_short_prompt_has_no_prefix_that_is_cached() -> None:
    prefixes = Prefixes()
    for _ in range(3):
        prefixes.add("x" * 4000, "", 0.0, (100, 10, 125))

    assert prefixes.hits == 0


def test_the_smallest_of_too_many_spenders_are_summed_up_as_others() -> None:
    spenders = Spenders(cap=10)
    for number in range(100):
        spenders.add(f"u{number}", 1, number, 0)

    known = sum(cost for _, cost, _ in spenders.rows.values())
    assert known + spenders.rest[1] == sum(range(100))
    assert "u99" in spenders.rows
    assert spenders.given_way > 0


def test_more_labels_than_are_counted_one_by_one_are_one_class() -> None:
    made = tally(*(replace(CALL, label=f"c{number}") for number in range(100)))

    found = {cell.kind for cell in made.cells}
    assert OTHER_LABELS in found
    assert len(found) == 61


def test_users_are_hashed_unless_their_names_are_wanted() -> None:
    made = tally(replace(CALL, user="ada@example.com", tenant="acme"))

    covered, open_ = figures(made, [], KNOWN), figures(made, [], KNOWN, show_users=True)

    assert covered.who["user"][0].name == hidden("ada@example.com", "user")
    assert "ada" not in covered.model_dump_json()
    assert (open_.who["user"][0].name, covered.who["tenant"][0].name) == ("ada@example.com", "acme")


def test_no_prompt_is_kept_unless_samples_are_wanted_and_then_redacted_and_cut() -> None:
    secret = replace(CALL, prompt="Classify this: api_key=hunter2hunter2 " + "word " * 200, whole="x")

    assert "Classify" not in figures(tally(secret), [], KNOWN).model_dump_json()
    [[text]] = figures(tally(secret, samples=3), [], KNOWN._replace(samples=3)).samples.values()
    assert "hunter2" not in text
    assert len(text) <= 160


CELL = Cell("classification", SIMPLE, False, "m", False, 0)
COSTS = {Tier.SMALL: 20_000, Tier.MID: 300_000, Tier.FRONTIER: 1_000_000}


def test_the_cautious_saving_is_that_of_the_named_shares() -> None:
    then = 2 * 20_000 + 1_000_000 * (196_000 + 30 * 804) // 1_000_000

    assert moving.low(CELL, 1_000_000, COSTS) == moving.Path(Tier.SMALL, 1_000_000 - then)


def test_the_hopeful_saving_is_larger() -> None:
    assert moving.high(CELL, 1_000_000, COSTS).saved > moving.low(CELL, 1_000_000, COSTS).saved > 0


@pytest.mark.parametrize("cell", [CELL._replace(risky=True), CELL._replace(band=HARD), CELL._replace(kind="embedding")])
def test_risky_hard_and_unroutable_calls_stay_in_the_cautious_figure(cell: Cell) -> None:
    assert moving.low(cell, 1_000_000, COSTS) == moving.STAYS


def test_a_class_stays_where_the_cheap_tier_costs_nearly_as_much_or_has_no_price() -> None:
    assert moving.low(CELL, 1_000_000, {Tier.SMALL: 400_000, Tier.MID: 900_000}) == moving.STAYS
    assert moving.low(CELL, 1_000_000, {Tier.SMALL: None, Tier.MID: None}) == moving.STAYS


def test_the_first_fifth_begins_with_most_dollars_for_the_risk_and_ends_at_a_fifth() -> None:
    cells = {
        CELL: (Sums(calls=150), 1_500_000, {Tier.SMALL: 1_000}),
        CELL._replace(kind="code"): (Sums(calls=400), 4_000_000, {Tier.SMALL: 1_000}),
        CELL._replace(kind="summary", risky=True): (Sums(calls=400), 9_000_000, {Tier.SMALL: 1_000}),
    }

    picked = moving.first(moving.candidates(cells), 950)

    assert [(one.kind, taken) for one, taken in picked] == [("classification", 150), ("code", 40)]


@given(st.integers(1, 150))
def test_first_answers_that_go_up_are_never_told_too_few(taken: int) -> None:
    [one] = moving.candidates({CELL: (Sums(calls=150), 1_500_000, {Tier.SMALL: 1_000})})
    least, most = evidence(one.kind).share(one.tier)

    mover = _mover(one, taken)

    assert mover.up_low * 1000 <= taken * least
    assert taken * most <= mover.up_high * 1000 < taken * most + 1000


def test_a_kind_that_nobody_measured_has_the_widest_range() -> None:
    assert evidence("writing") is UNMEASURED
    assert evidence("ticket classification") is evidence("classification")
    assert any("3 %" in line.replace("3%", "3 %") for line in told())
