from pathlib import Path

import pytest

from controller.errors import SettingsError
from log_api import discovery, openapi
from log_api.errors import StatusError, forbidden, unavailable
from log_api.executions import parse_view
from log_api.identity import User
from log_api.metrics import Metrics
from log_api.review import build_review
from log_api.settings import load_settings
from log_api.streams import Streams

_USER = User("ada", "u-1", ("devs",), {"scopes": ("a", "b")})


def test_a_status_is_what_kubernetes_clients_expect() -> None:
    told = forbidden("ada", "team-a", "x", "no role").to_kube()
    assert (told["kind"], told["apiVersion"], told["status"]) == ("Status", "v1", "Failure")
    assert (told["code"], told["reason"]) == (403, "Forbidden")
    assert told["message"] == (
        'executions.subresources.sandbox-executor.dev "x" is forbidden: '
        'User "ada" cannot get resource "executions/log" '
        'in API group "subresources.sandbox-executor.dev" in the namespace "team-a": no role'
    )
    assert unavailable("later").to_kube()["details"] == {"retryAfterSeconds": 1}


def test_the_review_carries_all_of_the_user() -> None:
    spec = build_review(_USER, "team-a", "x")["spec"]
    assert (spec["user"], spec["uid"], spec["groups"], spec["extra"]) == (
        "ada",
        "u-1",
        ["devs"],
        {"scopes": ["a", "b"]},
    )
    assert spec["resourceAttributes"] == {
        "namespace": "team-a",
        "verb": "get",
        "group": "subresources.sandbox-executor.dev",
        "version": "v1alpha1",
        "resource": "executions",
        "subresource": "log",
        "name": "x",
    }


def test_streams_are_bounded_for_one_user_and_for_all() -> None:
    streams = Streams(3, 2, Metrics())
    with streams.open("ada"), streams.open("ada"):
        with pytest.raises(StatusError, match="user 'ada' follows 2"), streams.open("ada"):
            pass
        with streams.open("bob"), pytest.raises(StatusError, match="3 outputs"), streams.open("eve"):
            pass
        with streams.open("eve"):
            pass
    with streams.open("ada"), streams.open("ada"):
        pass


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", True),
        ("application/json; as=APIGroupDiscoveryList; v=v2; g=apidiscovery.k8s.io,application/json", True),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_the_newer_discovery_is_given_to_who_asks_for_it(accept: str, wanted: bool) -> None:
    assert discovery.wants_aggregated(accept) is wanted


def test_the_index_of_openapi_changes_with_the_document() -> None:
    (entry,) = openapi.build_v3_index()["paths"].values()
    assert entry["serverRelativeURL"].startswith("/openapi/v3/apis/subresources.sandbox-executor.dev/v1alpha1?hash=")


_BODY = {
    "metadata": {
        "namespace": "team-a",
        "name": "x",
        "uid": "a" * 36,
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-15T00:00:00Z",
    },
    "spec": {"code": "1", "language": "python", "maxRetries": 1},
}


def test_an_execution_that_nobody_has_looked_at() -> None:
    view = parse_view(_BODY)
    assert (view.phase, view.placed, view.ended, view.status) == ("Pending", False, False, None)
    assert view.execution_id.startswith("exec_20260115_")


def test_one_that_runs_and_one_that_has_ended() -> None:
    running = {"phase": "Running", "executionId": "exec_20260115_a1b2c3d4", "attempt": 1, "podName": "p"}
    view = parse_view({**_BODY, "status": running})
    assert (view.placed, view.ended, view.may_be_retried, view.status) == (True, False, True, None)
    view = parse_view({**_BODY, "status": {**running, "attempt": 2}})
    assert not view.may_be_retried
    view = parse_view({**_BODY, "status": {**running, "phase": "Failed", "stdout": "x"}})
    assert (view.placed, view.ended, view.may_be_retried) == (True, True, False)
    assert view.status is not None
    assert view.status.stdout == "x"


def test_one_that_was_refused_has_no_executor_to_ask() -> None:
    refused = {"phase": "Rejected", "executionId": "exec_20260115_a1b2c3d4", "attempt": 1, "podName": "p"}
    assert not parse_view({**_BODY, "status": refused}).placed


def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPERATOR_NAMESPACE", "operator")
    with pytest.raises(SettingsError, match=r"EXECUTE_API_TOKEN_FILE is not set; for example EXECUTE_API_TOKEN_FILE=/"):
        load_settings()
    for name in ("EXECUTE_API_TOKEN_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert load_settings().port == 8443
    monkeypatch.setenv("MAX_STREAMS", "0")
    with pytest.raises(SettingsError, match="MAX_STREAMS is wrong: .*for example MAX_STREAMS=200"):
        load_settings()
