"""Finds the files that an execution made or changed in its workspace, and opens one of them (the seed's US6).

User code chose every name and may have left links, FIFOs and trees of any shape. Everything is reached
through directory descriptors that follow no link. Call it when nothing of the run is left: it blocks,
and starts no process, so a thread is the right place for it.
"""

import contextlib
import mimetypes
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from contracts.executor_api import ArtifactMetadata
from executor_runtime.sandbox.errors import SandboxError
from executor_runtime.workspace import OPEN_DIRECTORY, Workspace

MAX_ARTIFACTS: Final = 10_000
MAX_DIRECTORIES: Final = 10_000
MAX_DEPTH: Final = 64
"""Directories below each other; what lies deeper is not listed."""
MAX_LISTED_BYTES: Final = 2 * 1_048_576
"""Of all paths together. Ten thousand names of 255 bytes, 60 levels down, were a result of 1.9 GB."""
MAX_ENTRIES: Final = 100_000
"""Names that are looked at, hidden ones and directories included: the answer waits for this."""

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
    """Regular files that are new or changed since ``before``, by path; as many as the bounds above let through.

    Hidden files and directories are left out, so are names that are not UTF-8, which JSON cannot hold.
    """
    changed = ((path, found) for path, found in _walk(workspace) if before.get(path) != _state(found))
    return [describe(path, found.st_size) for path, found in sorted(changed, key=lambda item: item[0])]


def describe(path: str, size: int) -> ArtifactMetadata:
    """Media type and kind by the name's extension (T086, T087)."""
    # The prefix: without it a file named "data:x/y," would be taken for a URL that says its own type.
    guessed, _ = mimetypes.guess_type(f"./{path}", strict=False)
    return ArtifactMetadata(
        path=path,
        size=size,
        mime_type=guessed or "application/octet-stream",
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


class _Allowance:
    """What is left of the bounds on one walk."""

    def __init__(self) -> None:
        self._files, self._directories = MAX_ARTIFACTS, MAX_DIRECTORIES
        self._bytes, self._entries = MAX_LISTED_BYTES, MAX_ENTRIES

    @property
    def spent(self) -> bool:
        """Whether nothing more may be looked at."""
        return self._entries <= 0

    def look(self) -> bool:
        """Whether one more name may be looked at."""
        self._entries -= 1
        return self._entries >= 0

    def keep(self, path: str, is_file: bool) -> bool:
        """Whether one more path may be kept."""
        self._files -= is_file
        self._directories -= not is_file
        self._bytes -= len(path.encode())
        return min(self._files, self._directories, self._bytes) >= 0


def _walk(workspace: Workspace) -> Iterator[tuple[str, os.stat_result]]:
    """(path, lstat) of the regular files, breadth first, hidden ones left out."""
    top = workspace.open()
    try:
        todo = deque([""])
        allowance = _Allowance()
        while todo and not allowance.spent:
            prefix = todo.popleft()
            for name, found in _entries(top, prefix, allowance):
                path = f"{prefix}{name}"
                is_file = stat.S_ISREG(found.st_mode)
                if not is_file and not (stat.S_ISDIR(found.st_mode) and prefix.count("/") < MAX_DEPTH):
                    continue
                if not allowance.keep(path, is_file):
                    return
                if is_file:
                    yield path, found
                else:
                    todo.append(f"{path}/")
    finally:
        os.close(top)


def _entries(top: int, prefix: str, allowance: _Allowance) -> Iterator[tuple[str, os.stat_result]]:
    """What a directory holds; one that cannot be read holds nothing for us."""
    with contextlib.suppress(OSError):
        directory = _open_directory(top, prefix)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not allowance.look():
                        return
                    if not entry.name.startswith(".") and _is_utf8(entry.name):
                        yield entry.name, entry.stat(follow_symlinks=False)
        finally:
            os.close(directory)


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
