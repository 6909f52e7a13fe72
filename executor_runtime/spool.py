"""Results on disk until the Control Plane has taken them (the seed's T038).

One file an execution, ``RESULTS_PATH/{execution_id}.json``, written whole or not at all: to a
temporary file, then renamed. From then on it outlives this process; once ``sync`` has returned, the machine, too.
The report token is in the file, because a
replay after a restart needs it; so directory and files are the executor's alone (0700, 0600).
All functions block; callers on the event loop use a thread, but for what is small.
"""

import contextlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from contracts.executor_api import ExecutionId
from executor_runtime.errors import StartError

MAX_AGE: Final = timedelta(hours=24)
MAX_WAITING_BYTES: Final = 256 * 1_048_576
"""Of reports that wait. Beyond it nothing new is run (``full``): no result is ever thrown away for space."""
MAX_ASIDE_BYTES: Final = 64 * 1_048_576
"""Of files that will never be sent; the oldest of them go."""
MAX_FILE_BYTES: Final = 512 * 1_048_576
"""Of one report, which is JSON written into JSON; a longer file is none, and is not read."""

_CORRUPT_SUFFIX: Final = ".corrupt"
_REFUSED_SUFFIX: Final = ".refused"
_TEMPORARY_SUFFIX: Final = ".tmp"
_NAME: Final = re.compile(r"exec_[0-9]{8}_[a-z0-9]{8}\.json")
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

HeaderText = Annotated[str, Field(pattern=r"^[!-~]{1,4096}$")]
"""What can be sent as a header: a file that holds anything else would end the round of all that wait."""

log = structlog.get_logger()


class SpooledReport(BaseModel):
    """One report that is not accepted yet."""

    model_config = ConfigDict(frozen=True, strict=True)

    execution_id: ExecutionId
    idempotency_key: HeaderText
    saved_at: float
    """Unix time, seconds."""
    report_token: HeaderText | None = None
    request_id: HeaderText | None = None
    """Of the request that started the execution (T094)."""
    traceparent: HeaderText | None = None
    """The same request's, where it had one."""
    body: bytes
    """The JSON of a ``contracts.control_plane_api.ResultReport``, byte for byte as it is sent."""


@dataclass(frozen=True)
class SpoolFile:
    """A file of the spool; one that was replaced since has another inode."""

    path: Path
    inode: int
    size: int


