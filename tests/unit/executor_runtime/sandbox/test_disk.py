"""What a workspace is found to hold, whatever stands in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor_runtime.sandbox.disk import MAX_DEPTH, DiskUsage, is_empty, measure

MIB = 1 << 20
ALL = DiskUsage(1 << 60, 1 << 60)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    """A descriptor of ``tmp_path``."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def write(path: Path, size: int = MIB) -> None:
    path.write_bytes(b"x" * size)
    os.sync()  # some file systems allot space only then


def test_nothing_is_nothing(top: int) -> None:
    assert measure(top, ALL) == DiskUsage(0, 0)
    assert is_empty(top)


def test_files_directories_and_links_of_any_name_count(tmp_path: Path, top: int) -> None:
    (tmp_path / ".hidden" / "deeper").mkdir(parents=True)
    write(tmp_path / ".hidden" / "deeper" / "file")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = measure(top, ALL)
    assert found.entries == 6
    assert MIB <= found.bytes < MIB + 100_000
    assert not is_empty(top)


def test_links_lead_nowhere(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    write(outside / "large")
    (inside / "directory").symlink_to(outside)
    (inside / "file").symlink_to(outside / "large")
    (inside / "up").symlink_to("..")
    descriptor = os.open(inside, os.O_RDONLY)
    found = measure(descriptor, ALL)
    os.close(descriptor)
    assert found.entries == 3
    assert found.bytes < 100_000


def test_several_names_of_one_file_take_space_once(tmp_path: Path, top: int) -> None:
    write(tmp_path / "file", 100_000)
    one = measure(top, ALL)
    for number in range(10):
        os.link(tmp_path / "file", tmp_path / f"name-{number}")
    found = measure(top, ALL)
    assert (found.entries, found.bytes) == (11, one.bytes)


def test_a_hole_takes_no_space(tmp_path: Path, top: int) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert measure(top, ALL).bytes < MIB


def test_space_beyond_a_files_end_counts(tmp_path: Path, top: int) -> None:
    with (tmp_path / "file").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, MIB)
        assert measure(top, ALL).bytes >= MIB


@pytest.mark.parametrize("limit", [DiskUsage(1 << 60, 100), DiskUsage(100 * 4096, 1 << 60)])
def test_counting_ends_when_it_is_enough(tmp_path: Path, top: int, limit: DiskUsage) -> None:
    for number in range(300):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)
    os.sync()
    found = measure(top, limit)
    assert found.exceeds(limit)
    assert found.entries == 101


def test_depth_has_a_bound(tmp_path: Path, top: int) -> None:
    deep = tmp_path.joinpath(*["d"] * MAX_DEPTH)
    deep.mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    assert measure(top, ALL) == DiskUsage(measure(top, ALL).bytes, MAX_DEPTH, too_deep=False)
    (deep / "d").mkdir()
    assert measure(top, ALL).too_deep
    assert measure(top, ALL).exceeds(ALL)
    assert len(os.listdir("/proc/self/fd")) == before


def added(top: int, before: DiskUsage, *in_memory: int) -> tuple[int, int]:
    """(entries, bytes) more than before, with what this process holds open; pytest holds unlinked files, too."""
    now = measure(top, ALL, [os.getpid()], in_memory)
    return now.entries - before.entries, now.bytes - before.bytes


def test_an_unlinked_file_counts_while_somebody_holds_it_open(tmp_path: Path, top: int) -> None:
    before = measure(top, ALL, [os.getpid()])
    descriptors = [os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)]
    try:
        os.write(descriptors[0], b"x" * MIB)
        os.fsync(descriptors[0])
        descriptors += [os.dup(descriptors[0]) for _ in range(5)]
        entries, size = added(top, before)
        assert entries == 1
        assert MIB <= size < 2 * MIB
        assert measure(top, ALL) == DiskUsage(0, 0)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    assert added(top, before) == (0, 0)


def test_files_in_memory_are_no_disk_space(top: int) -> None:
    before = measure(top, ALL, [os.getpid()])
    descriptor = os.memfd_create("in memory")
    try:
        os.write(descriptor, b"x" * MIB)
        assert added(top, before, os.fstat(descriptor).st_dev) == (0, 0)
        assert added(top, before) == (1, MIB)
    finally:
        os.close(descriptor)


def test_a_process_that_has_ended_holds_nothing(top: int) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert measure(top, ALL, [pid]) == DiskUsage(0, 0)
