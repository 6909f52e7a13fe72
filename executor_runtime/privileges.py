"""An executor that finds itself root becomes an unprivileged user before it does anything else.

Started by root, bwrap maps the sandbox's user to the host's uid 0, and files such as
``/proc/sys/kernel/core_pattern`` can be written from inside. In a pod the executor is uid 1000 from the
start; this is for a developer's machine, tests, and containers that run as root.

``__main__`` calls it first, before threads and the event loop: credentials and mount namespaces belong to threads.
"""

import contextlib
import ctypes
import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pydantic

from executor_runtime.sandbox.errors import PrivilegesError
from executor_runtime.workspace import OPEN_DIRECTORY

UNPRIVILEGED_ID: Final = 1000

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWNS: Final = 0x00020000
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_PATH_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_libc: Final = ctypes.CDLL(None, use_errno=True)


def set_non_dumpable() -> None:
    """No process of the same uid may read this one's memory, environment or descriptors (prctl(2))."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "this process cannot be made non-dumpable")


def drop_or_refuse(directories: Sequence[Path], uid: int = UNPRIVILEGED_ID, gid: int = UNPRIVILEGED_ID) -> None:
    """Makes the directories that are missing; as root, gives them to ``uid:gid`` and becomes that for good.

    Only the directories themselves change owner: never through a link, never what is in them, and only when
    they are root's and empty. Where a parent directory closes off the code or a directory (a checkout below
    ``/root``), only these are opened, in a mount namespace of this process alone.

    Raises:
        PrivilegesError: it cannot be done, or what the executor needs would be out of its reach.
    """
    for directory in directories:
        _make(directory)
    if os.geteuid() == 0:
        for directory in directories:
            _give(directory, uid, gid)
        needed = [*_code_directories(), *(directory.resolve() for directory in directories)]
        _open_way_to([path for path in needed if _closed_ancestor(path) is not None])
        _become(uid, gid)
        _check_reach(needed)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs cannot be set")
    for directory in directories:
        _check_writable(directory)


def _make(directory: Path) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
    except OSError as error:
        raise PrivilegesError(f"{directory} cannot be made: {error.strerror}") from error


def _give(directory: Path, uid: int, gid: int) -> None:
    try:
        descriptor = os.open(directory, OPEN_DIRECTORY)
    except OSError as error:
        raise PrivilegesError(f"{directory} is not a directory that can be opened: {error.strerror}") from error
    try:
        owner = os.fstat(descriptor).st_uid
        if owner == uid:
            return
        if owner != 0 or os.listdir(descriptor):
            raise PrivilegesError(
                f"{directory} is not empty or belongs to uid {owner}: "
                f"name an empty directory, or give it to uid {uid} (chown {uid}:{gid} {directory})"
            )
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _become(uid: int, gid: int) -> None:
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise PrivilegesError(f"root cannot become uid {uid}: {error.strerror}; start it as uid {uid}") from error
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or os.getgroups():
        raise PrivilegesError(f"root did not become uid {uid} gid {gid} wholly; start it as uid {uid}")


def _code_directories() -> list[Path]:
    """Where this process imports from, now and later: its own packages, their dependencies, the standard library."""
    own, dependencies = Path(__file__).resolve().parents[1], Path(pydantic.__file__).resolve().parents[1]
    found = {own, dependencies, Path(os.__file__).resolve().parent, Path(sys.executable).resolve().parent}
    return sorted(found)


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost directory above ``path`` that others may not pass; its own mode is not looked at."""
    for ancestor in reversed(path.parents):
        if not os.stat(ancestor).st_mode & 0o001:
            return ancestor
    return None


def _open_way_to(paths: Sequence[Path]) -> None:
    """Puts an empty directory over each closed ancestor, with only ``paths`` in it; nobody else sees that."""
    closed = {path: ancestor for path in paths if (ancestor := _closed_ancestor(path)) is not None}
    if not closed:
        return
    where = os.getcwd()
    _check(_libc.unshare(_CLONE_NEWNS), _no_way(closed))
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE, None, closed)
    held = {path: os.open(path, _PATH_DIRECTORY) for path in _outermost(closed)}
    try:
        for ancestor in set(closed.values()):
            _mount("tmpfs", str(ancestor), b"tmpfs", 0, b"mode=755,size=1m", closed)
        for path, descriptor in held.items():
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{descriptor}", str(path), None, _MS_BIND | _MS_REC, None, closed)
    finally:
        for descriptor in held.values():
            os.close(descriptor)
    with contextlib.suppress(OSError):  # it may be a directory that is not shown any more
        os.chdir(where)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Those that are not below another one."""
    every = set(paths)
    return sorted(path for path in every if not every.intersection(path.parents))


def _mount(
    source: str, target: str, kind: bytes | None, flags: int, data: bytes | None, closed: Iterable[Path]
) -> None:
    result = _libc.mount(source.encode(), target.encode(), kind, ctypes.c_ulong(flags), data)
    _check(result, _no_way(closed))


def _no_way(closed: Iterable[Path]) -> str:
    names = ", ".join(str(path) for path in closed)
    return f"without root {names} is out of reach: put it where all users may go, such as /opt"


def _check_reach(paths: Sequence[Path]) -> None:
    for path in paths:
        if not os.access(path, os.R_OK | os.X_OK):
            raise PrivilegesError(_no_way([path]))


def _check_writable(directory: Path) -> None:
    trial = directory / f".probe-{secrets.token_hex(8)}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise PrivilegesError(
            f"{directory} cannot be written by uid {os.getuid()} ({error.strerror}): mount a volume that it may write"
        ) from error


def _check(result: int, message: str) -> None:
    if result != 0:
        raise PrivilegesError(f"{message} ({os.strerror(ctypes.get_errno())})")
