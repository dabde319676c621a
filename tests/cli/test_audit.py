"""The command `audit`, its terminal output and its page."""

import gzip
import io
import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from rich.console import Console
from tests.audit_logs import COLUMNS, write
from tests.cli.test_report_page import Seen
from typer.testing import CliRunner

from tierbus.audit.call import Call
from tierbus.audit.figures import Figures, figures
from tierbus.audit.scan import FileRead
from tierbus.audit.tally import Known, Tally
from tierbus.cli.auditing.charts import charts
from tierbus.cli.auditing.page import page
from tierbus.cli.auditing.terminal import show
from tierbus.cli.main import app
from tierbus.tiers.catalog import load

NOW = 1_795_500_000.0
KNOWN = Known(load("default"), NOW)
EVIL = "</script><script>alert(1)</script>[red]"
GOOD = '{"request": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}, "response": {"usage": {"prompt_tokens": 10, "completion_tokens": 2}}}'


CALLS = tuple(Call("gpt-4o", 10, 2) for _ in range(5))


def found(*calls: Call) -> Figures:
    tally = Tally(KNOWN)
    for call in calls:
        tally.add(call)
    return figures(tally, [FileRead(Path("a.jsonl"), 1, None, "")], KNOWN)


def printed(shown: Figures) -> str:
    text = io.StringIO()
    show(shown, Console(width=132, file=text))
    return text.getvalue()


def test_the_audit_prints_writes_its_page_and_its_figures(tmp_path: Path) -> None:
    log = write("requests.jsonl", tmp_path, 300)
    page_, numbers = tmp_path / "audit.html", tmp_path / "audit.json"

    done = CliRunner().invoke(app, ["audit", str(log), "--html", str(page_), "--json", str(numbers)])

    told = Figures.model_validate_json(numbers.read_text())
    assert done.exit_code == 0
    assert told.calls == 300
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(
        r"At least \$[\d,.]+ on 300 calls; moving calls to cheaper tiers would save \$[\d,.]+ to \$[\d,.]+ \([\d.]+ % to [\d.]+ %\)",
        first,
    )
    assert first in Seen(page_.read_text()).text
    for part in (
        "Tasks by kind",
        "The same calls on each tier",
        "The first 20 % of calls to move",
        "Repeated prompts",
        "How it is reckoned",
    ):
        assert part in done.stdout
    assert "house-model-7b" in done.stdout
    assert "unpriced" in done.stdout


def test_no_prompt_and_no_user_is_printed_unless_asked_for(tmp_path: Path) -> None:
    log = write("langfuse.jsonl", tmp_path, 200)

    covered = CliRunner().invoke(
        app, ["audit", str(log), "--html", str(tmp_path / "a.html"), "--json", str(tmp_path / "a.json")]
    )
    open_ = CliRunner().invoke(app, ["audit", str(log), "--samples", "1", "--show-users"])

    for text in (covered.stdout, (tmp_path / "a.html").read_text(), (tmp_path / "a.json").read_text()):
        assert "Classify the intent" not in text
        assert "example.com" not in text
    assert "Classify the intent" in open_.stdout
    assert "@example.com" in open_.stdout


def test_a_table_with_a_column_map_is_read(tmp_path: Path) -> None:
    log = write("table.csv", tmp_path, 50)

    done = CliRunner().invoke(app, ["audit", str(log), "--columns", COLUMNS])

    assert done.exit_code == 0
    assert "columns, CSV" in done.stdout


def test_a_map_of_columns_leaves_logs_of_known_formats_in_the_same_folder_readable(tmp_path: Path) -> None:
    write("table.csv", tmp_path, 50)
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n")

    done = CliRunner().invoke(app, ["audit", str(tmp_path), "--columns", COLUMNS])

    assert (done.exit_code, "on 51 calls" in done.stdout) == (0, True), done.stdout


def test_a_file_that_is_named_twice_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n")

    done = CliRunner().invoke(app, ["audit", ".", str(tmp_path / "a.jsonl"), "a.jsonl"])

    assert "on 1 call" in done.stdout


def test_calls_that_are_too_few_to_have_a_fifth_are_said_to_be_so() -> None:
    few, many = ("\n".join((printed(one), page(one))) for one in (found(*CALLS[:2]), found(*CALLS)))

    assert few.count("a fifth of 2 calls is less than one") == 2
    assert "is less than one" not in many


