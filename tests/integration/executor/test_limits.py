"""Limits as a client meets them: what is over its limit fails with a reason, and nothing of it stays."""

import asyncio

import httpx
import pytest

from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor
from tests.patience import wait_until

pytestmark = pytest.mark.sandbox

FILL = """
def handler(event):
    open("kept.txt", "w").write("x")
    with open("large", "wb", 0) as file:
        for _ in range(event): file.write(bytes(1 << 20))
    return "done"
"""
LIMITS = {"workspace_bytes": 32 << 20}


async def run(client: httpx.AsyncClient, size_mib: int, **fields: object) -> dict[str, object]:
    request = make_request(FILL, event=size_mib, limits=LIMITS, **fields)
    answer = await client.post("/execute", json=request)
    assert answer.status_code == 200, answer.text
    result: dict[str, object] = answer.json()
    return result


async def wait_until_gone(executor: RunningExecutor, execution_id: object) -> None:
    def is_gone() -> bool:
        return not list(executor.workspaces.glob(f"{execution_id}-*"))

    await asyncio.to_thread(wait_until, is_gone, f"the workspace of {execution_id} stays")


async def test_over_its_disk_space_an_execution_fails_and_leaves_nothing(
    shared_executor: RunningExecutor, client: httpx.AsyncClient
) -> None:
    over, within = await asyncio.gather(run(client, 1_000_000), run(client, 20))
    assert (over["status"], over["reason"], over["exit_code"]) == ("failed", "DiskLimit", 137)
    assert over["message"] == "the workspace held more than its limit of 32 MiB"
    assert (over["artifacts"], over["return_value"]) == ([], None)
    await wait_until_gone(shared_executor, over["execution_id"])
    assert (within["return_value"], within["artifacts"]) == ("done", ["kept.txt", "large"])
    artifact = await client.get(f"/executions/{within['execution_id']}/artifacts/kept.txt")
    assert artifact.content == b"x"


async def test_a_session_over_its_disk_space_begins_anew(client: httpx.AsyncClient) -> None:
    first = await run(client, 20, session_id="disk")
    second = await run(client, 60, session_id="disk")
    look = "import os\ndef handler(event): return sorted(os.listdir('.'))"
    third = (await client.post("/execute", json=make_request(look, session_id="disk"))).json()
    assert [first["reason"], second["reason"]] == ["Completed", "DiskLimit"]
    assert third["return_value"] == []


async def test_health_says_what_holds_the_limits(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["limits_enforcement"] in ("cgroup", "watchdog")
