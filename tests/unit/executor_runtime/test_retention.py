import asyncio
from pathlib import Path

import pytest

from executor_runtime.retention import MAX_RETAINED, Left, Retention
from executor_runtime.sandbox.disk import DiskUsage
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
    retention.leave(workspace, None, Left())
    await retention.finish()
    assert names_in(tmp_path) == []


async def test_with_artifacts_it_stays_for_its_retention(retention: Retention, tmp_path: Path, time: FakeTime) -> None:
    workspace = await retention.enter("exec_20260115_a1b2c3d4", None)
    retention.leave(workspace, None, Left(has_artifacts=True))
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
    retention.leave(first, "s", Left())
    retention.leave(other, "t", Left(has_artifacts=True))
    time.seconds = 10_000
    await retention.sweep()
    assert (exists(first), exists(other)) == (True, False)
    retention.leave(second, "s", Left())
    time.seconds += 599
    await retention.sweep()
    assert exists(first)
    time.seconds += 1
    await retention.sweep()
    assert not exists(first)
    assert exists(await retention.enter("exec_20260115_a1b2c3d7", "s"))


async def test_not_more_than_a_bounded_number_is_kept(retention: Retention, tmp_path: Path) -> None:
    for number in range(MAX_RETAINED + 3):
        retention.leave(await retention.enter(f"exec_20260115_{number:08d}", None), None, Left(has_artifacts=True))
    await retention.sweep()
    assert len(names_in(tmp_path)) == MAX_RETAINED


GIB = 1 << 30


def left(size_bytes: int = 0, entries: int = 1) -> Left:
    return Left(has_artifacts=True, usage=DiskUsage(size_bytes, entries))


@pytest.mark.parametrize("usage", [left(GIB // 2), left(entries=100_000)], ids=["bytes", "entries"])
async def test_what_ended_first_gives_way_when_all_together_is_too_much(
    retention: Retention, time: FakeTime, usage: Left
) -> None:
    kept = await retention.enter("exec_20260115_00000001", None)
    idle = await retention.enter("exec_20260115_00000002", "s")
    third = await retention.enter("exec_20260115_00000003", None)
    fourth = await retention.enter("exec_20260115_00000004", None)
    for workspace, session_id in ((kept, None), (idle, "s"), (third, None), (fourth, None)):
        retention.leave(workspace, session_id, usage)
        time.seconds += 1
    await retention.finish()
    assert [exists(workspace) for workspace in (kept, idle, third, fourth)] == [False, False, True, True]


async def test_what_has_just_ended_stays_whatever_it_holds(retention: Retention) -> None:
    first = await retention.enter("exec_20260115_00000001", None)
    second = await retention.enter("exec_20260115_00000002", None)
    retention.leave(first, None, left(5 * GIB))
    assert exists(first)
    retention.leave(second, None, left(5 * GIB))
    await retention.finish()
    assert (exists(first), exists(second)) == (False, True)


async def test_a_session_in_use_counts_for_nothing_and_stays(retention: Retention) -> None:
    used = await retention.enter("exec_20260115_00000001", "s")
    retention.leave(used, "s", left(GIB))
    assert await retention.enter("exec_20260115_00000002", "s") == used
    others = [await retention.enter(f"exec_20260115_0000001{number}", None) for number in range(2)]
    for workspace in others:
        retention.leave(workspace, None, left(GIB // 2))
    await retention.finish()
    assert [exists(workspace) for workspace in (used, *others)] == [True, True, True]


async def test_what_was_removed_for_its_age_counts_no_more(retention: Retention, time: FakeTime) -> None:
    first, second = [await retention.enter(f"exec_20260115_0000000{number}", None) for number in range(2)]
    retention.leave(first, None, left(GIB))
    time.seconds = 60
    await retention.sweep()
    retention.leave(second, None, left(GIB))
    third = await retention.enter("exec_20260115_00000003", None)
    retention.leave(third, None, left(0))
    await retention.finish()
    assert [exists(workspace) for workspace in (first, second, third)] == [False, True, True]


async def test_over_its_limit_nothing_stays(retention: Retention, tmp_path: Path) -> None:
    workspace = await retention.enter("exec_20260115_00000001", None)
    retention.leave(workspace, None, Left(has_artifacts=True, is_over_limit=True))
    await retention.finish()
    assert names_in(tmp_path) == []


async def test_a_session_over_its_limit_begins_anew(retention: Retention, tmp_path: Path) -> None:
    first = await retention.enter("exec_20260115_00000001", "s")
    (first.path / "file").touch()
    retention.leave(first, "s", Left(is_over_limit=True))
    second = await retention.enter("exec_20260115_00000002", "s")
    assert names_in(second.path) == []
    await retention.finish()
    assert names_in(tmp_path) == [second.path.name]


async def test_the_sweep_goes_on(retention: Retention, time: FakeTime, tmp_path: Path) -> None:
    retention.leave(await retention.enter("exec_20260115_a1b2c3d4", None), None, Left(has_artifacts=True))
    task = asyncio.create_task(retention.sweep_forever())
    while names_in(tmp_path):  # a thread removes them, which takes what it takes
        await time.advance(1)
        await asyncio.wait([task], timeout=0.001)
    assert time.seconds >= 60
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
