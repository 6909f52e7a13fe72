"""Report tokens, settings, secrets in files, namespaces, pods, termination views, Events, the time to live."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.pool import LabelSelector
from controller.errors import KubeNotFound, SettingsError
from controller.events import EventRecorder
from controller.metrics import Metrics
from controller.namespaces import NamespaceGate, matches
from controller.placement import Placement
from controller.pods import Pods
from controller.removal import Removal, find_ttl_s
from controller.report_tokens import ReportTokens
from controller.resources import parse_pod
from controller.settings import TokenFile, load_settings
from tests.unit.controller.builders import EXECUTION_ID, NOW, make_execution, make_pod, make_pool

_ENVIRONMENT = {
    "OPERATOR_NAMESPACE": "system",
    "EXECUTOR_IMAGE": "image:1",
    "EXECUTOR_SECRET_NAME": "tokens",
    "SERVICE_NAME": "controller",
    "INTERNAL_API_TOKEN_FILE": "/a",
    "EXECUTE_API_TOKEN_FILE": "/b",
    "REPORT_KEY_FILE": "/c",
}


def test_a_report_token_is_for_one_execution_and_one_attempt() -> None:
    tokens = ReportTokens(b"key")
    token = tokens.make(EXECUTION_ID, 2)
    assert len(token) == 64
    assert tokens.find_attempt(EXECUTION_ID, token, range(1, 5)) == 2
    assert tokens.find_attempt(EXECUTION_ID, token, [1]) is None
    assert tokens.find_attempt("exec_20260115_zzzzzzzz", token, range(1, 5)) is None
    assert ReportTokens(b"other").find_attempt(EXECUTION_ID, token, range(1, 5)) is None
    assert tokens.find_attempt(EXECUTION_ID, "ü", range(1, 5)) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"EXECUTOR_IMAGE": None}, "EXECUTOR_IMAGE is not set; for example EXECUTOR_IMAGE="),
        ({"INTERNAL_API_PORT": "x"}, "INTERNAL_API_PORT is wrong"),
        ({"HEALTH_PORT": "70000"}, "HEALTH_PORT is wrong"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL is wrong"),
        ({"METRICS_NAMESPACES": "-1"}, "METRICS_NAMESPACES is wrong"),
        ({"METRICS_NAMESPACES": "all"}, "for example METRICS_NAMESPACES=100"),
        ({"OPERATOR_NAMESPACE": "Not A Name"}, "OPERATOR_NAMESPACE is wrong"),
        ({"CONTROL_PLANE_URL": "control-plane"}, "CONTROL_PLANE_URL is wrong"),
        ({"CONTROL_PLANE_URL": "https://a:b@c", "CONTROL_PLANE_TOKEN_FILE": "/d"}, "CONTROL_PLANE_URL is wrong"),
        ({"CONTROL_PLANE_URL": "https://c/x?y=z", "CONTROL_PLANE_TOKEN_FILE": "/d"}, "CONTROL_PLANE_URL is wrong"),
        ({"CONTROL_PLANE_URL": "https://c"}, "CONTROL_PLANE_TOKEN_FILE is wrong"),
    ],
)
def test_a_wrong_setting_is_one_line_with_an_example(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], says: str
) -> None:
    for name, value in {**_ENVIRONMENT, **change}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_as_the_chart_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**_ENVIRONMENT, "SECRET_NAMESPACES": "a, b,,"}.items():
        monkeypatch.setenv(name, value)
    assert load_settings().namespaces_with_secrets == {"a", "b"}


def test_a_rotated_token_is_read_again_and_a_missing_one_is_told_without_its_value(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    token = TokenFile(path)
    assert token.read() == "first"
    replacement = tmp_path / "new"
    replacement.write_text("second")
    replacement.rename(path)
    assert token.read() == "second"
    path.write_text("")
    with pytest.raises(SettingsError, match="is empty"):
        TokenFile(path).read()
    with pytest.raises(SettingsError, match="cannot read"):
        TokenFile(tmp_path / "none").read()


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {"a": "1"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_label_selectors(selector: dict[str, Any], labels: dict[str, str], expected: bool) -> None:
    assert matches(LabelSelector.model_validate(selector), labels) is expected


class RecordingKube:
    """Answers a namespace, and keeps what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def get(self, path: str) -> dict[str, Any]:
        self.calls.append(("get", path))
        return {"metadata": {"labels": {"team": "blue"}}}

    async def delete(self, path: str, uid: str) -> None:
        self.calls.append((uid, path))
        if uid == "uid-missing":
            raise KubeNotFound(404, "NotFound", path)


async def test_a_namespace_is_read_only_when_a_pool_asks_and_then_once_in_a_while() -> None:
    kube, clock = RecordingKube(), [0.0]
    gate = NamespaceGate(kube, lambda: clock[0])  # type: ignore[arg-type]
    assert await gate.check("tenant", make_pool()) is None
    assert kube.calls == []
    blue = make_pool(allowedNamespaces={"matchLabels": {"team": "blue"}})
    red = make_pool(allowedNamespaces={"matchLabels": {"team": "red"}})
    assert await gate.check("tenant", blue) is None
    refused = await gate.check("tenant", red)
    assert refused is not None
    assert refused.reason == "NamespaceNotAllowed"
    assert len(kube.calls) == 1
    clock[0] = 31.0
    await gate.check("tenant", blue)
    assert len(kube.calls) == 2


