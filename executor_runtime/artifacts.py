"""Finds the files that an execution made or changed in its workspace, and opens one of them (the seed's US6).

User code chose every name and may have left links, FIFOs and trees of any shape. Everything is reached
through directory descriptors that follow no link. Call it when nothing of the run is left: it blocks,
and starts no process, so a thread is the right place for it.
"""

import mimetypes
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from contracts.executor_api import ArtifactMetadata
from executor_runtime.sandbox.errors import SandboxError
from executor_runtime.workspace import OPEN_DIRECTORY, Workspace

MAX_ARTIFACTS: Final = 10_000
MAX_DEPTH: Final = 64
"""Directories below each other; what lies deeper is not listed."""

_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOGS: Final = frozenset({".log", ".err", ".trace"})
_OUTPUTS: Final = frozenset(
    {".out", ".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt", ".xml", ".yaml", ".yml"}
)

_State = tuple[int, int, int, int]
Snapshot = Mapping[str, _State]
"""Path → what changes when a file is written or replaced."""


class ArtifactNotFound(SandboxError):
    """No such artifact: absent, hidden, a link, or not a regular file."""


@dataclass(frozen=True)
class OpenArtifact:
    """An artifact that can be read; the caller closes the descriptor."""

    descriptor: int
    size: int


def snapshot(workspace: Workspace) -> Snapshot:
    """What is there before a run: executions of one session share a workspace."""
    return {path: _state(found) for path, found in _walk(workspace)}


def collect(workspace: Workspace, before: Snapshot) -> list[ArtifactMetadata]:
    """Regular files that are new or changed since ``before``, by path; at most ``MAX_ARTIFACTS``.

    Hidden files and directories are left out, so are names that are not UTF-8, which JSON cannot hold.
    """
    changed = ((path, found) for path, found in _walk(workspace) if before.get(path) != _state(found))
    return [describe(path, found.st_size) for path, found in sorted(changed, key=lambda item: item[0])]


def describe(path: str, size: int) -> ArtifactMetadata:
    """Media type and kind by the name's extension (T086, T087)."""
    return ArtifactMetadata(
        path=path,
        size=size,
        mime_type=mimetypes.guess_type(path, strict=False)[0] or "application/octet-stream",
        type=classify(path),
    )


def classify(path: str) -> Literal["artifact", "log", "output"]:
    """``log`` and ``output`` for the extensions that say so (T087)."""
    extension = PurePosixPath(path).suffix.lower()
    if extension in _LOGS:
        return "log"
    return "output" if extension in _OUTPUTS else "artifact"


def open_artifact(workspace: Workspace, path: str) -> OpenArtifact:
    """Opens a file that ``collect`` may list.

    Raises:
        ArtifactNotFound: there is no such file, or the path leaves the workspace in any way.
    """
    parts = path.split("/")
    if "\0" in path or any(part == "" or part.startswith(".") for part in parts):
        raise ArtifactNotFound(f"no artifact {path!r}")
    try:
        descriptor = _open_below(workspace, parts)
    except (OSError, ValueError) as error:
        raise ArtifactNotFound(f"no artifact {path!r}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ArtifactNotFound(f"no artifact {path!r}")
    return OpenArtifact(descriptor, found.st_size)


def _open_below(workspace: Workspace, parts: list[str]) -> int:
    directory = workspace.open()
    try:
        for part in parts[:-1]:
            below = os.open(part, OPEN_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        return os.open(parts[-1], _OPEN_FILE, dir_fd=directory)
    finally:
        os.close(directory)


def _state(found: os.stat_result) -> _State:
    # ctime too: user code can set mtime back, but not ctime.
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _walk(workspace: Workspace) -> Iterator[tuple[str, os.stat_result]]:
    """(path, lstat) of the regular files, breadth first, hidden ones left out."""
    top = workspace.open()
    try:
        todo = [""]
        count = 0
        while todo:
            prefix = todo.pop(0)
            for name, found in _entries(top, prefix):
                if stat.S_ISDIR(found.st_mode) and prefix.count("/") < MAX_DEPTH:
                    todo.append(f"{prefix}{name}/")
                elif stat.S_ISREG(found.st_mode):
                    count += 1
                    if count > MAX_ARTIFACTS:
                        return
                    yield f"{prefix}{name}", found
    finally:
        os.close(top)


def _entries(top: int, prefix: str) -> list[tuple[str, os.stat_result]]:
    """What a directory holds; one that cannot be read holds nothing for us."""
    found = []
    try:
        directory = _open_directory(top, prefix)
    except OSError:
        return []
    try:
        for name in os.listdir(directory):
            if not name.startswith(".") and _is_utf8(name):
                found.append((name, os.lstat(name, dir_fd=directory)))
    except OSError:
        return found
    finally:
        os.close(directory)
    return found


def _open_directory(top: int, prefix: str) -> int:
    """A new descriptor of ``prefix`` below ``top``, each step without following links."""
    directory = os.dup(top)
    for part in prefix.split("/")[:-1]:
        try:
            below = os.open(part, OPEN_DIRECTORY, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
