"""Everything is broken once, two things at a time, while Executions run; the long run is ``make chaos``."""

import subprocess
import sys

import pytest

from tests.chaos.processes.faults import FAULTS
from tests.integration.controller.apiserver import ROOT

_LIMIT_S = 540


@pytest.mark.sandbox
@pytest.mark.timeout(_LIMIT_S + 30)
def test_no_promise_is_broken_whatever_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: it adopts orphans, so that it can count them."""
    words = [sys.executable, "-m", "tests.chaos", "--once", "--seed", "1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{len(FAULTS)} faults on " in done.stdout
    assert done.stdout.endswith("\n0 promises broken\n")