def make_pods() -> tuple[Pods, Placement]:
    placement = Placement()
    pods = Pods(placement)
    pods.set_pool(make_pool(concurrency=3))
    return pods, placement


@pytest.mark.parametrize(
    ("status", "accepts"),
    [
        ({}, True),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, False),
        ({"podIP": ""}, False),
        ({"phase": "Failed"}, False),
    ],
)
def test_a_pod_takes_work_only_when_it_can(status: dict[str, Any], accepts: bool) -> None:
    pods, placement = make_pods()
    pod = make_pod(**status)
    pods.see(pod)
    assert pods.accepts(pod) is accepts
    assert placement.count("default").free == (3 if accepts else 0)


def test_a_pod_that_is_to_go_takes_no_more_work() -> None:
    pods, placement = make_pods()
    pods.see(replace(make_pod(), deleting=True))
    assert placement.count("default").free == 0


def test_an_executor_that_says_it_is_ready_is_believed_until_its_container_ends() -> None:
    pods, placement = make_pods()
    unready = make_pod(conditions=[])
    pods.see(unready)
    assert pods.say_ready("pod-1", NOW, "10.0.0.1") is not None
    assert placement.count("default").free == 3
    pods.see(unready)
    assert placement.count("default").free == 3
    ended = {"terminated": {"exitCode": 1, "finishedAt": (NOW + timedelta(seconds=5)).isoformat()}}
    container = {"name": "executor", "state": {"running": {}}, "lastState": ended, "restartCount": 1}
    change = pods.see(make_pod(conditions=[], containerStatuses=[container]))
    assert change.container_ended
    assert placement.count("default").free == 0


def test_only_a_pods_own_address_may_say_that_it_is_ready_or_ends() -> None:
    pods, placement = make_pods()
    pods.see(make_pod(conditions=[]))
    assert pods.say_ready("pod-1", NOW, "10.0.0.2") is None
    assert placement.count("default").free == 0
    pods.say_ready("pod-1", NOW, "10.0.0.1")
    pods.say_exited("pod-1", "10.0.0.2")
    pods.see(make_pod(conditions=[]))
    assert placement.count("default").free == 3
    pods.say_exited("pod-1", "10.0.0.1")
    pods.see(make_pod(conditions=[]))
    assert placement.count("default").free == 0


def test_an_executor_may_say_that_it_is_ready_before_its_address_is_known() -> None:
    pods, placement = make_pods()
    pods.say_ready("pod-1", NOW, "10.0.0.1")
    pods.see(make_pod(conditions=[], podIP=""))
    assert placement.count("default").free == 0
    pods.see(make_pod(conditions=[]))
    assert placement.count("default").free == 3


def test_a_pod_made_for_another_concurrency_keeps_it_during_a_rollout() -> None:
    pods, placement = make_pods()
    pods.see(replace(make_pod(), capacity=7))
    assert placement.count("default").free == 7


def test_the_first_view_of_a_pod_tells_nothing_new() -> None:
    pods, _ = make_pods()
    last = {"terminated": {"exitCode": 137}}
    container = {"name": "executor", "state": {"running": {}}, "lastState": last, "restartCount": 3}
    assert not pods.see(make_pod(containerStatuses=[container])).container_ended


def test_a_pod_of_somebody_else_is_none_of_ours() -> None:
    assert parse_pod({"metadata": {"name": "x", "uid": "u"}, "status": {}}) is None


def test_events_beyond_the_rate_are_counted_and_nothing_waits() -> None:
    metrics = Metrics()
    recorder = EventRecorder(RecordingKube(), metrics, lambda: NOW)  # type: ignore[arg-type]
    for _ in range(500):
        recorder.note(make_execution(), "Scheduled", "x" * 5000)
    assert metrics.events_dropped._value.get() >= 400


def test_a_flood_of_normal_events_leaves_room_for_warnings() -> None:
    metrics = Metrics()
    recorder = EventRecorder(RecordingKube(), metrics, lambda: NOW)  # type: ignore[arg-type]
    for _ in range(500):
        recorder.note(make_execution(), "Finished", "Succeeded")
    dropped = metrics.events_dropped._value.get()
    for _ in range(20):
        recorder.warn(make_execution(), "Finished", "Failed")
    assert metrics.events_dropped._value.get() == dropped


@pytest.mark.parametrize(("own", "default", "expected"), [(None, None, None), (5, None, 5), (None, 9, 9), (0, 9, 0)])
def test_the_time_to_live(own: int | None, default: int | None, expected: int | None) -> None:
    pool = make_pool(defaults={"ttlSecondsAfterFinished": default} if default is not None else None)
    assert find_ttl_s(make_execution(ttlSecondsAfterFinished=own), pool) == expected


async def test_only_what_is_due_is_deleted_and_by_its_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, clock = RecordingKube(), [NOW]
    removal = Removal(kube, {}, lambda: clock[0])  # type: ignore[arg-type]
    ended = {"phase": "Succeeded", "completionTime": NOW.isoformat()}
    for name, ttl in (("late", 10), ("missing", 1), ("soon", 1), ("kept", None)):
        removal.note(make_execution(name, status=ended, ttlSecondsAfterFinished=ttl))
    removal.note(make_execution("running", status={"phase": "Running"}, ttlSecondsAfterFinished=1))
    await removal.delete_due()
    assert kube.calls == []
    clock[0] = NOW + timedelta(seconds=2)
    await removal.delete_due()
    assert [uid for uid, _ in kube.calls] == ["uid-missing", "uid-soon"]
