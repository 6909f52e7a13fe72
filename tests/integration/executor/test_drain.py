"""The preStop hook against a real executor."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from executor_runtime.drain import SETTLED_S
from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import ROOT, RunningExecutor

pytestmark = pytest.mark.sandbox

ASYNC = {"Prefer": "respond-async"}
WAIT = "import time\ndef handler(event):\n    time.sleep(event)\n    return event\n"


def drain(port: int, seconds: float) -> float:
    """Seconds that the hook took."""
    begun = time.monotonic()
    environment = {"EXECUTOR_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "executor_runtime.drain", str(seconds)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    return time.monotonic() - begun


async def test_what_runs_and_what_waits_ends_before_the_hook_does(start: Callable[..., RunningExecutor]) -> None:
    executor = start(MAX_CONCURRENT_EXECUTIONS="1")
    async with executor.client() as client:
        requests = [make_request(WAIT, event=1.5) for _ in range(2)]
        for request in requests:
            assert (await client.post("/execute", json=request, headers=ASYNC)).status_code == 202
        took_s = await asyncio.to_thread(drain, executor.port, 30)
        states = [(await client.get(f"/executions/{request['execution_id']}")).json() for request in requests]
        assert [state["state"] for state in states] == ["ended"] * 2
        assert [state["result"]["return_value"] for state in states] == [1.5] * 2
        assert 3 + SETTLED_S <= took_s < 20


async def test_it_gives_up_on_what_is_too_long(start: Callable[..., RunningExecutor]) -> None:
    executor = start()
    async with executor.client() as client:
        await client.post("/execute", json=make_request(WAIT, event=60), headers=ASYNC)
        assert 1 <= await asyncio.to_thread(drain, executor.port, 1) < 10


async def test_without_an_executor_there_is_nothing_to_wait_for() -> None:
    assert await asyncio.to_thread(drain, 1, 30) < 10
