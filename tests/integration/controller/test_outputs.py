"""What is too large for a status, through an object store: a folder, and a real S3 server."""

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from contracts.control_plane_api import uploads_path
from controller import names
from controller.report_tokens import ReportTokens
from tests.integration.controller.cluster import NAMESPACE, WAIT_S, Cluster, Controller, eventually, first_within
from tests.integration.controller.test_way import find_condition
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor
from tests.objects import TestStore

pytestmark = pytest.mark.sandbox

MIB = 1_048_576
OBJECT_BYTES = 24 * MIB
LIMITS = {"OUTPUT_OBJECT_BYTES": str(OBJECT_BYTES), "OUTPUT_TOTAL_BYTES": str(48 * MIB)}
WRITES_20_MB = (
    "import sys, hashlib\n"
    "line = b'0123456789abcdef' * 1250 + b'\\n'\n"
    "for n in range(1000): sys.stdout.buffer.write(line)\n"
    "def handler(event):\n"
    "    open('table.csv', 'w').write('a,b\\n' * 1000)\n"
    "    return {'values': ['x' * 100] * 1000}\n"
)
STDOUT = (b"0123456789abcdef" * 1250 + b"\n") * 1000


class Site:
    """A controller with a store, an executor on it, and all that they say."""

    def __init__(self, cluster: Cluster, controller: Controller, executor: RunningExecutor, store: TestStore) -> None:
        self.cluster, self.controller, self.executor, self.store = cluster, controller, executor, store

    async def run(self, name: str, code: str, **spec: Any) -> dict[str, Any]:
        """The Execution once it has ended."""
        await self.cluster.create_execution(name, code=code, **spec)
        return await self.cluster.wait_for_phase(name, "Succeeded", "Failed", "Rejected", "Crashed")

    async def said(self, name: str) -> str:
        """Logs, object and Events."""
        events = await self.cluster.events(name)
        execution = await self.cluster.read_execution(name)
        logs = self.controller.log + "\n".join(self.executor.raw_log)
        return logs + json.dumps(execution) + json.dumps(events)


async def make_site(
    cluster: Cluster, controller: Controller, store: TestStore, **environment: str
) -> AsyncIterator[Site]:
    await controller.stop()
    await controller.start(**store.settings, **LIMITS, LOG_LEVEL="DEBUG")
    with (
        open_directory() as directory,
        run_executor(
            directory, **controller.executor_environment("pod-1"), **LIMITS, LOG_LEVEL="DEBUG", **environment
        ) as running,
    ):
        port = await asyncio.to_thread(lambda: running.port)
        await cluster.create_pool("default")
        await cluster.add_pod("pod-1", "default", port, concurrency=2)
        await cluster.wait_for_slots(free=2)
        yield Site(cluster, controller, running, store)


@pytest.fixture
async def site(cluster: Cluster, own_controller: Controller, store: TestStore) -> AsyncIterator[Site]:
    async for made in make_site(cluster, own_controller, store):
        yield made


@pytest.fixture
async def s3_site(cluster: Cluster, own_controller: Controller, s3: TestStore) -> AsyncIterator[Site]:
    async for made in make_site(cluster, own_controller, s3):
        yield made


async def test_20_mb_are_stored_and_named_by_their_sha256(site: Site) -> None:
    found = await site.run("large", WRITES_20_MB, timeoutSeconds=300)
    status = found["status"]
    assert (status["phase"], status["stdoutTruncated"], status["returnValueTruncated"]) == ("Succeeded", True, True)
    outputs = {row["name"]: row for row in status["outputs"]}
    assert list(outputs) == ["stdout", "returnValue", "artifacts/table.csv"]
    assert outputs["stdout"]["size"] == len(STDOUT) == 20_001_000
    assert outputs["stdout"]["sha256"] == hashlib.sha256(STDOUT).hexdigest()
    assert outputs["artifacts/table.csv"]["mediaType"] == "text/csv"
    uid = found["metadata"]["uid"]
    key = names.output_key("default", uid, 1, outputs["stdout"]["sha256"])
    assert outputs["stdout"]["uri"] == f"{site.store.place.url}/{site.store.place.prefix}/{key}"
    stored = site.store.files()
    assert stored[key] == STDOUT
    value = json.loads(stored[names.output_key("default", uid, 1, outputs["returnValue"]["sha256"])])
    assert value == {"values": ["x" * 100] * 1000}
    assert len(stored) == 3
    condition = find_condition(found, "OutputsStored")
    assert (condition["status"], condition["reason"]) == ("True", "Stored")
    await site.cluster.check_writes_of_a_run("large")
    said = await site.said("large")
    assert not [secret for secret in site.store.secrets if secret in said]
    assert ReportTokens(site.controller.report_key.encode()).make(status["executionId"], 1) not in said


