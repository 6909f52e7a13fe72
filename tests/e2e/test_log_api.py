"""Live output through a real API server, under a tenant's own rights, and broken on purpose (``live-output.md``)."""

import json
import secrets
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from contracts.output_events import FieldReader
from tests.e2e.chart import chart_words, upgraded
from tests.e2e.cluster import (
    LOG_API_PODS,
    SCRIPTS,
    SYSTEM_NAMESPACE,
    CommandFailed,
    Tenant,
    Tools,
    condition,
    eventually,
)
from tests.e2e.conftest import InNode, new_tenant
from tests.e2e.followers import Followers, Piece, count_asked_again, following, read_metrics, sum_metric
from tests.e2e.leaders import delete_leader, kill_leader
from tests.e2e.victims import leave, make_pool

_API_SERVICE = "v1alpha1.subresources.sandbox-executor.dev"
_LOG_API = "sandbox-executor-log-api"
_TALKS = """
import os, sys, time
def handler(event):
    for number in range(5):
        print("line", number, flush=True)
        while not os.path.exists(f"heard-{number}"):
            time.sleep(0.05)
    print("the end", file=sys.stderr)
"""
_MUCH = """
def handler(event):
    for number in range(event):
        print("%015d" % number)
"""
_LINES = 500_000
"""Of 16 bytes: eight megabytes, within what an executor keeps."""
_SILENT_S = 95
"""Half a minute more than an API server waits for what is no long-running request."""
_SILENT = f"""
import time
def handler(event):
    print("before", flush=True)
    time.sleep({_SILENT_S})
    print("after", flush=True)
"""
_COUNTS = """
import time
def handler(event):
    for number in range(event):
        print("line", number, flush=True)
        time.sleep(0.1)
"""
_MEGABYTES = """
def handler(event):
    for number in range(event):
        print("%01023d" % number)
"""
_KIBIBYTES = 102_400
_CUT_AT = 30_720
"""Behind what an executor keeps of a stream's beginning: an answer that began anew would lack the rest."""
_MAX_GROWTH_MB = {"executor": 80.0, "log API": 16.0, "sandbox-run": 48.0}
"""An executor keeps 10 MiB of a stream, a ring of 16, and makes a result of it; the others keep what is on its way."""


@pytest.fixture(scope="module")
def log_api(request: pytest.FixtureRequest, installed: Tools) -> Iterator[Tools]:
    """The release with the log API in it, and the API server content with it."""
    with upgraded(installed, request.config, "logAPI.enabled=true"):
        eventually(lambda: _available(installed) == "True", timeout_s=120, interval_s=1)
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
    words = ["--as", f"system:serviceaccount:{tenant.namespace}:reader"]
    eventually(lambda: _may_read(log_api, tenant, words))  # the API server learns of roles a moment later
    return words


def _may_read(tools: Tools, tenant: Tenant, words: list[str]) -> bool:
    try:
        tools.kubectl("get", "--raw", _path(tenant.namespace, "nothing"), *words)
    except CommandFailed as refused:
        return "NotFound" in str(refused)
    return True


def _path(namespace: str, name: str, query: str = "") -> str:
    return f"/apis/subresources.sandbox-executor.dev/v1alpha1/namespaces/{namespace}/executions/{name}/log{query}"


@dataclass(frozen=True)
class Silence:
    """An Execution that says nothing for more than a minute, and who follows it."""

    tenant: Tenant
    kubectl: Future[str]
    sandbox_run: Future[tuple[int, str, str]]
    client: Future[str]
    events: Future[list[Piece]]


@pytest.fixture(scope="module")
def followers(log_api: Tools) -> Iterator[Followers]:
    """Those of the tests from here to that of the silent run, which counts them."""
    with following(log_api) as found:
        yield found


