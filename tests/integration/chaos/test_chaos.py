"""Everything is broken once, two things at a time, while Executions run; the long run is ``make chaos``."""

import subprocess

import pytest

from tests.chaos.processes.bugs import FOUND_BY
from tests.chaos.processes.faults import FAULTS
from tests.chaos.started import run_chaos

_LIMIT_S = 1500
pytestmark = pytest.mark.sandbox


def run(*words: str, seed: int = 1) -> subprocess.CompletedProcess[str]:
    return run_chaos("tests.chaos", "--once", "--seed", str(seed), *words, timeout_s=_LIMIT_S)


@pytest.mark.timeout(_LIMIT_S + 150)
def test_no_promise_is_broken_whatever_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    done = run()
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{len(FAULTS)} faults on " in done.stdout
    assert done.stdout.endswith("\n0 promises broken\n")


@pytest.mark.timeout(3 * (_LIMIT_S + 150))
def test_bugs_that_are_put_in_are_found() -> None:
    """Or the test above would prove nothing. Executors die, and the Control Plane is away for a while.

    Each bug shows in some Executions only, and a busy machine does not get through many: what one run has not met,
    one of the two after it, with other Executions, has to.
    """
    faults = (*["executor killed"] * 5, "pod lost", "node cut off", *["Control Plane cut off"] * 4)
    missed, said = set(FOUND_BY), ""
    for seed in (1, 2, 3):
        done = run("--bugs", "--per-second", "8", "--only", *faults, seed=seed)
        said += done.stdout + done.stderr
        assert done.returncode == 1, said
        missed = {bug for bug in missed if FOUND_BY[bug] not in done.stdout}
        if not missed:
            return
    raise AssertionError(f"nobody noticed: {', '.join(sorted(missed))}\n{said}")
