"""Workspaces: the one directory that user code may write and that outlives its sandbox.

Made and removed through directory descriptors, never through a path that user code could
have replaced. A run's processes have the executor's own uid on the host, so whatever modes
they left can be changed back.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from executor_runtime.sandbox.errors import WorkspaceError

OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Workspace:
    """One directory, remembered by its identity as well as its path."""

    path: Path
    device: int
    inode: int

    def open(self) -> int:
        """A descriptor of the directory, whatever mode user code gave it; the caller closes it.

        Raises:
            WorkspaceError: it is gone, or something else is in its place.
        """
        try:
            descriptor = self._open()
        except OSError as error:
            raise WorkspaceError(f"workspace {self.path.name} cannot be opened: {error.strerror}") from error
        if not self._is(descriptor):
            os.close(descriptor)
            raise WorkspaceError(f"workspace {self.path.name} is not the directory that was made")
        return descriptor

    def _open(self) -> int:
        with contextlib.suppress(PermissionError):
            descriptor = os.open(self.path, OPEN_DIRECTORY)
            if os.fstat(descriptor).st_mode & stat.S_IRWXU == stat.S_IRWXU:
                return descriptor
            os.close(descriptor)
        # User code owns it and can change its mode; neither its result nor its session's next run is lost by that.
        descriptor = os.open(self.path, _NAME_DIRECTORY)
        try:
            if self._is(descriptor):
                _set_private(descriptor)
        finally:
            os.close(descriptor)
        return os.open(self.path, OPEN_DIRECTORY)

    def _is(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == (self.device, self.inode)


class Workspaces:
    """All workspaces below one directory (``WORKSPACE_PATH``)."""

    def __init__(self, root: Path) -> None:
        """Raises WorkspaceError when ``root`` is no directory, is a link, or cannot be written (T056)."""
        self._root = root
        try:
            with _opened(root) as directory:
                probe = f".probe-{secrets.token_hex(8)}"
                os.mkdir(probe, 0o700, dir_fd=directory.descriptor)
                os.rmdir(probe, dir_fd=directory.descriptor)
        except OSError as error:
            raise WorkspaceError(
                f"the workspace directory {root} cannot be written ({error.strerror}): "
                "mount a volume there that this uid may write, or set WORKSPACE_PATH"
            ) from error

    def create(self, execution_id: str) -> Workspace:
        """A new, empty workspace (mode 0700) for one execution."""
        return self._make(f"{execution_id}-{secrets.token_hex(8)}", exist_ok=False)

    def open_session(self, session_id: str) -> Workspace:
        """The workspace that the executions of one session share; made on first use."""
        return self._make(session_name(session_id), exist_ok=True)

    def _make(self, name: str, exist_ok: bool) -> Workspace:
        try:
            with _opened(self._root) as root:
                try:
                    os.mkdir(name, 0o700, dir_fd=root.descriptor)
                except FileExistsError:
                    if not exist_ok:
                        raise
                with _opened(name, root.descriptor) as made:
                    os.fchmod(made.descriptor, 0o700)
                    found = os.fstat(made.descriptor)
        except OSError as error:
            raise WorkspaceError(f"workspace {name} cannot be made: {error.strerror}") from error
        return Workspace(self._root / name, found.st_dev, found.st_ino)

    def remove(self, workspace: Workspace) -> None:
        """Removes the workspace and all in it; one that is gone already is no error.

        Only for a workspace in which nothing runs any more. It follows no link, copes with any depth
        with two descriptors, and with directories that user code made unreadable.

        Raises:
            WorkspaceError: something in it cannot be removed.
        """
        try:
            with _opened(self._root) as root:
                remove_tree(root.descriptor, workspace.path.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise WorkspaceError(f"workspace {workspace.path.name} cannot be removed: {error.strerror}") from error

    def give(self, workspace: Workspace, execution_id: str) -> Workspace:
        """The same workspace under the name that ``create`` would have given it.

        Raises:
            WorkspaceError: it cannot be renamed.
        """
        return self._rename(workspace, f"{execution_id}-{secrets.token_hex(8)}")

    def remove_empty(self, workspace: Workspace) -> bool:
        """Removes a workspace that holds nothing, without blocking; False when that is not all there is to do."""
        with contextlib.suppress(OSError), _opened(self._root) as root:
            os.rmdir(workspace.path.name, dir_fd=root.descriptor)
            return True
        return False

    def set_aside(self, workspace: Workspace) -> Workspace:
        """The same workspace under a name that nobody asks for, so that its own name is free at once.

        Raises:
            WorkspaceError: it cannot be renamed.
        """
        return self._rename(workspace, f"removed-{secrets.token_hex(8)}")

    def _rename(self, workspace: Workspace, name: str) -> Workspace:
        try:
            with _opened(self._root) as root:
                os.rename(workspace.path.name, name, src_dir_fd=root.descriptor, dst_dir_fd=root.descriptor)
        except OSError as error:
            raise WorkspaceError(f"workspace {workspace.path.name} cannot be renamed: {error.strerror}") from error
        return Workspace(self._root / name, workspace.device, workspace.inode)

    def clear(self) -> int:
        """Removes what an executor before this one left behind; how many."""
        with _opened(self._root) as root:
            names = [
                name
                for name in os.listdir(root.descriptor)
                if stat.S_ISDIR(os.lstat(name, dir_fd=root.descriptor).st_mode)
            ]
            for name in names:
                remove_tree(root.descriptor, name)
        return len(names)


def session_name(session_id: str) -> str:
    """A directory name for any session id: of bounded length, and no two ids share one."""
    return f"session-{hashlib.sha256(session_id.encode()).hexdigest()}"


class _opened:
    """``with _opened(path, dir_fd) as directory``: a directory descriptor that follows no link."""

    def __init__(self, path: Path | str, dir_fd: int | None = None) -> None:
        self._path, self._dir_fd = path, dir_fd
        self.descriptor = -1

    def __enter__(self) -> Self:
        self.descriptor = os.open(self._path, OPEN_DIRECTORY, dir_fd=self._dir_fd)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def unlock(name: str, dir_fd: int) -> None:
    """Mode 0700 for a directory, whatever its mode is now, without following a link."""
    descriptor = os.open(name, _NAME_DIRECTORY, dir_fd=dir_fd)
    try:
        _set_private(descriptor)
    finally:
        os.close(descriptor)


def _set_private(descriptor: int) -> None:
    """Mode 0700. ``fchmod`` refuses an O_PATH descriptor, and another kind needs the permission that is missing."""
    os.chmod(f"/proc/self/fd/{descriptor}", 0o700)


def remove_tree(root: int, name: str) -> None:
    """Removes a directory in another one and all that is in it, whatever user code has made of it; raises OSError."""
    unlock(name, root)
    with _opened(name, root) as top:
        while _flatten_once(top.descriptor):
            pass
    os.rmdir(name, dir_fd=root)


def _flatten_once(top: int) -> bool:
    """Removes the files of ``top`` and its directories, whose own directories move up into ``top``.

    Returns whether directories moved, that is, whether there is more to do. Moving up instead of
    descending bounds stack and descriptors, however deep user code has nested.
    """
    moved = False
    for name in os.listdir(top):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
            os.unlink(name, dir_fd=top)
            continue
        unlock(name, top)
        with _opened(name, top) as directory:
            moved = _empty_into(directory.descriptor, top) or moved
        os.rmdir(name, dir_fd=top)
    return moved


def _empty_into(directory: int, top: int) -> bool:
    moved = False
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            unlock(name, directory)
            os.rename(name, secrets.token_hex(16), src_dir_fd=directory, dst_dir_fd=top)
            moved = True
        else:
            os.unlink(name, dir_fd=directory)
    return moved
