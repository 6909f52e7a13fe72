"""The executor that is attacked: the real one, and only what anybody can do through its HTTP API.

One other execution runs on it all the time, with secrets in its environment, its workspace and its memory, as an
attacker's neighbour.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx

from contracts.executor_api import IsolationLevel, Language
from executor_runtime.sandbox.tree import children_of, descendants
from executor_runtime.workspace import session_name
from tests.integration.executor.running import RunningExecutor, wait_until_warm
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.world import World

EXECUTOR: Final = ("executor_runtime",)
WEAKENED: Final = ("tests.security.attempts.weakened",)
SLOTS: Final = 4
"""The other execution's, the attempt's, the honest one's, and one to spare: a slot that were lost would be noticed."""
MAX_FETCHED: Final = 50
_REQUEST_TIMEOUT_S: Final = 180.0
_READY_WITHIN_S: Final = 60.0
_ENDED_WITHIN_S: Final = 3.0
_OWN_GONE_WITHIN_S: Final = 30.0
"""What an end still has to do in the executor's own processes: nothing waits for it but who looks."""
_TIMEOUT_S: Final = 30
"""Of an attempt's code, unless it says so itself; most take less than half a second."""
AHEAD: Final = 2
PROGRAMS: Final = 1
"""Sandboxes that wait for code. There are none where options of bwrap are taken away: all is started by bwrap then."""
_KEEPERS: Final = AHEAD + PROGRAMS + 1
"""Children of the fork server when nothing runs but the other execution."""

OTHER: Final = """
import ctypes, socket, subprocess
def handler(event):
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # where Yama restricts tracing: not this process's
    memory = event["memory"]
    subprocess.Popen(["sleep", "3600"])  # shows the environment in /proc
    for path in ("secret.txt", "/tmp/secret.txt", "/dev/shm/secret.txt"):
        with open(path, "w") as file:
            file.write(event["workspace"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\\0other-execution")
    listener.listen()
    open("ready", "w").close()
    while True:
        listener.accept()[0].sendall(memory.encode())
"""

LOST: Final = {"status": "lost", "reason": "ExecutorLost", "stdout": "", "stderr": "", "return_value": None}
"""Instead of a result, where the executor did not answer any more."""
REFUSED: Final = {**LOST, "status": "refused", "reason": "ValidationError"}
"""Where the request itself is the attack, and was not taken."""


