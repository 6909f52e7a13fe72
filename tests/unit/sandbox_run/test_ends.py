"""Exit codes and words for each way in which an Execution can end."""

from typing import Any, get_args

import pytest

from contracts.execution import TERMINAL_PHASES
from contracts.executor_api import Reason
from controller.termination import LOST, TABLE
from sandbox_executor_client import (
    ClientError,
    Conflict,
    Deleted,
    Execution,
    Forbidden,
    InvalidExecution,
    NotConfigured,
    NotFound,
    NotInstalled,
    Unavailable,
)
from sandbox_run import exit_codes, output
from sandbox_run.describe import describe_execution
from sandbox_run.ended import Ended
from sandbox_run.output import headline
from sandbox_run.reasons import MEANINGS, explain


def execution(phase: str, reason: str = "", exit_code: int | None = None, **more: object) -> Execution:
    kind = "Finished" if phase in TERMINAL_PHASES else "Scheduled"
    conditions = [{"type": kind, "status": "True", "reason": reason, "message": "what was said"}] if reason else []
    status = {
        "phase": phase,
        "conditions": conditions,
        **({} if exit_code is None else {"exitCode": exit_code}),
        **more,
    }
    return Execution({"metadata": {"name": "x", "namespace": "n"}, "spec": {"pool": "default"}, "status": status})


@pytest.mark.parametrize(
    ("phase", "reason", "own", "code"),
    [
        ("Succeeded", "Completed", 0, 0),
        ("Failed", "NonZeroExit", 3, 3),
        ("Failed", "HandlerRaised", 1, 1),
        ("Failed", "Signaled", 139, 139),
        ("Failed", "DiskLimit", 137, 137),
        ("Failed", "MemoryLimit", 137, 137),
        ("Failed", "SandboxError", -1, 125),
        ("Failed", "ResultNotSerializable", None, 1),
        ("Failed", "NonZeroExit", 256, 1),
        ("TimedOut", "TimedOut", -1, 124),
        ("Cancelled", "Cancelled", 137, 130),
        ("Rejected", "OverPoolLimit", None, 126),
        ("Crashed", "OutOfMemory", None, 125),
    ],
)
def test_exit_codes(phase: str, reason: str, own: int | None, code: int) -> None:
    assert exit_codes.of_execution(execution(phase, reason, own)) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotConfigured, 2),
        (InvalidExecution, 2),
        (NotFound, 2),
        (Deleted, 2),
        (Conflict, 2),
        (Forbidden, 126),
        (NotInstalled, 125),
        (Unavailable, 125),
        (ClientError, 125),
    ],
)
def test_exit_codes_of_what_kept_the_client_from_its_work(error: type[ClientError], code: int) -> None:
    assert exit_codes.of_error(error("x")) == code


def test_there_are_words_for_every_reason_that_an_executor_or_the_termination_table_gives() -> None:
    known = {*get_args(Reason), *(row.crashed for row in TABLE), LOST.reason, "Evicted"}
    assert known <= MEANINGS.keys()


def test_the_status_own_advice_comes_first_and_a_crash_warns() -> None:
    error = {"errorCode": "Controller.OverPoolLimit", "description": "d", "solution": "ask for 1Gi at most"}
    assert explain(execution("Rejected", "OverPoolLimit", error=error))[1] == "ask for 1Gi at most"
    assert headline(execution("Rejected", "OverPoolLimit", error=error)) == (
        "Rejected (OverPoolLimit): what was said; ask for 1Gi at most"
    )
    assert "may have run in part" in explain(execution("Crashed", "ExecutorLost"))[1]
    assert headline(execution("TimedOut", "TimedOut")) == "TimedOut: what was said"
    assert explain(execution("Running", "Scheduled")) == ("it runs", "")
    assert explain(execution("Pending"))[0] == "the controller has not placed it yet"
    assert "slots" in explain(execution("Pending", "Queued"))[0]


def test_a_description_shows_what_is_there_and_nothing_that_is_not() -> None:
    text = describe_execution(
        execution(
            "Failed",
            "NonZeroExit",
            3,
            attempt=2,
            podName="pod-1",
            duration="1.00s",
            stdoutBytes=3,
            stderrBytes=100_000,
            stderrTruncated=True,
            stderr="".join(f"line {number}\n" for number in range(30)) + "\x1b[2Jcleared\r\n",
            artifacts=[{"path": "a\x1b]0;b", "size": 1}],
            artifactsTotal=3,
        )
    )
    assert "Phase:        Failed, reason NonZeroExit\n" in text
    assert "Ran:          attempt 2 in pod pod-1, for 1.00s\n" in text
    assert "Output:       3 bytes of stdout, 100000 bytes of stderr (the status keeps the end of it)\n" in text
    assert "Files:        a\\x1b]0;b (1 bytes), 2 more\n" in text
    assert "Returned" not in text
    assert "the last 10 lines of stderr:\n  line 21\n" in text
    assert text.endswith("  line 29\n  \\x1b[2Jcleared\\x0d\n")
    assert "\x1b" not in text


def test_long_values_are_cut_and_large_ones_said() -> None:
    assert f'Returned:     "{"x" * 199}…\n' in describe_execution(
        execution("Succeeded", "Completed", returnValue="x" * 500)
    )
    assert "more than the 64 KiB" in describe_execution(execution("Succeeded", "Completed", returnValueTruncated=True))


def test_what_the_object_store_has_or_has_not_is_said() -> None:
    message = "not in the object store: 'artifacts/b': it has more than 5 bytes"
    missing = {"type": "OutputsStored", "status": "False", "reason": "OutputTooLarge", "message": message}
    assert f"Stored:       {message}\n" in describe_execution(execution("Succeeded", "Completed", conditions=[missing]))
    assert "Stored" not in describe_execution(execution("Succeeded", "Completed"))


def test_what_the_status_has_cut_off_is_said_with_where_the_rest_is(capsys: pytest.CaptureFixture[str]) -> None:
    cut: dict[str, Any] = {
        "stdout": "end",
        "stdoutTruncated": True,
        "stdoutBytes": 100_000,
        "returnValueTruncated": True,
    }
    row = {"name": "stdout", "size": 100_000, "sha256": "0" * 64, "uri": "s3://b/k"}
    output.tell_end(Ended.of(execution("Succeeded", "Completed", **cut, outputs=[row])))
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(
        "sandbox-run: of stdout these are the last 3 of 100000 bytes or more: sandbox-run outputs "
    )
    assert said[0].endswith(" stdout prints what the object store has of it")
    assert said[1] == "sandbox-run: the return value is larger than 64 KiB: the status keeps no more"
