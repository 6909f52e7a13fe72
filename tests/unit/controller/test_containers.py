"""Each run of an executor container becomes ready once and ends once, whoever noticed first."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.control_plane_api import ContainerExited
from controller.containers import ContainerRuns, Run
from controller.resources import Pod, parse_pod
from tests.unit.controller.builders import NOW, make_pod, make_pool

OOM: dict[str, Any] = {"exitCode": 137, "reason": "OOMKilled"}


def running(container_id: str = "a", restarts: int = 0, phase: str = "Running", **status: Any) -> Pod:
    container = {"name": "executor", "state": {"running": {}}, "containerID": f"containerd://{container_id}"}
    return make_pod(phase=phase, containerStatuses=[{**container, "restartCount": restarts, **status}])


def ended(container_id: str = "a", **how: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": 1, "containerID": f"containerd://{container_id}", **how}}


class Seen:
    """What the listeners were told, in words."""

    def __init__(self, *, relays: bool = True) -> None:
        self.runs = ContainerRuns(lambda: NOW)
        self.runs.relays = relays
        self.words: list[str] = []
        self.runs.listeners.append(self._note)

    def _note(self, run: Run) -> None:
        how = f"{run.exit.reason} {run.exit.code}" if run.exit else "ready"
        self.words.append(f"{run.container_id} {how}")


def test_a_run_is_ready_once_and_not_before_its_executor_is() -> None:
    seen = Seen()
    seen.runs.see(running(), ready=False)
    assert seen.words == []
    for _ in range(3):
        seen.runs.see(running(), ready=True)
    seen.runs.see(running(), ready=False)
    seen.runs.see(running(), ready=True)
    assert seen.words == ["a ready"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (running(state=ended(**OOM)), "a oom_killed 137"),
        (running(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(exitCode=3)), "a error 3"),
        (running("b", 1, lastState=ended(exitCode=137)), "a sigkill 137"),
        (running("b", 1), "a error -1"),
        (make_pod(phase="Failed", reason="Evicted", message="disk", containerStatuses=[]), "a error -1"),
        (make_pod(phase="Failed", containerStatuses=[{"name": "executor", "state": ended("")}]), "a error 1"),
        (
            make_pod(phase="Succeeded", containerStatuses=[{"name": "executor", "state": ended(exitCode=0)}]),
            "a normal 0",
        ),
    ],
)
def test_how_a_run_ends_is_noticed_once(after: Pod, words: str) -> None:
    seen = Seen()
    seen.runs.see(running(), ready=True)
    for _ in range(3):
        seen.runs.see(after, ready=False)
    seen.runs.lose("pod-1", after)
    assert [word for word in seen.words if word.startswith("a")] == ["a ready", words]


def test_a_pod_that_goes_without_a_word_takes_its_run_along() -> None:
    seen = Seen()
    pod = running()
    seen.runs.see(pod, ready=True)
    seen.runs.lose("pod-1", pod)
    seen.runs.lose("pod-1", None)
    assert seen.words == ["a ready", "a error -1"]


def test_an_earlier_end_is_not_taken_for_that_of_the_run_that_was_lost() -> None:
    seen = Seen()
    pod = running("b", 1, lastState=ended("a", **OOM))
    seen.runs.see(pod, ready=True)
    seen.runs.lose("pod-1", pod)
    assert seen.words == ["b ready", "b error -1"]


def test_a_run_that_ends_before_it_is_ready_ends_all_the_same() -> None:
    seen = Seen()
    seen.runs.see(running(), ready=False)
    seen.runs.see(running("c", 2, lastState=ended("b")), ready=False)
    assert seen.words == ["b error 1", "a error -1"]


def said(code: int = 143) -> ContainerExited:
    return ContainerExited(container_id="x", pod_name="pod-1", exit_code=code, exit_reason="sigterm", exited_at=NOW)


def test_what_an_executor_says_of_itself_is_believed_first_and_not_told_again() -> None:
    seen = Seen()
    pod = running()
    seen.runs.see(pod, ready=True)
    seen.runs.say_exited(pod, "10.0.0.1", said())
    seen.runs.say_exited(pod, "10.0.0.1", said())
    seen.runs.see(pod, ready=True)
    seen.runs.see(running(state=ended(exitCode=137)), ready=False)
    seen.runs.lose("pod-1", pod)
    assert seen.words == ["a ready", "a sigterm 143"]


def test_what_somebody_else_says_of_it_is_not_believed() -> None:
    seen = Seen()
    pod = running()
    seen.runs.see(pod, ready=True)
    seen.runs.say_exited(pod, "10.0.0.2", said())
    assert seen.words == ["a ready"]
    seen.runs.see(running(state=ended(exitCode=143)), ready=False)
    assert seen.words == ["a ready", "a sigterm 143"]


def test_without_a_control_plane_a_run_is_forgotten_when_it_has_ended() -> None:
    seen = Seen(relays=False)
    seen.runs.see(running(), ready=True)
    assert len(seen.runs.rows("default") or []) == 1
    for _ in range(2):
        seen.runs.see(running(state=ended()), ready=False)
    assert seen.words == ["a ready", "a error 1"]
    assert seen.runs.rows("default") is None


def test_with_one_it_is_kept_until_its_end_is_told_and_its_pod_is_gone() -> None:
    seen = Seen()
    seen.runs.see(running(), ready=True)
    seen.runs.see(running(state=ended()), ready=False)
    [row] = seen.runs.rows("default") or []
    assert (row.exit_code, row.exit_reason, row.reported) == (1, "error", None)
    [run] = seen.runs
    assert run.untold
    seen.runs.told(run, "Ready")
    assert run.untold
    seen.runs.told(run, "Exited")
    [row] = seen.runs.rows("default") or []
    assert (row.container_id, row.reported) == ("a", "Exited")
    seen.runs.lose("pod-1", running(state=ended()))
    assert seen.runs.rows("default") is None


def test_one_whose_pod_has_gone_is_kept_until_its_end_is_told() -> None:
    seen = Seen()
    seen.runs.see(running(), ready=True)
    seen.runs.lose("pod-1", running())
    [run] = seen.runs
    seen.runs.told(run, "Ready")
    assert seen.runs.rows("default") is not None
    seen.runs.told(run, "Exited")
    assert seen.runs.rows("default") is None


def test_of_each_pod_only_the_last_end_stays_and_none_of_a_pod_that_a_list_lacks() -> None:
    seen = Seen()
    for number, name in enumerate("abc"):
        seen.runs.see(running(name, number), ready=True)
        seen.runs.see(running(name, number, state=ended(name)), ready=False)
        for run in seen.runs:
            seen.runs.told(run, "Exited")
        assert [row.container_id for row in seen.runs.rows("default") or []] == [name]
    seen.runs.listed(set())
    assert seen.runs.rows("default") is None


def restore(rows: Any, *, relays: bool = True) -> Seen:
    seen = Seen(relays=relays)
    pool = make_pool()
    pool = replace(pool, status=pool.status.model_copy(update={"containers": rows}))
    seen.runs.restore(pool)
    seen.runs.restore(pool)
    return seen


def test_the_next_controller_notices_only_what_is_new() -> None:
    first = Seen()
    pod = running()
    first.runs.see(pod, ready=True)
    second = restore(first.runs.rows("default"))
    second.runs.see(pod, ready=True)
    second.runs.listed({pod.uid})
    assert second.words == []
    second.runs.see(running(state=ended(**OOM)), ready=False)
    assert second.words == ["a oom_killed 137"]


def test_the_next_controller_notices_what_ended_while_none_was_there() -> None:
    first = Seen()
    first.runs.see(running(), ready=True)
    gone = restore(first.runs.rows("default"))
    gone.runs.listed(set())
    assert gone.words == ["a error -1"]
    restarted = restore(first.runs.rows("default"))
    restarted.runs.see(running("b", 1, lastState=ended("a", **OOM)), ready=True)
    assert restarted.words == ["a oom_killed 137", "b ready"]


def restarted(ago: timedelta) -> Pod:
    """Its first run ended some time ago, its second goes on."""
    return running("b", 1, lastState=ended("a", **OOM, finishedAt=(NOW - ago).strftime("%Y-%m-%dT%H:%M:%SZ")))


def test_an_end_from_long_ago_is_no_news_for_a_controller_that_has_just_started() -> None:
    seen = Seen()
    seen.runs.see(restarted(timedelta(minutes=11)), ready=True)
    seen.runs.see(restarted(timedelta(minutes=11)), ready=True)
    assert seen.words == ["b ready"]


def test_an_end_that_no_predecessor_was_able_to_write_down_is_told() -> None:
    """It became ready and ended, and its pod's next run began, all while the API server took no status of a pool."""
    seen = Seen()
    for _ in range(2):
        seen.runs.see(restarted(timedelta(minutes=1)), ready=True)
    assert seen.words == ["a oom_killed 137", "b ready"]
    assert [row.container_id for row in seen.runs.rows("default") or []] == ["a", "b"]


