"""When runs are looked at, and which one is ended when the volume runs short."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from executor_runtime.sandbox.disk import DiskUsage
from executor_runtime.sandbox.model import Overrun
from executor_runtime.sandbox.tree import Written
from executor_runtime.sandbox.volume import Space, Volume, VolumeWatch, WatchedRun, overrun, reserve
from executor_runtime.workspace import Workspace, Workspaces

MIB = 1 << 20
GIB = 1 << 30
LIMIT = DiskUsage(100 * MIB, 100)


class Scene:
    """Real workspaces on a volume whose free space and clock the test sets."""

    def __init__(self, root: Path) -> None:
        self.workspaces = Workspaces(root)
        self.free = Space(10 * GIB, 1_000_000)
        self.seconds = 1000.0
        self.volume_bytes = 100 * GIB
        self.looks = 0
        self.watch = VolumeWatch(lambda: self.seconds, self.look_at)

    def look_at(self, _workspace: Workspace) -> Volume:
        self.looks += 1
        return Volume(Space(self.volume_bytes, 2_000_000), self.free)

    def begin(self, limit: DiskUsage = LIMIT) -> tuple[WatchedRun, list[Overrun]]:
        ended: list[Overrun] = []
        run = WatchedRun(self.workspaces.create("exec_20260115_a1b2c3d4"), limit, ended.append)
        self.watch._runs.append(run)  # without the thread that looks by itself
        return run, ended

    def look(self, after_s: float = 0.05, bytes: int = 0, entries: int = 0) -> None:
        """Looks after a while in which so much was taken of the volume."""
        self.seconds += after_s
        self.free = Space(self.free.bytes - bytes, self.free.entries - entries)
        self.watch.look()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a workspace was counted since it was asked for last."""
    count = 0
    measured = WatchedRun.look

    def look(run: WatchedRun, free: Space, clock: Callable[[], float]) -> None:
        nonlocal count
        count += 1
        measured(run, free, clock)

    def asked() -> int:
        nonlocal count
        since, count = count, 0
        return since

    monkeypatch.setattr(WatchedRun, "look", look)
    return asked


def test_while_nothing_changes_nothing_is_counted(scene: Scene, counted: Callable[[], int]) -> None:
    scene.begin()
    for _ in range(1000):
        scene.look()
    assert counted() == 0
    assert scene.looks == 1000


def test_small_changes_are_followed_up_now_and_then(scene: Scene, counted: Callable[[], int]) -> None:
    scene.begin()
    for _ in range(100):
        scene.look(after_s=0.05, bytes=4096)
    assert 15 <= counted() <= 20  # four times a second, of five


@pytest.mark.parametrize("taken", [{"bytes": 26 * MIB}, {"entries": 26}])
def test_a_good_part_of_the_limit_is_followed_up_at_once(
    scene: Scene, counted: Callable[[], int], taken: dict[str, int]
) -> None:
    scene.begin()
    scene.look()
    scene.look(0.05, **taken)
    assert counted() == 1
    scene.look(0.05)
    assert counted() == 0


def test_space_that_others_give_back_hides_nothing_for_long(scene: Scene, counted: Callable[[], int]) -> None:
    run, ended = scene.begin()
    scene.look()
    (run.workspace.path / "large").write_bytes(b"x" * (101 * MIB))
    os.sync()
    scene.look(0.25, bytes=-MIB)
    assert counted() == 1
    assert ended == [Overrun.WORKSPACE_BYTES]


def test_too_many_entries_are_noticed_once(scene: Scene) -> None:
    run, ended = scene.begin()
    scene.look()
    for number in range(101):
        (run.workspace.path / str(number)).touch()
    for _ in range(3):
        scene.look(0.3, entries=101)
    assert ended == [Overrun.WORKSPACE_ENTRIES]


