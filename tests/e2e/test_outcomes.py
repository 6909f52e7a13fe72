"""Code that fails, hangs or is deleted while it runs: what the status says, and that nothing is left."""

import secrets
import time
from datetime import datetime

from tests.e2e.cluster import Tenant, condition, eventually


def test_a_handler_that_raises_is_failed_with_its_traceback(tenant: Tenant) -> None:
    status = tenant.run("raises", 'def handler(event):\n    print("before")\n    return {}["missing"]\n')
    assert status["phase"] == "Failed"
    assert condition(status, "Finished")["reason"] == "HandlerRaised"
    assert condition(status, "Succeeded")["status"] == "False"
    assert status["stdout"] == "before\n"
    assert "KeyError: 'missing'" in status["stderr"]
    assert 'return {}["missing"]' in status["stderr"], "the traceback shows the line"
    assert status["exitCode"] == 1


def test_code_without_a_handler_is_told_to_define_one(tenant: Tenant) -> None:
    status = tenant.run("nohandler", "print('hi')")
    assert status["phase"] == "Failed"
    assert condition(status, "Finished")["reason"] == "HandlerMissing"
    assert "def handler(event)" in status["stderr"]


_HANGS = """
import subprocess, time
def handler(event):
    print("partial", flush=True)
    subprocess.Popen(["setsid", "sleep", event["marker"]])
    time.sleep(60)
"""


def test_a_timeout_kills_the_whole_tree_and_keeps_partial_output(tenant: Tenant) -> None:
    marker = f"3600.{secrets.randbelow(10**8):08d}"
    status = tenant.run("hangs", _HANGS, timeoutSeconds=2, event={"marker": marker})

    assert status["phase"] == "TimedOut"
    assert condition(status, "Finished")["reason"] == "TimedOut"
    assert status["exitCode"] == -1
    assert status["stdout"] == "partial\n"
    took = _time(status["completionTime"]) - _time(status["startTime"])
    assert 2.0 <= took.total_seconds() <= 2.5
    assert not [line for line in tenant.tools.processes(status["podName"]) if marker in line]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_deleting_an_execution_while_it_runs_kills_its_sandbox_within_two_seconds(tenant: Tenant) -> None:
    marker = f"3600.{secrets.randbelow(10**8):08d}"
    tenant.create("doomed", _HANGS, timeoutSeconds=600, event={"marker": marker})
    status = eventually(lambda: (s := tenant.status("doomed")).get("phase") == "Running" and s)
    pod = status["podName"]
    eventually(lambda: [line for line in tenant.tools.processes(pod) if marker in line])

    tenant.tools.kubectl("delete", "exn", "doomed", "-n", tenant.namespace)
    deleted = time.monotonic()
    eventually(lambda: not [line for line in tenant.tools.processes(pod) if marker in line], timeout_s=5)
    assert time.monotonic() - deleted < 2.0


def test_cancel_ends_a_running_execution_as_cancelled(tenant: Tenant) -> None:
    tenant.create("stopped", _HANGS, timeoutSeconds=600, event={"marker": "3600"})
    eventually(lambda: tenant.status("stopped").get("phase") == "Running")
    patch = ("patch", "exn", "stopped", "-n", tenant.namespace, "--type=merge", "-p", '{"spec":{"cancel":true}}')
    tenant.tools.kubectl(*patch)
    status = tenant.finished("stopped")
    assert status["phase"] == "Cancelled"
    assert status["stdout"] == "partial\n"


def test_output_larger_than_the_status_keeps_its_tail(tenant: Tenant) -> None:
    status = tenant.run("loud", "def handler(event):\n    for n in range(40000): print(n)\n")
    assert status["phase"] == "Succeeded"
    assert status["stdoutTruncated"] is True
    assert len(status["stdout"].encode()) <= 65_536
    assert status["stdout"].endswith("39998\n39999\n")
    assert status["stdoutBytes"] == sum(len(f"{n}\n") for n in range(40000))
