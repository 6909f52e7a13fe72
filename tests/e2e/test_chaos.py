"""Nodes, API server, etcd, controllers and executors are broken on the cluster while Executions run.

The long run is ``make chaos``. It installs the chart for itself, so it comes before everything that shares one.
"""

import pytest

from tests.chaos.kind.faults import FAULTS
from tests.chaos.started import run_chaos
from tests.e2e.cluster import Tools

_BROKEN = (
    *("node stopped", "node cut off", "leader killed", "leader's pod deleted", "executor killed"),
    *("pod deleted by force", "API server killed", "etcd killed"),
)
_LIMIT_S = 1200


@pytest.mark.timeout(_LIMIT_S + 600)
@pytest.mark.usefixtures("own_cluster")
def test_no_promise_is_broken_when_nodes_go(tools: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(_BROKEN) <= set(FAULTS)
    words = ("--once", "--loaded", "--seed", "1", "--only", *_BROKEN)
    done = run_chaos("tests.chaos.kind", *words, timeout_s=_LIMIT_S)
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{len(_BROKEN)} faults on " in done.stdout
    assert done.stdout.endswith("\n0 promises broken\n")
