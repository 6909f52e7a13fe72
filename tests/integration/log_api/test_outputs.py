"""Outputs out of a real S3 server, through log API and API server, with nothing but a tenant's rights."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller import names
from sandbox_executor_client import AsyncClient, Client, Corrupted, Forbidden, InvalidExecution, NotFound
from tests.integration.controller.apiserver import free_port
from tests.integration.controller.cluster import Cluster, Controller
from tests.integration.executor.running import open_directory, run_executor
from tests.integration.log_api.parts import OTHER, OWN, TENANT_USER, Aggregated, log_path, outputs_path

_COMMAND = str(Path(sys.executable).with_name("sandbox-run"))
MIB = 1_048_576


async def add(cluster: Aggregated, name: str, namespace: str = OWN, **outputs: bytes) -> str:
    """An Execution that has ended with these outputs, which are in the store; its uid."""
    made = await cluster.create(name, namespace)
    uid = str(made["metadata"]["uid"])
    store = cluster.store.open()
    rows = []
    for key, content in outputs.items():
        digest = hashlib.sha256(content).hexdigest()
        object_key = names.output_key(namespace, uid, 1, digest)
        await store.write(object_key, _pieces(content))
        named = key.replace("__", "/")
        rows.append({"name": named, "size": len(content), "sha256": digest, "uri": store.uri(object_key)})
    await cluster.set_status(name, namespace, phase="Succeeded", attempt=1, outputs=rows)
    return uid


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), MIB):
        yield content[begin : begin + MIB]


async def test_they_are_listed_without_where_they_lie(cluster: Aggregated) -> None:
    uid = await add(cluster, "listed", stdout=b"hello", artifacts__a=b"")
    async with cluster.ask(outputs_path("listed")) as answer:
        found = await answer.json()
    assert found == {
        "apiVersion": "subresources.sandbox-executor.dev/v1alpha1",
        "kind": "ExecutionOutputs",
        "metadata": {"name": "listed", "namespace": OWN, "uid": uid},
        "outputs": [
            {
                "name": "stdout",
                "size": 5,
                "sha256": hashlib.sha256(b"hello").hexdigest(),
                "mediaType": "application/octet-stream",
            },
            {
                "name": "artifacts/a",
                "size": 0,
                "sha256": hashlib.sha256(b"").hexdigest(),
                "mediaType": "application/octet-stream",
            },
        ],
    }


async def test_one_of_them_is_read_whole_and_from_an_offset(cluster: Aggregated) -> None:
    content = os.urandom(3 * MIB + 17)
    await add(cluster, "read", stdout=content, artifacts__empty=b"")
    async with cluster.ask(outputs_path("read", name="stdout")) as answer:
        assert await answer.read() == content
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with cluster.ask(outputs_path("read", name="stdout", offset=str(3 * MIB))) as answer:
        assert await answer.read() == content[3 * MIB :]
    async with cluster.ask(outputs_path("read", name="stdout", offset=str(len(content)))) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    async with cluster.ask(outputs_path("read", name="artifacts/empty")) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_100_mb_take_no_memory_of_the_log_api(cluster: Aggregated) -> None:
    content = os.urandom(100 * MIB)
    await add(cluster, "large", stdout=content)
    async with cluster.ask(outputs_path("large", name="stdout", offset=str(99 * MIB))) as answer:
        await answer.read()  # what the first one imports and opens is not counted
    peak, digest = cluster.log_api.peak(), hashlib.sha256()
    async with cluster.ask(outputs_path("large", name="stdout")) as answer:
        async for piece in answer.content.iter_chunked(MIB):
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(content).digest()
    print(f"\nthe log API took {peak.grown_mib:.1f} MiB more at most")
    assert peak.grown_mib < 15


async def test_another_namespace_is_forbidden(cluster: Aggregated, client: AsyncClient) -> None:
    await add(cluster, "theirs", OTHER, stdout=b"secret")
    for path in (outputs_path("theirs", OTHER), outputs_path("theirs", OTHER, name="stdout")):
        refused = await cluster.refusal(path)
        assert (refused["code"], refused["reason"]) == (403, "Forbidden")
        assert 'cannot get resource "executions/outputs"' in refused["message"]
    async with cluster.ask_directly(
        outputs_path("theirs", OTHER, name="stdout"), cluster.front_proxy, {"X-Remote-User": TENANT_USER}
    ) as answer:
        assert answer.status == 403


async def test_a_status_that_points_elsewhere_leads_nowhere(cluster: Aggregated) -> None:
    """Whoever may write a status cannot have another tenant's objects read for them."""
    uid = await add(cluster, "victim", OTHER, stdout=b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    await cluster.create("thief")
    row = {
        "name": "stdout",
        "size": 6,
        "sha256": digest,
        "uri": cluster.store.open().uri(names.output_key(OTHER, uid, 1, digest)),
    }
    await cluster.set_status("thief", phase="Succeeded", attempt=1, outputs=[row])
    refused = await cluster.refusal(outputs_path("thief", name="stdout"))
    assert (refused["code"], "not in the object store any more" in refused["message"]) == (404, True)


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ({"name": "artifacts/../stdout"}, 404, "has no output"),
        ({"name": "nothing"}, 404, "has no output 'nothing'"),
        ({"name": "stdout", "offset": "6"}, 400, "'stdout' has 5 bytes"),
        ({"file": "stdout"}, 400, "there are name, offset"),
    ],
)
async def test_what_is_not_there_is_said(cluster: Aggregated, query: dict[str, str], code: int, says: str) -> None:
    await add(cluster, "asked", stdout=b"hello")
    refused = await cluster.refusal(outputs_path("asked", **query))
    assert refused["code"] == code
    assert says in refused["message"]


