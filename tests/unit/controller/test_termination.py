"""The termination table, row by row."""

from typing import Any

import pytest

from controller.termination import classify, last_words, removed
from tests.unit.controller.builders import make_pod


def ended(exit_code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    terminated = {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": "2026-01-15T12:00:00Z"}
    return {"containerStatuses": [{"name": "executor", "state": {"terminated": terminated}, "restartCount": 0}]}


@pytest.mark.parametrize(
    ("status", "exit_reason", "exit_code", "reason", "word"),
    [
        (ended(143), "sigterm", 143, "PodTerminated", "told to end"),
        (ended(137), "sigkill", 137, "ContainerKilled", "killed"),
        (ended(137, "OOMKilled"), "oom_killed", 137, "OutOfMemory", "memory"),
        (ended(1, "OOMKilled"), "oom_killed", 137, "OutOfMemory", "memory"),
        (ended(0, "Completed"), "normal", 0, "ExecutorExited", "by itself"),
        (ended(3, message="a\nlast line"), "error", 3, "ExecutorError", "last line"),
        ({**ended(137), "reason": "Evicted", "message": "disk"}, "sigkill", 137, "Evicted", "disk"),
        ({**ended(143), "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
          "message": "preempted"}]}, "sigterm", 143, "Evicted", "preempted"),
        ({**ended(143), "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
          "message": "Eviction API: evicting"}]}, "sigterm", 143, "PodTerminated", "node node-1 is drained"),
        ({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "x"}]},
          "error", -1, "ExecutorLost", "gone"),
        ({"reason": "Evicted", "message": "disk", "containerStatuses": []}, "error", -1, "Evicted", "disk"),
        ({"containerStatuses": []}, "error", -1, "ExecutorLost", "gone"),
    ],
)  # fmt: skip
def test_each_row(status: dict[str, Any], exit_reason: str, exit_code: int, reason: str, word: str) -> None:
    found = classify(make_pod(**status))
    assert (found.exit_reason, found.exit_code, found.reason) == (exit_reason, exit_code, reason)
    assert word in found.message


def test_a_pod_that_is_removed_while_its_container_runs_is_lost_and_says_why() -> None:
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "x"}
    found = removed(make_pod("pod-1", conditions=[gone]))
    assert (found.exit_reason, found.exit_code, found.reason) == ("error", -1, "ExecutorLost")
    assert "pod-1 was removed by force, because node node-1 is no longer there" in found.message


def test_a_pod_that_nobody_has_seen_is_lost() -> None:
    assert classify(None).reason == "ExecutorLost"


def test_the_last_run_counts_when_the_container_runs_again() -> None:
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    container = {"name": "executor", "state": {"running": {}}, "lastState": last, "restartCount": 1}
    assert classify(make_pod(containerStatuses=[container])).reason == "OutOfMemory"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ('{"event_type": "executor_started"}\nexecutor: bwrap is missing\n', "executor: bwrap is missing"),
        ('executor: old\n{"event_type": "container_exited_sent", "answer": "HTTP 204"}', "executor: old"),
        ('{"event_type": "container_exited_sent"}', ""),
        ('952Z", "event_type": "request_answered"}\n{"event_type": "execution_started"}', ""),
        ('952Z", "event_type": "request_answered"}\nexecutor: bwrap is missing', "executor: bwrap is missing"),
        ("", ""),
    ],
)
def test_log_records_are_not_shown_to_people(log: str, words: str) -> None:
    assert last_words(log) == words
