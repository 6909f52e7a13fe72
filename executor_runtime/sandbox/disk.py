"""How much a workspace holds: all that stands in it by name, and what a run's processes hold open without one.

User code chose every name, and may change the tree while it is counted. So everything is reached through directory
descriptors that follow no link, counting stops as soon as it is enough, and a count is what was there at about that
moment. Once nothing of the run is left, it is exact.
"""

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from executor_runtime.sandbox.tree import entry_of

MAX_DEPTH: Final = 128
"""Directories below each other. The count holds two descriptors for each, and paths of this depth have no use."""

_BLOCK_BYTES: Final = 512
"""Unit of st_blocks (stat(2))."""
_LARGE_BYTES: Final = 1_048_576
"""A file of this size is counted once, also when it is moved from a directory that was counted to one that was not."""
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NAME: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAY_LIST: Final = stat.S_IRUSR | stat.S_IXUSR


@dataclass(frozen=True)
class DiskUsage:
    """Space that is allotted on the disk, and files, directories and links."""

    bytes: int = 0
    entries: int = 0
    too_deep: bool = False
    """Nested deeper than ``MAX_DEPTH``: what is below is not counted."""

    def exceeds(self, limit: Self) -> bool:
        """Whether it is more than a limit allows."""
        return self.too_deep or self.bytes > limit.bytes or self.entries > limit.entries


def measure(top: int, limit: DiskUsage, pids: Iterable[int] = (), in_memory: Collection[int] = ()) -> DiskUsage:
    """What the directory ``top`` (a descriptor) holds, and what the processes hold open that has no name any more.

    It blocks, for about 3 microseconds an entry, and ends early once the limit is exceeded. ``in_memory`` are the
    device numbers of file systems whose files are no disk space. A directory that user code has closed to itself is
    opened and closed again; what it calls it stays the same.
    """
    count = _Count(limit)
    _count_named(top, count)
    for pid in pids:
        if count.is_enough:
            break
        _count_unnamed(pid, count, in_memory)
    return count.usage


def is_empty(top: int) -> bool:
    """Whether a directory holds nothing, as most workspaces do: that needs no counting."""
    with os.scandir(top) as entries:
        return next(entries, None) is None


class _Count:
    """The sum so far."""

    def __init__(self, limit: DiskUsage) -> None:
        self._limit = limit
        self._bytes, self._entries, self._too_deep = 0, 0, False
        self._seen: set[tuple[int, int]] = set()

    @property
    def usage(self) -> DiskUsage:
        return DiskUsage(self._bytes, self._entries, self._too_deep)

    @property
    def is_enough(self) -> bool:
        return self._too_deep or self._bytes > self._limit.bytes or self._entries > self._limit.entries

    def add(self, found: os.stat_result) -> None:
        """One name, and its space unless another name of it was counted."""
        self._entries += 1
        size = found.st_blocks * _BLOCK_BYTES
        if found.st_nlink != 1 or size >= _LARGE_BYTES:
            identity = found.st_dev, found.st_ino
            if identity in self._seen:
                return
            self._seen.add(identity)
        self._bytes += size

    def add_unnamed(self, found: os.stat_result) -> None:
        """A file that is only held open; several descriptors of it are one."""
        if (found.st_dev, found.st_ino) not in self._seen:
            self.add(found)

    def stop_at_depth(self) -> None:
        self._too_deep = True


class _Level:
    """One directory of the way down, open for listing, with the mode to give back to it."""

    def __init__(self, descriptor: int, closed_mode: int | None) -> None:
        self.descriptor, self._closed_mode = descriptor, closed_mode
        try:
            self._entries = os.scandir(descriptor)
        except OSError:
            self._close_descriptor()
            raise

    @classmethod
    def top(cls, descriptor: int) -> Self:
        """The directory of a descriptor that stays the caller's."""
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        return cls(*_reopened(descriptor, mode))

    def open(self, name: str, mode: int) -> "_Level":
        """The directory ``name`` in this one. Raises OSError when it is gone, or a link by now."""
        descriptor = os.open(name, _NAME, dir_fd=self.descriptor)
        try:
            return _Level(*_reopened(descriptor, stat.S_IMODE(mode)))
        finally:
            os.close(descriptor)

    def next(self) -> "os.DirEntry[str] | None":
        """What is listed next; None at the end, or when the directory was removed meanwhile."""
        with contextlib.suppress(OSError):
            return next(self._entries, None)
        return None

    def close(self) -> None:
        self._entries.close()
        self._close_descriptor()

    def _close_descriptor(self) -> None:
        if self._closed_mode is not None:
            with contextlib.suppress(OSError):
                os.fchmod(self.descriptor, self._closed_mode)
        os.close(self.descriptor)


def _reopened(descriptor: int, mode: int) -> tuple[int, int | None]:
    """(a descriptor of the same directory that can list and look up, the mode that it must get back)."""
    path = f"/proc/self/fd/{descriptor}"
    closed_mode = None if mode & _MAY_LIST == _MAY_LIST else mode
    if closed_mode is not None:
        os.chmod(path, mode | stat.S_IRWXU)
    return os.open(path, _OPEN), closed_mode


def _count_named(top: int, count: _Count) -> None:
    levels = [_Level.top(top)]
    try:
        while levels and not count.is_enough:
            entry = levels[-1].next()
            if entry is None:
                levels.pop().close()
                continue
            with contextlib.suppress(OSError):  # gone meanwhile
                found = entry.stat(follow_symlinks=False)
                count.add(found)
                if not stat.S_ISDIR(found.st_mode):
                    continue
                if len(levels) > MAX_DEPTH:
                    count.stop_at_depth()
                    return
                levels.append(levels[-1].open(entry.name, found.st_mode))
    finally:
        for level in reversed(levels):
            level.close()


def _count_unnamed(pid: int, count: _Count, in_memory: Collection[int]) -> None:
    """All threads of a process have one table of descriptors: the seccomp filter refuses others."""
    for found in _open_files(pid):
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev not in in_memory:
            count.add_unnamed(found)
            if count.is_enough:
                return


def _open_files(pid: int) -> Iterator[os.stat_result]:
    """What each descriptor of a process refers to (proc(5), /proc/PID/fd): the executor owns its user namespace."""
    try:
        directory = os.open(f"{entry_of(pid)}/fd", _OPEN)
    except OSError:  # it ended meanwhile
        return
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield os.stat(entry.name, dir_fd=directory)
    except OSError:
        return
    finally:
        os.close(directory)