def test_an_end_that_a_predecessor_has_told_is_not_told_again() -> None:
    first = Seen()
    first.runs.see(running(), ready=True)
    first.runs.see(restarted(timedelta(minutes=1)), ready=True)
    for run in first.runs:
        first.runs.told(run, "Exited" if run.exit else "Ready")
    second = restore(first.runs.rows("default"))
    second.runs.see(restarted(timedelta(minutes=1)), ready=True)
    assert second.words == []


def test_an_end_from_before_a_control_plane_was_configured_is_no_news() -> None:
    first = Seen(relays=False)
    first.runs.see(running(), ready=True)
    first.runs.see(restarted(timedelta(minutes=1)), ready=True)
    second = restore(first.runs.rows("default"))
    second.runs.see(restarted(timedelta(minutes=1)), ready=True)
    assert second.words == []


def test_without_a_control_plane_an_end_before_the_present_run_is_no_news() -> None:
    seen = Seen(relays=False)
    seen.runs.see(restarted(timedelta(minutes=1)), ready=True)
    assert seen.words == ["b ready"]


def test_a_node_that_was_lost_is_not_lost_again_for_the_next_controller() -> None:
    first = Seen()
    pod = replace(running(), deleting=True, gone_by=NOW)
    first.runs.see(pod, ready=True)
    first.runs.give_up([pod], NOW + timedelta(seconds=31))
    [run] = first.runs
    first.runs.told(run, "Exited")
    second = restore(first.runs.rows("default"))
    second.runs.see(pod, ready=True)
    second.runs.give_up([pod], NOW + timedelta(seconds=32))
    assert second.words == []


