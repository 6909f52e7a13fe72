"""A tenant reads what its Executions print, through the API server."""

import asyncio
import base64
import hashlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from controller import names
from tests.fakes.output import Output, OutputExecutor
from tests.integration.controller.apiserver import find_binary
from tests.integration.controller.cluster import NAMESPACE
from tests.integration.log_api.parts import OWN, REQUEST_TIMEOUT_S, TENANT_USER, Aggregated, log_path
from tests.patience import PATIENCE_S, eventually

ID = "exec_20260115_a1b2c3d4"
_LARGE_BYTES = 100 * 1_048_576
_BLOCK_BYTES = 65_536
_GROWTH_MIB = 38.0


async def test_output_comes_while_the_code_runs_and_ends_with_it(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("lives", ID))
    output.write("stdout", b"first\n")
    async with cluster.ask(log_path("lives", follow="true")) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        assert await answer.content.readline() == b"first\n"
        output.write("stderr", b"second\n")
        assert await answer.content.readline() == b"second\n"
        output.write("stdout", b"third, without an end of line")
        output.end()
        assert await answer.content.read() == b"third, without an end of line"


async def test_kubectl_get_raw_follows(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("raw", ID))
    output.write("stdout", b"by kubectl\n")
    output.end()
    kubeconfig = cluster.server.folder / "tenant.kubeconfig"
    cluster.server.write_kubeconfig(kubeconfig, cluster.server.users[TENANT_USER])
    words = [str(find_binary("kubectl")), "--kubeconfig", str(kubeconfig), "get", "--raw"]
    done = await asyncio.to_thread(
        subprocess.run, [*words, log_path("raw", follow="true")], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b"by kubectl\n"), done.stderr


async def test_without_follow_it_is_what_there_is_now(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("goes-on", ID))
    output.write("stdout", b"so far\n")
    assert await cluster.text(log_path("goes-on")) == "so far\n"


async def test_one_stream_alone_and_so_many_bytes(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("both", ID))
    for stream, data in (("stdout", b"out\n"), ("stderr", b"err\n"), ("stdout", b"more\n")):
        output.write(stream, data)
    output.end()
    assert await cluster.text(log_path("both", stream="stdout")) == "out\nmore\n"
    assert await cluster.text(log_path("both", stream="stderr")) == "err\n"
    assert await cluster.text(log_path("both", limitBytes="6")) == "out\ner"
    assert await cluster.text(log_path("both", stdoutOffset="4", stderrOffset="1")) == "rr\nmore\n"


async def test_one_that_waits_is_waited_for(cluster: Aggregated, executor: OutputExecutor) -> None:
    made = await cluster.create("waits")
    assert await cluster.text(log_path("waits")) == ""
    async with cluster.ask(log_path("waits", follow="true")) as answer:
        assert answer.status == 200
        output = executor.outputs[ID] = Output(owner=made["metadata"]["uid"])
        output.write("stdout", b"at last\n")
        await cluster.set_status("waits", phase="Running", executionId=ID, attempt=1, podName="pod-1")
        assert await answer.content.readline() == b"at last\n"
        output.end()
        assert await answer.content.read() == b""


async def test_a_connection_that_breaks_off_is_made_anew_where_it_broke(
    cluster: Aggregated, executor: OutputExecutor
) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("breaks", ID), break_after=[100_000, 7, 0])
    printed = b"".join(b"%07d\n" % number for number in range(25_000))
    output.write("stdout", printed)
    output.write("stderr", b"the end\n")
    output.end()
    assert await cluster.text(log_path("breaks", follow="true")) == printed.decode() + "the end\n"
    assert output.asked == [(0, 0), (100_000, 0), (100_007, 0), (100_007, 0)]


async def test_what_the_executor_holds_no_more_is_said(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("cut", ID), dropped={"stdout": 6})
    output.write("stdout", b"gone, there\n")
    output.end()
    told = await cluster.text(log_path("cut"))
    assert told == "[sandbox-executor: bytes 0 to 6 of stdout are not kept any more]\nthere\n"


async def test_a_finished_one_is_read_from_its_status_once_its_executor_has_forgotten(
    cluster: Aggregated, executor: OutputExecutor
) -> None:
    await cluster.run("old", ID)
    await cluster.set_status(
        "old", phase="Succeeded", stdout="tail\n", stdoutBytes=1000, stdoutTruncated=True, stderr="why\n", stderrBytes=4
    )
    assert await cluster.text(log_path("old", follow="true")) == (
        "[sandbox-executor: bytes 0 to 995 of stdout are not kept any more]\ntail\nwhy\n"
    )
    await cluster.remove(names.core_path(NAMESPACE, "pods", "pod-1"))
    assert await cluster.text(log_path("old", stream="stderr")) == "why\n"
    assert await cluster.text(log_path("old", stdoutOffset="997", stream="stdout")) == "il\n"


async def test_a_later_attempt_is_followed(cluster: Aggregated, executor: OutputExecutor) -> None:
    uid = await cluster.run("retried", ID, maxRetries=1)
    output = executor.outputs[ID] = Output(owner=uid)
    output.write("stdout", b"first try")
    async with cluster.ask(log_path("retried", follow="true")) as answer:
        assert await answer.content.readexactly(9) == b"first try"
        async with OutputExecutor(cluster.log_api.token) as second:
            again = second.outputs[ID] = Output(attempt=2, owner=uid)
            again.write("stdout", b"second try\n")
            again.end()
            await cluster.add_pod("pod-2", second.port)
            del executor.outputs[ID]
            await cluster.set_status("retried", attempt=2, podName="pod-2")
            output.end("Crashed")
            rest = await asyncio.wait_for(_read_until(answer.content, b"second try\n"), PATIENCE_S)
            await cluster.set_status("retried", phase="Succeeded")
            assert await answer.content.read() == b""
    assert rest == b"\n[sandbox-executor: attempt 1 was lost; attempt 2 begins]\nsecond try\n"