class Spool:
    """The directory ``RESULTS_PATH``."""

    def __init__(
        self, directory: Path, max_waiting_bytes: int = MAX_WAITING_BYTES, max_aside_bytes: int = MAX_ASIDE_BYTES
    ) -> None:
        """Makes the directory if need be.

        Raises:
            StartError: it cannot be made, or not be made private.
        """
        self._directory = directory
        self._max_waiting_bytes, self._max_aside_bytes = max_waiting_bytes, max_aside_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._waiting_bytes = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_uid == os.geteuid():
                directory.chmod(0o700)  # a volume's root belongs to the kubelet; the files are 0600 in any case
            probe = directory / f".probe-{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
            probe.touch(mode=0o600)
            probe.unlink()
            for entry in self._entries():
                if _is_report(entry):
                    self._count(entry.name, entry.stat(follow_symlinks=False).st_size)
        except OSError as error:
            raise StartError(
                f"RESULTS_PATH {directory} cannot be written ({error.strerror}): "
                f"make it writable for uid {os.geteuid()}, or name another; for example RESULTS_PATH=/tmp/results"
            ) from error

    @property
    def waiting_bytes(self) -> int:
        """Size of the reports that wait; those of an earlier executor included."""
        return self._waiting_bytes

    @property
    def waiting_count(self) -> int:
        """How many there are of them."""
        return len(self._sizes)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing new should be run. What runs already is still saved."""
        return self._waiting_bytes >= self._max_waiting_bytes

    def save(self, report: SpooledReport) -> SpoolFile:
        """Writes it so that after this process's end the whole file is there, or the one before it.

        After a power failure, too, once ``sync`` has returned; before that the file may be cut, which ``load`` sees.

        Raises:
            OSError: the disk is full or broken.
        """
        path = self._directory / f"{report.execution_id}.json"
        temporary = path.with_suffix(_TEMPORARY_SUFFIX)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        with open(descriptor, "wb") as file:
            file.write(to_json(report))
            file.flush()
            written = os.fstat(file.fileno())
        os.rename(temporary, path)
        self._count(path.name, written.st_size)
        return SpoolFile(path, written.st_ino, written.st_size)

    def sync(self, file: SpoolFile) -> None:
        """Returns when the disk has it, or has it no more because it was removed or replaced.

        Raises:
            OSError: the disk is broken.
        """
        with contextlib.suppress(FileNotFoundError):
            for path, kind in ((file.path, os.O_NOFOLLOW), (self._directory, os.O_DIRECTORY)):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | kind)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def load(self, execution_id: str) -> tuple[SpooledReport, SpoolFile] | None:
        """The report of this execution, if it is still here and whole."""
        return self._read(self._directory / f"{execution_id}.json")

    def remove(self, file: SpoolFile) -> None:
        """Forgets a report, unless a newer one has taken its place."""
        self._unless_replaced(file, file.path.unlink)

    def set_aside(self, file: SpoolFile) -> None:
        """Keeps a report that was refused for a person to look at, till it is 24 h old; it is not sent again."""
        self._unless_replaced(file, lambda: _move(file.path, file.path.with_suffix(_REFUSED_SUFFIX)))
        self._trim_aside()

    def waiting(self) -> list[str]:
        """Ids of the reports that wait, oldest first."""
        found = []
        for entry in self._entries():
            if _is_report(entry):
                with contextlib.suppress(FileNotFoundError):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name.removesuffix(".json")))
        return [execution_id for _, execution_id in sorted(found)]

    def expire(self, now: datetime) -> int:
        """Removes everything that is older than 24 h; how many reports were lost by that."""
        lost = 0
        oldest = (now - MAX_AGE).timestamp()
        for entry in self._entries():
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)
                    self._count(entry.name, 0)
                    lost += bool(_NAME.fullmatch(entry.name))
        return lost

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self._directory) as entries:
            yield from entries

    def _read(self, path: Path) -> tuple[SpooledReport, SpoolFile] | None:
        try:
            content, inode = _read_regular(path)
            report = SpooledReport.model_validate_json(content)
            json.loads(report.body)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, ValueError, RecursionError) as error:
            self._set_corrupt_aside(path, error)
            return None
        if f"{report.execution_id}.json" != path.name:
            self._set_corrupt_aside(path, ValueError("it is of another execution"))
            return None
        return report, SpoolFile(path, inode, len(content))

    def _set_corrupt_aside(self, path: Path, error: Exception) -> None:
        # The text of a ValidationError may quote the file, token included: only its type is logged.
        log.error("spool_file_corrupt", file=path.name, error=type(error).__name__)
        self._count(path.name, 0)
        with contextlib.suppress(OSError):
            _move(path, path.with_suffix(_CORRUPT_SUFFIX))
        self._trim_aside()

    def _trim_aside(self) -> None:
        found = []
        for entry in self._entries():
            if entry.name.endswith((_REFUSED_SUFFIX, _CORRUPT_SUFFIX)):
                with contextlib.suppress(FileNotFoundError):
                    seen = entry.stat(follow_symlinks=False)
                    found.append((seen.st_mtime, entry.path, seen.st_size))
        total = sum(size for _, _, size in found)
        for _, path, size in sorted(found):
            if total <= self._max_aside_bytes:
                return
            with contextlib.suppress(OSError):  # gone, or a directory that somebody has made
                os.unlink(path)
            total -= size

    def _count(self, name: str, size: int) -> None:
        """The waiting report of this name has this size now; 0: it is gone. Called from several threads."""
        with self._lock:
            self._waiting_bytes += size - self._sizes.pop(name, 0)
            if size:
                self._sizes[name] = size

    def _unless_replaced(self, file: SpoolFile, act: Callable[[], object]) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(file.path).st_ino == file.inode:
                act()
                self._count(file.path.name, 0)


def _is_report(entry: os.DirEntry[str]) -> bool:
    """By its name and kind; what it holds is another matter."""
    return _NAME.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _move(path: Path, aside: Path) -> None:
    """Out of the way in any case: what stays would keep the reports behind it from being sent."""
    try:
        path.rename(aside)
    except OSError:
        path.unlink()


def _read_regular(path: Path) -> tuple[bytes, int]:
    """(content, inode); raises ValueError for what is no report by its kind or size. Never waits."""
    descriptor = os.open(path, _OPEN)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            raise ValueError("it is no file of a report's size")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES + 1), found.st_ino
    finally:
        os.close(descriptor)
