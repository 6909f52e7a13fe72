"""Many executions: nothing is lost, mixed up, run twice or left behind."""

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor, wait_until_warm
from tests.patience import eventually, wait_until

pytestmark = pytest.mark.sandbox


def descriptors_of(executor: RunningExecutor) -> list[str]:
    """What its descriptors are, but for connections: this test's client and the reports keep some open."""
    links = []
    for entry in Path(f"/proc/{executor.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was open for a moment
            links.append(os.readlink(entry))
    unnumbered = [re.sub(r"\[\d+\]|(?<=warm-)[0-9a-f]+", "", link) for link in links]
    return sorted(link for link in unnumbered if not link.startswith("socket:"))


def below(executor: RunningExecutor) -> list[str]:
    """What runs below it, by name: the fork server, and sandboxes that wait."""
    names = []
    for process in psutil.Process(executor.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
            names.append(process.name())
    return sorted(names)


async def test_it_waits_with_nothing_that_user_code_can_use_up(shared_executor: RunningExecutor) -> None:
    """The kernel counts these for each uid, and sandboxes have the executor's."""
    async with shared_executor.client() as client:
        assert (await client.post("/execute", json=make_request())).status_code == 200
    kinds = {link for link in descriptors_of(shared_executor) if link.startswith("anon_inode:")}
    assert not kinds & {"anon_inode:[eventpoll]", "anon_inode:inotify"}


async def test_sixty_executions_with_retrying_clients_all_end_once_and_leave_nothing(
    reporting: Callable[..., RunningExecutor], control_plane: FakeControlPlane
) -> None:
    control_plane.program("result", *[503, 201] * 5)
    executor = reporting(WORKSPACE_RETENTION_SECONDS="0", WARM_SANDBOXES="2")
    async with executor.client() as client:
        await client.post("/execute", json=make_request())
        await control_plane.wait_for("result")
        await wait_until_warm(client, 2)
        before, children = [""], below(executor)
        while before != (before := descriptors_of(executor)):  # noqa: ASYNC110 - the result's file may be open still
            await asyncio.sleep(0.5)

        async def insist(number: int) -> httpx.Response:
            request = make_request(
                "def handler(event):\n    open('f', 'w').write('x')\n    return event\n", event=number
            )
            while True:
                answer = await client.post("/execute", json=request)
                if answer.status_code != 503:
                    return answer
                await asyncio.sleep(0.05)

        answers = await asyncio.gather(*(insist(number) for number in range(60)))
        assert [answer.json()["return_value"] for answer in answers] == list(range(60))

        async def are_told() -> bool:
            return len({call.execution_id for call in control_plane.of("result") if call.answered in (200, 201)}) == 61

        await eventually(are_told, "not every result is told")
        metrics = (await client.get("/metrics")).text
        assert 'sandbox_executor_executions_total{language="python",status="success"} 61.0' in metrics
        await wait_until_warm(client, 2)

        def left() -> list[str]:
            return [name for name in os.listdir(executor.workspaces) if not name.startswith("warm-")]

        await asyncio.to_thread(wait_until, lambda: below(executor) == children, "other processes are left")
        await asyncio.to_thread(wait_until, lambda: not left(), "workspaces are left")
        await asyncio.to_thread(wait_until, lambda: not os.listdir(executor.results), "results are left")
        await asyncio.to_thread(wait_until, lambda: descriptors_of(executor) == before, "other descriptors are left")
