"""What can be learned about an Execution. Every change of its status is one of these, folded in by ``status``.

A fact carries the time at which it was learned and, where an attempt is meant, which
one: facts about older attempts are dropped.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from contracts.control_plane_api import ResultReport
from contracts.execution import StatusOutput
from contracts.outputs import OutputsMissing


@dataclass(frozen=True, slots=True)
class Waits:
    """It cannot run yet; ``reason`` such as PoolNotFound or Queued."""

    reason: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """The controller takes it: from here on it may run."""

    execution_id: str
    attempt: int
    pod_name: str
    node_name: str
    time: datetime
    executor_run: str = ""
    """The run of the pod's executor that is meant; empty where that does not say."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """Its executor has never received this attempt: the run that the claim names is given it now."""

    attempt: int
    executor_run: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never run, and has not: ``reason`` is the stable word, ``solution`` what to do instead."""

    reason: str
    message: str
    solution: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was cancelled before any code of this attempt ran, or its executor no longer knows it."""

    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Tails:
    """The last that it has written so far; None: nothing, or its executor does not say."""

    stdout: str | None = None
    stderr: str | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """Its executor says that it runs."""

    attempt: int
    progress: dict[str, JsonValue] | None
    time: datetime
    tails: Tails = Tails()


@dataclass(frozen=True, slots=True)
class OutputsSeen:
    """What of a result is in the object store, and why something is not."""

    kept: tuple[StatusOutput, ...] = ()
    missing: OutputsMissing | None = None


@dataclass(frozen=True, slots=True)
class ResultSeen:
    """Its executor says how it ended: the one fact from which Succeeded can come."""

    attempt: int
    report: ResultReport
    time: datetime
    retry: bool = False
    """A crash is no end yet: another attempt is allowed."""
    outputs: OutputsSeen | None = None
    """None: there is no object store, or nothing for it."""


@dataclass(frozen=True, slots=True)
class ContainerLost:
    """What ran it is gone: the code may have run in part. ``reason`` as in ``termination``'s table."""

    attempt: int
    reason: str
    message: str
    time: datetime
    retry: bool = False
    """It is no end yet: another attempt is allowed."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """What the Control Plane has heard of its end (``controller.reported``): the one fact about an ended Execution."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    time: datetime


Fact = Waits | Claimed | Reclaimed | Refused | Cancelled | HeartbeatSeen | ResultSeen | ContainerLost | Relayed
