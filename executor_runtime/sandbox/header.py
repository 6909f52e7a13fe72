"""What process 1 is told, in the form in which it reads it (``init.main``): once when it starts, once with its job.

Marshal, not JSON: importing ``json`` inside would take longer than starting the code.
"""

import json
import marshal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from contracts import bounds
from executor_runtime.sandbox.environment import build_environment
from executor_runtime.sandbox.limits import build_rlimits
from executor_runtime.sandbox.model import Isolation, Job
from executor_runtime.sandbox.shape import Shape

if TYPE_CHECKING:
    from executor_runtime.workspace import Workspace

_MARSHAL_VERSION: Final = 2
"""Understood by every interpreter that the image may have, newer or older than the executor's."""


@dataclass(frozen=True)
class Ends:
    """Process 1's ends of the pipes between it and the executor."""

    status: int
    """Where it says that it waits, and how the run has ended."""
    began: int
    """Where it says that the run begins, or cannot: read when that is to be known."""
    returned: int
    gate: int


def build_setup(
    isolation: Isolation, workspace: "Workspace", ends: Ends, shape: Shape, *, is_forked: bool, is_ahead: bool
) -> bytes:
    """What it needs before there is a job: of a request there is nothing in it but what has a shape.

    ``is_ahead``: no job waits for it, so it has time.
    """
    setup = {
        "is_forked": is_forked,
        "is_ahead": is_ahead,
        "program": _build_program(isolation, shape, is_forked),
        "workspace": (workspace.device, workspace.inode),
        "python_path": list(isolation.python_path),
        "status_fd": ends.status,
        "began_fd": ends.began,
        "return_fd": ends.returned,
        "gate_fd": ends.gate,
        "return_limit": bounds.MAX_RETURN_VALUE_BYTES,
    }
    return marshal.dumps(setup, _MARSHAL_VERSION)


def build_header(isolation: Isolation, job: Job, *, is_forked: bool) -> bytes:
    """The job; ``code``, ``event`` and ``env`` are the request's."""
    header = {
        "language": job.language,
        "interpreter": isolation.interpreters[job.language],
        "code": job.code,
        "event": _event_of(job) if job.language == "python" else json.dumps(job.event),
        "env": build_environment(job.env),
        "limits": build_rlimits(job.limits, _count_others(is_forked)),
    }
    return marshal.dumps(header, _MARSHAL_VERSION)


def _build_program(isolation: Isolation, shape: Shape, is_forked: bool) -> dict[str, Any] | None:
    """The interpreter that waits for its code."""
    if shape.program is None:
        return None
    return {
        "language": shape.program.language,
        "interpreter": isolation.interpreters[shape.program.language],
        "env": build_environment({}),
        "limits": build_rlimits(shape.program.limits, _count_others(is_forked)),
    }


def _count_others(is_forked: bool) -> int:
    """Processes beside the user's: process 1, and a holder."""
    return 2 if is_forked else 1


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
