"""Slots, the queue, and cancelling (the seed's T091, SC-007)."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest

from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor
from tests.patience import TRIES, time_limits, wait_until

pytestmark = pytest.mark.sandbox

ASYNC = {"Prefer": "respond-async"}
WAIT = "import time\ndef handler(event):\n    time.sleep(event)\n    return event\n"


async def state_of(client: httpx.AsyncClient, request: dict[str, object]) -> str:
    return str((await client.get(f"/executions/{request['execution_id']}")).json().get("state", "unknown"))


async def test_two_run_ten_wait_in_order_and_the_next_is_told_to_come_back(
    start: Callable[..., RunningExecutor],
) -> None:
    executor = start()
    async with executor.client() as client:
        blockers = [make_request(WAIT, event=600, timeout=600) for _ in range(2)]
        waiting = [make_request(event=number) for number in range(10)]
        for request in (*blockers, *waiting):
            assert (await client.post("/execute", json=request, headers=ASYNC)).status_code == 202
        assert [await state_of(client, request) for request in blockers] == ["running"] * 2
        assert {await state_of(client, request) for request in waiting} == {"queued"}

        refused = await client.post("/execute", json=make_request())
        assert (refused.status_code, refused.json()["error_code"]) == (503, "Executor.QueueFull")
        assert int(refused.headers["Retry-After"]) >= 1
        repeated = await client.post("/execute", json=waiting[0], headers=ASYNC)
        assert (repeated.status_code, repeated.json()["status"]) == (202, "queued")

        for request in blockers:
            cancelled = await client.delete(f"/executions/{request['execution_id']}")
            assert cancelled.json()["result"]["reason"] == "Cancelled"
        answers = await asyncio.gather(*(client.post("/execute", json=request) for request in waiting))
        assert [answer.json()["return_value"] for answer in answers] == list(range(10))

        # The log was written by the executor itself, one line a start: its order is the order of the starts.
        def starts() -> list[str]:
            return [record["execution_id"] for record in executor.log if record["event_type"] == "execution_started"]

        await asyncio.to_thread(wait_until, lambda: len(starts()) == 12, "not every start is in the log")
        assert starts() == [request["execution_id"] for request in (*blockers, *waiting)]


async def test_a_running_one_is_cancelled_with_its_partial_output(
    client: httpx.AsyncClient, shared_executor: RunningExecutor
) -> None:
    """Within two seconds, on a machine that has the time for it."""
    code = "import time\ndef handler(event):\n    print('begun', flush=True)\n    open('x', 'w')\n    time.sleep(600)\n"
    for _ in range(TRIES):
        request = make_request(code, timeout=600)
        answer = asyncio.create_task(client.post("/execute", json=request))
        await asyncio.to_thread(shared_executor.wait_for_file, request["execution_id"], "x")
        assert await state_of(client, request) == "running"
        begun = time.monotonic()
        cancelled = await client.delete(f"/executions/{request['execution_id']}")
        if (took_s := time.monotonic() - begun) < 2:
            break
    assert took_s < 2
    result = cancelled.json()["result"]
    assert cancelled.status_code == 200
    assert (cancelled.json()["state"], result["status"], result["reason"]) == ("ended", "failed", "Cancelled")
    assert result["stdout"] == "begun\n"
    assert (await answer).json() == result
    again = await client.delete(f"/executions/{request['execution_id']}")
    assert (again.status_code, again.json()["result"]) == (200, result)


async def test_a_waiting_one_is_cancelled_without_running(start: Callable[..., RunningExecutor]) -> None:
    async with start(MAX_CONCURRENT_EXECUTIONS="1").client() as client:
        blocker, waiting = make_request(WAIT, event=600, timeout=600), make_request()
        for request in (blocker, waiting):
            await client.post("/execute", json=request, headers=ASYNC)
        cancelled = (await client.delete(f"/executions/{waiting['execution_id']}")).json()
        assert (cancelled["result"]["status"], cancelled["result"]["reason"]) == ("failed", "Cancelled")
        assert cancelled["result"]["execution_time"] == 0
        assert await state_of(client, blocker) == "running"


async def test_the_timeout_counts_from_the_start_of_the_run(start: Callable[..., RunningExecutor]) -> None:
    """One that waits in the queue for longer than its timeout succeeds, where its interpreter starts in that time."""
    async with start(MAX_CONCURRENT_EXECUTIONS="1").client() as client:
        for limit_s in time_limits():
            blocker, waiting = make_request(WAIT, event=600, timeout=600), make_request(timeout=limit_s)
            for request in (blocker, waiting):
                assert (await client.post("/execute", json=request, headers=ASYNC)).status_code == 202
            await asyncio.sleep(limit_s + 0.2)
            assert await state_of(client, waiting) == "queued"
            await client.delete(f"/executions/{blocker['execution_id']}")
            result = (await client.post("/execute", json=waiting)).json()
            if result["status"] == "success":
                break
        assert result["status"] == "success"
