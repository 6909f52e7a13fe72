"""The whole way but for the kubelet: a real API server, a real controller, a real executor, real bubblewrap."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller import names
from tests.integration.controller.cluster import Cluster, Controller
from tests.integration.controller.test_way import find_condition
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def executor(cluster: Cluster, controller: Controller) -> AsyncIterator[RunningExecutor]:
    """One that reports to the controller, and the pod and pool that stand for it."""
    with (
        open_directory() as directory,
        run_executor(directory, **controller.executor_environment("pod-1")) as running,
    ):
        port = await asyncio.to_thread(lambda: running.port)
        await cluster.create_pool("default")
        await cluster.add_pod("pod-1", "default", port, concurrency=2)
        await cluster.wait_for_slots(free=2)
        yield running


async def test_a_handler_runs_in_a_sandbox_and_its_result_is_in_the_status(
    cluster: Cluster, executor: RunningExecutor
) -> None:
    code = (
        "import os\n"
        "def handler(event):\n"
        "    print('hello', event['name'])\n"
        "    return {'pid': os.getpid(), 'n': None}\n"
    )
    await cluster.create_execution("sandboxed", code=code, event={"name": "world"})
    status = (await cluster.wait_for_phase("sandboxed", "Succeeded", "Failed", "Rejected", "Crashed"))["status"]
    assert status["phase"] == "Succeeded"
    assert status["stdout"] == "hello world\n"
    assert status["returnValue"]["n"] is None
    assert status["returnValue"]["pid"] != os.getpid()
    assert status["metrics"]["durationMs"] > 0
    assert status["metrics"]["peakMemoryMB"] > 0
    await cluster.check_writes_of_a_run("sandboxed")


async def test_one_that_raises_fails_with_its_traceback(cluster: Cluster, executor: RunningExecutor) -> None:
    await cluster.create_execution("raises", code="def handler(event):\n    raise ValueError('no such thing')\n")
    failed = await cluster.wait_for_phase("raises", "Failed")
    assert find_condition(failed, "Finished")["reason"] == "HandlerRaised"
    assert "ValueError: no such thing" in failed["status"]["stderr"]


async def test_one_that_sleeps_past_its_timeout_is_timed_out_with_what_it_had_printed(
    cluster: Cluster, executor: RunningExecutor
) -> None:
    """The timeout counts from the start of the interpreter: one that is slow today is given more."""
    code = "import time\ndef handler(event):\n    print('part', flush=True)\n    time.sleep(600)\n"
    for seconds in (1, 4, 16):
        await cluster.create_execution(f"slow-{seconds}", code=code, timeoutSeconds=seconds)
        status = (await cluster.wait_for_phase(f"slow-{seconds}", "TimedOut"))["status"]
        if status["stdout"]:
            break
    assert status["stdout"] == "part\n"


async def test_deleting_a_running_one_kills_it_and_frees_its_slot(cluster: Cluster, executor: RunningExecutor) -> None:
    code = "import time\ndef handler(event):\n    time.sleep(600)\n"
    for name in ("doomed-1", "doomed-2"):
        await cluster.create_execution(name, code=code, timeoutSeconds=900)
        await cluster.wait_for_phase(name, "Running")
    for name in ("doomed-1", "doomed-2"):
        await cluster.delete(names.execution_path("default", name))
    await cluster.create_execution("next", code="def handler(event): return 1")
    await cluster.wait_for_phase("next", "Succeeded")


async def test_cancelling_a_running_one_ends_it_cancelled(cluster: Cluster, executor: RunningExecutor) -> None:
    code = "import time\ndef handler(event):\n    time.sleep(600)\n"
    await cluster.create_execution("stopped", code=code, timeoutSeconds=900)
    await cluster.wait_for_phase("stopped", "Running")
    path = names.execution_path("default", "stopped")
    await cluster.call("PATCH", path, {"spec": {"cancel": True}}, kind="application/merge-patch+json")
    await cluster.wait_for_phase("stopped", "Cancelled")


async def test_while_it_runs_the_status_has_the_end_of_its_output_with_few_writes(
    cluster: Cluster, executor: RunningExecutor
) -> None:
    """After 2.5, 5 and 7.5 s. Of that rhythm a try in which somebody stood still says nothing: there are three."""
    for number in range(3):
        shown = await run_one_that_talks(cluster, f"talks-{number}")
        if 2 <= len(shown) <= 3 and 3 <= shown[0].count("\n") <= 6:
            return
    raise AssertionError(f"three times the rhythm was another one: {shown}")


async def run_one_that_talks(cluster: Cluster, name: str) -> list[str]:
    """What its status showed of its standard output while it ran."""
    code = (
        "import sys, time\n"
        "def handler(event):\n"
        "    print('ä' * 4000, file=sys.stderr)\n"
        "    for n in range(16):\n"
        "        print('line', n); time.sleep(0.5)\n"
    )
    await cluster.create_execution(name, code=code, timeoutSeconds=120)
    shown: list[str] = []
    while (status := (await cluster.read_execution(name)).get("status") or {}).get("phase") in (None, "Running"):
        tail = status.get("stdoutTail")
        if tail is not None and tail not in shown:
            shown.append(tail)
            assert status["stderrTail"] == "ä" * 2047 + "\n"
            assert status["lastHeartbeatTime"]
        await asyncio.sleep(0.05)
    lines = "".join(f"line {number}\n" for number in range(16))
    assert status["phase"] == "Succeeded"
    assert (status["stdout"], status.keys() & {"stdoutTail", "stderrTail"}) == (lines, set())
    assert all(lines.startswith(tail) for tail in shown)
    assert await cluster.check_writes_of_a_run(name) >= len(shown)
    return shown


async def test_a_short_one_that_prints_much_is_written_twice(cluster: Cluster, executor: RunningExecutor) -> None:
    code = "import time\ndef handler(event):\n    for n in range(10): print('x' * 1000); time.sleep(0.1)\n"
    await cluster.create_execution("short", code=code)
    await cluster.wait_for_phase("short", "Succeeded")
    await cluster.check_writes_of_a_run("short")


async def test_one_that_is_to_be_held_waits_for_a_reader(cluster: Cluster, executor: RunningExecutor) -> None:
    code = "def handler(event):\n    for _ in range(20): print('x' * 1_000_000)\n    return 'all'\n"
    await cluster.create_execution("held", code=code, outputOverflow="hold", timeoutSeconds=2)
    await cluster.create_execution("dropped", code=code, timeoutSeconds=120)
    held = (await cluster.wait_for_phase("held", "TimedOut", "Succeeded"))["status"]
    dropped = (await cluster.wait_for_phase("dropped", "TimedOut", "Succeeded"))["status"]
    assert (held["phase"], dropped["phase"], dropped["returnValue"]) == ("TimedOut", "Succeeded", "all")


async def test_files_from_the_spec_a_config_map_and_a_secret_are_there_and_the_secret_shows_nowhere(
    cluster: Cluster, executor: RunningExecutor, controller: Controller
) -> None:
    binary, encoded = bytes(range(256)), base64.b64encode(b"hush-hush").decode()
    made: list[dict[str, Any]] = [
        {
            "kind": "ConfigMap",
            "metadata": {"name": "files-data"},
            "data": {"a.csv": "1;2"},
            "binaryData": {"b.bin": base64.b64encode(binary).decode()},
        },
        {"kind": "Secret", "metadata": {"name": "files-keys"}, "data": {"key": encoded}},
    ]
    for body in made:
        path = names.core_path("with-secrets", f"{body['kind'].lower()}s")
        await cluster.call("POST", path, {"apiVersion": "v1", **body})
    code = (
        "import hashlib\n"
        "def handler(event):\n"
        "    return {path: hashlib.sha256(open(path, 'rb').read()).hexdigest() for path in event}\n"
    )
    files: list[dict[str, Any]] = [
        {"path": "in/inline.txt", "inline": "text"},
        {"path": "in/a.csv", "configMapKeyRef": {"name": "files-data", "key": "a.csv"}},
        {"path": "in/b.bin", "configMapKeyRef": {"name": "files-data", "key": "b.bin"}},
        {"path": ".ssh/key", "secretKeyRef": {"name": "files-keys", "key": "key"}},
    ]
    event = [file["path"] for file in files]
    await cluster.create_execution("with-files", "with-secrets", code=code, event=event, files=files)
    ended = await cluster.wait_for_phase("with-files", "Succeeded", "Failed", "Rejected", namespace="with-secrets")
    contents = (b"text", b"1;2", binary, b"hush-hush")
    wanted = {path: hashlib.sha256(content).hexdigest() for path, content in zip(event, contents, strict=True)}
    assert ended["status"].get("returnValue") == wanted, ended["status"]
    assert "artifacts" not in ended["status"]
    shown = "".join(executor.raw_log) + await asyncio.to_thread(lambda: controller.log) + str(ended["status"])
    assert not any(secret in shown for secret in ("hush-hush", encoded))

    await cluster.create_execution("refused", "default", code=code, files=files[3:])
    refused = await cluster.wait_for_phase("refused", "Succeeded", "Failed", "Rejected")
    assert find_condition(refused, "Finished")["reason"] == "SecretsNotAllowed"
    await cluster.create_execution(
        "missing", code=code, files=[{"path": "x", "configMapKeyRef": {"name": "no-such-data", "key": "k"}}]
    )
    missing = await cluster.wait_for_phase("missing", "Succeeded", "Failed", "Rejected")
    assert find_condition(missing, "Finished")["reason"] == "ConfigMapNotFound"


async def test_a_file_that_is_no_base64_is_rejected_where_the_api_server_takes_it(
    cluster: Cluster, executor: RunningExecutor
) -> None:
    await cluster.create_execution("damaged", files=[{"path": "x", "inlineBase64": "YQ="}])
    rejected = await cluster.wait_for_phase("damaged", "Succeeded", "Failed", "Rejected")
    assert find_condition(rejected, "Finished")["reason"] == "InvalidSpec"
    assert "inlineBase64 is base64 with its padding" in rejected["status"]["error"]["description"]
