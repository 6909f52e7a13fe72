"""What is told is made from the status alone, so that every controller says the same."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from contracts.control_plane_api import CrashReason, ResultReport
from contracts.execution import TERMINAL_PHASES, ExecutionStatus
from controller.facts import Cancelled, Claimed, ContainerLost, Fact, Refused, ResultSeen
from controller.relay.words import build_farewell, build_report, complete, result_call
from controller.resources import Execution
from controller.status import advance
from controller.termination import LOST, TABLE
from tests.unit.controller.builders import EXECUTION_ID, NOW, make_execution, make_report

CLAIM = Claimed(EXECUTION_ID, 1, "pod-1", "node-1", NOW)


def ended(*facts: Fact) -> Execution:
    execution = make_execution(executionId=EXECUTION_ID)
    status = ExecutionStatus()
    for fact in facts:
        after = advance(status, fact, 1)
        assert after is not None
        status = after
    assert status.phase in TERMINAL_PHASES
    return replace(execution, status=status)


def test_a_result_that_the_status_keeps_whole_is_told_as_the_executor_said_it() -> None:
    report = make_report(
        status="failed",
        reason="HandlerRaised",
        message="the handler raised",
        exit_code=1,
        stdout="täglich\n",
        stderr="Traceback",
        stderr_truncated=True,
        execution_time=0.0125,
        return_value={"a": None, "b": [1, 2.5, "ü"]},
        metrics={"duration_ms": 12.5, "cpu_time_ms": 3.0, "peak_memory_mb": 8.5, "io_read_bytes": 7},
        artifacts=["out/a.txt"],
        artifact_metadata=[{"path": "out/a.txt", "size": 3, "mime_type": "text/plain", "type": "output"}],
    )
    assert build_report(ended(CLAIM, ResultSeen(1, report, NOW))) == report


@pytest.mark.parametrize(
    ("facts", "status", "reason", "exit_code"),
    [
        ((CLAIM, ResultSeen(1, make_report(), NOW)), "success", "Completed", 0),
        (
            (CLAIM, ResultSeen(1, make_report(status="timeout", reason="TimedOut", exit_code=-1), NOW)),
            "timeout",
            "TimedOut",
            -1,
        ),
        (
            (CLAIM, ResultSeen(1, make_report(status="failed", reason="Cancelled", exit_code=137), NOW)),
            "failed",
            "Cancelled",
            137,
        ),
        (
            (CLAIM, ResultSeen(1, make_report(status="crashed", reason="PodTerminated", exit_code=-1), NOW)),
            "crashed",
            "PodTerminated",
            -1,
        ),
        ((CLAIM, ContainerLost(1, "OutOfMemory", "gone", NOW)), "crashed", "OutOfMemory", -1),
        ((CLAIM, ContainerLost(1, "SomethingNew", "gone", NOW)), "crashed", "ExecutorLost", -1),
        ((Cancelled("before it ran", NOW),), "failed", "Cancelled", -1),
        ((Refused("QueueFull", "too many wait", "try later", NOW),), "failed", "Rejected", -1),
    ],
)
def test_how_each_end_is_told(facts: tuple[Fact, ...], status: str, reason: str, exit_code: int) -> None:
    report = build_report(ended(*facts))
    assert (report.status, report.reason, report.exit_code) == (status, reason, exit_code)
    assert report.execution_id == EXECUTION_ID
    assert report.message


def test_a_rejection_says_why() -> None:
    report = build_report(ended(Refused("QueueFull", "too many wait", "try later", NOW)))
    assert report.message == "QueueFull: too many wait"


def test_every_reason_of_the_termination_table_is_one_that_a_control_plane_knows() -> None:
    assert {row.crashed for row in TABLE} | {LOST.reason, "Evicted"} == set(get_args(CrashReason))


def large(**fields: Any) -> ResultReport:
    return make_report(stdout="x" * 100_000 + "end", return_value="y" * 70_000, **fields)


def test_what_is_cut_off_is_marked() -> None:
    kept = build_report(ended(CLAIM, ResultSeen(1, large(), NOW)))
    assert kept.stdout_truncated
    assert kept.stdout.endswith("end")
    assert len(kept.stdout) == 65_536
    assert not kept.stderr_truncated
    assert kept.return_value is None
    assert kept.return_value_truncated


def test_a_whole_result_takes_from_the_executor_only_what_the_status_has_no_room_for() -> None:
    execution = ended(CLAIM, ResultSeen(1, large(), NOW))
    whole = complete(build_report(execution), large(message="another", exit_code=9, stderr_truncated=True))
    assert whole.stdout == large().stdout
    assert whole.return_value == large().return_value
    assert (whole.stdout_truncated, whole.stderr_truncated, whole.return_value_truncated) == (False, True, False)
    assert (whole.exit_code, whole.message) == (0, "the code ended with exit code 0")


def test_the_same_words_have_the_same_key_and_others_have_another() -> None:
    execution = ended(CLAIM, ResultSeen(1, large(), NOW))
    kept = build_report(execution)
    first, again = result_call(kept), result_call(build_report(execution))
    assert (first.body, first.idempotency_key) == (again.body, again.idempotency_key)
    assert result_call(complete(kept, large())).idempotency_key != first.idempotency_key
    assert first.idempotency_key.startswith(EXECUTION_ID)
    assert first.path == f"/internal/executions/{EXECUTION_ID}/result"


def test_a_deleted_execution_is_never_told_as_a_success() -> None:
    running, over = (build_farewell(EXECUTION_ID, ended=ended) for ended in (False, True))
    assert (running.status, running.reason) == ("failed", "Cancelled")
    assert (over.status, over.reason) == ("crashed", "Deleted")