async def test_one_that_runs_has_none_yet(cluster: Aggregated) -> None:
    await cluster.create("runs")
    await cluster.set_status("runs", phase="Running", attempt=1)
    async with cluster.ask(outputs_path("runs")) as answer:
        assert (await answer.json())["outputs"] == []
    refused = await cluster.refusal(outputs_path("runs", name="stdout"))
    assert "has not ended" in refused["message"]


async def test_a_store_that_is_down_is_said_and_the_log_api_lives_on(cluster: Aggregated) -> None:
    await add(cluster, "down", stdout=b"hello")
    cluster.store.stop()
    try:
        refused = await cluster.refusal(outputs_path("down", name="stdout"))
    finally:
        await asyncio.to_thread(cluster.store.start)
    assert (refused["code"], refused["reason"]) == (503, "ServiceUnavailable")
    assert await cluster.text(outputs_path("down", name="stdout")) == "hello"
    for secret in cluster.store.secrets:
        assert secret not in cluster.log_api.log
        assert secret not in str(refused)


async def test_the_client_checks_what_comes(cluster: Aggregated, client: AsyncClient, tmp_path: Path) -> None:
    uid = await add(cluster, "checked", stdout=b"hello", artifacts__sub__a=b"content")
    found = {output.name: output for output in client.outputs_of(await client.get("checked"))}
    assert await found["stdout"].read() == b"hello"
    saved = await found["artifacts/sub/a"].save(tmp_path)
    assert saved == tmp_path / "artifacts" / "sub" / "a"
    key = names.output_key(OWN, uid, 1, found["stdout"].sha256)
    await cluster.store.open().write(key, _pieces(b"jello"))
    with pytest.raises(Corrupted, match="SHA-256"):
        await found["stdout"].read()
    await cluster.store.open().delete([key])
    with pytest.raises(NotFound, match="not in the object store any more"):
        await found["stdout"].read()


async def test_the_client_goes_on_where_the_log_api_went_away(cluster: Aggregated, client: AsyncClient) -> None:
    content = os.urandom(30 * MIB)
    await add(cluster, "broken", stdout=content)
    [output] = client.outputs_of(await client.get("broken"))
    read = bytearray()
    async for piece in output.pieces():
        if not read:
            assert cluster.log_api.process is not None
            cluster.log_api.process.kill()
            await asyncio.to_thread(cluster.log_api.process.wait)
            await asyncio.to_thread(cluster.log_api.start)
        read += piece
    assert bytes(read) == content


