"""An executor that runs nothing: it records what it is asked over real HTTP, and ends runs when the test says so."""

import asyncio
import io
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, web

from contracts.control_plane_api import result_path
from contracts.executor_api import ATTEMPT_HEADER, EPOCH_HEADER, OWNER_HEADER, RUN_HEADER


@dataclass
class Run:
    """One execution that the fake holds."""

    request: dict[str, Any]
    result: dict[str, Any] | None = None
    cancelled: bool = False
    epoch: int | None = None
    attempt: int = 1
    owner: str | None = None
    ended_at: float | None = None
    """Unix seconds."""


@dataclass
class FakeExecutor:
    """Listens on a loopback address; ``auto`` ends each run at once with success."""

    host: str = "127.0.0.1"
    auto: bool = True
    delay_s: float = 0.0
    refuse: int = 0
    control_plane_url: str = ""
    runs: dict[str, Run] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    port: int = 0
    run_id: str = field(default_factory=lambda: secrets.token_hex(16))
    highest_epoch: int = 0
    tombstones: dict[str, int] = field(default_factory=dict)
    """The last attempt of each id that must not begin."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """The ids and error codes of dispatches that the epoch, the run id or a tombstone has kept out."""

    async def __aenter__(self) -> "FakeExecutor":
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_post("/execute", self._execute)
        app.router.add_get("/executions", self._list)
        app.router.add_get("/executions/{id}", self._ask)
        app.router.add_delete("/executions/{id}", self._cancel)
        app.router.add_put("/executions/{id}/tombstone", self._bury)
        app.router.add_get("/health", self._health)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._session = ClientSession()
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    def forget(self) -> None:
        """As after a restart of its container."""
        self.runs.clear()
        self.tombstones.clear()
        self.run_id, self.highest_epoch = secrets.token_hex(16), 0
        self.active = 0

    def add_foreign(self, execution_id: str, epoch: int | None = None) -> None:
        """A run that was not begun in this test."""
        self.runs[execution_id] = Run({}, epoch=epoch)

    async def end(self, execution_id: str, **fields: Any) -> int:
        """Ends a run and reports it; returns what the controller answered."""
        run = self.runs[execution_id]
        run.result, run.ended_at = make_result(execution_id, **fields), time.time()
        self.active -= 1
        return await self.report(execution_id, run.request["report_token"], run.result)

    async def report(self, execution_id: str, token: str, result: dict[str, Any]) -> int:
        """Sends a report with any token; returns the answer's status."""
        headers = {"Authorization": f"Bearer {token}"}
        url = self.control_plane_url + result_path(execution_id)
        body = {**result, "status": "failed" if result["status"] == "error" else result["status"]}
        data = io.BytesIO(json.dumps(body).encode())
        headers["Content-Type"] = "application/json"
        async with self._session.post(url, data=data, headers=headers) as response:
            self.answers.append(response.status)
            return response.status

    async def _execute(self, request: web.Request) -> web.Response:
        body = await request.json()
        execution_id = body["execution_id"]
        if self.refuse:
            self.refuse -= 1
            return web.json_response({}, status=503)
        attempt = int(request.headers.get(ATTEMPT_HEADER, "1"))
        buried = attempt <= self.tombstones.get(execution_id, 0)
        code = self._fence(request) or ("Executor.Tombstone" if buried else "")
        if code:
            self.refused.append((execution_id, code))
            return _error(409 if code == "Executor.Tombstone" else 412, code)
        self.tokens.append(request.headers.get("Authorization", ""))
        self.received.append(execution_id)
        if execution_id not in self.runs or self.runs[execution_id].attempt < attempt:
            epoch = request.headers.get(EPOCH_HEADER)
            self.runs[execution_id] = Run(body, epoch=int(epoch) if epoch else None, attempt=attempt)
            self.runs[execution_id].owner = request.headers.get(OWNER_HEADER)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            if self.auto:
                task = asyncio.get_running_loop().create_task(self._end_later(execution_id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return web.json_response({"execution_id": execution_id, "status": "running", "message": "accepted"}, status=202)

    async def _end_later(self, execution_id: str) -> None:
        await asyncio.sleep(self.delay_s)
        run = self.runs[execution_id]
        run.result, run.ended_at = make_result(execution_id), time.time()
        self.active -= 1
        # As a real one does: until somebody has taken it, whoever leads.
        while True:
            try:
                if await self.report(execution_id, run.request["report_token"], run.result) < 500:
                    return
            except ClientError:
                pass
            await asyncio.sleep(0.2)

    async def _list(self, _request: web.Request) -> web.Response:
        states = [
            {
                "execution_id": execution_id,
                "state": "ended" if run.result else "running",
                "epoch": run.epoch,
                "attempt": run.attempt,
            }
            for execution_id, run in self.runs.items()
        ]
        return web.json_response({"executions": states})

    async def _ask(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["id"])
        if run is None:
            return _not_found()
        state = "ended" if run.result else "running"
        return web.json_response(
            {
                "execution_id": request.match_info["id"],
                "state": state,
                "attempt": run.attempt,
                "result": run.result,
            }
        )

    async def _bury(self, request: web.Request) -> web.Response:
        if code := self._fence(request):
            return _error(412, code)
        execution_id, attempt = request.match_info["id"], int(request.headers.get(ATTEMPT_HEADER, "1"))
        if execution_id in self.runs and self.runs[execution_id].attempt == attempt:
            return await self._ask(request)
        self.tombstones[execution_id] = attempt
        return web.json_response({"execution_id": request.match_info["id"], "state": "absent"}, status=201)

    def _fence(self, request: web.Request) -> str:
        """The error code for a request that an executor must not take any more; empty when it must."""
        epoch = int(request.headers.get(EPOCH_HEADER, self.highest_epoch))
        if epoch < self.highest_epoch:
            return "Executor.StaleEpoch"
        self.highest_epoch = epoch
        return "" if request.headers.get(RUN_HEADER, self.run_id) == self.run_id else "Executor.OtherRun"

    async def _cancel(self, request: web.Request) -> web.Response:
        if code := self._fence(request):
            return _error(412, code)
        run = self.runs.get(request.match_info["id"])
        if run is None or run.attempt != int(request.headers.get(ATTEMPT_HEADER, run.attempt)):
            return _not_found()
        run.cancelled = True
        return web.json_response({"execution_id": request.match_info["id"], "state": "running", "result": None})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "status": "healthy",
                "version": "0",
                "uptime_seconds": 1.0,
                "active_executions": self.active,
                "isolation": "full",
                "run_id": self.run_id,
            }
        )


def _not_found() -> web.Response:
    return _error(404, "Executor.NotFound")


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error_code": code, "description": "no", "request_id": "r"}, status=status)


def make_result(execution_id: str, **fields: Any) -> dict[str, Any]:
    """An ExecutionResult as JSON; a success unless the fields say otherwise."""
    return {
        "execution_id": execution_id,
        "status": "success",
        "reason": "Completed",
        "exit_code": 0,
        "stdout": "hello\n",
        "execution_time": 0.01,
        "return_value": {"ok": True, "nothing": None},
        "metrics": {"duration_ms": 10.0, "cpu_time_ms": 5.0, "peak_memory_mb": 8.0},
        **fields,
    }