@pytest.fixture(scope="module")
def silence(log_api: Tools, followers: Followers) -> Iterator[Silence]:
    """Lasts while other tests run, that none has to wait for it."""
    with new_tenant(log_api) as tenant:
        tenant.create("silent", _SILENT, timeoutSeconds=_SILENT_S + 120)
        eventually(lambda: tenant.status("silent").get("stdoutTail") == "before\n", timeout_s=120, interval_s=0.5)
        yield Silence(
            tenant,
            followers.follow_with_kubectl(tenant, "silent"),
            followers.follow_with_sandbox_run(tenant, "silent"),
            followers.follow_with_client(tenant, "silent"),
            followers.follow_one_answer(tenant, "silent"),
        )


@pytest.mark.usefixtures("silence", "two_replicas")
def test_a_leader_that_hands_over_cuts_no_stream(followers: Followers, tenant: Tenant) -> None:
    _check_failover(followers, tenant, lambda: delete_leader(tenant.tools), lines=250)


@pytest.mark.usefixtures("silence", "two_replicas")
def test_a_leader_that_is_killed_cuts_no_stream(followers: Followers, tenant: Tenant, in_node: InNode) -> None:
    _check_failover(followers, tenant, lambda: kill_leader(tenant.tools, in_node), lines=400)


def _check_failover(followers: Followers, tenant: Tenant, lose_leader: Callable[[], None], lines: int) -> None:
    """Ten lines a second; another leads before the last one. Nobody misses a line or reads one twice."""
    tenant.create("counts", _COUNTS, event=lines, timeoutSeconds=400)
    told = [followers.follow_with_kubectl(tenant, "counts"), followers.follow_with_client(tenant, "counts")]
    eventually(lambda: tenant.status("counts").get("phase") == "Running", timeout_s=120)
    before = tenant.tools.lease_holder()
    lose_leader()
    eventually(lambda: tenant.tools.lease_holder() not in ("", before), timeout_s=120, interval_s=0.5)
    assert not any(one.done() for one in told), "it prints still, under another leader"
    whole = "".join(f"line {number}\n" for number in range(lines))
    assert [one.result() for one in told] == [whole, whole]
    status = tenant.finished("counts")
    assert (status["phase"], status["attempt"], status["stdoutBytes"]) == ("Succeeded", 1, len(whole))


def test_a_minute_without_output_cuts_no_stream(log_api: Tools, followers: Followers, silence: Silence) -> None:
    """Nor did anybody who followed during the failovers have to ask twice."""
    assert silence.kubectl.result() == "before\nafter\n"
    assert silence.sandbox_run.result() == (0, "before\nafter\n", "")
    assert silence.client.result() == "before\nafter\n"
    pieces = silence.events.result()
    first, *events, last = filter(None, FieldReader().feed(b"".join(piece.data for piece in pieces)))
    assert (first["event"], {fields["event"] for fields in events}, last["event"]) == (b"attempt", {b"stdout"}, b"end")
    assert b"".join(b64decode(fields["data"]) for fields in events) == b"before\nafter\n"
    assert json.loads(last["data"])["phase"] == "Succeeded"
    pauses = [later.at - earlier.at for earlier, later in zip(pieces, pieces[1:], strict=False)]
    assert sum(pauses) > 60, "one answer, for more than a minute"
    assert len(pauses) > sum(pauses) / 20, "every 10 s something comes"
    assert median(pauses) < 20
    assert silence.tenant.finished("silent")["phase"] == "Succeeded"
    eventually(lambda: followers.requests >= followers.begun, interval_s=0.5)
    assert followers.requests == followers.begun, "one answer for each"
    assert count_asked_again(log_api, silence.tenant) == 0


def test_a_tenant_sees_lines_as_they_are_printed(log_api: Tools, tenant: Tenant, reader: list[str]) -> None:
    """The next line is printed only when the one before is here."""
    tenant.create("talks", _TALKS, timeoutSeconds=120)
    words = [log_api.kubectl_path, "get", "--raw", _path(tenant.namespace, "talks", "?follow=true"), *reader]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as kubectl:
        assert kubectl.stdout is not None
        lines = []
        for number, line in enumerate(kubectl.stdout):
            lines.append(line)
            if number < 5:
                leave(log_api, f"heard-{number}", tenant.status("talks"))
    assert kubectl.returncode == 0
    assert lines == [*(f"line {number}\n" for number in range(5)), "the end\n"]
    assert tenant.finished("talks")["phase"] == "Succeeded"