async def test_a_result_that_fits_its_status_costs_the_store_nothing(site: Site) -> None:
    found = await site.run("small", "def handler(event):\n    print('hello')\n    return 1\n")
    assert found["status"]["stdout"] == "hello\n"
    assert "outputs" not in found["status"]
    assert "OutputsStored" not in [condition["type"] for condition in found["status"]["conditions"]]
    assert site.store.files() == {}


async def test_what_is_more_than_an_object_may_have_is_said(site: Site) -> None:
    code = (
        "import sys\n"
        "for n in range(30): sys.stdout.buffer.write(b'x' * 1048576)\n"
        "def handler(event):\n"
        "    open('large.bin', 'wb').truncate(25 * 1048576)\n"
        "    open('small.bin', 'wb').write(b'small')\n"
    )
    found = await site.run("too-large", code)
    assert found["status"]["phase"] == "Succeeded"
    assert [(row["name"], row["size"], row.get("truncated")) for row in found["status"]["outputs"]] == [
        ("stdout", OBJECT_BYTES, True),
        ("artifacts/small.bin", 5, None),
    ]
    condition = find_condition(found, "OutputsStored")
    assert (condition["status"], condition["reason"]) == ("False", "OutputTooLarge")
    assert "'artifacts/large.bin'" in condition["message"]


async def test_hostile_names_are_names_and_nothing_else(site: Site) -> None:
    code = (
        "import os\n"
        "def handler(event):\n"
        "    for name in event: \n"
        "        os.makedirs(os.path.dirname('./' + name), exist_ok=True)\n"
        "        open(name, 'w').write(name)\n"
        "    os.symlink('/etc/passwd', 'link')\n"
    )
    hostile = [
        "stdout",
        "a\nb",
        "%2e%2e%2f..%2fetc",
        "-rf",
        "a?b#c&d=e",
        "c:\\x",
        "ä/é",
        "\u202etxt.exe",
        "~/x",
        "'\"$(id)`",
    ]
    found = await site.run("hostile", code, event=hostile)
    assert found["status"]["phase"] == "Succeeded"
    assert sorted(row["name"] for row in found["status"]["outputs"]) == sorted(f"artifacts/{name}" for name in hostile)
    keys = set(site.store.files())
    assert keys == {
        names.output_key("default", found["metadata"]["uid"], 1, hashlib.sha256(name.encode()).hexdigest())
        for name in hostile
    }


async def test_two_executions_of_a_session_store_what_each_has_made(site: Site) -> None:
    write = "def handler(event):\n    open('shared', 'w').write(event)\n"
    for word in ("first", "second"):
        found = await site.run(word, write, event=word, sessionId="s")
        [row] = found["status"]["outputs"]
        assert row["sha256"] == hashlib.sha256(word.encode()).hexdigest()


async def ask_url(site: Site, execution_id: str, content: bytes, *, attempt: int = 1, **changed: Any) -> httpx.Response:
    """As an executor that was captured would ask."""
    token = ReportTokens(site.controller.report_key.encode()).make(execution_id, attempt)
    row = {"name": "stdout", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changed}
    async with httpx.AsyncClient(trust_env=False, base_url=site.controller.url) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return await client.post(uploads_path(execution_id), json={"outputs": [row]}, headers=headers)


async def test_a_url_is_for_one_object_of_an_attempt_that_runs(site: Site) -> None:
    await site.cluster.create_execution(
        "runs", code="import time\ndef handler(event): time.sleep(600)\n", timeoutSeconds=900
    )
    await asyncio.to_thread(site.executor.wait_for_log, "execution_started", WAIT_S)
    status = (await site.cluster.read_execution("runs"))["status"]
    execution_id = status["executionId"]
    answer = await ask_url(site, execution_id, b"hello")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    url = answer.json()["uploads"][0]["url"]
    url = site.controller.url + url if url.startswith("/") else url
    digest = hashlib.sha256(b"hello").hexdigest()
    async with httpx.AsyncClient(trust_env=False) as client:
        for other in (url.replace(digest, "0" * 64), url.replace("/1/", "/2/"), url.partition("?")[0]):
            refused = await client.put(other, content=b"hello")
            assert refused.status_code in (401, 403), other
        assert (await client.get(url)).status_code in (403, 405), "it is for a PUT"
        assert (await client.delete(url)).status_code in (403, 405)
        assert site.store.files() == {}
        assert (await client.put(url, content=b"hello")).status_code == 200
    assert list(site.store.files().values()) == [b"hello"]
    assert (await ask_url(site, execution_id, b"hello", attempt=2)).status_code == 404
    assert (await ask_url(site, execution_id, b"hello", size=OBJECT_BYTES + 1)).status_code == 413
    assert (await ask_url(site, execution_id, b"hello", sha256="../../x")).status_code == 422
    assert (await ask_url(site, "exec_20260115_00000000", b"hello")).status_code == 404
    async with httpx.AsyncClient(trust_env=False, base_url=site.controller.url) as client:
        headers = {"Authorization": f"Bearer {site.controller.internal_token}"}
        shared = await client.post(uploads_path(execution_id), json={"outputs": []}, headers=headers)
    assert shared.status_code == 401, "the token that all executors have is none for this"


