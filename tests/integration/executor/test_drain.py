"""The preStop hook against a real executor."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from executor_runtime.drain import SETTLED_S
from tests.integration.executor.conftest import HELD, make_request
from tests.integration.executor.running import ROOT, RunningExecutor

pytestmark = pytest.mark.sandbox

ASYNC = {"Prefer": "respond-async"}
_LONG_S = 3600.0
"""So long no hook of these tests waits: that it ends is proof that it did not wait for that."""


def drain(port: int, seconds: float) -> float:
    """Runs the hook; when it ended (monotonic seconds)."""
    environment = {"EXECUTOR_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "executor_runtime.drain", str(seconds)]
    subprocess.run(command, env=environment, check=True, timeout=90)
    return time.monotonic()


async def test_what_runs_and_what_waits_ends_before_the_hook_does(start: Callable[..., RunningExecutor]) -> None:
    executor = start(MAX_CONCURRENT_EXECUTIONS="1")
    async with executor.client() as client:
        requests = [make_request(HELD + "    return event\n", event=number, timeout=600) for number in range(2)]
        for request in requests:
            assert (await client.post("/execute", json=request, headers=ASYNC)).status_code == 202
        hook = asyncio.create_task(asyncio.to_thread(drain, executor.port, _LONG_S))
        for request in requests:
            await asyncio.to_thread(executor.wait_for_file, request["execution_id"], "begun")
            await asyncio.wait([hook], timeout=SETTLED_S + 0.5)
            assert not hook.done(), "something runs"
            let_go_at = time.monotonic()
            await asyncio.to_thread(executor.let_go, request["execution_id"], "go")
        assert await hook >= let_go_at + SETTLED_S
        states = [(await client.get(f"/executions/{request['execution_id']}")).json() for request in requests]
        assert [state["state"] for state in states] == ["ended"] * 2
        assert [state["result"]["return_value"] for state in states] == [0, 1]


async def test_it_gives_up_on_what_is_too_long(start: Callable[..., RunningExecutor]) -> None:
    executor = start()
    async with executor.client() as client:
        request = make_request(HELD, timeout=600)
        await client.post("/execute", json=request, headers=ASYNC)
        begun = time.monotonic()
        assert await asyncio.to_thread(drain, executor.port, 1) >= begun + 1
        assert (await client.get(f"/executions/{request['execution_id']}")).json()["state"] == "running"


async def test_without_an_executor_there_is_nothing_to_wait_for() -> None:
    await asyncio.to_thread(drain, 1, _LONG_S)
