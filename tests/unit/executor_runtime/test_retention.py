import asyncio
from pathlib import Path

import pytest

from executor_runtime.retention import MAX_RETAINED, Retention
from executor_runtime.workspace import Workspace, Workspaces
from tests.unit.executor_runtime.fake_time import FakeTime


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def retention(tmp_path: Path, time: FakeTime) -> Retention:
    return Retention(Workspaces(tmp_path), time.clock, retention_s=60, session_retention_s=600)


def exists(workspace: Workspace) -> bool:
    return workspace.path.is_dir()


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_without_artifacts_a_workspace_goes_at_once(retention: Retention, tmp_path: Path) -> None:
    workspace = await retention.enter("exec_20260115_a1b2c3d4", None)
    assert exists(workspace)
    retention.leave(workspace, None, has_artifacts=False)
    await retention.finish()
    assert names_in(tmp_path) == []


async def test_with_artifacts_it_stays_for_its_retention(retention: Retention, tmp_path: Path, time: FakeTime) -> None:
    workspace = await retention.enter("exec_20260115_a1b2c3d4", None)
    retention.leave(workspace, None, has_artifacts=True)
    time.seconds = 59
    await retention.sweep()
    assert exists(workspace)
    time.seconds = 60
    await retention.sweep()
    assert names_in(tmp_path) == []


async def test_a_session_stays_while_it_is_used_and_for_a_while_after(retention: Retention, time: FakeTime) -> None:
    first = await retention.enter("exec_20260115_a1b2c3d4", "s")
    second = await retention.enter("exec_20260115_a1b2c3d5", "s")
    other = await retention.enter("exec_20260115_a1b2c3d6", "t")
    assert first == second != other
    retention.leave(first, "s", has_artifacts=False)
    retention.leave(other, "t", has_artifacts=True)
    time.seconds = 10_000
    await retention.sweep()
    assert (exists(first), exists(other)) == (True, False)
    retention.leave(second, "s", has_artifacts=False)
    time.seconds += 599
    await retention.sweep()
    assert exists(first)
    time.seconds += 1
    await retention.sweep()
    assert not exists(first)
    assert exists(await retention.enter("exec_20260115_a1b2c3d7", "s"))


async def test_not_more_than_a_bounded_number_is_kept(retention: Retention, tmp_path: Path) -> None:
    for number in range(MAX_RETAINED + 3):
        retention.leave(await retention.enter(f"exec_20260115_{number:08d}", None), None, has_artifacts=True)
    await retention.sweep()
    assert len(names_in(tmp_path)) == MAX_RETAINED


async def test_the_sweep_goes_on(retention: Retention, time: FakeTime, tmp_path: Path) -> None:
    retention.leave(await retention.enter("exec_20260115_a1b2c3d4", None), None, has_artifacts=True)
    task = asyncio.create_task(retention.sweep_forever())
    for _ in range(62):
        await time.advance(1)
    while names_in(tmp_path):
        await asyncio.wait([task], timeout=0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
