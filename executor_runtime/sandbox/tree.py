"""What ``/proc`` tells about a sandbox's processes, seen from the executor (proc(5)).

Every process may end at any moment: what is gone counts as nothing.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from executor_runtime.sandbox.argv import SHM, TMP

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MAPS_BYTES: Final = 2 * 1_048_576
"""Read of the list of one process's mappings: some 20,000, where programs have hundreds."""
_ANONYMOUS: Final = (b"/dev/zero", b"/memfd:", b"/SYSV")
"""What shared memory is called that has no file behind it."""


def descendants(pid: int) -> list[int]:
    """Pids of all processes below ``pid``."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children_of(todo.pop())
        found += below
        todo += below
    return found


def children_of(pid: int) -> list[int]:
    """Pids of its children, oldest first; the kernel lists them for each thread that forked (proc(5))."""
    tasks = f"/proc/{pid}/task"
    try:
        return [int(child) for task in os.listdir(tasks) for child in _read(f"{tasks}/{task}/children").split()]
    except OSError:  # it ended meanwhile
        return []


def parent_of(pid: int) -> int:
    """The parent's pid (proc(5), field 4 of stat; the name before it may hold spaces and parentheses).

    Raises:
        OSError: there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def entry_of(pid: int) -> str:
    """The directory that shows a process's memory and descriptors.

    Once the first thread of a process has exited its own directory shows neither, as long as others go on; theirs do.
    """
    own = f"/proc/{pid}"
    with contextlib.suppress(OSError):
        if _has_memory(own):
            return own
        tasks = [f"{own}/task/{task}" for task in os.listdir(f"{own}/task")]
        return next(filter(_has_memory, tasks), own)
    return own


def _has_memory(entry: str) -> bool:
    try:
        return not _read(f"{entry}/statm").startswith(b"0 ")
    except OSError:
        return False


@dataclass(frozen=True)
class Memory:
    """What is cheap to know of one process (proc(5), statm)."""

    resident_bytes: int = 0
    """Shared pages included."""
    virtual_bytes: int = 0
    """Address space."""
    unbounded_bytes: int = 0
    """Address space that is neither code nor private memory, which RLIMIT_DATA bounds."""

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """As it is now."""
        try:
            statm = _read(f"/proc/{pid}/statm")
            if statm.startswith(b"0 "):
                statm = _read(f"{entry_of(pid)}/statm")
            size, resident, _, text, _, data, *_ = map(int, statm.split())
        except (OSError, ValueError):
            return cls()
        return cls(resident * _PAGE_BYTES, size * _PAGE_BYTES, (size - text - data) * _PAGE_BYTES)


def page_table_bytes(pid: int) -> int:
    """What the kernel needs to map its memory (proc(5), status)."""
    try:
        found = re.search(rb"^VmPTE:\s*(\d+) kB", _read(f"{entry_of(pid)}/status"), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def proportional_bytes(pid: int) -> tuple[int, int]:
    """(each shared page divided by how many share it, what of that is shared memory and tmpfs files).

    proc(5), smaps_rollup; all resident pages and 0 where the kernel does not tell.
    """
    found = {b"Pss:": Memory.of(pid).resident_bytes, b"Pss_Shmem:": 0}
    try:
        for line in _read(f"{entry_of(pid)}/smaps_rollup").splitlines():
            name, *rest = line.split()
            if name in found:
                found[name] = int(rest[0]) * 1024
    except OSError:
        pass
    return found[b"Pss:"], found[b"Pss_Shmem:"]


def shared_memory(pid: int) -> dict[tuple[bytes, bytes], int]:
    """(device, inode) → bytes of the anonymous memory that it has mapped to share, touched or not.

    It stays in memory as long as anybody maps it, also when no process has it resident: MADV_DONTNEED lets go of
    it, and a forked child that never touches it has none (madvise(2)). So it counts in full.
    """
    found: dict[tuple[bytes, bytes], int] = {}
    try:
        listed = _read(f"{entry_of(pid)}/maps", _MAPS_BYTES)
    except OSError:
        return found
    if len(listed) >= _MAPS_BYTES:  # so many are there to hide something: all of it counts
        return {(b"mappings of", str(pid).encode()): Memory.of(pid).unbounded_bytes}
    for line in filter(None, listed.split(b"\n")):  # a carriage return is part of a name that user code chose
        region, mode, offset, device, inode, *path = line.split(None, 5)
        if mode.endswith(b"s") and path and path[0].startswith(_ANONYMOUS):
            start, _, end = region.partition(b"-")
            size = int(end, 16) - int(start, 16) + int(offset, 16)
            found[device, inode] = max(size, found.get((device, inode), 0))
    return found


class Written(NamedTuple):
    """Bytes that a process and the children that it has waited for have written (proc(5), io)."""

    calls: int = 0
    """By write(2) and its like, to files, pipes and sockets."""
    disk: int = 0
    """To file systems on disks, by whatever way."""
    taken_back: int = 0
    """Of ``disk``, before it got there."""

    @classmethod
    def of(cls, pid: int) -> "Written":
        """Up to now."""
        try:
            fields = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
            return cls(int(fields[b"wchar"]), int(fields[b"write_bytes"]), int(fields[b"cancelled_write_bytes"]))
        except (OSError, KeyError, ValueError):
            return cls()

    @classmethod
    def of_all(cls, pids: Sequence[int]) -> "Written":
        """By all of them together. It falls when a process goes that nobody has waited for."""
        return cls(*map(sum, zip(*(cls.of(pid) for pid in pids), strict=True))) if pids else cls()

    def grown(self, before: "Written", now: "Written") -> "Written":
        """With what has come between two counts; a count that fell takes nothing back."""
        return Written(*(sum_ + max(to - from_, 0) for sum_, from_, to in zip(self, before, now, strict=True)))


def memory_devices(init_pid: int) -> frozenset[int]:
    """Device numbers of the file systems in memory where a sandbox's processes may hold files open: its ``/tmp``,
    ``/dev/shm``, and the one that has no name (memfd_create(2))."""
    devices = {_MEMFD_DEVICE}
    with contextlib.suppress(OSError):  # it ended meanwhile
        devices.update(os.stat(f"/proc/{init_pid}/root{path}").st_dev for path in (TMP, SHM))
    return frozenset(devices)


def _find_memfd_device() -> int:
    descriptor = os.memfd_create("device")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


_MEMFD_DEVICE: Final = _find_memfd_device()


def _read(path: str, enough: int = 1 << 30) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while len(content) < enough and (more := os.read(descriptor, 65_536)):  # long lists come a page at a time
            content += more
        return content
    finally:
        os.close(descriptor)
