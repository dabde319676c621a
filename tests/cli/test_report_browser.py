"""The page in a real browser that has no network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cli.records import DAY, NOW, World, call, result, step, world

from tierbus.cli.reporting.figures import Period, figures
from tierbus.cli.reporting.page import page
from tierbus.contracts import Tier

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EVIL = "</script><script>document.documentElement.dataset.broken = 1</script>"
CHARTS = 6


@pytest.fixture(scope="session")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(f"no browser ({', '.join(NAMES)}): apt-get install chromium, or deselect with -m 'not browser'")
    return found


class Shown:
    """A page as the browser built it."""

    def __init__(self, browser: str, folder: Path, source: str) -> None:
        (folder / "report.html").write_text(source, encoding="utf-8")
        self._command = [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1280,1600",
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            (folder / "report.html").as_uri(),
        ]
        self.picture = folder / "report.png"
        self.dom, self.log = self._run("--dump-dom")
        self._run(f"--screenshot={self.picture}")

    def _run(self, wish: str) -> tuple[str, str]:
        done = subprocess.run([*self._command, wish], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, done.stderr

    @property
    def root(self) -> str:
        return self.dom[self.dom.index("<html") :].split(">", 1)[0]

    @property
    def console(self) -> list[str]:
        return [line for line in self.log.splitlines() if "CONSOLE" in line]

    def chart(self, name: str) -> str:
        """The markup from a chart's place on."""
        return self.dom[self.dom.index(f'id="chart-{name}"') :]


def shown(browser: str, folder: Path, records: World, days: float = 7, jaeger: str | None = None) -> Shown:
    found = figures(*records, Period.of(NOW - days * DAY, NOW))
    return Shown(browser, folder, page(found, "SIMULATED", jaeger))


def test_every_chart_is_drawn_without_a_network_or_an_error(browser: str, tmp_path: Path) -> None:
    seen = shown(browser, tmp_path, world(200, days=7))

    assert f'data-drawn="{CHARTS}"' in seen.root
    assert "data-error" not in seen.root
    assert seen.console == []
    places = re.findall(r'id="chart-([a-z-]+)"', seen.dom)
    assert len(places) == CHARTS
    for name in places:
        assert 'class="main-svg"' in seen.chart(name).split('id="chart-', 2)[1]
    assert seen.chart("over-time").count('class="point"') >= 3 * 7
    assert "results no longer kept" in seen.chart("first-pass")
    assert seen.picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert seen.picture.stat().st_size > 50_000


def test_text_of_a_task_never_runs(browser: str, tmp_path: Path) -> None:
    ended = result(EVIL, steps=[step(Tier.SMALL)])

    seen = shown(browser, tmp_path, ([call(EVIL, model=EVIL)], [ended], []), jaeger="http://localhost:16686")

    assert f'data-drawn="{CHARTS}"' in seen.root
    assert "data-broken" not in seen.root
    assert "data-error" not in seen.root
    assert seen.console == []
    assert "&lt;/script&gt;&lt;script&gt;" in seen.chart("by-model")


def test_an_empty_report_opens_without_an_error(browser: str, tmp_path: Path) -> None:
    seen = shown(browser, tmp_path, ([], [], []))

    assert 'data-drawn="0"' in seen.root
    assert "data-error" not in seen.root
    assert seen.console == []
    assert "No task and no model call" in seen.dom
