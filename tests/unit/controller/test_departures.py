"""Why a pod is to go, as its pool and the pool's other pods show at the moment when it is marked."""

from dataclasses import replace
from typing import Any

import pytest

from controller.departures import explain_departure
from controller.placement import Placement
from controller.pods import Pods
from controller.resources import Pod
from controller.termination import explain
from tests.unit.controller.builders import make_pod, make_pool, make_report

OLD = replace(make_pod("old"), template="one")
TAINTED: dict[str, Any] = {
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "x"}]
}


@pytest.mark.parametrize(
    ("pod", "others", "replicas", "words"),
    [
        (OLD, [replace(make_pod("new"), template="two")], 1, "a rollout of pool default replaces it"),
        (OLD, [], 0, "pool default was scaled down to 0"),
        (OLD, [replace(make_pod("other"), template="one")], 1, "pool default was scaled down to 1"),
        (OLD, [replace(make_pod("other"), template="one")], 2, "somebody deleted it"),
        (OLD, [replace(make_pod("gone"), template="two", deleting=True)], 1, "somebody deleted it"),
        (OLD, [replace(make_pod("failed"), template="one", phase="Failed")], 1, "somebody deleted it"),
        (
            make_pod("tainted", **TAINTED),
            [],
            1,
            "node node-1 has a taint that it does not tolerate, as one that cannot",
        ),
    ],
)
def test_each_cause(pod: Pod, others: list[Pod], replicas: int, words: str) -> None:
    assert explain_departure(pod, others, make_pool(replicas=replicas)).startswith(words)


def test_a_pool_that_is_gone_takes_its_pods_with_it() -> None:
    assert explain_departure(OLD, [], None) == "pool default was deleted"


def test_the_cause_is_kept_when_the_replacement_is_there() -> None:
    pods = Pods(Placement())
    pods.set_pool(make_pool(replicas=1))
    pods.see(OLD)
    assert pods.see(replace(OLD, deleting=True)).after.leaving == "somebody deleted it"
    pods.see(replace(make_pod("replacement"), template="one"))
    assert pods.see(replace(OLD, deleting=True, ready=False)).after.leaving == "somebody deleted it"


def test_who_has_not_seen_it_marked_says_nothing() -> None:
    assert Pods(Placement()).see(replace(OLD, deleting=True)).after.leaving == ""


def test_a_crash_that_an_executor_reports_is_told_with_its_cause() -> None:
    report = make_report(status="crashed", reason="PodTerminated", exit_code=-1)
    told = explain(report, replace(OLD, deleting=True, leaving="pool default was scaled down to 0"))
    assert told.reason == "PodTerminated"
    assert told.message == (
        "the executor pod old was told to end, because pool default was scaled down to 0; the code may have run in part"
    )


def test_a_crash_of_an_evicted_pod_is_an_eviction() -> None:
    report = make_report(status="crashed", reason="PodTerminated", exit_code=-1)
    told = explain(report, make_pod("full", phase="Failed", reason="Evicted", message="low on memory"))
    assert told.reason == "Evicted"
    assert "low on memory" in told.message


def test_nothing_else_that_an_executor_reports_is_changed() -> None:
    succeeded, crashed = make_report(), make_report(status="crashed", reason="PodTerminated", exit_code=-1)
    assert explain(succeeded, replace(OLD, evicted="low on memory")) is succeeded
    assert explain(crashed, OLD) is crashed
