"""The executor's side of an upload, against servers that behave as stores and controllers do at their worst."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contracts.executor_api import ExecutionMetrics, ExecutionResult
from contracts.outputs import OutputLimits
from executor_runtime.artifacts import collect
from executor_runtime.clock import SYSTEM_CLOCK
from executor_runtime.control_plane import ControlPlane
from executor_runtime.sandbox import Output
from executor_runtime.secret import Redactor, Token
from executor_runtime.uploads import Ended, Uploader
from executor_runtime.workspace import Workspace, Workspaces
from tests.patience import TRIES, time_limits

EXECUTION_ID = "exec_20260115_a1b2c3d4"
QUERY = "X-Amz-Credential=A%2FB%2Bc&sig=a%3D%3D&plus=a+b"
"""As a signature is written: to be sent to the letter."""


class Stores:
    """Controller and store in one server; ``statuses`` are the store's next answers, after which it takes all."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.tokens: list[str] = []
        self.taken: dict[str, bytes] = {}
        self.queries: list[str] = []
        self.statuses: list[int] = []
        self.grants = 200
        self.hangs = asyncio.Event()
        self.is_slow = False
        self.port = 0

    async def grant(self, request: web.Request) -> web.Response:
        said = await request.json()
        self.asked.append(said["outputs"])
        self.tokens.append(request.headers["Authorization"])
        urls = [f"/store/{output['sha256']}?{QUERY}" for output in said["outputs"]]
        return web.json_response(
            {"uploads": [{"url": url, "headers": {"x-kind": "b"}} for url in urls]}, status=self.grants
        )

    async def put(self, request: web.Request) -> web.Response:
        self.queries.append(request.raw_path.partition("?")[2])
        assert "Authorization" not in request.headers
        assert "Content-Type" not in request.headers
        assert request.headers["x-kind"] == "b"
        assert request.headers["Content-Length"].isdigit()
        if self.is_slow:
            await self.hangs.wait()
        content = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.taken[request.match_info["key"]] = content
        return web.Response(status=status)


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    made = Stores()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/internal/executions/{id}/uploads", made.grant)
    app.router.add_put("/store/{key}", made.put)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    made.hangs.set()
    await runner.cleanup()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "root").mkdir()
    return Workspaces(tmp_path / "root").create("x")


async def store(
    stores: Stores, workspace: Workspace, *, timeout_s: float = 20.0, stopped: asyncio.Event | None = None
) -> ExecutionResult:
    found = collect(workspace, {})
    result = ExecutionResult(
        execution_id=EXECUTION_ID,
        status="success",
        reason="Completed",
        exit_code=0,
        execution_time=0.1,
        return_value=7,
        metrics=ExecutionMetrics(duration_ms=100),
        artifacts=[artifact.path for artifact in found],
        artifact_metadata=found,
    )
    control_plane = ControlPlane(f"http://127.0.0.1:{stores.port}", Token("the executor's own", None, Redactor()))
    uploader = Uploader(control_plane, OutputLimits(2**26, 2**28), SYSTEM_CLOCK, timeout_s)
    try:
        return await uploader.store(Ended(result, Output(), workspace, "token", stopped or asyncio.Event()))
    finally:
        await uploader.aclose()
        await control_plane.aclose()


def kept(result: ExecutionResult) -> list[str]:
    assert result.return_value == 7, "whatever becomes of the outputs"
    return [output.name for output in result.outputs]


async def test_each_content_is_sent_once_with_the_token_for_the_controller_alone(
    stores: Stores, workspace: Workspace
) -> None:
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other"), ("empty", b"")):
        (workspace.path / name).write_bytes(content)
    result = await store(stores, workspace)
    assert kept(result) == ["artifacts/a", "artifacts/b", "artifacts/c", "artifacts/empty"]
    assert result.outputs_missing is None
    assert stores.taken == {hashlib.sha256(each).hexdigest(): each for each in (b"same", b"other", b"")}
    assert stores.queries == [QUERY] * 3
    assert stores.tokens == ["Bearer token"]


