"""One distribution, one namespace over two roots, everything it needs inside."""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import tierbus

ROOT = Path(__file__).parents[1]


def test_the_namespace_has_both_roots_and_no_init() -> None:
    roots = {Path(path).resolve() for path in tierbus.__path__}

    assert {ROOT / "services" / "tierbus", ROOT / "shared" / "tierbus"} <= roots
    assert [str(root) for root in roots if (root / "__init__.py").exists()] == []


def test_the_wheel_has_prompts_tiers_and_scenarios(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {
        "tierbus/planner/prompts/plan.md",
        "tierbus/tiers/default.yaml",
        "tierbus/testing/sim/scenarios/translation.yaml",
        "tierbus/cli/entry.py",
    } <= names
    assert version("tierbus") in wheel.name


def test_importing_a_service_opens_nothing_and_loads_no_provider_sdk() -> None:
    code = "import sys, tierbus.executor.app, tierbus.router.app; print([m for m in ('anthropic', 'openai') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
