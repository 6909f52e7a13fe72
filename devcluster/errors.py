"""What can go wrong here, and how a person is told.

Everything that a user can act on is a ``DevclusterError``; the command line prints its message, the
hint and the end of the log, and exits 1. Anything else is a defect of ours and shows its traceback.

    DevclusterError
    ├── MissingTools    packages or rights that this machine lacks
    └── StepFailed      a command of ours failed; carries its log
"""

from __future__ import annotations

from pathlib import Path


class DevclusterError(Exception):
    """A failure with a message for a person and, where there is one, the next thing to try."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class MissingTools(DevclusterError):
    """Packages or rights are missing that this program may not get by itself."""


class StepFailed(DevclusterError):
    """A command failed; ``log`` holds all that it printed."""

    def __init__(self, message: str, *, log: Path | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log