def test_more_than_the_status_keeps_comes_whole_after_the_end(
    log_api: Tools, tenant: Tenant, reader: list[str]
) -> None:
    assert tenant.run("much", _MUCH, event=_LINES)["stdoutTruncated"]
    told = log_api.kubectl("get", "--raw", _path(tenant.namespace, "much"), *reader)
    assert told == "".join(f"{number:015d}\n" for number in range(_LINES))


@pytest.mark.timeout(1200)
def test_a_hundred_megabytes_come_whole_though_the_log_api_goes(log_api: Tools, tenant: Tenant, pool_name: str) -> None:
    """From an executor that keeps a tenth of it, to somebody who reads on where the answer broke off."""
    make_pool(log_api, pool_name)
    (executor,) = [pod["metadata"]["name"] for pod in log_api.pods(f"sandbox-executor.dev/pool={pool_name}")]
    grown = {"executor": -_peak_mb(log_api, executor)}
    tenant.create("endless", _MEGABYTES, event=_KIBIBYTES, pool=pool_name, outputOverflow="hold", timeoutSeconds=900)
    words = [str(SCRIPTS / "sandbox-run"), "logs", "-f", "endless", "-n", tenant.namespace]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        for number in range(_KIBIBYTES):
            line = reader.stdout.readline()
            if line != b"%01023d\n" % number:
                raise AssertionError(f"line {number} is {line.lstrip(b'0')!r}; {_rest(reader)!r}")
            if number == 1024:
                grown["sandbox-run"] = -_own_peak_mb(reader.pid)
            if number == _CUT_AT:
                replaced_by = _replace_pod(log_api)
                grown["log API"] = -_peak_mb(log_api, replaced_by)
            if number == _KIBIBYTES - 1024:
                grown["sandbox-run"] += _own_peak_mb(reader.pid)
        assert reader.communicate() == (b"", b"")
    assert reader.returncode == 0
    assert tenant.finished("endless")["phase"] == "Succeeded"
    metrics = read_metrics(log_api, replaced_by)
    assert sum_metric(metrics, "sandbox_log_api_sent_bytes_total") > (_KIBIBYTES - _CUT_AT) * 1024 / 2
    grown["log API"] += _peak_mb(log_api, replaced_by)
    grown["executor"] += _peak_mb(log_api, executor)
    print(f"\ngrown by at most (MB): {grown}")
    assert {name: grown[name] < most for name, most in _MAX_GROWTH_MB.items()} == dict.fromkeys(_MAX_GROWTH_MB, True)


def _replace_pod(tools: Tools) -> str:
    """Ends the log API's pod before it can end its answers; the pod that takes its place, once it is asked."""
    before = [pod["metadata"]["name"] for pod in tools.pods(LOG_API_PODS)]
    tools.kubectl("delete", "pod", "-n", SYSTEM_NAMESPACE, *before, "--grace-period=1")

    def find_ready() -> str:
        ready = [pod for pod in tools.pods(LOG_API_PODS) if condition(pod["status"], "Ready").get("status") == "True"]
        return next((pod["metadata"]["name"] for pod in ready if pod["metadata"]["name"] not in before), "")

    found: str = eventually(find_ready, timeout_s=180, interval_s=0.5)
    eventually(lambda: _available(tools) == "True", timeout_s=180, interval_s=0.5)
    return found


_PEAKS = """
import glob, re
found = []
for path in glob.glob("/proc/[0-9]*/status"):
    try:
        found += re.findall(r"^VmHWM:\\s+(\\d+) kB", open(path).read(), re.M)
    except OSError:
        pass
print(max(map(int, found)))
"""


