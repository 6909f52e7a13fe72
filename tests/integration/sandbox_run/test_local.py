"""``python -m sandbox_run``, as ``make demo`` calls it: a real executor, a real sandbox."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.patience import PATIENCE_S, time_limits

EXAMPLES = Path(__file__).parents[3] / "examples"
pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def _run(path: Path) -> tuple[int, dict[str, Any]]:
    words = [sys.executable, "-m", "sandbox_run", "-f", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stderr == ""
    return done.returncode, yaml.safe_load(done.stdout)["status"]


def test_the_example_succeeds_and_its_status_is_what_a_cluster_would_show() -> None:
    code, status = _run(EXAMPLES / "hello.yaml")
    assert code == 0
    assert status["phase"] == "Succeeded"
    assert status["returnValue"]["greeting"] == "Hello, Ada"
    assert status["stdout"] == "Hello, Ada, from a sandbox on sandbox\n"


def test_the_exit_code_tells_a_failure_from_a_timeout(tmp_path: Path) -> None:
    failed, status = _run(EXAMPLES / "failure.yaml")
    assert (failed, status["phase"]) == (1, "Failed")
    assert "KeyError: 'pear'" in status["stderr"]
    example, path = (EXAMPLES / "timeout.yaml").read_text(), tmp_path / "timeout.yaml"
    for limit_s in time_limits():  # its own is the first
        path.write_text(example.replace("timeoutSeconds: 2\n", f"timeoutSeconds: {2 * limit_s}\n"))
        timed_out, status = _run(path)
        if status["stdout"]:
            break
    assert (timed_out, status["phase"]) == (124, "TimedOut")
    assert status["stdout"] == "started\n"


def test_what_admission_rejects_is_shown_as_rejected(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    secret = "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]"
    path.write_text((EXAMPLES / "hello.yaml").read_text().replace("language:", f"{secret}\n  language:"))
    code, status = _run(path)
    assert (code, status["phase"]) == (126, "Rejected")
    assert "Secret" in status["error"]["description"]
