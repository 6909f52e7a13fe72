"""Everything is broken once, two things at a time, while Executions run; the long run is ``make chaos``."""

import subprocess

import pytest

from tests.chaos.processes.bugs import FOUND_BY
from tests.chaos.processes.faults import FAULTS
from tests.chaos.started import run_chaos

_LIMIT_S = 540
pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(_LIMIT_S + 150)]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return run_chaos("tests.chaos", "--once", "--seed", "1", *words, timeout_s=_LIMIT_S)


def test_no_promise_is_broken_whatever_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    done = run()
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{len(FAULTS)} faults on " in done.stdout
    assert done.stdout.endswith("\n0 promises broken\n")


def test_bugs_that_are_put_in_are_found() -> None:
    """Or the test above would prove nothing. Executors die, and the Control Plane is away for a while."""
    faults = (*["executor killed"] * 5, "pod lost", "node cut off", *["Control Plane cut off"] * 4)
    done = run("--bugs", "--per-second", "8", "--only", *faults)
    assert done.returncode == 1, done.stdout + done.stderr
    missed = {bug for bug, line in FOUND_BY.items() if line not in done.stdout}
    assert not missed, done.stdout + done.stderr
