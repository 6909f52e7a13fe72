"""The controller is killed at every await between seen and Reported in turn, and each Execution ends right.

A real API server, a real executor, a recording Control Plane. One life of a controller records all
suspensions that one Execution passes; then, for each of them and for both of its edges, a
life ends itself by SIGKILL the first time it comes there.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controller import names
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.controller.apiserver import ROOT, ApiServer
from tests.integration.controller.cluster import Cluster, Controller, eventually
from tests.integration.controller.conftest import POD_IP, make_controller
from tests.integration.controller.test_way import find_condition
from tests.integration.executor.running import RunningExecutor, open_directory

pytestmark = pytest.mark.sandbox
TOKEN = "token-of-the-control-plane"
NAMESPACE = "with-secrets"
_CODE = "import os, time\ndef handler(event):\n    time.sleep(0.5)\n    return [event, os.environ['WORD']]\n"
_ENDLESS = "import time\ndef handler(event):\n    time.sleep(600)\n"
_DISCOVERIES = 3
"""What not each of them passes (a tick of a list that falls between two writes) need not be reached."""
_TRIES = 12
"""Lives for a point that each discovery passed: some of those hang on how a peer's bytes fall into packets."""
_TRIES_OF_RARE = 4
_LINGERS_S = 1.5
"""After the Execution is Reported, for awaits that come back in the background (a renewal each second)."""
Point = tuple[str, str]


@dataclass
class Lives:
    """One controller after the other in one pod, forked off a process that has imported everything."""

    controller: Controller
    control_plane: FakeControlPlane
    pid: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Lives"]:
        token = self.controller.folder / "control-plane"
        token.write_text(TOKEN)
        environment = self.controller.prepare(
            POD_NAME="controller-0",
            POD_IP=POD_IP,
            CONTROL_PLANE_URL=self.control_plane.url,
            CONTROL_PLANE_TOKEN_FILE=str(token),
            CONTROLLER_LOG=str(self.controller.folder / "controller.log"),
        )
        self._parent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.controller.mortal",
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield self
        finally:
            if self.pid and not self.ended.is_set():
                await self.kill()
            assert self._parent.stdin is not None
            self._parent.stdin.close()
            await self._parent.wait()

    async def start(self, *, may_die: bool = False, **life: str) -> None:
        """Begins the next life; returns once it leads, or has ended where it may."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self.ended.clear()
        self._parent.stdin.write(json.dumps(life).encode() + b"\n")
        self.pid = int(await self._parent.stdout.readline())
        self._waiting = asyncio.create_task(self._wait())
        while await asyncio.to_thread(lambda: self.controller.role) != "leader":
            if self.ended.is_set() and may_die:
                return
            assert not self.ended.is_set(), self.controller.log[-4000:]
            await asyncio.sleep(0.02)

    async def _wait(self) -> None:
        assert self._parent.stdout is not None
        self.code = int(await self._parent.stdout.readline())
        self.ended.set()

    async def kill(self) -> None:
        """Ends the life from outside."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await self.ended.wait()


