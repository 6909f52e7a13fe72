"""The Python client and the command line, following through the API server."""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from controller import names
from sandbox_executor_client import AsyncClient, Client, Deleted, Forbidden, NotFound, NotInstalled, Output
from tests.fakes.output import Output as Printed
from tests.fakes.output import OutputExecutor
from tests.integration.log_api.parts import API_SERVICE, OTHER, OWN, Aggregated
from tests.patience import PATIENCE_S, eventually

ID = "exec_20260115_a1b2c3d4"
_COMMAND = str(Path(sys.executable).with_name("sandbox-run"))


async def _read(client: AsyncClient, name: str, *, follow: bool = True) -> list[Output]:
    async with aclosing(client.output(name, follow=follow)) as outputs:
        return [output async for output in outputs]


async def test_output_comes_as_it_is_printed(
    cluster: Aggregated, executor: OutputExecutor, client: AsyncClient
) -> None:
    printed = executor.outputs[ID] = Printed(owner=await cluster.run("prints", ID), dropped={"stdout": 2})
    printed.write("stdout", b"..\xff\n")
    assert await _read(client, "prints", follow=False) == [Output("stdout", b"", 2), Output("stdout", b"\xff\n")]
    async with aclosing(client.output("prints")) as outputs:
        assert [await anext(outputs) for _ in range(2)][1] == Output("stdout", b"\xff\n")
        printed.write("stderr", b"e")
        assert await anext(outputs) == Output("stderr", b"e")
        printed.end()
        assert await anext(outputs, None) is None


async def test_it_goes_on_where_the_log_api_went_away(
    cluster: Aggregated, executor: OutputExecutor, client: AsyncClient
) -> None:
    printed = executor.outputs[ID] = Printed(owner=await cluster.run("long", ID))
    printed.write("stdout", b"before ")
    async with aclosing(client.output("long")) as outputs:
        assert (await anext(outputs)).data == b"before "
        assert cluster.log_api.process is not None
        cluster.log_api.process.kill()
        await asyncio.to_thread(cluster.log_api.process.wait)
        printed.write("stdout", b"after")
        await asyncio.to_thread(cluster.log_api.start)
        printed.end()
        assert b"".join([output.data async for output in outputs]) == b"after"
    assert printed.asked[-1] == (7, 0)


async def test_what_is_refused_is_told_apart(cluster: Aggregated, client: AsyncClient, kubeconfig: Path) -> None:
    with pytest.raises(NotFound, match='"nothing" not found'):
        await _read(client, "nothing")
    async with AsyncClient(OTHER, kubeconfig=str(kubeconfig)) as elsewhere:
        with pytest.raises(Forbidden, match="executions/log"):
            await _read(elsewhere, "nothing")


async def test_one_that_is_deleted_goes_no_further(cluster: Aggregated, client: AsyncClient) -> None:
    await cluster.create("deleted")
    reading = asyncio.create_task(_read(client, "deleted"))
    await asyncio.sleep(0.5)
    await cluster.remove(names.execution_path(OWN, "deleted"))
    with pytest.raises((Deleted, NotFound)):
        await reading


async def test_without_the_log_api_the_status_is_told_at_the_end(cluster: Aggregated, client: AsyncClient) -> None:
    kept = await cluster.call("GET", API_SERVICE)
    await cluster.remove(API_SERVICE)
    try:
        await _until_it_is_gone(client)
        told: list[str] = []
        handle = await client.submit("print(1)", name="plain")
        waiting = asyncio.create_task(handle.result(on_stdout=told.append))
        await cluster.set_status("plain", phase="Succeeded", stdout="one\n", stdoutBytes=4)
        result = await waiting
    finally:
        made = {**kept, "metadata": {"name": kept["metadata"]["name"]}, "status": {}}
        await cluster.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", made)
        await cluster.wait_available("True")
    assert (told, result.stdout) == (["one\n"], "one\n")


async def _until_it_is_gone(client: AsyncClient) -> None:
    async def is_gone() -> bool:
        with pytest.raises(NotFound) as refused:
            await _read(client, "nothing", follow=False)
        return isinstance(refused.value, NotInstalled) and "logAPI.enabled=true" in str(refused.value)

    await eventually(is_gone, "the log API is said to be installed still")


async def test_callbacks_get_text_as_it_comes(
    cluster: Aggregated, executor: OutputExecutor, client: AsyncClient
) -> None:
    printed = executor.outputs[ID] = Printed(owner=await cluster.run("talks", ID))
    out: list[str] = []
    err: list[str] = []
    last = asyncio.Event()

    def on_stderr(text: str) -> None:
        err.append(text)
        last.set()

    handle = await client.attach("talks")
    waiting = asyncio.create_task(handle.result(on_stdout=out.append, on_stderr=on_stderr))
    for number, piece in enumerate((b"gr\xc3", b"\xbcn"), 1):
        printed.write("stdout", piece)
        async with asyncio.timeout(PATIENCE_S):
            while len(out) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    printed.write("stderr", b"e\n")
    await asyncio.wait_for(last.wait(), PATIENCE_S)
    assert out == ["gr", "\u00fcn"]
    printed.end()
    await cluster.set_status("talks", phase="Succeeded", stdout="gr\u00fcn", stdoutBytes=5)
    assert (await waiting).stdout == "gr\u00fcn"
    assert (out, err) == (["gr", "\u00fcn"], ["e\n"]), "nothing is told twice"


async def test_the_blocking_client_reads_too(cluster: Aggregated, executor: OutputExecutor, kubeconfig: Path) -> None:
    printed = executor.outputs[ID] = Printed(owner=await cluster.run("blocks", ID))
    printed.write("stdout", b"x")
    printed.end()

    def read() -> list[Output]:
        with Client(OWN, kubeconfig=str(kubeconfig)) as client, client.output("blocks") as outputs:
            return list(outputs)

    assert await asyncio.to_thread(read) == [Output("stdout", b"x")]


async def test_the_command_line_follows(cluster: Aggregated, executor: OutputExecutor, kubeconfig: Path) -> None:
    printed = executor.outputs[ID] = Printed(owner=await cluster.run("followed", ID))
    printed.write("stdout", b"first\n")
    process = await asyncio.create_subprocess_exec(
        *(_COMMAND, "logs", "-f", "followed", "-n", OWN),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"first\n"
    printed.write("stdout", b"second\n")
    printed.write("stderr", b"oops\n")
    printed.end("Failed")
    await cluster.set_status("followed", phase="Failed", stdout="first\nsecond\n", stderr="oops\n")
    rest, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (rest, process.returncode) == (b"second\n", 0)
    assert errors.startswith(b"oops\n")
