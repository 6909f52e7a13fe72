"""The chart's rules are rules to Prometheus, and each of them fires when it should."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.monitoring.prometheus import find_program
from tests.integration.monitoring.queries import ALERTS
from tests.unit.chart.conftest import Rendered

CASES = Path(__file__).with_name("alerts.test.yaml")


@pytest.fixture
def rules(monitored: Rendered, tmp_path: Path) -> Path:
    """The rendered rules as a file of Prometheus's."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(monitored.all("PrometheusRule")[0]["spec"]))
    return file


def promtool(*arguments: str, folder: Path) -> str:
    ended = subprocess.run(
        [find_program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_promtool_finds_every_rule_valid(rules: Path) -> None:
    said = promtool("check", "rules", rules.name, folder=rules.parent)
    assert f"{len(ALERTS)} rules found" in said


def test_each_alert_fires_when_it_should_and_says_what_is_wrong(rules: Path) -> None:
    shutil.copy(CASES, rules.parent)
    promtool("test", "rules", CASES.name, folder=rules.parent)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = [test for case in yaml.safe_load(CASES.read_text())["tests"] for test in case["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {test["alertname"] for test in tests if test["exp_alerts"]} == names
    assert {test["alertname"] for test in tests if not test["exp_alerts"]} == names