async def test_a_store_that_is_down_loses_no_result(s3_site: Site) -> None:
    s3_site.store.stop()
    found = await s3_site.run("down", "def handler(event):\n    print('x' * 100_000)\n    return 7\n")
    status = found["status"]
    begun, ended = (datetime.fromisoformat(status[name]) for name in ("startTime", "completionTime"))
    assert ended - begun < timedelta(seconds=30)
    assert (status["phase"], status["returnValue"], status["stdoutTruncated"]) == ("Succeeded", 7, True)
    assert status["stdout"] == "x" * 65_535 + "\n"
    assert "outputs" not in status
    condition = find_condition(found, "OutputsStored")
    assert (condition["status"], condition["reason"]) == ("False", "StoreUnavailable")
    assert "'stdout'" in condition["message"]
    s3_site.store.start()
    again = await s3_site.run("up", "def handler(event):\n    print('x' * 100_000)\n")
    assert [row["name"] for row in again["status"]["outputs"]] == ["stdout"]
    said = await s3_site.said("down")
    assert not [secret for secret in s3_site.store.secrets if secret in said]


async def test_cancelling_ends_an_upload(s3_site: Site) -> None:
    s3_site.store.stop()
    with SilentServer(s3_site.store.place.endpoint) as asked:
        code = "def handler(event):\n    print('x' * 100_000)\n"
        await s3_site.cluster.create_execution("stuck", code=code)
        await eventually(asked.is_set, what="the executor sends")
        path = names.execution_path("default", "stuck")
        await s3_site.cluster.call("PATCH", path, {"spec": {"cancel": True}}, kind="application/merge-patch+json")
        found = await s3_site.cluster.wait_for_phase("stuck", "Succeeded")
    assert find_condition(found, "OutputsStored")["reason"] == "UploadStopped"
    s3_site.store.start()


async def test_an_executor_that_is_to_exit_gives_up_the_upload_and_not_the_result(s3_site: Site) -> None:
    """In time: the end of an executor takes two seconds at most. Three tries, each with an executor of its own."""
    cluster, controller, store = s3_site.cluster, s3_site.controller, s3_site.store

    async def leave(number: int) -> float:
        pod, name = f"pod-{number + 2}", f"leaving-{number}"
        await cluster.delete(names.core_path(NAMESPACE, "pods", f"pod-{number + 1}"))
        with SilentServer(store.place.endpoint) as asked, open_directory() as directory:
            with run_executor(directory, **controller.executor_environment(pod), **LIMITS) as executor:
                port = await asyncio.to_thread(lambda: executor.port)
                await cluster.add_pod(pod, "default", port, concurrency=2)
                code = "def handler(event):\n    print('x' * 100_000)\n    return 7\n"
                await cluster.create_execution(name, code=code)
                await eventually(asked.is_set, what="the executor sends")
                exit_code, took_s = await asyncio.to_thread(executor.terminate, timeout_s=60)
            assert exit_code == 143
            found = await cluster.wait_for_phase(name, "Succeeded")
        assert found["status"]["returnValue"] == 7
        assert find_condition(found, "OutputsStored")["reason"] == "UploadStopped"
        return took_s

    store.stop()
    try:
        await first_within(3, leave)
    finally:
        store.start()


async def test_a_controller_that_dies_between_url_and_report_loses_nothing(s3_site: Site) -> None:
    """The upload goes on without it; the next one is told of it and finds it in the store."""
    store, controller = s3_site.store, s3_site.controller
    store.stop()
    with SilentServer(store.place.endpoint) as asked:
        code = "def handler(event):\n    print('x' * 100_000)\n"
        await s3_site.cluster.create_execution("orphaned", code=code)
        await eventually(asked.is_set, what="the executor sends")
        await controller.stop(kill=True)
        asked.stop_listening()
        store.start()  # before the connection breaks: from then on the executor tries for four seconds
    await eventually(store.files, what="the object is stored")
    await controller.start(**store.settings, **LIMITS)
    found = await s3_site.cluster.wait_for_phase("orphaned", "Succeeded")
    [row] = found["status"]["outputs"]
    assert store.files()[row["uri"].partition(f"{store.place.prefix}/")[2]] == b"x" * 100_000 + b"\n"


class SilentServer:
    """Takes connections at an endpoint, and never answers; ``is_set`` once somebody has sent something."""

    def __init__(self, endpoint: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", int(endpoint.rpartition(":")[2])))
        self._asked = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            if connection.recv(1):
                self._asked.set()

    def is_set(self) -> bool:
        return self._asked.is_set()

    def __enter__(self) -> "SilentServer":
        self._thread.start()
        return self

    def stop_listening(self) -> None:
        """Another server may have the endpoint; the connections stay open."""
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop_listening()
        for connection in self._open:
            connection.close()
