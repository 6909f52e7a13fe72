"""Runs one job of untrusted code in a bubblewrap sandbox of its own.

``probe`` finds at start what the node allows; ``Sandbox.run`` takes a ``Job`` and returns a
``RawRun``. How the parts work together is written in ``docs/decisions/0002-sandbox.md``.
"""

from executor_runtime.sandbox.errors import (
    BwrapMissing,
    IsolationUnavailable,
    LanguageUnavailable,
    PrivilegesError,
    SandboxError,
    SetuidBwrap,
    WorkspaceError,
)
from executor_runtime.sandbox.model import Ending, Isolation, Job, LaunchType, Limits, Overrun, RawRun, Stream, Usage
from executor_runtime.sandbox.output import Output, Reader
from executor_runtime.sandbox.overflow import Overflow
from executor_runtime.sandbox.probe import probe
from executor_runtime.sandbox.runner import Sandbox

__all__ = [
    "BwrapMissing",
    "Ending",
    "Isolation",
    "IsolationUnavailable",
    "Job",
    "LanguageUnavailable",
    "LaunchType",
    "Limits",
    "Output",
    "Overflow",
    "Overrun",
    "PrivilegesError",
    "RawRun",
    "Reader",
    "Sandbox",
    "SandboxError",
    "SetuidBwrap",
    "Stream",
    "Usage",
    "WorkspaceError",
    "probe",
]
