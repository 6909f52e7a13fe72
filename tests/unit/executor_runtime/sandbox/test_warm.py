"""When a sandbox is started ahead: not while a job that has just begun, or its answer, would wait for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from executor_runtime.sandbox import warm
from executor_runtime.sandbox.model import Limits
from executor_runtime.sandbox.shape import Shape
from executor_runtime.sandbox.warm import WarmSandboxes

SHAPE = Shape.without_program(Limits())


@dataclass(frozen=True)
class Named:
    path: Path


class FakeWorkspaces:
    """Workspaces that are names."""

    def __init__(self) -> None:
        self._made = 0

    def create(self, name: str) -> Any:
        self._made += 1
        return Named(Path(f"{name}-{self._made}"))

    def give(self, workspace: Any, execution_id: str) -> Any:
        return workspace

    def remove(self, workspace: Any) -> None:
        """Nothing is there."""


class FakeStarted:
    """One that comes up at once."""

    is_waiting = True

    def __init__(self, workspace: Any, shape: Shape) -> None:
        self.workspace, self.shape = workspace, shape
        self.process = SimpleNamespace(exited=asyncio.get_running_loop().create_future())

    async def wait_until_up(self) -> bool:
        return True

    async def finish(self) -> None:
        """Nothing is there."""


class Rig:
    """Two sandboxes kept ahead, on a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int = 2) -> None:
        self.now, self.running, self.starts = 100.0, 0, 0
        monkeypatch.setattr(warm, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.warm = WarmSandboxes(self._start, FakeWorkspaces(), size, 0, lambda: self.running)  # type: ignore[arg-type]
        self._keeping = asyncio.create_task(self.warm.keep())

    def _start(self, workspace: Any, shape: Shape) -> Any:
        self.starts += 1
        return FakeStarted(workspace, shape)

    def begin(self) -> None:
        workspace = self.warm.reserve("exec_20260101_aaaaaaaa", [SHAPE])
        assert workspace is not None
        self.running += 1
        assert self.warm.take(workspace) is not None

    def end(self) -> None:
        self.running -= 1
        self.warm.look_again()

    async def after(self, seconds: float) -> int:
        """How many have been started by then; what waits for that time is woken by the loop's own clock.

        In small steps: after a moment in which the whole process stood still there are more of them.
        """
        self.now += seconds
        for _ in range(10):
            await asyncio.sleep(0.005)
        return self.starts

    async def close(self) -> None:
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        await self.warm.close()


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    made = Rig(monkeypatch)
    yield made
    await made.close()


async def test_a_short_job_and_its_answer_are_over_before_the_next_is_started(rig: Rig) -> None:
    assert await rig.after(0) == 2
    rig.begin()
    assert await rig.after(0.005) == 2
    rig.end()
    assert await rig.after(0.001) == 2
    assert await rig.after(0.003) == 3


async def test_a_long_job_holds_no_start_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.warm, "_processors", 2)
    assert await rig.after(0) == 2
    rig.begin()
    assert await rig.after(0.02) == 2
    assert await rig.after(0.01) == 3


async def test_nothing_waits_when_none_is_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.warm, "_processors", 3)
    assert await rig.after(0) == 2
    rig.begin()
    rig.begin()
    assert await rig.after(0) == 3