async def _read_until(content: Any, last: bytes) -> bytes:
    found = b""
    while not found.endswith(last):
        found += await content.readany()
    return found


async def test_events_carry_bytes_ids_and_an_end(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("events", ID))
    output.write("stdout", b"\xff\x00\n")
    output.write("stderr", b"e")
    output.end()
    async with cluster.ask(log_path("events", follow="true", stderrOffset="1"), accept="text/event-stream") as answer:
        assert answer.content_type == "text/event-stream"
        told = _events(await answer.text())
    assert told == [
        ("attempt", '{"attempt":1}', "0-1"),
        ("stdout", base64.b64encode(b"\xff\x00\n").decode(), "3-1"),
        (
            "end",
            '{"phase":"Succeeded","reason":"","exitCode":null,"attempt":1,"stdoutBytes":3,"stderrBytes":1}',
            "3-1",
        ),
    ]


def _events(text: str) -> list[tuple[str, str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [(found["event"], found["data"], found["id"]) for found in fields]


async def test_a_silent_run_keeps_the_line_open(cluster: Aggregated, executor: OutputExecutor) -> None:
    executor.keep_alive_s = 0.2
    output = executor.outputs[ID] = Output(owner=await cluster.run("silent", ID))
    async with cluster.ask(log_path("silent", follow="true"), accept="text/event-stream") as answer:
        await asyncio.wait_for(_read_until(answer.content, b": keep-alive\n\n"), PATIENCE_S)
        output.end()
        assert b"event: end" in await answer.content.read()


async def test_a_silent_run_outlasts_the_api_servers_request_timeout(
    cluster: Aggregated, executor: OutputExecutor
) -> None:
    """Also as text, in which nothing is sent meanwhile."""
    output = executor.outputs[ID] = Output(owner=await cluster.run("quiet", ID))
    async with cluster.ask(log_path("quiet", follow="true")) as answer:
        assert answer.status == 200
        await asyncio.sleep(REQUEST_TIMEOUT_S + 3)
        output.write("stdout", b"still there\n")
        assert await answer.content.readline() == b"still there\n"
        output.end()
        assert await answer.content.read() == b""


async def test_a_client_that_leaves_is_noticed(cluster: Aggregated, executor: OutputExecutor) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("left", ID))
    output.write("stdout", b"x\n")
    async with cluster.ask(log_path("left", follow="true")) as answer:
        assert await answer.content.readline() == b"x\n"
        assert "sandbox_log_api_streams 1.0" in await asyncio.to_thread(cluster.log_api.metrics)
        answer.close()
    await cluster.wait_until_nobody_follows()

    async def is_counted() -> bool:
        return 'sandbox_log_api_requests_total{code="499"}' in await asyncio.to_thread(cluster.log_api.metrics)

    await eventually(is_counted, "the one that left is not counted")


async def test_one_that_is_deleted_ends_the_answer(cluster: Aggregated, executor: OutputExecutor) -> None:
    await cluster.create("deleted")
    async with cluster.ask(log_path("deleted", follow="true")) as answer:
        assert answer.status == 200
        await cluster.remove(names.execution_path(OWN, "deleted"))
        assert (
            b'[sandbox-executor: this is not all: executions.subresources.sandbox-executor.dev "deleted" not found]'
            in (await answer.content.read())
        )


@pytest.mark.timeout(600)
async def test_a_hundred_megabytes_arrive_whole_in_bounded_memory(
    cluster: Aggregated, executor: OutputExecutor
) -> None:
    """Also where the client pauses: what it does not read stays with the executor."""
    output = executor.outputs[ID] = Output(owner=await cluster.run("large", ID))
    sent = _Blocks()
    output.large = sent
    output.end()
    peak, digest, size = cluster.log_api.peak(), hashlib.sha256(), 0
    async with cluster.ask(log_path("large", follow="true")) as answer:
        await answer.content.readexactly(1)
        waiting_at = 0
        while sent.made > waiting_at:  # what lies between the executor and this client fills up
            waiting_at = sent.made
            await asyncio.sleep(1)
        assert waiting_at < _LARGE_BYTES // _BLOCK_BYTES // 2, "nobody reads, and it is sent all the same"
        digest.update(b"\0")
        size = 1
        async for data in answer.content.iter_any():
            digest.update(data)
            size += len(data)
    print(f"\n{size} bytes; the log API took {peak.grown_mib:.1f} MiB more at most")
    assert size == _LARGE_BYTES
    assert digest.digest() == sent.digest()
    assert peak.grown_mib < _GROWTH_MIB


class _Blocks:
    """Blocks that differ, and how many have been made so far."""

    def __init__(self) -> None:
        self.made = 0

    def __iter__(self) -> Iterator[bytes]:
        for number in range(_LARGE_BYTES // _BLOCK_BYTES):
            self.made += 1
            yield self._block(number)

    def _block(self, number: int) -> bytes:
        return number.to_bytes(8, "big") * (_BLOCK_BYTES // 8)

    def digest(self) -> bytes:
        """Of all of them."""
        whole = hashlib.sha256()
        for number in range(_LARGE_BYTES // _BLOCK_BYTES):
            whole.update(self._block(number))
        return whole.digest()
