"""``run``, ``submit`` and ``attach`` of the client, by a tenant against the whole."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from sandbox_executor_client import (
    AsyncClient,
    Client,
    Deleted,
    ExecutionFailed,
    ExecutionResources,
    Forbidden,
    InvalidExecution,
    NotFound,
    Result,
    WaitTimeout,
    new_execution_id,
)
from tests.integration.user.conftest import TENANT, Whole
from tests.patience import PATIENCE_S, Sleeper, time_limits

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
SLEEP = "import time\nprint('begun', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
async def client(whole: Whole) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(kubeconfig=str(whole.tenant)) as opened:
        yield opened
        for execution in await opened.list():
            await opened.delete(execution.name)


async def test_a_handler_gives_a_whole_result(client: AsyncClient) -> None:
    code = (
        "import os, sys\n"
        "def handler(event):\n"
        "    print('out', event['n']); print('err', file=sys.stderr)\n"
        "    open('note.txt', 'w').write('hello')\n"
        "    return {'n': event['n'] * 2, 'env': os.environ['WHO'], 'none': None}\n"
    )
    result = await client.run(code, event={"n": 21}, env={"WHO": "Ada"}, timeout=20, labels={"team": "a"})
    assert (result.phase, result.reason, result.exit_code) == ("Succeeded", "Completed", 0)
    assert (result.stdout, result.stderr, result.truncated) == ("out 21\n", "err\n", False)
    assert result.return_value == {"n": 42, "env": "Ada", "none": None}
    assert [(found.path, found.size) for found in result.artifacts] == [("note.txt", 5)]
    assert 0 < result.metrics.duration_ms < 20_000
    assert result.metrics.peak_memory_mb > 1
    assert (result.namespace, result.failure, result.succeeded) == (TENANT, None, True)
    stored = await client.get(result.name)
    assert (stored.execution_id, stored.spec["timeoutSeconds"]) == (result.execution_id, 20)
    assert [found.name for found in await client.list(labels="team=a")] == [result.name]


async def test_a_plain_script_succeeds_and_its_exit_code_is_its_own(client: AsyncClient) -> None:
    printed, left, shell = await asyncio.gather(
        client.run("print(1 + 1)"),
        client.run("import sys\nsys.exit(3)"),
        client.run("echo $((1 + 1)); exit 4", language="shell"),
    )
    assert (printed.exit_code, printed.stdout, printed.return_value) == (0, "2\n", None)
    assert (left.exit_code, left.reason, left.succeeded) == (3, "NonZeroExit", False)
    assert (shell.exit_code, shell.stdout) == (4, "2\n")


async def test_a_program_that_fails_is_an_exception_only_when_asked(client: AsyncClient) -> None:
    code = "def handler(event): raise ValueError('no such thing')\n"
    result = await client.run(code)
    assert (result.phase, result.reason, result.exit_code) == ("Failed", "HandlerRaised", 1)
    assert "ValueError: no such thing" in result.stderr
    with pytest.raises(ExecutionFailed, match=r"Failed \(HandlerRaised\)") as raised:
        await client.run(code, check=True)
    assert (raised.value.code, raised.value.result.exit_code) == ("HandlerRaised", 1)


async def test_each_end_has_its_reason_and_code(client: AsyncClient) -> None:
    hungry = "x = []\nwhile True: x.append(bytearray(10**6))\n"
    out_of_memory = await client.run(hungry, resources=ExecutionResources(memory="32Mi"))
    for limit_s in time_limits():
        timed_out = await client.run(SLEEP, timeout=limit_s)
        if timed_out.stdout:
            break
    assert (timed_out.phase, timed_out.exit_code, timed_out.stdout) == ("TimedOut", -1, "begun\n")
    assert timed_out.failure is not None
    assert timed_out.failure.code == "Executor.TimedOut"
    with pytest.raises(ExecutionFailed) as raised:
        timed_out.check()
    assert raised.value.code == "Executor.TimedOut"
    assert (out_of_memory.phase, out_of_memory.reason) == ("Failed", "MemoryLimit")


async def test_what_cannot_be_asked_for_is_refused_before_it_is_sent(client: AsyncClient) -> None:
    with pytest.raises(InvalidExecution, match=r"spec\.timeoutSeconds: Input should be less than or equal to 3600"):
        await client.run("print(1)", timeout=4000)
    with pytest.raises(InvalidExecution, match=r"spec\.env\.0\.name: String should match"):
        await client.run("print(1)", env={"1A": "x"})
    with pytest.raises(InvalidExecution, match=r"spec\.language"):
        await client.run("puts 1", language="ruby")  # type: ignore[arg-type]
    assert await client.list() == []


async def test_refusals_carry_a_code_and_the_id_of_the_audit_log(client: AsyncClient, whole: Whole) -> None:
    async with AsyncClient("default", kubeconfig=str(whole.tenant)) as elsewhere:
        with pytest.raises(Forbidden) as refused:
            await elsewhere.run("print(1)")
    assert refused.value.code == "Forbidden"
    assert f'"auditID":"{refused.value.request_id}"' in whole.server.audit_log.read_text()
    with pytest.raises(NotFound) as missing:
        await client.attach("nothing")
    assert missing.value.code == "NotFound"
    assert len(missing.value.request_id) == 36


async def test_a_handle_follows_one_and_can_be_had_again_by_its_name(client: AsyncClient) -> None:
    handle = await client.submit(SLEEP, name="followed")
    seen = []
    async for state in (await client.attach("followed")).states():
        seen.append(state.phase)
        if state.phase == "Running":
            await handle.cancel()
    assert (seen[-1], seen.count("Running") > 0) == ("Cancelled", True)
    result = await handle.result()
    assert (result.reason, result.name) == ("Cancelled", "followed")
    assert (await client.attach("followed")).first.finished
    await handle.delete()
    with pytest.raises(NotFound):
        await handle.execution()


async def test_leaving_early_cancels(client: AsyncClient) -> None:
    with pytest.raises(WaitTimeout, match="is cancelled"):
        await client.run(SLEEP, name="given-up", wait_timeout_s=0.5)
    assert (await client.wait("given-up", timeout_s=PATIENCE_S)).phase == "Cancelled"
    running = asyncio.ensure_future(client.run(SLEEP, name="left"))
    async with aclosing(client.watch(phase="Running")) as changes:
        async for change in changes:
            if change.execution.name == "left":
                break
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await client.wait("left", timeout_s=PATIENCE_S)).phase == "Cancelled"


async def test_a_handle_without_a_block_leaves_it_running(client: AsyncClient) -> None:
    sleeper = Sleeper()
    handle = await client.submit(sleeper.python, timeout=600)
    with pytest.raises(WaitTimeout, match="goes on"):
        await handle.result(timeout_s=0.1)
    await asyncio.to_thread(sleeper.end)
    assert (await handle.result()).phase == "Succeeded"


async def test_one_that_is_deleted_while_it_is_waited_for(client: AsyncClient) -> None:
    async with await client.submit(SLEEP) as handle:
        waiting = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0.3)
        await client.delete(handle.name)
        with pytest.raises(Deleted):
            await waiting


async def test_one_that_is_deleted_before_it_is_waited_for(client: AsyncClient) -> None:
    handle = await client.submit(SLEEP)
    await client.delete(handle.name)
    with pytest.raises(Deleted, match="was deleted before it ended"):
        await handle.result()


async def test_the_same_id_runs_once(client: AsyncClient) -> None:
    execution_id = new_execution_id()
    code = "import uuid\ndef handler(event): return str(uuid.uuid4())\n"
    results = await asyncio.gather(*(client.run(code, execution_id=execution_id) for _ in range(3)))
    assert len({result.return_value for result in results}) == 1


async def test_pools_need_rights_of_their_own(client: AsyncClient, whole: Whole) -> None:
    with pytest.raises(Forbidden):
        await client.pools()
    async with AsyncClient(kubeconfig=str(whole.admin)) as admin:
        assert [(pool.name, pool.replicas) for pool in await admin.pools()] == [("default", 1)]
        assert (await admin.pool("default")).name == "default"


def test_the_blocking_twin_does_the_same(whole: Whole) -> None:
    with Client(kubeconfig=str(whole.tenant)) as client:
        result = client.run("def handler(event): return event['n'] + 1", event={"n": 1})
        assert isinstance(result, Result)
        assert result.return_value == 2
        with pytest.raises(ExecutionFailed):
            client.run("raise SystemExit(2)", check=True)
        with pytest.raises(WaitTimeout, match="is cancelled"):
            client.run(SLEEP, name="blocking", wait_timeout_s=0.5)
        handle = client.attach("blocking")
        assert handle.result(timeout_s=PATIENCE_S).phase == "Cancelled"
        with handle.states() as states:
            assert [state.phase for state in states] == ["Cancelled"]
        with client.states("blocking") as states:
            assert next(states).name == handle.name
        with client.submit(SLEEP) as running:
            threading.Timer(0.3, running.cancel).start()
            assert running.result().phase == "Cancelled", "or its own timeout would have ended it, as TimedOut"
        for execution in client.list():
            client.delete(execution.name)
        with Client(kubeconfig=str(whole.admin)) as admin:
            assert [pool.name for pool in admin.pools()] == ["default"]
