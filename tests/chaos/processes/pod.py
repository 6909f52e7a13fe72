"""One executor pod: a real executor process, and the test as the kubelet that restarts it and says how it ended."""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families

from controller import names
from executor_runtime.settings import DEFAULT_WARM_SANDBOXES
from tests.chaos.evidence import ContainerRun
from tests.chaos.processes import descendants
from tests.chaos.processes.wire import Wire
from tests.integration.controller.apiserver import ROOT, ApiError, free_port
from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.executor.running import base_environment

_Got = TypeVar("_Got")
SLOTS = 2
_READY_S = 120.0
_RESTART_PAUSE_S = 0.5
_BACK_OFF_S = 10.0
"""A kubelet's, before it starts again what has ended soon after its start."""
_LONG_ENOUGH_S = 60.0
_GRACE_S = 30
_WARM = "sandbox_executor_warm_sandboxes"


@dataclass(frozen=True)
class Surroundings:
    """What all executors share. ``find_service`` gives the port that the controller's Service leads to."""

    cluster: Cluster
    find_service: Callable[[], int | None]
    environment: dict[str, str]
    module: str = "executor_runtime"


class ExecutorPod:
    """Lives until ``remove``; its container is started anew whenever it ends."""

    def __init__(self, name: str, pool: str, folder: Path, surroundings: Surroundings) -> None:
        self.name = name
        self.pool = pool
        self.port = free_port()
        self.wire = Wire(lambda: self.port)
        """From the controller."""
        self.to_service = Wire(surroundings.find_service)
        self.ended: list[ContainerRun] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._cluster = surroundings.cluster
        self._folder = folder
        self._environment = surroundings.environment
        self._module = surroundings.module
        self._number = 0
        self._shown: dict[str, float] = {}
        """Since when the pod's status has named a container as running (Unix seconds)."""
        self._started = 0.0
        self._kubelet: asyncio.Task[None] | None = None
        self._removed = False

    @property
    def logs(self) -> list[Path]:
        """One a container run."""
        return sorted(self._folder.glob("container-*.log"))

    async def start(self) -> None:
        """Creates the pod, then starts its container."""
        self._folder.mkdir(parents=True)
        self._folder.chmod(0o755)
        await self.wire.__aenter__()
        await self.to_service.__aenter__()
        await _insist(lambda: self._cluster.add_pod(self.name, self.pool, self.wire.port, SLOTS, ready=False))
        await self._start_container()
        await self._show(ready=True)
        self._kubelet = asyncio.create_task(self._keep_running())

    async def remove(self, *, gracefully: bool) -> None:
        """Deleted: with SIGTERM and a kubelet that says how it ended, or at once and without a word, as by force."""
        self._removed = True
        if gracefully:
            await self._delete(_GRACE_S)
            self.signal(signal.SIGTERM)
            await self._wait_for_end(limit_s=5)
            await self._show(ready=False, phase="Failed", state=self._how_it_ended())
        else:
            self.signal(signal.SIGKILL)
            await self._wait_for_end(limit_s=5)
        await self._delete(0)
        await self._let_go()

    async def cut_off(self, seconds: float) -> None:
        """Its node cannot be reached: the pod is deleted by force and runs on; back again, its kubelet kills it."""
        self._removed = True
        for wire in (self.wire, self.to_service):
            wire.stall()
        await self._delete(0)
        await asyncio.sleep(seconds)
        for wire in (self.wire, self.to_service):
            wire.mend()
        await asyncio.sleep(0.5)
        self.signal(signal.SIGKILL)
        await self._wait_for_end(limit_s=5)
        await self._let_go()

    async def close(self) -> None:
        """Ends the process, whatever the API server does."""
        if self._kubelet is not None:
            self._kubelet.cancel()
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        for wire in (self.wire, self.to_service):
            with contextlib.suppress(Exception):
                await wire.__aexit__()

    def signal(self, number: int) -> None:
        """To the executor, if it is there."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def _keep_running(self) -> None:
        while True:
            assert self.process is not None
            await asyncio.to_thread(self.process.wait)
            if self._removed:
                return
            self._note_end()
            ended = self._how_it_ended()
            soon = time.monotonic() - self._started < _LONG_ENOUGH_S
            pause_s = _BACK_OFF_S if soon and self._number else _RESTART_PAUSE_S
            await self._show(ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
            await asyncio.sleep(pause_s)
            if self._removed:
                return
            self._number += 1
            await self._start_container()
            await self._show(ready=True, lastState=ended)

    async def _show(self, *, ready: bool, phase: str = "Running", **container: Any) -> None:
        fields = {"containerID": f"containerd://{self._container_id}", "restartCount": self._number, **container}
        change = functools.partial(self._cluster.set_pod_status, self.name, ready=ready, phase=phase, **fields)
        with contextlib.suppress(ApiError):  # it is gone
            await _insist(change)
            if "state" not in container:
                self._shown.setdefault(self._container_id, time.time())

    async def _delete(self, grace_s: int) -> None:
        body = {"gracePeriodSeconds": grace_s}
        path = names.core_path(NAMESPACE, "pods", self.name)
        with contextlib.suppress(ApiError):
            await _insist(lambda: self._cluster.call("DELETE", path, body))

    async def _wait_for_end(self, limit_s: float) -> None:
        assert self.process is not None
        await asyncio.to_thread(_end, self.process, limit_s)
        self._note_end()

    async def _let_go(self) -> None:
        if self._kubelet is not None:
            self._kubelet.cancel()
        await self.wire.__aexit__()
        await self.to_service.__aexit__()

    @property
    def _container_id(self) -> str:
        return f"{self.name}-{self._number:03d}"

    def _note_end(self) -> None:
        descendants.end_container(self._folder)
        if all(run.container_id != self._container_id for run in self.ended):
            begun = self._shown.get(self._container_id)
            self.ended.append(
                ContainerRun(self.name, self._container_id, None if begun is None else (begun, time.time()))
            )

    def _how_it_ended(self) -> dict[str, object]:
        """As a kubelet writes it."""
        assert self.process is not None
        code = self.process.returncode
        number = -code if code < 0 else 0
        return {
            "terminated": {
                "exitCode": 128 + number if number else code,
                "signal": number,
                "reason": "Error",
                "finishedAt": datetime.now(UTC).isoformat(timespec="seconds"),
                "containerID": f"containerd://{self._container_id}",
            }
        }

    async def _start_container(self) -> None:
        environment = {
            **base_environment(self._folder),
            "EXECUTOR_PORT": str(self.port),
            "CONTAINER_ID": f"{self.name}-container",
            "POD_NAME": self.name,
            "MAX_CONCURRENT_EXECUTIONS": str(SLOTS),
            "WARM_JAVASCRIPT": "0",  # started once somebody has asked, they would count as left over
            "CONTROL_PLANE_URL": f"http://127.0.0.1:{self.to_service.port}",
            **self._environment,
        }
        self._started = time.monotonic()
        with (self._folder / f"container-{self._number:03d}.log").open("ab") as log:
            command = [sys.executable, "-m", self._module]
            self.process = await asyncio.to_thread(
                subprocess.Popen, command, cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        await self._wait_until_healthy(self.process)

    async def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client, asyncio.timeout(_READY_S):
            while process.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{self.port}/health")).status_code == 200:
                        return
                await asyncio.sleep(0.1)


def _end(process: subprocess.Popen[bytes], limit_s: float) -> None:
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _insist(call: Callable[[], Awaitable[_Got]], limit_s: float = 240.0) -> _Got:
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


def count_cold(port: int) -> int:
    """How many of the sandboxes that an executor starts ahead are not there yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    warm = [sample.value for family in families for sample in family.samples if sample.name == _WARM]
    return DEFAULT_WARM_SANDBOXES - int(sum(warm))


def count_spooled(folder: Path) -> int:
    """Reports that wait on a disk."""
    return sum(1 for path in (folder / "results").glob("*.json") if os.path.isfile(path))
