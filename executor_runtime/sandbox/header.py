"""The job in the form in which process 1 reads it (``init.main``).

Marshal, not JSON: importing ``json`` inside would take longer than starting the code.
"""

import json
import marshal
from typing import Final

from pydantic import JsonValue

from contracts import bounds
from executor_runtime.sandbox.environment import build_environment
from executor_runtime.sandbox.limits import build_rlimits
from executor_runtime.sandbox.model import Isolation, Job

_MARSHAL_VERSION: Final = 2
"""Understood by every interpreter that the image may have, newer or older than the executor's."""


def build_header(isolation: Isolation, job: Job, status_fd: int, return_fd: int, gate_fd: int) -> bytes:
    """All that process 1 needs; ``code``, ``event`` and ``env`` are the request's."""
    header = {
        "language": job.language,
        "interpreter": isolation.interpreters[job.language],
        "code": job.code,
        "event": _event_of(job) if job.language == "python" else json.dumps(job.event),
        "env": build_environment(job.env),
        "limits": build_rlimits(job.limits),
        "workspace": (job.workspace.device, job.workspace.inode),
        "python_path": list(isolation.python_path),
        "status_fd": status_fd,
        "return_fd": return_fd,
        "gate_fd": gate_fd,
        "return_limit": bounds.MAX_RETURN_VALUE_BYTES,
    }
    return marshal.dumps(header, _MARSHAL_VERSION)


def _event_of(job: Job) -> JsonValue:
    """The event given, else what JSON ``stdin`` holds, else the default."""
    if job.event_given or not job.stdin.strip():
        return job.event
    try:
        parsed: JsonValue = json.loads(job.stdin, parse_constant=_refuse_constant)
        marshal.dumps(parsed, _MARSHAL_VERSION)  # refuses what is nested too deep for it
    except (ValueError, RecursionError):
        return job.event
    return parsed


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
