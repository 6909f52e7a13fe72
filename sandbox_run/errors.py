"""What ends ``sandbox_run`` before an Execution has an outcome: each is one clear message for a person.

::

    SandboxRunError
    ├── InputError          what was written cannot be run: an option, a file, a name
    │   └── ManifestError   the file is not an Execution, or not a valid one
    └── ExecutorFailed      the executor did not start, or went away
"""

from typing import ClassVar

from sandbox_run import exit_codes


class SandboxRunError(Exception):
    """The root of this package's errors; ``str(error)`` is what the person reads."""

    exit_code: ClassVar[int] = exit_codes.INFRASTRUCTURE


class InputError(SandboxRunError):
    """Nothing has run; the message says what to write instead."""

    exit_code = exit_codes.USAGE


class ManifestError(InputError):
    """The file is not an Execution, or not a valid one."""


class ExecutorFailed(SandboxRunError):
    """The executor did not start, or went away."""