def _peak_mb(tools: Tools, pod: str) -> float:
    """What the largest process of a pod has had in memory at most."""
    return int(tools.in_pod(pod, "python3", "-c", _PEAKS)) / 1000


def _own_peak_mb(pid: int) -> float:
    """The same of a process here."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def _rest(reader: subprocess.Popen[bytes]) -> bytes:
    """What it has said, once it is not read any more."""
    reader.terminate()
    return reader.communicate(timeout=30)[1]


def test_elsewhere_the_tenant_is_refused(log_api: Tools, tenant: Tenant, reader: list[str]) -> None:
    for query in ("", "?follow=true"):
        with pytest.raises(CommandFailed, match=r"Forbidden.*cannot get resource \"executions/log\"|forbidden"):
            log_api.kubectl("get", "--raw", _path("default", "anything", query), *reader)
    with pytest.raises(CommandFailed, match="NotFound"):
        log_api.kubectl("get", "--raw", _path(tenant.namespace, "nothing"), *reader)


def test_a_broken_one_hurts_no_longer_than_it_lives(log_api: Tools, tenant: Tenant) -> None:
    """While a group does not answer, a namespace may not be found empty; it is gone once that group is back."""
    scale, in_its_way = ("scale", "-n", SYSTEM_NAMESPACE, f"deployment/{_LOG_API}"), f"{tenant.namespace}-in-its-way"
    log_api.kubectl(*scale, "--replicas=0")
    try:
        eventually(lambda: _available(log_api) == "False", timeout_s=180, interval_s=1)
        with pytest.raises(CommandFailed, match=r"ServiceUnavailable|unavailable|unable to handle"):
            log_api.kubectl("get", "--raw", _path(tenant.namespace, "anything"))
        assert tenant.run("goes-on", "def handler(event): return 1")["phase"] == "Succeeded"
        log_api.kubectl("create", "namespace", in_its_way)
        log_api.kubectl("delete", "namespace", in_its_way, "--wait=false")
    finally:
        log_api.kubectl(*scale, "--replicas=1")
    eventually(lambda: _available(log_api) == "True", timeout_s=120, interval_s=1)
    log_api.kubectl("wait", "--for=delete", f"namespace/{in_its_way}", "--timeout=240s", timeout_s=250)


def test_an_upgrade_keeps_its_certificate(request: pytest.FixtureRequest, log_api: Tools) -> None:
    before = _certificate(log_api)
    log_api.helm(*chart_words(request.config), "--set", "logAPI.enabled=true", "--set", "logAPI.replicas=2")
    assert _certificate(log_api) == before
    eventually(lambda: _available(log_api) == "True", timeout_s=120, interval_s=1)


def _certificate(tools: Tools) -> tuple[str, str]:
    """(ours, the CA by which the API server knows it)."""
    data = tools.get("secret", f"{_LOG_API}-tls", SYSTEM_NAMESPACE)["data"]
    bundle = tools.get("apiservice", _API_SERVICE)["spec"]["caBundle"]
    assert data["ca.crt"] == bundle
    return data["tls.crt"], bundle


def test_taken_away_it_leaves_nothing_behind(request: pytest.FixtureRequest, installed: Tools) -> None:
    """Also where it is broken when it is taken away."""
    in_its_way = f"e2e-{secrets.token_hex(4)}"
    with upgraded(installed, request.config, "logAPI.enabled=true"):
        installed.kubectl("scale", "-n", SYSTEM_NAMESPACE, f"deployment/{_LOG_API}", "--replicas=0")
        eventually(lambda: _available(installed) == "False", timeout_s=180, interval_s=1)
        installed.kubectl("create", "namespace", in_its_way)
        installed.kubectl("delete", "namespace", in_its_way, "--wait=false")
    found = installed.kubectl("get", "apiservice,deployment,service,secret,clusterrole", "-A", "-o", "name")
    assert "log-api" not in found
    assert _API_SERVICE not in found
    installed.kubectl("wait", "--for=delete", f"namespace/{in_its_way}", "--timeout=240s", timeout_s=250)
