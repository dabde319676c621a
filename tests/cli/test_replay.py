"""The command `replay`."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from tests.shared.replay.recorded import STRONG, WEAK, output, pair, row
from typer.testing import CliRunner, Result

from tierbus.cli.main import app
from tierbus.cli.replaying.text import percent, points
from tierbus.policy.moves import Case, Judge, Move, Seen
from tierbus.replay.baselines import Always
from tierbus.replay.records import Row, read, write

LADDER = ("--cheap", WEAK, "--strong", STRONG)
QUICK = ("--draws", "200", "--resplits", "2", "--orders", "5")
EVIL = "<script>alert(1)</script>[red]"


def recorded(evil: str = "") -> list[Row]:
    return [
        pair(f"{at:02}", "5" if at % 3 == 0 else "4", split="train" if at % 5 < 3 else "test", group=f"{at % 3}{evil}")
        for at in range(40)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl.gz"
    write(path, recorded())
    return path


def replay(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def test_it_prints_what_every_policy_costs_and_how_good_it_is(data: Path) -> None:
    done = replay(data, *LADDER, *QUICK)

    assert done.exit_code == 0, done.output
    assert (
        "16 recorded tasks, ladder small → large. large alone: 100.00 % right, $10.00 per 1,000 tasks." in done.stdout
    )
    for name in (
        "always-0",
        "always-strong",
        "random",
        "length",
        "category",
        "perfect-review",
        "single-best",
        "oracle",
    ):
        assert re.search(rf"^ *{name} ", done.stdout, re.MULTILINE), name
    for title in ("Cost and quality", "On other splits", "With a reviewer", "Routers by their scores"):
        assert title in done.stdout


def test_the_figures_of_the_table_are_those_of_the_json(data: Path, tmp_path: Path) -> None:
    done = replay(data, *LADDER, *QUICK, "--json", tmp_path / "figures.json")

    told = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    lines = {line["policy"]: line["quality"] for line in told["lines"]}

    assert (told["tasks"], told["models"], told["rules"]["draws"]) == (16, [WEAK, STRONG], 200)
    assert lines["category"]["accuracy"] == 1.0
    for name, found in lines.items():
        assert re.search(rf"^ *{name} +{100 * found['accuracy']:.2f} %", done.stdout, re.MULTILINE), name


def test_named_baselines_are_played_alone(data: Path) -> None:
    done = replay(data, *LADDER, *QUICK, "-p", "length", "-p", "single-best")

    assert "length" in done.stdout
    assert "single-best" in done.stdout
    assert re.search(r"^ *random ", done.stdout, re.MULTILINE) is None


@dataclass(frozen=True)
class Kept(Always):
    """A policy that was stored with its ladder."""

    models: tuple[str, ...] = ("tiny", "huge")


def stored(monkeypatch: pytest.MonkeyPatch, folder: Path, policy: Always) -> Path:
    store = ModuleType("tierbus.policy.store")
    store.load = lambda _path: policy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tierbus.policy.store", store)
    path = folder / "[red]mine.json"
    path.write_text("{}", encoding="utf-8")
    return path


def test_a_policy_file_is_played_against_all_baselines(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = replay(data, *LADDER, *QUICK, "-p", stored(monkeypatch, tmp_path, Kept(0)))

    assert done.exit_code == 0, done.output
    assert re.search(r"^ *\[red\]mine ", done.stdout, re.MULTILINE)
    assert re.search(r"^ *category ", done.stdout, re.MULTILINE)


def test_a_learned_policy_says_how_many_answers_it_had_looked_at(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Careful(Kept):
        def reviewed_by(self, _look: object) -> "Told":
            return Told(self.place)

    class Told(Careful):
        def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
            looked = not seen or seen[0].judged is not None or case.id.endswith("4")  # 4 of the 16
            return super().next(case, seen) if looked else Judge(0, "most of them")

    done = replay(data, *LADDER, *QUICK, "-p", stored(monkeypatch, tmp_path, Careful(0)))

    [_, looks] = done.stdout.split("Looks that it asked for")
    [figures] = re.findall(r"^ *\[red\]mine (.*)$", looks.split("Routers")[0], re.MULTILINE)
    assert re.findall(r"[\d.]+ %", figures) == ["75.0 %"] * 4
    assert "category" not in looks.split("Routers")[0]


def test_a_policy_for_a_longer_ladder_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = replay(data, *LADDER, *QUICK, "-p", stored(monkeypatch, tmp_path, Kept(0, ("a", "b", "c"))))

    assert done.exit_code == 2
    assert "is for a ladder of 3 models, a → b → c; here are 2" in done.stderr.replace("\n", "")


@pytest.mark.parametrize("name", ["picture.svg", "picture.html"])
def test_the_picture_shows_every_policy_and_nothing_of_the_data_runs_in_it(tmp_path: Path, name: str) -> None:
    data, target = tmp_path / "rows.jsonl", tmp_path / name
    outputs = {EVIL: output(), STRONG: output(usd=0.01)}
    write(data, [row(f"{at}", outputs, "train" if at % 2 else "test") for at in range(20)])

    done = replay(data, "--cheap", EVIL, "--strong", STRONG, *QUICK, "--picture", target)
    text = target.read_text(encoding="utf-8")

    assert done.exit_code == 0, done.output
    assert EVIL in done.stdout.splitlines()[0]
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    for policy in ("always-0", "always-strong", "length", "perfect-review", "single-best"):
        assert policy in text


def test_the_svg_is_well_formed_and_marks_stand_inside_it(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "picture.svg"
    replay(data, *LADDER, *QUICK, "--picture", target)

    root = ET.fromstring(target.read_text(encoding="utf-8"))  # noqa: S314 - our own drawing
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    marks = list(root.iter("{http://www.w3.org/2000/svg}circle"))

    assert len(marks) == 2 * 7
    assert [m for m in marks if not (0 < float(m.attrib["cx"]) < width and 0 < float(m.attrib["cy"]) < height)] == []


def test_figures_never_read_minus_nothing() -> None:
    assert [percent(-1e-9), points(-1e-9), percent(0.12345, 2), points(-0.0123)] == [
        "0.0 %",
        "+0.00",
        "12.35 %",
        "-1.23",
    ]


def test_without_costs_only_routers_are_compared(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    write(
        data,
        [
            row(one.id, {name: output(correct=each.correct, usd=None) for name, each in one.outputs.items()}, one.split)
            for one in recorded()
        ],
    )

    refused = replay(data, *LADDER, *QUICK)
    done = replay(data, *LADDER, *QUICK, "--apgr-only")

    assert refused.exit_code == 2
    assert "has no cost_usd on any line" in refused.stderr
    assert done.exit_code == 0
    assert "Cost and quality" not in done.stdout
    assert "APGR" in done.stdout


def test_another_file_can_be_fitted_on(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    write(other, [row(one.id, {"a": one.outputs[WEAK], "b": one.outputs[STRONG]}, one.split) for one in recorded()])

    done = replay(data, *LADDER, *QUICK, "--fit", other, "--fit-cheap", "a", "--fit-strong", "b", "--rows", "all")
    longer = replay(data, *LADDER, *QUICK, "--fit", other, "--fit-cheap", "a,c", "--fit-strong", "b")

    assert "40 recorded tasks" in done.stdout
    assert "Fitted on 40 tasks of the other file, a → b." in done.stdout
    assert longer.exit_code == 2
    assert "the ladder to fit on has 3 models, the one to play 2" in longer.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--cheap", "small", "--strong", "huge"), 2, "no model 'huge' in the records; there are large, small"),
        (("--cheap", "small,,", "--strong", "large"), 2, "--cheap 'small,,' has an empty name"),
        (("--cheap", "small", "--strong", "large,x"), 2, "--strong 'large,x' names more than one model"),
        ((*LADDER, "-p", "cleverest"), 2, "--policy 'cleverest' is no policy file"),
        ((*LADDER, "-p", "length", "-p", "length"), 2, "policy 'length' is named twice"),
        ((*LADDER, "--picture", "p.png"), 2, "'p.png' must end in .svg or .html"),
        ((*LADDER, "--picture", "no/folder/p.svg"), 2, "there is no folder 'no/folder'"),
        ((*LADDER, "--json", "no/folder/f.json"), 2, "there is no folder 'no/folder'"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_value(
    data: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = replay(data, *arguments)

    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr.replace("\n", "")
    assert "Traceback" not in done.output


def test_the_baseline_by_category_needs_tasks_with_a_group(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [replace(row, group=None) for row in recorded()])

    done = replay(tmp_path / "rows.jsonl", *LADDER, "-p", "category")

    assert done.exit_code == 2
    assert "--policy 'category' needs tasks with a group; none of these has one" in done.stderr.replace("\n", "")


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("{}\n", encoding="utf-8")

    done = replay(data, *LADDER)

    assert done.exit_code == 3
    assert "rows.jsonl, line 1: no field id" in done.stderr


def test_without_numpy_the_error_says_what_to_install_and_the_command_line_still_loads(data: Path) -> None:
    code = (
        "import sys, importlib.util as util; sys.modules['numpy'] = None; find = util.find_spec;"
        "util.find_spec = lambda name, *a: None if name == 'numpy' else find(name, *a);"
        "from tierbus.cli.entry import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "replay", str(data), *LADDER],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 6
    assert "needs the library numpy; install with: make learn, or pip install tierbus[learn]" in done.stderr


def test_the_command_line_loads_without_numpy() -> None:
    code = (
        "import sys, tierbus.cli.main; print([name for name in ('numpy', 'sklearn', 'plotly') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"


def test_routerbench_is_converted_and_can_be_replayed(tmp_path: Path) -> None:
    table, target = tmp_path / "table.csv", tmp_path / "rows.jsonl.gz"
    lines = [f"t{at},q,gsm,{at % 2}.0,1.0,ok,ok,0.001,0.01,x" for at in range(60)]
    head = "sample_id,prompt,eval_name,s,l,s|model_response,l|model_response,s|total_cost,l|total_cost,oracle_model_to_route_to"
    table.write_text("\n".join([head, *lines, ""]), encoding="utf-8")

    done = replay("convert", table, target)
    played = replay(target, "--cheap", "s", "--strong", "l", *QUICK)

    assert done.exit_code == 0
    assert "60 tasks" in done.stdout
    assert len(read(target)) == 60
    assert played.exit_code == 0, played.output


def test_records_are_not_written_to_a_name_that_no_reader_takes(tmp_path: Path) -> None:
    done = replay("convert", tmp_path / "table.csv", tmp_path / "out.txt")

    assert (
        done.exit_code,
        "out.txt' ends neither with .jsonl nor with .jsonl.gz" in done.stderr.replace("\n", ""),
    ) == (2, True)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    done = replay("convert", tmp_path / "routerbench.pkl", tmp_path / "rows.jsonl")

    assert done.exit_code == 3
    assert "a pickle runs code when it is read" in done.stderr.replace("\n", " ")
    assert not (tmp_path / "rows.jsonl").exists()