async def test_what_the_store_cannot_take_now_is_sent_again(stores: Stores, workspace: Workspace) -> None:
    (workspace.path / "a").write_bytes(b"x" * 1_000_000)
    stores.statuses = [503, 500]
    assert kept(await store(stores, workspace)) == ["artifacts/a"]
    assert list(stores.taken.values()) == [b"x" * 1_000_000]


async def test_what_the_store_refuses_is_left_out_and_said(stores: Stores, workspace: Workspace) -> None:
    for name in ("a", "b"):
        (workspace.path / name).write_bytes(name.encode())
    stores.statuses = [403]
    result = await store(stores, workspace)
    assert len(kept(result)) == 1
    assert result.outputs_missing is not None
    assert result.outputs_missing.reason == "StoreUnavailable"
    assert "the object store did not take it (HTTP 403)" in result.outputs_missing.message
    assert "X-Amz" not in str(result)


@pytest.mark.parametrize(("status", "reason"), [(404, "UploadRefused"), (413, "UploadRefused")])
async def test_without_urls_there_is_nothing_to_send(
    stores: Stores, workspace: Workspace, status: int, reason: str
) -> None:
    (workspace.path / "a").touch()
    stores.grants = status
    result = await store(stores, workspace)
    assert kept(result) == []
    assert result.outputs_missing is not None
    assert result.outputs_missing.reason == reason
    assert stores.queries == []


async def test_a_store_that_hangs_is_given_up_in_time(stores: Stores, workspace: Workspace) -> None:
    for name in ("a", "b"):
        (workspace.path / name).write_bytes(name.encode())
    stores.is_slow = True
    loop = asyncio.get_running_loop()
    for _ in range(TRIES):
        begun = loop.time()
        result = await store(stores, workspace, timeout_s=0.5)
        if (took_s := loop.time() - begun) < 5:
            break
    assert took_s < 5
    assert kept(result) == []
    assert result.outputs_missing is not None
    assert result.outputs_missing.reason == "UploadTimedOut"
    assert "'artifacts/a', 'artifacts/b'" in result.outputs_missing.message


async def test_a_controller_that_is_away_is_asked_until_the_time_is_over(stores: Stores, workspace: Workspace) -> None:
    (workspace.path / "a").touch()
    stores.grants = 503
    for _ in range(TRIES):
        stores.asked.clear()
        result = await store(stores, workspace, timeout_s=2.5)
        if len(stores.asked) == 3:  # where there was time for it
            break
    assert kept(result) == []
    assert result.outputs_missing is not None
    assert result.outputs_missing.reason == "UploadTimedOut"
    assert len(stores.asked) == 3


async def test_whoever_stops_it_waits_for_nothing(stores: Stores, workspace: Workspace) -> None:
    (workspace.path / "a").touch()
    stores.is_slow = True
    loop = asyncio.get_running_loop()
    for _ in range(TRIES):
        stopped = asyncio.Event()
        loop.call_later(0.3, stopped.set)
        begun = loop.time()
        result = await store(stores, workspace, stopped=stopped)
        if (took_s := loop.time() - begun) < 5:
            break
    assert took_s < 5
    assert result.outputs_missing is not None
    assert result.outputs_missing.reason == "UploadStopped"


async def test_what_is_stored_by_then_counts(stores: Stores, workspace: Workspace) -> None:
    for number in range(6):
        (workspace.path / str(number)).write_bytes(b"%d" % number)
    for limit_s in time_limits():
        stores.statuses = [200, 200, 200, *[503] * 100]
        result = await store(stores, workspace, timeout_s=limit_s)
        if len(kept(result)) == 3:  # where there was time for it
            break
    assert len(kept(result)) == 3
    assert result.outputs_missing is not None
    assert result.outputs_missing.reason == "UploadTimedOut"
