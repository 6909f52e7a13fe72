"""The whole way of a byte: sandbox, executor, log API, API server, client."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from contracts.executor_api import OWNER_HEADER
from contracts.output_events import Chunk, End, Event, EventReader, Position
from sandbox_executor_client import AsyncClient
from sandbox_executor_client.kube import KubeApi, load_configuration
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor
from tests.integration.log_api.parts import Aggregated, log_path

pytestmark = pytest.mark.sandbox
ID = "exec_20260115_a1b2c3d4"
_LINE_BYTES, _LINES = 64, 1_638_400
_GROWTH_MIB = 38.0
_FILLED_AFTER_S = 3.0
_MUCH = f"""
import sys
def handler(event):
    for first in range(0, {_LINES}, 1024):
        sys.stdout.write("".join(f"{{number:063d}}\\n" for number in range(first, first + 1024)))
"""
_TALKS = """
import time
def handler(event):
    for number in range(3):
        print("line", number, flush=True)
        time.sleep(0.5)
"""


@pytest.fixture
def real(cluster: Aggregated) -> Iterator[RunningExecutor]:
    with open_directory() as directory, run_executor(directory, EXECUTE_API_TOKEN=cluster.log_api.token) as executor:
        yield executor


async def _begin(cluster: Aggregated, executor: RunningExecutor, code: str, **fields: object) -> None:
    """Plays the controller: claim and dispatch."""
    await cluster.add_pod("pod-1", executor.port)
    uid = await cluster.run("real", ID)
    body = {"execution_id": ID, "language": "python", "code": code, "timeout": 500, **fields}
    headers = {
        "Authorization": f"Bearer {cluster.log_api.token}",
        "Prefer": "respond-async",
        OWNER_HEADER: uid,
    }
    async with executor.client() as client:
        answer = await client.post("/execute", json=body, headers=headers)
    assert answer.status_code == 202, answer.text


async def test_lines_come_as_the_code_prints_them(cluster: Aggregated, real: RunningExecutor) -> None:
    await _begin(cluster, real, _TALKS)
    async with cluster.ask(log_path("real", follow="true")) as answer:
        assert await answer.content.readline() == b"line 0\n"
        assert real.process.poll() is None
        assert await answer.content.read() == b"line 1\nline 2\n"
    assert await cluster.text(log_path("real")) == "line 0\nline 1\nline 2\n"
    assert (await cluster.refusal(log_path("real", stdoutOffset="1000")))["code"] == 400


@pytest.mark.timeout(600)
async def test_a_hundred_megabytes_of_one_that_holds_arrive_whole(cluster: Aggregated, real: RunningExecutor) -> None:
    await _begin(cluster, real, _MUCH, output_overflow="hold")
    peak, digest, size = cluster.log_api.peak(), hashlib.sha256(), 0
    async with cluster.ask(log_path("real", follow="true")) as answer:
        async for data in answer.content.iter_any():
            digest.update(data)
            size += len(data)
    print(f"\n{size} bytes; the log API took {peak.grown_mib:.1f} MiB more at most")
    assert (size, digest.digest()) == (_LINE_BYTES * _LINES, _whole())
    assert peak.grown_mib < _GROWTH_MIB


@pytest.mark.timeout(600)
async def test_they_come_whole_though_the_log_api_is_killed_while_its_reader_waits(
    cluster: Aggregated, real: RunningExecutor, client: AsyncClient
) -> None:
    """All that was on its way is lost then, on three connections that were full."""
    await _begin(cluster, real, _MUCH, output_overflow="hold")
    digest, size, is_killed = hashlib.sha256(), 0, False
    async with aclosing(client.output("real")) as outputs:
        async for output in outputs:
            assert output.missing == 0, f"after {size} bytes"
            digest.update(output.data)
            size += len(output.data)
            if size > 30_000_000 and not is_killed:
                is_killed = True
                await asyncio.sleep(_FILLED_AFTER_S)
                assert cluster.log_api.process is not None
                cluster.log_api.process.kill()
                await asyncio.to_thread(cluster.log_api.process.wait)
                await asyncio.to_thread(cluster.log_api.start)
    assert (size, digest.digest()) == (_LINE_BYTES * _LINES, _whole())


@pytest.mark.timeout(600)
async def test_they_come_whole_though_the_reader_is_cut_off_while_it_waits(
    cluster: Aggregated, real: RunningExecutor, kubeconfig: Path
) -> None:
    """All that was on its way is lost then, on every connection from the executor on."""
    await _begin(cluster, real, _MUCH, output_overflow="hold")
    configuration, _ = await load_configuration(str(kubeconfig), None)
    api, digest, position = KubeApi(configuration), hashlib.sha256(), Position()
    try:
        for until in (30_000_000, _LINE_BYTES * _LINES):
            query = {"follow": "true", "attempt": "1", "stdoutOffset": str(position.stdout)}
            reader = EventReader()
            async with aclosing(api.stream(log_path("real"), query)) as pieces:
                async for event in _events(pieces, reader):
                    assert isinstance(event, Chunk | End), event
                    if isinstance(event, Chunk):
                        digest.update(event.data)
                        position = event.after
                    if position.stdout >= until:
                        break
                await asyncio.sleep(_FILLED_AFTER_S)
    finally:
        await api.close()
    assert (position.stdout, digest.digest()) == (_LINE_BYTES * _LINES, _whole())


async def _events(pieces: AsyncGenerator[bytes, None], reader: EventReader) -> AsyncGenerator[Event, None]:
    async for piece in pieces:
        for event in reader.feed(piece):
            yield event


def _whole() -> bytes:
    """What all of it hashes to."""
    whole = hashlib.sha256()
    for number in range(_LINES):
        whole.update(b"%063d\n" % number)
    return whole.digest()
