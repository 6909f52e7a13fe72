"""The first thing a new user does: apply the example, wait, look."""

from tests.e2e.cluster import REPOSITORY, Tenant, condition, eventually


def test_the_example_applied_with_kubectl_succeeds_and_its_status_tells_everything(tenant: Tenant) -> None:
    tenant.tools.kubectl("apply", "-n", tenant.namespace, "-f", str(REPOSITORY / "examples/hello.yaml"))
    status = tenant.finished("hello")

    assert status["phase"] == "Succeeded"
    assert status["returnValue"]["greeting"] == "Hello, Ada"
    assert status["stdout"].startswith("Hello, Ada, from a sandbox")
    assert status["exitCode"] == 0
    assert condition(status, "Finished")["reason"] == "Completed"
    assert condition(status, "Succeeded")["status"] == "True"
    assert condition(status, "Scheduled")["status"] == "True"
    assert status["podName"]
    assert status["nodeName"]
    assert status["executionId"].startswith("exec_")
    assert 0 < status["metrics"]["durationMs"] < 10_000
    assert 0 < status["metrics"]["cpuTimeMs"] < 5_000
    assert 1 < status["metrics"]["peakMemoryMB"] < 60, "measured on the sandbox, not on the executor"


def test_metrics_are_measured_on_the_sandbox(tenant: Tenant) -> None:
    status = tenant.run(
        "busy",
        """
import time
def handler(event):
    held = bytearray(64 * 1024 * 1024)
    held[::4096] = b"x" * len(held[::4096])
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
""",
    )
    assert status["phase"] == "Succeeded"
    assert 500 <= status["metrics"]["cpuTimeMs"] < 1_500
    assert 64 <= status["metrics"]["peakMemoryMB"] < 110


def test_get_shows_a_line_that_a_person_can_read(tenant: Tenant) -> None:
    tenant.run("seen", "def handler(event): return 1")
    header, line = tenant.tools.kubectl("get", "exn", "-n", tenant.namespace).splitlines()
    assert header.split() == ["NAME", "PHASE", "REASON", "POOL", "EXIT", "DURATION", "AGE"]
    assert line.split()[:5] == ["seen", "Succeeded", "Completed", "default", "0"]
    assert line.split()[5].endswith("s")
    wide = tenant.tools.kubectl("get", "exn", "-n", tenant.namespace, "-o", "wide").splitlines()[0]
    assert wide.split()[-2:] == ["REPORTED", "EXECUTION-ID"]


def test_describe_shows_the_events_that_a_person_looks_for(tenant: Tenant) -> None:
    tenant.run("told", "def handler(event): return 1")

    def reasons() -> bool:
        text = tenant.tools.kubectl("describe", "exn", "told", "-n", tenant.namespace)
        return "Scheduled" in text.split("Events:")[1] and "Finished" in text.split("Events:")[1]

    eventually(reasons)


def test_a_short_execution_costs_two_writes_and_leaves_no_finalizer_and_no_annotation(tenant: Tenant) -> None:
    tenant.run("lean", "def handler(event): return 1")
    metadata = tenant.get("lean")["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata
    assert metadata["generation"] == 1
