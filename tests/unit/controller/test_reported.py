"""The condition Reported: its words, what they mean after a restart, and how they are folded in."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.execution import ExecutionStatus
from controller import reported
from controller.facts import Claimed, Relayed, ResultSeen
from controller.status import REPORTED, advance, condition_of, fits_status
from controller.tracking import Tracked
from controller.writer import StatusWriter, Written
from tests.unit.controller.builders import EXECUTION_ID, NOW, make_execution, make_report
from tests.unit.controller.test_writer import FakeKube

LATER = NOW + timedelta(minutes=1)


def end(**fields: Any) -> ExecutionStatus:
    status = advance(ExecutionStatus(), Claimed(EXECUTION_ID, 1, "pod-1", "node-1", NOW))
    assert status is not None
    status = advance(status, ResultSeen(1, make_report(**fields), NOW))
    assert status is not None
    return status


def fold(status: ExecutionStatus, *facts: Relayed) -> ExecutionStatus:
    for fact in facts:
        after = advance(status, fact, 1)
        assert after is not None
        status = after
    return status


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"stdout": "x" * 65_536}, True),
        ({"stdout": "x" * 65_537}, False),
        ({"stderr": "ü" * 40_000}, False),
        ({"stdout": "x", "stdout_truncated": True}, True),
        ({"return_value": "x" * 65_534}, True),
        ({"return_value": "x" * 65_535}, False),
        ({"artifacts": ["a"], "artifact_metadata": [{"path": "a", "size": 1}]}, True),
        ({"artifacts": ["a"]}, False),
        ({"artifact_metadata": [{"path": str(number), "size": 1} for number in range(201)]}, False),
    ],
)
def test_what_a_status_has_room_for(fields: dict[str, Any], fits: bool) -> None:
    status = end(**fields)
    assert fits_status(make_report(**fields)) is fits
    assert reported.holds_whole(status) is fits
    assert reported.begin(status, NOW).reason == (reported.PENDING if fits else reported.WHOLE_PENDING)


def test_the_phase_stays_and_the_condition_moves_until_it_is_true() -> None:
    status = end()
    assert not reported.is_settled(status)
    status = fold(status, reported.begin(status, NOW))
    assert (reported.reason_of(status), reported.is_settled(status)) == ("Pending", False)
    status = fold(status, reported.failed("Unreachable", 5, "refused", NOW))
    assert reported.count_attempts(status) == 5
    status = fold(status, reported.settled(reported.ACCEPTED, "201", LATER))
    assert reported.is_settled(status)
    assert status.phase == "Succeeded"
    assert reported.count_attempts(status) == 0
    condition = condition_of(status, REPORTED)
    assert condition is not None
    assert (condition.status, condition.last_transition_time, condition.observed_generation) == ("True", LATER, 1)
    assert advance(status, reported.failed("Unreachable", 6, "refused", LATER), 1) is None
    assert advance(status, reported.settled(reported.CONFLICT, "409", LATER), 1) is None


def test_a_refusal_is_the_end_of_it_although_it_is_not_true() -> None:
    status = fold(end(), reported.settled(reported.REFUSED, "422", NOW))
    condition = condition_of(status, REPORTED)
    assert condition is not None
    assert condition.status == "False"
    assert reported.is_settled(status)


def test_nothing_is_told_of_one_that_has_not_ended() -> None:
    assert advance(ExecutionStatus(), reported.settled(reported.ACCEPTED, "201", NOW)) is None


@pytest.mark.parametrize("attempts", [1, 5, 123])
def test_attempts_are_counted_on_after_a_restart(attempts: int) -> None:
    assert reported.count_attempts(fold(end(), reported.failed("Unavailable", attempts, "HTTP 503", NOW))) == attempts


async def record(*, relays: bool) -> tuple[FakeKube, Tracked]:
    kube, tracked = FakeKube(), Tracked(make_execution())
    writer = StatusWriter(kube, relays=relays)  # type: ignore[arg-type]
    for fact in (Claimed(EXECUTION_ID, 1, "pod-1", "node-1", NOW), ResultSeen(1, make_report(), LATER)):
        assert await writer.record(tracked, fact) is Written.YES
    return kube, tracked


async def test_an_end_is_marked_as_untold_in_the_same_write_where_there_is_somebody_to_tell() -> None:
    kube, tracked = await record(relays=True)
    assert kube.writes == 2
    assert reported.reason_of(tracked.status) == "Pending"
    kube, tracked = await record(relays=False)
    assert kube.writes == 2
    assert condition_of(tracked.status, REPORTED) is None
