"""Puts the files that an execution is given into its workspace, before any of its code runs.

In a session an earlier execution has chosen what is there: a link where a file or a directory is to be, a FIFO that a
writer would wait at, a directory that nobody may enter. None of its processes is left, so nothing changes meanwhile;
even so every step goes through a directory descriptor, follows no link, and opens nothing that it has not just made.
It blocks: a thread is the right place for it.
"""

import contextlib
import os
import stat
import time
from collections.abc import Sequence
from typing import Final

from contracts.executor_api import InputFile
from executor_runtime.sandbox.errors import WorkspaceError
from executor_runtime.workspace import OPEN_DIRECTORY, Workspace, remove_tree, unlock

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGE_NS: Final = 1_000_000_000
"""What is written within the clock's granularity of a file's making has another time of change all the same: so
``artifacts`` sees it."""


def write_files(workspace: Workspace, files: Sequence[InputFile]) -> None:
    """All of them, owned by the user of the code. What is in the way of one is replaced, a directory with all in it.

    Raises:
        WorkspaceError: they cannot be written, for want of disk space for example.
    """
    top = workspace.open()
    try:
        for file in files:
            _write(top, file)
    except OSError as error:
        raise WorkspaceError(f"the files cannot be put into the workspace: {error.strerror}") from error
    finally:
        os.close(top)


def _write(top: int, file: InputFile) -> None:
    *directories, name = file.path.split("/")
    with contextlib.ExitStack() as opened:
        directory = top
        for part in directories:
            directory = _enter(directory, part)
            opened.callback(os.close, directory)
        _make_way(directory, name)
        descriptor = os.open(name, _CREATE, 0o644, dir_fd=directory)
        opened.callback(os.close, descriptor)
        left = memoryview(file.content)
        while left:
            left = left[os.write(descriptor, left) :]
        made = time.time_ns() - _AGE_NS
        os.utime(descriptor, ns=(made, made))


def _enter(directory: int, part: str) -> int:
    """A descriptor of a directory in another one, made when it is not there."""
    found = _look(directory, part)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        os.unlink(part, dir_fd=directory)
        found = None
    if found is None:
        os.mkdir(part, 0o755, dir_fd=directory)
    elif found.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        unlock(part, directory)
    return os.open(part, OPEN_DIRECTORY, dir_fd=directory)


def _make_way(directory: int, name: str) -> None:
    found = _look(directory, name)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        remove_tree(directory, name)
    else:
        os.unlink(name, dir_fd=directory)


def _look(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None
