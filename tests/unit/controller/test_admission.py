"""Who may run, and what those are told who may not."""

from typing import Any

import pytest

from contracts.executor_api import ExecutionLimits
from controller.admission import Accepted, PoolNotFound, Rejected, admit
from tests.unit.controller.builders import make_execution, make_pool

_SECRET = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]


@pytest.mark.parametrize(
    ("spec", "pool", "reason", "word"),
    [
        ({"env": _SECRET}, {}, "SecretsNotAllowed", "tenant"),
        ({"timeoutSeconds": 31}, {"limits": {"timeoutSeconds": 30}}, "OverPoolLimit", "timeoutSeconds is 31"),
        ({"resources": {"memory": "2Gi"}}, {"limits": {"memory": "1024Mi"}}, "OverPoolLimit", "limit 1024Mi"),
        ({"resources": {"processes": 9}}, {"limits": {"processes": 8}}, "OverPoolLimit", "processes is 9"),
        ({"resources": {"cpuSeconds": 9}}, {"limits": {"cpuSeconds": 8}}, "OverPoolLimit", "cpuSeconds"),
        ({"resources": {"openFiles": 90}}, {"limits": {"openFiles": 80}}, "OverPoolLimit", "openFiles"),
        ({"resources": {"fileSize": "9Mi"}}, {"limits": {"fileSize": "8Mi"}}, "OverPoolLimit", "fileSize"),
        ({"resources": {"workspace": "9Mi"}}, {"limits": {"workspace": "8Mi"}}, "OverPoolLimit", "workspace is 9Mi"),
        ({"resources": {"workspaceEntries": 9}}, {"limits": {"workspaceEntries": 8}}, "OverPoolLimit", "Entries is 9"),
        ({"resources": {"tmp": "33Mi"}}, {"limits": {"tmp": "32Mi"}}, "OverPoolLimit", "tmp is 33Mi"),
        ({"resources": {"tmp": "1Mi"}}, {}, "InvalidResources", "tmp_bytes"),
        ({}, {"limits": {"memory": "1Gi"}, "defaults": {"resources": {"memory": "2Gi"}}}, "OverPoolLimit", "memory"),
        ({"resources": {"memory": "1Mi"}}, {}, "InvalidResources", "memory_bytes"),
    ],
)
def test_what_is_rejected_and_why(spec: dict[str, Any], pool: dict[str, Any], reason: str, word: str) -> None:
    verdict = admit(make_execution(**spec), make_pool(**pool), frozenset({"elsewhere"}))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == reason
    assert word in verdict.message
    assert verdict.solution


@pytest.mark.parametrize(
    ("spec", "pool", "limits"),
    [
        ({}, {}, {}),
        ({"env": _SECRET}, {}, {}),
        ({"resources": {"memory": "1Gi"}}, {"limits": {"memory": "1Gi"}}, {"memory_bytes": 2**30}),
        ({}, {"limits": {"memory": "1Gi", "processes": 5}}, {"memory_bytes": 2**30, "processes": 5}),
        ({}, {"defaults": {"resources": {"openFiles": 64}}}, {"open_files": 64}),
        (
            {"resources": {"processes": 3}},
            {"defaults": {"resources": {"processes": 9, "fileSize": "1Mi"}}},
            {"processes": 3, "file_size_bytes": 2**20},
        ),
        ({"resources": {"cpuSeconds": 2}}, {}, {"cpu_seconds": 2}),
        (
            {"resources": {"workspace": "2Gi", "tmp": "32Mi"}},
            {"defaults": {"resources": {"workspaceEntries": 7, "tmp": "16Mi"}}, "limits": {"workspace": "2Gi"}},
            {"workspace_bytes": 2**31, "workspace_entries": 7, "tmp_bytes": 2**25},
        ),
    ],
)
def test_what_is_accepted_with_which_bounds(spec: dict[str, Any], pool: dict[str, Any], limits: dict[str, int]) -> None:
    verdict = admit(make_execution(**spec), make_pool(**pool), frozenset({"tenant"}))
    assert verdict == Accepted(ExecutionLimits(**limits))


def test_a_missing_pool_is_named_with_the_command_that_lists_pools() -> None:
    verdict = admit(make_execution(pool="gpu"), None, frozenset())
    assert isinstance(verdict, PoolNotFound)
    assert "'gpu'" in verdict.message
    assert "kubectl get executorpools" in verdict.message


def test_what_can_never_run_is_rejected_even_without_its_pool() -> None:
    assert isinstance(admit(make_execution(env=_SECRET), None, frozenset()), Rejected)
