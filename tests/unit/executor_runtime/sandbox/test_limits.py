"""Limits as the request, the seed and setrlimit(2) have them."""

import resource

from contracts.executor_api import ExecutionLimits
from executor_runtime.sandbox import Limits
from executor_runtime.sandbox.disk import DiskUsage
from executor_runtime.sandbox.environment import build_environment
from executor_runtime.sandbox.limits import build_rlimits


def test_what_a_request_leaves_out_has_its_default() -> None:
    limits = Limits.from_request(ExecutionLimits(processes=7))
    assert limits == Limits(processes=7)
    assert (Limits().processes, Limits().open_files) == (128, 1024)  # T054
    assert Limits().workspace == DiskUsage(1 << 30, 20_000)


def test_each_limit_becomes_an_rlimit() -> None:
    limits = Limits(memory_bytes=1 << 20, cpu_seconds=3, processes=5, open_files=6, file_size_bytes=7)
    found = {kind: (soft, hard) for kind, soft, hard in build_rlimits(limits)}
    assert found[resource.RLIMIT_NPROC] == (6, 6)
    assert found[resource.RLIMIT_NOFILE] == (6, 6)
    assert found[resource.RLIMIT_FSIZE] == (7, 7)
    assert found[resource.RLIMIT_CPU] == (3, 4)
    assert found[resource.RLIMIT_CORE] == (0, 0)
    assert found[resource.RLIMIT_DATA][0] > 1 << 20
    assert found[resource.RLIMIT_STACK] == (8 << 20, found[resource.RLIMIT_DATA][1])
    assert found[resource.RLIMIT_SIGPENDING] == (1024, 1024)
    for kind in (resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE):
        assert found[kind] == (0, 0)


def test_a_request_may_override_the_minimal_environment() -> None:
    assert build_environment({"HOME": "/workspace", "X": "1"})["HOME"] == "/workspace"
    assert set(build_environment({})) == {"PATH", "HOME", "LANG", "TMPDIR"}
