"""Nodes, API server, etcd, controllers and executors are broken on the cluster while Executions run.

The long run is ``make chaos``. It installs the chart for itself, so it comes before everything that shares one.
"""

import subprocess
import sys

import pytest

from tests.chaos.kind.faults import FAULTS
from tests.e2e.cluster import REPOSITORY, Tools

_BROKEN = (
    *("node stopped", "node cut off", "leader killed", "leader's pod deleted", "executor killed"),
    *("pod deleted by force", "API server killed", "etcd killed"),
)
_LIMIT_S = 600


@pytest.mark.timeout(_LIMIT_S + 30)
@pytest.mark.usefixtures("own_cluster")
def test_no_promise_is_broken_when_nodes_go(tools: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(_BROKEN) <= set(FAULTS)
    command = [sys.executable, "-m", "tests.chaos.kind", "--once", "--loaded", "--seed", "1", "--only", *_BROKEN]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{len(_BROKEN)} faults on " in done.stdout
    assert done.stdout.endswith("\n0 promises broken\n")
