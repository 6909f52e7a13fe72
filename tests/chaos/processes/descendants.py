"""What runs below this process, orphans too, and the namespaces that it holds."""

import contextlib
import ctypes
import os
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on what loses its parent becomes a child of this process, and can be counted.

    Raises:
        OSError: the kernel does not do it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_container(folder: Path) -> None:
    """Kills what an executor that has ended left behind, as the end of a container's first process does in a pod.

    There is something to kill when bwrap was killed between its fork and the moment when its child has asked to die
    with its parent: that child waits for ever, and has run nothing.
    """
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(word.startswith(f"{folder}/") for word in process.cmdline()):
                process.kill()


def end() -> None:
    """Kills all that is left."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def count() -> dict[str, int]:
    """Living processes, and the namespaces that they are in."""
    living = [
        process
        for process in psutil.Process().children(recursive=True)
        if _status(process) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    ]
    namespaces: set[str] = set()
    for process in living:
        namespaces |= _namespaces(process.pid)
    return {"processes": len(living), "namespaces": len(namespaces)}


def count_descriptors(pid: int) -> int:
    """Of one process; 0 when it has ended."""
    try:
        return int(psutil.Process(pid).num_fds())
    except psutil.NoSuchProcess:
        return 0


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_DEAD)


def _namespaces(pid: int) -> set[str]:
    """Such as ``pid:[4026531836]``."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/ns"):
            found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
    return found