@dataclass
class Scene:
    """One pool with one pod whose executor is real, and what an Execution has to do there."""

    cluster: Cluster
    lives: Lives
    executor: RunningExecutor
    control_plane: FakeControlPlane
    cancels: bool = False
    _following: asyncio.Task[None] = field(init=False)

    async def create(self, name: str) -> None:
        """An Execution that returns its own name and a word from a Secret."""
        reference = {"configMapKeyRef": {"name": "killed-code", "key": "endless.py" if self.cancels else "main.py"}}
        secret = {"secretKeyRef": {"name": "killed-word", "key": "word"}}
        await self.cluster.create_execution(
            name,
            NAMESPACE,
            code=None,
            codeFrom=reference,
            event=name,
            env=[{"name": "WORD", "valueFrom": secret}],
            executionId=f"exec_20260101_{name.replace('-', '')}",
            timeoutSeconds=900,
        )

    async def follow(self, name: str) -> None:
        """Until it is Reported; cancels it on the way where that is the scene."""
        cancelled = not self.cancels

        def look() -> bool:
            nonlocal cancelled
            found = self.cluster.server.request("GET", names.execution_path(NAMESPACE, name))
            if not cancelled and (found.get("status") or {}).get("lastHeartbeatTime"):
                path, body = names.execution_path(NAMESPACE, name), {"spec": {"cancel": True}}
                self.cluster.server.request("PATCH", path, body, kind="application/merge-patch+json")
                cancelled = True
            return bool(find_condition(found, "Reported").get("status") == "True")

        await eventually(look, what=f"{name} to be told to the Control Plane", timeout_s=180)

    async def check(self, name: str) -> None:
        """It has ended right, once, and the Control Plane has heard it once."""
        status = (await self.cluster.read_execution(name, NAMESPACE))["status"]
        execution_id = status["executionId"]
        if self.cancels:
            assert status["phase"] == "Cancelled", status
        else:
            assert (status["phase"], status.get("returnValue")) == ("Succeeded", [name, "s3cret"]), status
        assert status["attempt"] == 1
        await eventually(lambda: self._begun(execution_id), what="the executor's log to be read")
        assert self._begun(execution_id) == 1
        answers = sorted(call.answered for call in self.control_plane.of("result", execution_id))  # type: ignore[type-var]
        assert answers.count(201) == 1, answers
        assert set(answers) <= {200, 201}, answers
        kinds = [call.kind for call in self.control_plane.calls if call.execution_id == execution_id]
        assert "heartbeat" not in kinds[kinds.index("result") :], kinds

    def _begun(self, execution_id: str) -> int:
        return sum(
            record.get("event_type") == "execution_started" and record.get("execution_id") == execution_id
            for record in self.executor.log
        )

    async def discover(self, name: str, folder: Path, first: Point | None = None) -> list[Point]:
        """All awaits that are passed from seen to Reported, in the order of their first time, each with both edges.

        ``first``: a life before has ended there, so these are the awaits of the one that takes over.
        """
        record = folder / name
        record.touch()
        if first is not None:
            await self.lives.start(target=name, edge=first[0], point=first[1])
            assert await self.die_at(name, first)
            self._following.cancel()
        await self.lives.start(target=name, record=str(record))
        if first is None:
            await self.create(name)
        await self.follow(name)
        await self.check(name)
        await self.lives.kill()
        return [(edge, point) for edge, point in map(json.loads, record.read_text().splitlines())]

    async def kill_at_each(self, points: list[Point], prefix: str, first: Point | None = None) -> list[Point]:
        """A life for each of them, one after the other; those that were not reached."""
        missed, before = [], ""
        for number, (edge, point) in enumerate(points):
            name = f"{prefix}-{number:03d}"
            if first is not None:
                await self.lives.start(target=name, edge=first[0], point=first[1])
                await self.settle(before)
                assert await self.die_at(name, first)
                await self.lives.start(target=name, edge=edge, point=point, may_die=True)
                died = await self._wait_for_the_end()
            else:
                await self.lives.start(target=name, edge=edge, point=point)
                await self.settle(before)
                died = await self.die_at(name, (edge, point))
            if not died:
                missed.append((edge, point))
            before = name
        await self.lives.start(target="nobody")
        await self.settle(before)
        await self.lives.kill()
        return missed

    async def die_at(self, name: str, point: Point) -> bool:
        """A life that ends at this point, with this Execution; False when it never came there."""
        await self.create(name)
        self._following = asyncio.create_task(self.follow(name))
        died = await self._wait_for_the_end()
        assert self.lives.code == -signal.SIGKILL, point
        return died

    async def _wait_for_the_end(self) -> bool:
        """Whether the life ended by itself, before the Execution was Reported or soon after."""
        dying = asyncio.create_task(self.lives.ended.wait())
        await asyncio.wait({self._following, dying}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({dying}, timeout=_LINGERS_S)
        if not dying.done():
            await self.lives.kill()
            return False
        return True

    async def settle(self, name: str) -> None:
        """With the next life there: it ends right."""
        if name:
            await self._following
            await self.check(name)


@pytest.fixture
async def scene(
    cluster: Cluster, controller: Controller, api_server: ApiServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    process = make_controller(api_server, tmp_path)
    for path, name, data in (
        ("configmaps", "killed-code", {"data": {"main.py": _CODE, "endless.py": _ENDLESS}}),
        ("secrets", "killed-word", {"stringData": {"word": "s3cret"}}),
    ):
        await cluster.call("POST", names.core_path(NAMESPACE, path), {"metadata": {"name": name}, **data})
    await controller.stop()
    try:
        with open_directory() as directory:
            environment = {
                **process.executor_environment("pod-1"),
                "MAX_CONCURRENT_EXECUTIONS": "4",
            }
            executor = RunningExecutor(directory, environment, ("tests.integration.executor.hurried",))
            async with FakeControlPlane(tokens={TOKEN}) as control_plane, Lives(process, control_plane).open() as lives:
                try:
                    port = await asyncio.to_thread(lambda: executor.port)
                    await cluster.create_pool("default", allowedNamespaces={"matchExpressions": []})
                    await cluster.add_pod("pod-1", "default", port, concurrency=4)
                    yield Scene(cluster, lives, executor, control_plane)
                finally:
                    executor.close()
    finally:
        for path in ("configmaps/killed-code", "secrets/killed-word"):
            await cluster.delete(names.core_path(NAMESPACE, *path.split("/")))
        await controller.start()


@pytest.fixture(scope="module")
def known() -> set[Point]:
    """Where controllers have been killed already."""
    return set()


async def kill_at_all(
    scene: Scene, folder: Path, known: set[Point], prefix: str, first: Point | None = None
) -> list[Point]:
    """Finds the awaits and kills at each that is not known; those always passed that it could not be killed at."""
    begun = time.monotonic()
    found = [await scene.discover(f"{prefix}-d{number:02d}", folder, first) for number in range(_DISCOVERIES)]
    points = [point for point in dict.fromkeys(itertools.chain(*found)) if point not in known]
    always = set(points).intersection(*found)
    known.update(points)
    left = points
    for number in range(_TRIES):
        tried = [point for point in left if point in always or number < _TRIES_OF_RARE]
        if not tried:
            break
        missed = await scene.kill_at_each(tried, f"{prefix[:-1]}{number}", first)
        left = [point for point in left if point not in tried or point in missed]
    took_s = time.monotonic() - begun
    awaits = len({point for _, point in points})
    print(f"\nkilled at {len(points) - len(left)} of {len(points)} points of {awaits} awaits in {took_s:.0f} s")
    for edge, point in sorted({*left} - always):
        print(f"not passed this time: {edge} {point}")
    return [point for point in left if point in always]


@pytest.mark.timeout(2400)
async def test_killed_at_every_await_it_ends_right(scene: Scene, tmp_path: Path, known: set[Point]) -> None:
    assert await kill_at_all(scene, tmp_path, known, "found") == []


@pytest.mark.timeout(2400)
async def test_killed_at_every_await_of_a_cancellation_it_ends_cancelled(
    scene: Scene, tmp_path: Path, known: set[Point]
) -> None:
    scene.cancels = True
    assert await kill_at_all(scene, tmp_path, known, "cance") == []


@pytest.mark.timeout(2400)
async def test_killed_at_every_await_of_a_takeover_it_ends_right(
    scene: Scene, tmp_path: Path, known: set[Point]
) -> None:
    claimed = next(
        (edge, point)
        for edge, point in await scene.discover("first-000", tmp_path)
        if edge == "resumes" and "_write_claim" in point and "replace_status" in point
    )
    assert await kill_at_all(scene, tmp_path, known, "again", claimed) == []