async def test_the_client_says_who_may_not(cluster: Aggregated, kubeconfig: Path) -> None:
    await add(cluster, "theirs", OTHER, stdout=b"secret")
    async with AsyncClient(OTHER, kubeconfig=str(cluster.server.kubeconfig)) as admin:
        execution = await admin.get("theirs")
    async with AsyncClient(OTHER, kubeconfig=str(kubeconfig)) as tenant:
        [output] = tenant.outputs_of(execution)
        with pytest.raises(Forbidden, match="executions/outputs"):
            await output.read()


async def _command(kubeconfig: Path, *words: str) -> tuple[int | None, bytes, str]:
    """(exit code, stdout, stderr) of ``sandbox-run``."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        _COMMAND,
        *words,
        "-n",
        OWN,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out, err.decode()


async def test_the_command_line_lists_prints_and_saves(cluster: Aggregated, kubeconfig: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"a,b\n").hexdigest()
    await add(cluster, "shown", stdout=b"\xff\x1b[2Jhello", artifacts__table=b"a,b\n")
    code, out, err = await _command(kubeconfig, "outputs", "shown")
    assert (code, err) == (0, "")
    assert out.decode().splitlines()[0].split() == ["NAME", "SIZE", "TYPE", "SHA256"]
    assert f"artifacts/table   4      application/octet-stream   {digest}" in out.decode()
    assert await _command(kubeconfig, "outputs", "shown", "stdout") == (0, b"\xff\x1b[2Jhello", "")
    target = tmp_path / "out"
    code, out, err = await _command(kubeconfig, "outputs", "shown", "--output-dir", str(target))
    assert (code, out) == (0, b"")
    assert f"saved {target}/artifacts/table" in err
    assert sorted(os.listdir(target)) == ["artifacts", "stdout"]
    assert (target / "artifacts" / "table").read_bytes() == b"a,b\n"
    code, out, err = await _command(kubeconfig, "outputs", "shown", "stdout", "-d", str(target))
    assert code != 0
    assert "exists: save elsewhere" in err
    code, out, err = await _command(kubeconfig, "outputs", "shown", "nothing")
    assert "has no output 'nothing'; there are: stdout, artifacts/table" in err
    await cluster.create("empty")
    await cluster.set_status("empty", phase="Succeeded", attempt=1)
    code, out, err = await _command(kubeconfig, "outputs", "empty")
    assert (code, out) == (0, b"")
    assert "the object store has nothing of empty" in err


async def test_hostile_names_stay_below_the_directory(cluster: Aggregated, kubeconfig: Path, tmp_path: Path) -> None:
    await cluster.create("hostile")
    uid = (await cluster.call("GET", names.execution_path(OWN, "hostile")))["metadata"]["uid"]
    hostile = ["artifacts/../../../escaped", "/escaped", "../escaped", "artifacts/a\nb", "-rf"]
    rows = []
    for name in hostile:
        digest = hashlib.sha256(name.encode()).hexdigest()
        await cluster.store.open().write(names.output_key(OWN, uid, 1, digest), _pieces(name.encode()))
        rows.append({"name": name, "size": len(name.encode()), "sha256": digest, "uri": "s3://x/y"})
    await cluster.set_status("hostile", phase="Succeeded", attempt=1, outputs=rows)
    target = tmp_path / "a" / "b" / "out"
    code, _, err = await _command(kubeconfig, "outputs", "hostile", "-d", str(target))
    assert code == 0, err
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}  # noqa: ASYNC240
    assert found - {"kubeconfig"} == {
        "a/b/out/artifacts/%2E%2E/%2E%2E/%2E%2E/escaped",
        "a/b/out/escaped",
        "a/b/out/%2E%2E/escaped",
        "a/b/out/artifacts/a%0Ab",
        "a/b/out/-rf",
    }


CODE = (
    "import sys\n"
    "for n in range(1000): sys.stdout.buffer.write(b'0123456789abcdef' * 1250 + b'\\n')\n"
    "open('data.bin', 'wb').write(bytes(1000))\n"
)
STDOUT = (b"0123456789abcdef" * 1250 + b"\n") * 1000


@pytest.fixture
async def operator(cluster: Aggregated, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A controller and an executor with the log API's store."""
    folder = tmp_path / "controller"
    folder.mkdir()
    controller = Controller(folder, cluster.server, cluster.server.kubeconfig, free_port(), free_port())
    made = Cluster(cluster.server)
    await controller.start(**cluster.store.settings)
    limits = {"OUTPUT_OBJECT_BYTES": str(64 * MIB)}
    try:
        with (
            open_directory() as directory,
            run_executor(directory, **controller.executor_environment("pod-1"), **limits) as running,
        ):
            port = await asyncio.to_thread(lambda: running.port)
            await made.create_pool("default")
            await made.add_pod("pod-1", "default", port, concurrency=2)
            yield made
    finally:
        await controller.stop()
        await made.delete(names.pool_path("default"))


