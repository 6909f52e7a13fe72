"""What ``/proc`` tells about a sandbox's processes, seen from the executor (proc(5)).

Every process may end at any moment: what is gone counts as nothing.
"""

import os
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


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


def resident_bytes(pid: int) -> int:
    """Resident pages, shared ones included (proc(5), statm)."""
    try:
        fields = _read(f"/proc/{pid}/statm").split()
        return int(fields[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Each shared page divided by how many share it (proc(5), smaps_rollup); else all resident ones."""
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_bytes(pid)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while more := os.read(descriptor, 65_536):  # the kernel hands out long lists a page at a time
            content += more
        return content
    finally:
        os.close(descriptor)
