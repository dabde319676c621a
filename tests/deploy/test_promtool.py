"""What Prometheus' own tool says of rules, their tests, the configuration and the expressions of the dashboards."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import promql
from tests.deploy.test_monitoring import FOLDER, expressions, loaded

pytestmark = pytest.mark.promtool


def promtool(*words: str | Path) -> str:
    """What promtool says; fails where it is missing or finds a fault."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.fail(
            "promtool is missing; on Debian and Ubuntu: apt-get install prometheus, on macOS: brew install prometheus"
        )
    tried = subprocess.run([tool, *words], check=False, capture_output=True, text=True)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    return tried.stdout


def rule_file(folder: Path, exprs: list[str]) -> Path:
    """A file in which each expression is a recording rule."""
    records = [{"record": f"tried:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    path = folder / "tried.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": records}]}), encoding="utf-8")
    return path


def test_rules_are_valid() -> None:
    wanted = sum(len(group["rules"]) for group in loaded().rules["groups"])

    assert f"SUCCESS: {wanted} rules found" in promtool("check", "rules", FOLDER / "alerts.yaml")


def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", FOLDER / "alerts.test.yaml")


def test_configuration_is_valid_and_finds_its_rules() -> None:
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", FOLDER / "prometheus.yaml")


def test_every_expression_can_be_parsed_as_grafana_sends_it(tmp_path: Path) -> None:
    exprs = [promql.filled(expr) for _, expr in expressions(loaded())]

    assert not [expr for expr in exprs if "$_" in expr or "${" in expr]
    assert f"SUCCESS: {len(exprs)} rules found" in promtool("check", "rules", rule_file(tmp_path, exprs))


@pytest.mark.parametrize("expr", ["sum by (le (up)", "rate(up)", "up{job=~}", "up +"])
def test_an_expression_that_cannot_be_parsed_is_found(expr: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        promtool("check", "rules", rule_file(tmp_path, [expr]))


def test_without_promtool_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(pytest.fail.Exception, match="apt-get install prometheus"):
        promtool("--version")
