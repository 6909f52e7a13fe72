"""One executor pod: a real executor process, and the test as the kubelet that restarts it and says how it ended."""

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from controller import names
from tests.chaos.evidence import ContainerRun
from tests.chaos.wire import Wire
from tests.integration.controller.apiserver import ROOT, ApiError, free_port
from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.executor.running import base_environment

_Got = TypeVar("_Got")
SLOTS = 2
_READY_S = 30.0
_RESTART_PAUSE_S = 0.5


class ExecutorPod:
    """Lives until ``remove``; its container is started anew whenever it ends."""

    def __init__(self, cluster: Cluster, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.port = free_port()
        self.wire = Wire(lambda: self.port)
        self.ended: list[ContainerRun] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._cluster = cluster
        self._folder = folder
        self._environment = environment
        self._uid = ""
        self._number = 0
        self._kubelet: asyncio.Task[None] | None = None
        self._removed = False

    @property
    def logs(self) -> list[Path]:
        """One a container run."""
        return sorted(self._folder.glob("container-*.log"))

    async def start(self) -> None:
        """Starts the container, then creates the pod."""
        self._folder.mkdir(parents=True)
        self._folder.chmod(0o755)
        await self.wire.__aenter__()
        await self._start_container()
        await _insist(lambda: self._cluster.add_pod(self.name, "default", self.wire.port, SLOTS))
        found = await _insist(lambda: self._cluster.call("GET", names.core_path(NAMESPACE, "pods", self.name)))
        self._uid = found["metadata"]["uid"]
        self._kubelet = asyncio.create_task(self._keep_running())

    async def remove(self, *, gracefully: bool) -> None:
        """Ends the container, and deletes the pod."""
        self._removed = True
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM if gracefully else signal.SIGKILL)
        await asyncio.to_thread(_end, self.process)
        self._note_end()
        if self._kubelet is not None:
            self._kubelet.cancel()
        await _insist(lambda: self._cluster.delete(names.core_path(NAMESPACE, "pods", self.name)))
        await self.wire.__aexit__()

    async def close(self) -> None:
        """Ends the process and removes what is on disk, whatever the API server does."""
        if self._kubelet is not None:
            self._kubelet.cancel()
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        with contextlib.suppress(Exception):
            await self.wire.__aexit__()
        shutil.rmtree(self._folder, ignore_errors=True)

    def signal(self, number: int) -> None:
        """To the executor, if it is there."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def _keep_running(self) -> None:
        while True:
            assert self.process is not None
            code = await asyncio.to_thread(self.process.wait)
            if self._removed:
                return
            self._note_end()
            ended = _terminated(code)
            self._number += 1
            await _insist(functools.partial(self._show, ready=False, state={"waiting": {}}, lastState=ended))
            await asyncio.sleep(_RESTART_PAUSE_S)
            await self._start_container()
            await _insist(functools.partial(self._show, ready=True, lastState=ended))

    async def _show(self, *, ready: bool, **container: Any) -> None:
        with contextlib.suppress(ApiError):
            await self._cluster.set_pod_status(self.name, ready=ready, restartCount=self._number, **container)

    def _note_end(self) -> None:
        self.ended.append(ContainerRun(self.name, self._uid, self._number))

    async def _start_container(self) -> None:
        environment = {
            **base_environment(self._folder),
            "EXECUTOR_PORT": str(self.port),
            "CONTAINER_ID": f"{self.name}-container",
            "POD_NAME": self.name,
            "MAX_CONCURRENT_EXECUTIONS": str(SLOTS),
            **self._environment,
        }
        with (self._folder / f"container-{self._number:03d}.log").open("ab") as log:
            command = [sys.executable, "-m", "executor_runtime"]
            self.process = await asyncio.to_thread(
                subprocess.Popen, command, cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        await self._wait_until_healthy()

    async def _wait_until_healthy(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client, asyncio.timeout(_READY_S):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{self.port}/health")).status_code == 200:
                        return
                await asyncio.sleep(0.1)


def _terminated(code: int) -> dict[str, object]:
    """As a kubelet writes how a container ended."""
    number = -code if code < 0 else 0
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ended = {"exitCode": 128 + number if number else code, "signal": number, "reason": "Error", "finishedAt": now}
    return {"terminated": ended}


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _insist(call: Callable[[], Awaitable[_Got]], limit_s: float = 60.0) -> _Got:
    """Again and again while the API server is away, as every kubelet does."""
    async with asyncio.timeout(limit_s):
        while True:
            try:
                return await call()
            except ApiError as error:
                if error.status < 500 and error.status != 429:
                    raise
            except OSError:
                pass
            await asyncio.sleep(0.2)


def count_spooled(folder: Path) -> int:
    """Reports that wait on a disk."""
    return sum(1 for path in (folder / "results").glob("*.json") if os.path.isfile(path))