def test_a_run_is_named_without_the_runtime() -> None:
    assert running("0123abc").container_id == "0123abc"
    assert parse_pod({"metadata": {"name": "x", "uid": "u", "labels": {"sandbox-executor.dev/pool": "p"}}}) is not None
    assert running(state=ended("f00")).container_id == ""


def test_a_run_whose_pod_should_be_gone_is_lost_with_its_node_and_ends_once() -> None:
    seen = Seen()
    pod = replace(running(), deleting=True, gone_by=NOW)
    seen.runs.see(pod, ready=True)
    seen.runs.give_up([pod], NOW + timedelta(seconds=29))
    assert seen.words == ["a ready"]
    seen.runs.give_up([pod], NOW + timedelta(seconds=31))
    seen.runs.give_up([pod], NOW + timedelta(seconds=32))
    seen.runs.see(running(state=ended(exitCode=255)), ready=False)
    assert seen.words == ["a ready", "a error -1"]


def test_a_run_that_has_ended_is_not_given_up_while_its_pod_stays() -> None:
    seen = Seen()
    pod = replace(running(state=ended(exitCode=143)), deleting=True, gone_by=NOW)
    seen.runs.see(pod, ready=False)
    seen.runs.give_up([pod], NOW + timedelta(hours=1))
    assert seen.words == ["a sigterm 143"]