def test_bad_rows_are_told_with_their_place_and_the_audit_succeeds(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    log.write_text(f"{GOOD}\noops\n" + "{}\n" * 5)

    done = CliRunner().invoke(app, ["audit", str(log)])

    assert done.exit_code == 0
    assert "1 × not JSON" in done.stdout
    assert f"{log}, line 2: expected value at column 1" in done.stdout
    assert "1 row could not be read and is in no figure." in done.stdout
    assert "5 × a request without a response" in done.stdout


def test_a_file_that_cannot_be_read_is_exit_code_1_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n")
    (tmp_path / "b.jsonl").write_bytes(b"\0\0\0")

    done = CliRunner().invoke(app, ["audit", str(tmp_path)])

    assert done.exit_code == 1
    assert "b.jsonl: the file is binary" in done.stdout
    assert "on 1 call" in done.stdout


def test_a_file_that_breaks_off_is_exit_code_1_though_it_held_calls(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl.gz"
    log.write_bytes(gzip.compress(b"".join(f'{GOOD[:-1]}, "n": {n}}}\n'.encode() for n in range(20_000)))[:-40])

    done = CliRunner().invoke(app, ["audit", str(log)])

    assert done.exit_code == 1
    assert "gzip data are broken" in done.stdout
    assert re.search(r"on [\d,]+ calls", done.stdout)


def test_what_a_short_broken_file_held_before_the_break_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl.gz"
    rows = b"".join(f'{GOOD[:-1]}, "n": "{sha256(str(n).encode()).hexdigest()}"}}\n'.encode() for n in range(100))
    log.write_bytes(gzip.compress(rows)[:-2000])

    done = CliRunner().invoke(app, ["audit", str(log)])

    assert (done.exit_code, "gzip data are broken" in done.stdout) == (1, True)
    assert re.search(r"on [5-9]\d calls", done.stdout), done.stdout


def test_without_any_call_the_exit_code_is_3_and_the_reasons_stand_above(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("oops\nmore\n")

    done = CliRunner().invoke(app, ["audit", str(tmp_path / "a.jsonl"), "--html", str(tmp_path / "a.html")])

    assert done.exit_code == 3
    assert "neither JSON nor a table" in done.stdout
    assert done.stderr.startswith("error: no call was found")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("no-such.jsonl",), 2, "'no-such.jsonl'"),
        ((".", "--columns", "colour=x"), 2, "'colour'"),
        ((".", "--columns", "model=a,model=b"), 2, "'model' twice: 'a' and 'b'"),
        ((".", "--columns", "model=a", "--format", "otel"), 2, "--format otel"),
        ((".", "--html", "no/such/a.html"), 2, "'no/such/a.html'"),
        ((".", "--json", "no/such/a.json"), 2, "'no/such/a.json'"),
        ((".", "--tiers", "golden"), 6, "'golden'"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_value(
    arguments: tuple[str, ...], code: int, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n")

    done = CliRunner().invoke(app, ["audit", *arguments])

    [line] = done.stderr.strip().splitlines()
    assert (done.exit_code, line.startswith("error: "), named in line) == (code, True, True)


def test_the_command_needs_no_terminal_and_prints_no_bar_into_a_pipe(tmp_path: Path) -> None:
    log = write("litellm.csv", tmp_path, 50)

    done = subprocess.run(
        [sys.executable, "-m", "tierbus.cli.entry", "audit", str(log)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "litellm, CSV" in done.stdout


def test_text_of_a_log_is_text_on_the_page_and_on_the_terminal() -> None:
    shown = found(Call(model=EVIL, input=10, output=5, label=EVIL, tenant=EVIL))

    made = Seen(page(shown))

    assert made.count("script") == 3
    assert EVIL in made.text
    assert EVIL[:20] in printed(shown)


def test_the_page_loads_nothing_and_every_chart_has_its_place() -> None:
    shown = found(
        *(
            Call(model="claude-opus-4-6", input=9000, output=50, tenant="acme", at=NOW - day * 86_400)
            for day in range(3)
        )
    )

    made = Seen(page(shown))

    assert made.addresses() == []
    places = {
        attributes["id"].removeprefix("chart-") for _, attributes in made.tags if attributes.get("class") == "chart"
    }
    assert places == set(charts(shown)) == {"tiers", "models", "saving", "tenants", "days"}


def test_unknown_prices_are_never_zero_dollars() -> None:
    shown = found(Call(model="house-model", input=10, output=5, tenant="acme"))

    text = printed(shown)

    assert text.count("unpriced") >= 3
    assert "1 call has no known price (house-model)" in text


def test_calls_of_which_the_log_says_the_cost_are_told_apart() -> None:
    shown = found(Call(model="house-model", input=10, output=5, cost_nano_usd=2_500_000_000))

    assert "$2.50 on 1 call" in printed(shown)
    assert "1 call as the log says, 0 at the list price" in printed(shown)


def test_a_label_that_is_a_whole_sentence_is_no_label_and_is_not_printed() -> None:
    asked = "Please summarise what we told Ada Lovelace about her contract yesterday"

    text = printed(found(Call(model="m", input=10, output=5, label=asked)))

    assert "Lovelace" not in text
    assert "no text, short answer" in text


def test_figures_survive_json() -> None:
    shown = found(Call(model="claude-opus-4-6", input=9000, output=50))

    assert Figures.model_validate(json.loads(shown.model_dump_json())) == shown