def test_a_workspace_that_is_gone_is_no_reason_to_stop(scene: Scene) -> None:
    gone, _ = scene.begin()
    there, ended = scene.begin()
    scene.workspaces.remove(gone.workspace)
    scene.look()
    (there.workspace.path / "large").write_bytes(b"x" * (101 * MIB))
    os.sync()
    scene.look(0.3, bytes=101 * MIB)
    assert ended == [Overrun.WORKSPACE_BYTES]


def test_when_the_volume_is_short_the_run_that_has_written_most_is_ended(scene: Scene) -> None:
    hiding, hiding_ended = scene.begin()
    holding, holding_ended = scene.begin()
    scene.look()
    (holding.workspace.path / "file").write_bytes(b"x" * (90 * MIB))
    os.sync()
    hiding.written = Written(calls=0, disk=200 * MIB, taken_back=20 * MIB)
    scene.look(0.05, bytes=scene.free.bytes - 300 * MIB)
    assert hiding_ended == holding_ended == []
    scene.look(0.05, bytes=100 * MIB)
    assert (hiding_ended, holding_ended) == ([Overrun.VOLUME], [])


def test_the_next_one_is_ended_only_when_that_was_not_enough(scene: Scene) -> None:
    first, first_ended = scene.begin()
    second, second_ended = scene.begin()
    first.written, second.written = Written(disk=GIB), Written(disk=GIB // 2)
    scene.look(bytes=scene.free.bytes - 10 * MIB)
    scene.look(0.5)
    assert (first_ended, second_ended) == ([Overrun.VOLUME], [])
    scene.look(0.6)
    assert second_ended == [Overrun.VOLUME]


def test_who_has_taken_little_is_not_ended_for_a_disk_that_others_filled(scene: Scene) -> None:
    run, ended = scene.begin()
    run.written = Written(disk=63 * MIB)
    scene.look(bytes=scene.free.bytes)
    assert ended == []


def test_in_memory_all_output_counts(scene: Scene) -> None:
    run, _ = scene.begin()
    run.written = Written(calls=9, disk=5, taken_back=2)
    assert (run.spent_bytes(is_on_disk=True), run.spent_bytes(is_on_disk=False)) == (3, 9)


def test_inodes_can_run_short_too(scene: Scene) -> None:
    run, ended = scene.begin(DiskUsage(GIB, 1_000_000))
    other, other_ended = scene.begin(DiskUsage(GIB, 1_000_000))
    for number in range(2600):
        (run.workspace.path / str(number)).touch()
    (other.workspace.path / "file").touch()
    scene.look(entries=scene.free.entries - 9_999)
    assert (ended, other_ended) == ([Overrun.VOLUME], [])


@pytest.mark.parametrize(
    ("total", "kept"),
    [(Space(100 * GIB, 10**7), Space(256 * MIB, 10_000)), (Space(GIB, 0), Space(128 * MIB, 0))],
)
def test_the_reserve_is_a_part_of_a_small_volume(total: Space, kept: Space) -> None:
    assert reserve(total) == kept


def test_a_volume_without_a_number_of_inodes_is_never_short_of_them() -> None:
    assert not Volume(Space(GIB, 0), Space(GIB, 0)).is_short_of_entries()


def test_what_is_exceeded() -> None:
    assert overrun(DiskUsage(100 * MIB, 100), LIMIT) is None
    assert overrun(DiskUsage(100 * MIB + 1, 100), LIMIT) is Overrun.WORKSPACE_BYTES
    assert overrun(DiskUsage(0, 101), LIMIT) is Overrun.WORKSPACE_ENTRIES
    assert overrun(DiskUsage(0, 0, too_deep=True), LIMIT) is Overrun.WORKSPACE_DEPTH


def test_a_count_that_falls_takes_nothing_back() -> None:
    total = Written()
    last = Written()
    for now in (Written(1, 10, 1), Written(2, 4, 1), Written(3, 9, 1)):
        total, last = total.grown(last, now), now
    assert total == Written(3, 15, 1)


def test_the_volume_of_a_workspace_is_a_real_one(tmp_path: Path) -> None:
    volume = Volume.of(Workspaces(tmp_path).create("x"))
    assert 0 < volume.free.bytes <= volume.total.bytes