class Executor:
    """An executor in this world at one level; ``async with``, and then ``be_without`` starts it."""

    def __init__(self, world: World, level: IsolationLevel) -> None:
        self._world, self._level = world, level
        self._without: Sequence[str] = ()
        self._running: RunningExecutor | None = None
        self._client: httpx.AsyncClient | None = None
        self._other_pids: set[int] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def running(self) -> RunningExecutor:
        """The process."""
        assert self._running is not None
        return self._running

    async def be_without(self, protections: Sequence[str]) -> None:
        """Runs, without these protections (``weakened``): it is started where it does not, or where it has others."""
        if self._running is None or set(self._without) != set(protections):
            await self.stop()
            self._world.sweep()
            self._without = protections
            self._world.proving = bool(protections)
            await self._start(WEAKENED + (",".join(protections),) if protections else EXECUTOR)

    async def _start(self, module: Sequence[str]) -> None:
        """Starts it, sees that it has the level that is asked for, and starts the other execution."""
        world = self._world
        environment = {
            "CONTROL_PLANE_URL": world.control_plane.url,
            "INTERNAL_API_TOKEN": world.secrets["internal_token"],
            "EXECUTE_API_TOKEN": world.secrets["execute_token"],
            "MAX_CONCURRENT_EXECUTIONS": str(SLOTS),
            "WARM_SANDBOXES": "0" if self._without else str(AHEAD),
            "WARM_JAVASCRIPT": "0" if self._without else str(PROGRAMS),
            "ISOLATION_MODE": "strict" if self._level == "full" else "best-effort",
        }
        self._running = RunningExecutor(world.directory, environment, module)
        started = await asyncio.to_thread(self.running.wait_for_log, "executor_started", _READY_WITHIN_S)
        port = int(started["port"])
        world.executor_facts = {"executor_port": port, "executor_pid": self.running.process.pid}
        world.executor_pids, world.other_runs = self._own_pids, self.other_runs
        world.executor_runs = lambda: self.running.process.poll() is None
        world.executor_log = lambda: list(self.running.raw_log)
        headers = {"Authorization": f"Bearer {world.secrets['execute_token']}"}
        self._client = self.running.client(headers=headers, limits=httpx.Limits(max_keepalive_connections=0))
        health = (await self._client.get("/health")).json()
        assert health["isolation"] == self._level, health
        await self._start_other()

    async def stop(self) -> None:
        """Ends it and whatever it left."""
        if self._client is not None:
            await self._client.aclose()
        if self._running is not None:
            self._running.close()
        for pid in self._other_pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._running = self._client = None
        self._other_pids = set()

    async def healthy(self) -> bool:
        """Whether it answers, and runs no more than the other execution."""
        if self.running.process.poll() is not None or self._client is None:
            return False
        try:
            body = (await self._client.get("/health")).json()
        except httpx.HTTPError:
            return False
        return bool(body["status"] == "healthy" and body["active_executions"] == 1 and self.other_runs())

    async def healthy_again(self) -> bool:
        """The same, a moment after an answer at the latest: a slot that is lost stays lost."""
        deadline = time.monotonic() + (0 if self._without else _OWN_GONE_WITHIN_S)
        while not await self.healthy():
            if time.monotonic() > deadline or self.running.process.poll() is not None:
                return False
            await asyncio.sleep(0.02)
        return True

    async def list_executions(self) -> set[str]:
        """Ids of those that it knows; none when it does not answer."""
        assert self._client is not None
        try:
            body = (await self._client.get("/executions")).json()
        except httpx.HTTPError:
            return set()
        return {execution["execution_id"] for execution in body["executions"]}

    def other_runs(self) -> bool:
        """Whether every process of the other execution is there."""
        return all(os.path.exists(f"/proc/{pid}") for pid in self._other_pids)

    def told_in_logs(self) -> list[str]:
        """Names of the secrets that its log shows."""
        log = "".join(self.running.raw_log)
        return [name for name, secret in self._world.secrets.items() if secret in log]

    async def attempt(self, attempt: Attempt) -> Outcome:
        """Sends one attempt (without what comes after it) and takes what it gives."""
        execution_id = make_id()
        event = {**self._world.facts(), "execution_id": execution_id}
        fields = {"timeout": _TIMEOUT_S, "event": event, "report_token": self._world.secrets["report_token"]}
        fields |= dict(attempt.request)
        began = time.monotonic()
        result = await self.execute(attempt.language, attempt.code, execution_id, fields)
        elapsed_s = time.monotonic() - began
        return Outcome(result, await self._fetch(execution_id, result.get("artifacts", ())), elapsed_s)

    async def execute(
        self, language: Language, code: str, execution_id: str, fields: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The ExecutionResult; ``LOST`` when the executor does not answer, ``REFUSED`` when it does not take files."""
        assert self._client is not None
        body = {"code": code, "language": language, "execution_id": execution_id, **fields}
        try:
            answer = await self._client.post("/execute", json=body, timeout=_REQUEST_TIMEOUT_S)
        except httpx.HTTPError:
            return await self._lost()
        if answer.status_code >= 500:
            return await self._lost()
        if answer.status_code == 400 and "files" in fields:
            return REFUSED
        if answer.status_code != 200:
            raise RuntimeError(f"the executor refused the request: {answer.text}")
        result: Mapping[str, Any] = answer.json()
        return result

    async def _lost(self) -> Mapping[str, Any]:
        """Its connections break a moment before it is seen to have ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self.running.process.wait, _ENDED_WITHIN_S)
        return LOST

    async def _fetch(self, execution_id: str, paths: Sequence[str]) -> dict[str, bytes]:
        assert self._client is not None
        bodies = {}
        for path in paths[:MAX_FETCHED]:
            try:
                answer = await self._client.get(f"/executions/{execution_id}/artifacts/{_quoted(path)}")
                bodies[path] = answer.content
            except httpx.HTTPError:
                bodies[path] = b""
        return bodies

    async def _start_other(self) -> None:
        assert self._client is not None
        secret = self._world.secrets
        execution_id = make_id()
        body = {
            "code": OTHER,
            "language": "python",
            "execution_id": execution_id,
            "timeout": 3600,
            "event": {"memory": secret["other_memory"], "workspace": secret["other_workspace"]},
            "env_vars": {"OTHER_SECRET": secret["other_environment"]},
            "report_token": secret["other_report_token"],
            "session_id": "other",  # started by itself, not ahead: so its processes can be told from all others
        }
        if not self._without:
            await wait_until_warm(self._client, AHEAD)
        before = set(descendants(self.running.process.pid))
        answer = await self._client.post("/execute", json=body, headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        workspace = self.running.workspaces / session_name("other")
        async with asyncio.timeout(_READY_WITHIN_S):
            while not (workspace / "ready").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        pids = [pid for pid in descendants(self.running.process.pid) if pid not in before]
        self._other_pids = set(pids)
        self._world.executor_facts |= {
            "other_execution_id": execution_id,
            "other_pid": _find_handler(pids[0]),
            "other_workspace_path": str(workspace),
        }

    def _own_pids(self) -> set[int]:
        """Its own, the other execution's, and those of sandboxes that wait; blocks until what has ended is gone."""
        executor = self.running.process.pid
        deadline = time.monotonic() + _OWN_GONE_WITHIN_S
        while True:
            server = {pid for pid in children_of(executor) if not self._without and pid not in self._other_pids}
            keepers = {keeper for pid in server for keeper in children_of(pid)}
            if len(server) <= 1 and len(keepers) <= _KEEPERS:
                ahead = {pid for keeper in keepers - self._other_pids for pid in (keeper, *descendants(keeper))}
                return {executor} | server | ahead | self._other_pids
            if time.monotonic() > deadline:
                return {executor} | server | self._other_pids
            time.sleep(0.02)


def _find_handler(top: int) -> int:
    """The user's process: the one child of process 1, which is below bwrap, or beside it below its keeper."""
    process_1 = next(pid for pid in children_of(top) if Path(f"/proc/{pid}/comm").read_text() != "bwrap\n")
    return children_of(process_1)[0]


def make_id() -> str:
    """A new execution id."""
    return f"exec_20260115_{secrets.token_hex(4)}"


def _quoted(path: str) -> str:
    return "".join(f"%{byte:02X}" for byte in path.encode())
