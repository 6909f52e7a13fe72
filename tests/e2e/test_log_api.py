"""Live output through a real API server, under a tenant's own rights, and broken on purpose (``live-output.md``)."""

import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.chart import chart_words, upgraded
from tests.e2e.cluster import SYSTEM_NAMESPACE, CommandFailed, Tenant, Tools, condition, eventually
from tests.integration.docs.commands import DOCS, read_blocks

_API_SERVICE = "v1alpha1.subresources.sandbox-executor.dev"
_LOG_API = "sandbox-executor-log-api"
_TALKS = """
import sys, time
def handler(event):
    for number in range(5):
        print("line", number, flush=True)
        time.sleep(1)
    print("the end", file=sys.stderr)
"""
_MUCH = """
def handler(event):
    for number in range(event):
        print("%015d" % number)
"""
_LINES = 500_000
"""Of 16 bytes: eight megabytes, within what an executor keeps."""


@pytest.fixture(scope="module")
def log_api(request: pytest.FixtureRequest, installed: Tools) -> Iterator[Tools]:
    """The release with the log API in it, and the API server content with it."""
    with upgraded(installed, request.config, "logAPI.enabled=true"):
        eventually(lambda: _available(installed) == "True", timeout_s=60, interval_s=1)
        yield installed


def _available(tools: Tools) -> str:
    found = tools.get("apiservice", _API_SERVICE)
    return str(condition(found.get("status", {}), "Available").get("status", ""))


@pytest.fixture
def reader(log_api: Tools, tenant: Tenant) -> list[str]:
    """What makes kubectl ask as somebody who may view the tenant's namespace and nothing else."""
    view = ("--clusterrole=view", f"--serviceaccount={tenant.namespace}:reader")
    log_api.kubectl("create", "serviceaccount", "reader", "-n", tenant.namespace)
    log_api.kubectl("create", "rolebinding", "reader", "-n", tenant.namespace, *view)
    return ["--as", f"system:serviceaccount:{tenant.namespace}:reader"]


def _path(namespace: str, name: str, query: str = "") -> str:
    return f"/apis/subresources.sandbox-executor.dev/v1alpha1/namespaces/{namespace}/executions/{name}/log{query}"


def test_a_tenant_sees_lines_as_they_are_printed(log_api: Tools, tenant: Tenant, reader: list[str]) -> None:
    tenant.create("talks", _TALKS)
    words = [log_api.kubectl_path, "get", "--raw", _path(tenant.namespace, "talks", "?follow=true"), *reader]
    came: list[float] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as kubectl:
        assert kubectl.stdout is not None
        lines = []
        for line in kubectl.stdout:
            lines.append(line)
            came.append(time.monotonic())
    assert kubectl.returncode == 0
    assert lines == [*(f"line {number}\n" for number in range(5)), "the end\n"]
    assert came[-1] - came[0] > 3, "they came one by one"
    assert tenant.finished("talks")["phase"] == "Succeeded"


def test_more_than_the_status_keeps_comes_whole_after_the_end(
    log_api: Tools, tenant: Tenant, reader: list[str]
) -> None:
    assert tenant.run("much", _MUCH, event=_LINES)["stdoutTruncated"]
    told = log_api.kubectl("get", "--raw", _path(tenant.namespace, "much"), *reader)
    assert told == "".join(f"{number:015d}\n" for number in range(_LINES))


def test_elsewhere_the_tenant_is_refused(log_api: Tools, tenant: Tenant, reader: list[str]) -> None:
    for query in ("", "?follow=true"):
        with pytest.raises(CommandFailed, match=r"Forbidden.*cannot get resource \"executions/log\"|forbidden"):
            log_api.kubectl("get", "--raw", _path("default", "anything", query), *reader)
    with pytest.raises(CommandFailed, match="NotFound"):
        log_api.kubectl("get", "--raw", _path(tenant.namespace, "nothing"), *reader)


def test_a_broken_one_hurts_no_longer_than_it_lives(log_api: Tools, tenant: Tenant) -> None:
    """While a group does not answer, a namespace may not be found empty; it is gone once that group is back."""
    scale = ("scale", "-n", SYSTEM_NAMESPACE, f"deployment/{_LOG_API}")
    log_api.kubectl(*scale, "--replicas=0")
    try:
        eventually(lambda: _available(log_api) == "False", timeout_s=90, interval_s=1)
        with pytest.raises(CommandFailed, match=r"ServiceUnavailable|unavailable|unable to handle"):
            log_api.kubectl("get", "--raw", _path(tenant.namespace, "anything"))
        assert tenant.run("goes-on", "def handler(event): return 1")["phase"] == "Succeeded"
        log_api.kubectl("create", "namespace", "in-its-way")
        log_api.kubectl("delete", "namespace", "in-its-way", "--wait=false")
    finally:
        log_api.kubectl(*scale, "--replicas=1")
    eventually(lambda: _available(log_api) == "True", timeout_s=120, interval_s=1)
    log_api.kubectl("wait", "--for=delete", "namespace/in-its-way", "--timeout=120s", timeout_s=130)


def test_an_upgrade_keeps_its_certificate(request: pytest.FixtureRequest, log_api: Tools) -> None:
    before = _certificate(log_api)
    log_api.helm(*chart_words(request.config), "--set", "logAPI.enabled=true", "--set", "logAPI.replicas=2")
    assert _certificate(log_api) == before
    eventually(lambda: _available(log_api) == "True", timeout_s=60, interval_s=1)


def _certificate(tools: Tools) -> tuple[str, str]:
    """(ours, the CA by which the API server knows it)."""
    data = tools.get("secret", f"{_LOG_API}-tls", SYSTEM_NAMESPACE)["data"]
    bundle = tools.get("apiservice", _API_SERVICE)["spec"]["caBundle"]
    assert data["ca.crt"] == bundle
    return data["tls.crt"], bundle


def test_the_commands_of_the_page(log_api: Tools, tenant: Tenant) -> None:
    """Those of ``live-output.md`` that need the namespace of a reader are run in the tenant's."""
    blocks = [block for block in read_blocks(DOCS / "live-output.md") if block.needs == "cluster"]
    reads = [block.commands.strip() for block in blocks if "--raw" in block.commands]
    assert len(blocks) == 3
    tenant.run("hello", "def handler(event):\n    print('Hello')\n")
    for command in reads:
        words = shlex.split(command.replace("/namespaces/default/", f"/namespaces/{tenant.namespace}/"))
        assert words[0] == "kubectl"
        assert log_api.kubectl(*words[1:]) == "Hello\n"


def test_taken_away_it_leaves_nothing_behind(request: pytest.FixtureRequest, installed: Tools) -> None:
    """Also where it is broken when it is taken away."""
    with upgraded(installed, request.config, "logAPI.enabled=true"):
        installed.kubectl("scale", "-n", SYSTEM_NAMESPACE, f"deployment/{_LOG_API}", "--replicas=0")
        eventually(lambda: _available(installed) == "False", timeout_s=90, interval_s=1)
        installed.kubectl("create", "namespace", "in-its-way-too")
        installed.kubectl("delete", "namespace", "in-its-way-too", "--wait=false")
    found = installed.kubectl("get", "apiservice,deployment,service,secret,clusterrole", "-A", "-o", "name")
    assert "log-api" not in found
    assert _API_SERVICE not in found
    installed.kubectl("wait", "--for=delete", "namespace/in-its-way-too", "--timeout=120s", timeout_s=130)