@pytest.mark.sandbox
@pytest.mark.timeout(300)
async def test_20_mb_from_a_sandbox_arrive_by_their_sha256(
    cluster: Aggregated, operator: Cluster, kubeconfig: Path, tmp_path: Path
) -> None:
    def run() -> Any:
        with Client(OWN, kubeconfig=str(kubeconfig)) as client:
            result = client.run(CODE, timeout=500)
            outputs = {output.name: output for output in result.outputs}
            saved = outputs["stdout"].save(tmp_path / "stdout")
            with pytest.raises(InvalidExecution, match="allow max_bytes"):
                outputs["stdout"].read(max_bytes=1000)
            return result, saved.read_bytes(), outputs["artifacts/data.bin"].read()

    result, stdout, data = await asyncio.to_thread(run)
    assert result.truncated
    assert (stdout == STDOUT, data) == (True, bytes(1000))
    code, out, err = await _command(kubeconfig, "outputs", result.name, "stdout")
    assert (code, hashlib.sha256(out).hexdigest()) == (0, hashlib.sha256(STDOUT).hexdigest())


@pytest.mark.sandbox
@pytest.mark.timeout(300)
async def test_an_output_is_a_file_of_the_next_execution(
    cluster: Aggregated, operator: Cluster, kubeconfig: Path, tmp_path: Path
) -> None:
    program = tmp_path / "first.py"
    program.write_text("open('numbers', 'w').write('1 2 3')\n")
    target = tmp_path / "out"
    words = ("--cluster", "--name", "first", "--output-dir", str(target), str(program))
    code, _, err = await _command(kubeconfig, *words)
    assert code == 0, err
    assert (target / "artifacts" / "numbers").read_text() == "1 2 3"
    digest = hashlib.sha256(b"1 2 3").hexdigest()
    reads = "def handler(event):\n    return sum(map(int, open('in/numbers').read().split()))\n"

    async def add_up(name: str, **reference: str) -> dict[str, Any]:
        given = {"execution": "first", "name": "artifacts/numbers", "sha256": digest, **reference}
        await operator.create_execution(
            name, namespace=OWN, code=reads, files=[{"path": "in/numbers", "artifactRef": given}]
        )
        found = await operator.wait_for_phase(name, "Succeeded", "Failed", "Rejected", namespace=OWN)
        return dict(found["status"])

    assert (await add_up("second"))["returnValue"] == 6
    other = await add_up("third", sha256="0" * 64)
    assert other["error"]["errorCode"] == "Controller.ArtifactDigestMismatch"
    absent = await add_up("fourth", execution="nobody")
    assert absent["error"]["errorCode"] == "Controller.ArtifactNotFound"


async def test_the_log_is_as_it_was(cluster: Aggregated) -> None:
    await add(cluster, "both", stdout=b"hello")
    await cluster.set_status("both", stdout="hello", stderr="")
    assert await cluster.text(log_path("both")) == "hello"
