"""How far an execution says that it is: one JSON object in a file of its workspace, sent with each heartbeat (T064).

A file serves all languages alike, needs no descriptor inside the sandbox, and a dot file is never an artifact.
User code owns it and runs while it is read; so it is opened without following links and without waiting
(a FIFO, or a lease that user code holds on it, would block), and whatever is not small and plain is not there.
"""

import json
import math
import os
import stat
from typing import Any, Final

from pydantic import JsonValue

from contracts.files import PROGRESS_FILE
from executor_runtime.sandbox.errors import SandboxError
from executor_runtime.workspace import Workspace

MAX_PROGRESS_BYTES: Final = 4096
MAX_DEPTH: Final = 32
"""Levels: the value becomes part of a Kubernetes object."""

_MAX_INT: Final = 2**63
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_Version = tuple[int, int, int]


class Progress:
    """The progress of one execution; made before it starts."""

    def __init__(self, workspace: Workspace) -> None:
        """Notes what is there already: an earlier execution of the session may have left its own."""
        self._workspace = workspace
        self._before = self._look()[0]

    def read(self) -> dict[str, JsonValue] | None:
        """What the execution reports now; None when it reports nothing that can be sent."""
        version, content = self._look()
        return None if version is None or version == self._before else parse_progress(content)

    def _look(self) -> tuple[_Version | None, bytes]:
        """(what changes when the file is written or replaced, the file's bytes); None for no regular file."""
        try:
            directory = self._workspace.open()
        except SandboxError:
            return None, b""
        try:
            descriptor = os.open(PROGRESS_FILE, _OPEN, dir_fd=directory)
        except OSError:
            return None, b""
        finally:
            os.close(directory)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return None, b""
            content = os.read(descriptor, MAX_PROGRESS_BYTES + 1)
            return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns), content
        except OSError:
            return None, b""
        finally:
            os.close(descriptor)


def parse_progress(content: bytes) -> dict[str, JsonValue] | None:
    """A JSON object that every reader of a heartbeat takes; None for anything else."""
    if len(content) > MAX_PROGRESS_BYTES:
        return None
    try:
        value: Any = json.loads(
            content.decode(), parse_constant=_refuse_constant, parse_int=_bounded_int, parse_float=_finite_float
        )
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair has no UTF-8
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _depth_within(value, MAX_DEPTH) else None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _bounded_int(text: str) -> int:
    number = int(text)
    if not -_MAX_INT <= number < _MAX_INT:
        raise ValueError("Kubernetes has integers of 64 bits")
    return number


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("too large a number")
    return number


def _depth_within(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_depth_within(part, levels - 1) for part in parts)
