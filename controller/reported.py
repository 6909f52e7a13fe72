"""The condition ``Reported``: what the Control Plane has heard of an Execution that has ended.

It is all that the relay has to remember: written first in the same write as the end, then when
the Control Plane has taken the result, and now and then while it does not.
"""

import re
from datetime import datetime
from typing import Final

from contracts import bounds
from contracts.execution import ExecutionStatus
from controller.conditions import ConditionStatus, find_condition
from controller.facts import Relayed
from controller.status import REPORTED

PENDING: Final = "Pending"
WHOLE_PENDING: Final = "WholeResultPending"
ACCEPTED: Final = "Accepted"
ALREADY_KNOWN: Final = "AlreadyKnown"
TRUNCATED: Final = "ReportedTruncated"
NOT_KNOWN: Final = "NotKnown"
CONFLICT: Final = "Conflict"
NOT_OWNER: Final = "NotOwner"
REFUSED: Final = "Refused"

SETTLED: Final = frozenset({ACCEPTED, ALREADY_KNOWN, TRUNCATED, NOT_KNOWN, CONFLICT, NOT_OWNER, REFUSED})
"""Reasons after which nothing more is told. All but ``Refused`` have the status True."""
_ATTEMPTS: Final = re.compile(r"(\d{1,9}) attempts?;")


def is_settled(status: ExecutionStatus) -> bool:
    """Whether there is nothing more to tell."""
    return reason_of(status) in SETTLED


def reason_of(status: ExecutionStatus) -> str:
    """The condition's reason; empty when there is none."""
    condition = find_condition(status.conditions, REPORTED)
    return condition.reason if condition else ""


def count_attempts(status: ExecutionStatus) -> int:
    """How many attempts the condition's message speaks of, for a controller that has just started."""
    condition = find_condition(status.conditions, REPORTED)
    found = _ATTEMPTS.match(condition.message) if condition else None
    return int(found[1]) if found else 0


def holds_whole(status: ExecutionStatus) -> bool:
    """Whether all of the result stands in the status, nothing of it cut off or left out."""
    streams = (status.stdout_bytes or 0, status.stderr_bytes or 0)
    return (
        max(streams) <= bounds.STATUS_STREAM_BYTES
        and not status.return_value_truncated
        and (status.artifacts_total or 0) == len(status.artifacts or ())
    )


def begin(status: ExecutionStatus, now: datetime) -> Relayed:
    """As an Execution ends: nothing is told yet."""
    if holds_whole(status):
        return Relayed("Unknown", PENDING, "the Control Plane has not been told yet", now)
    message = (
        f"the result is larger than the status keeps; pod {status.pod_name} holds it until the Control Plane has it"
    )
    return Relayed("Unknown", WHOLE_PENDING, message, now)


def let_go(now: datetime, why: str) -> Relayed:
    """The executor need not hold the whole result any longer: what the status keeps is told."""
    return Relayed("Unknown", PENDING, f"what the status keeps will be told, not the whole result: {why}", now)


def failed(reason: str, attempts: int, detail: str, now: datetime) -> Relayed:
    """The Control Plane has not taken it so far."""
    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return Relayed("False", reason, f"{times}; the last one: {detail}", now)


def settled(reason: str, message: str, now: datetime) -> Relayed:
    """There is nothing more to tell."""
    status: ConditionStatus = "False" if reason == REFUSED else "True"
    return Relayed(status, reason, message, now)
