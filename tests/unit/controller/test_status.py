"""The fold: every phase against every fact, and what an end leaves in the status."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.execution import TERMINAL_PHASES, ExecutionStatus, Phase, StatusOutput
from contracts.kube import Condition
from contracts.outputs import OutputsMissing
from controller.facts import (
    Cancelled,
    Claimed,
    ContainerLost,
    Fact,
    HeartbeatSeen,
    OutputsSeen,
    Reclaimed,
    Refused,
    ResultSeen,
    Tails,
    Waits,
)
from controller.status import advance, format_duration, utf8_tail
from tests.unit.controller.builders import EXECUTION_ID, NOW, make_report

LATER = NOW + timedelta(seconds=2)
RUN = "a" * 32
FACTS: dict[str, Fact] = {
    "waits": Waits("Queued", "no slot", LATER),
    "claimed": Claimed(EXECUTION_ID, 1, "pod-1", "node-1", LATER, RUN),
    "claimed again": Claimed(EXECUTION_ID, 2, "pod-2", "node-1", LATER),
    "reclaimed": Reclaimed(1, RUN, LATER),
    "old reclaim": Reclaimed(0, RUN, LATER),
    "reclaimed for another run": Reclaimed(1, "b" * 32, LATER),
    "refused": Refused("QueueFull", "full", "wait", LATER),
    "cancelled": Cancelled("by the user", LATER),
    "beat": HeartbeatSeen(1, {"percent": 5}, LATER),
    "old beat": HeartbeatSeen(0, None, LATER),
    "success": ResultSeen(1, make_report(), LATER),
    "failed": ResultSeen(1, make_report(status="failed", reason="NonZeroExit", exit_code=3), LATER),
    "timeout": ResultSeen(1, make_report(status="timeout", reason="TimedOut", exit_code=-1), LATER),
    "killed": ResultSeen(1, make_report(status="failed", reason="Cancelled", exit_code=137), LATER),
    "crashed": ResultSeen(1, make_report(status="crashed", reason="PodTerminated", exit_code=-1), LATER),
    "old result": ResultSeen(0, make_report(), LATER),
    "future result": ResultSeen(2, make_report(), LATER),
    "lost": ContainerLost(1, "OutOfMemory", "no memory", LATER),
    "old loss": ContainerLost(0, "OutOfMemory", "no memory", LATER),
}
NOT_STARTED: dict[str, Phase] = {
    "waits": "Pending",
    "claimed": "Running",
    "claimed again": "Running",
    "refused": "Rejected",
    "cancelled": "Cancelled",
}
RUNNING: dict[str, Phase] = {
    "reclaimed": "Running",
    "refused": "Rejected",
    "cancelled": "Cancelled",
    "beat": "Running",
    "success": "Succeeded",
    "failed": "Failed",
    "timeout": "TimedOut",
    "killed": "Cancelled",
    "crashed": "Crashed",
    "lost": "Crashed",
}


def make_status(phase: Phase | None) -> ExecutionStatus:
    if phase in (None, "Pending"):
        return ExecutionStatus(phase=phase)
    started: dict[str, Any] = {"execution_id": EXECUTION_ID, "attempt": 1, "pod_name": "pod-1", "start_time": NOW}
    started["executor_run"] = RUN
    return ExecutionStatus(phase=phase, **started)


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("phase", [None, *get_args(Phase)])
def test_every_fact_in_every_phase(phase: Phase | None, name: str) -> None:
    expected = RUNNING if phase == "Running" else NOT_STARTED
    if phase in TERMINAL_PHASES:
        expected = {}
    after = advance(make_status(phase), FACTS[name], 4)
    assert (after.phase if after else None) == expected.get(name)
    if after is not None:
        assert after.observed_generation == 4


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("phase", [None, "Pending", "Running"])
def test_a_repeated_fact_changes_nothing(phase: Phase | None, name: str) -> None:
    after = advance(make_status(phase), FACTS[name])
    if after is not None:
        assert advance(after, FACTS[name]) is None


def find(status: ExecutionStatus | None, kind: str) -> Condition:
    assert status is not None
    return next(condition for condition in status.conditions or () if condition.type == kind)


@pytest.mark.parametrize("name", ["refused", "cancelled", "success", "failed", "timeout", "killed", "crashed", "lost"])
def test_every_end_has_its_times_and_conditions(name: str) -> None:
    after = advance(make_status("Running"), FACTS[name], 4)
    assert after is not None
    assert after.completion_time == LATER
    assert after.duration == "2.00s"
    assert find(after, "Finished").status == "True"
    assert find(after, "Succeeded").status == ("True" if name == "success" else "False")
    assert find(after, "Finished").reason == find(after, "Succeeded").reason
    assert find(after, "Finished").message


@pytest.mark.parametrize(
    "fact",
    [
        ContainerLost(1, "OutOfMemory", "no memory", LATER, retry=True),
        ResultSeen(1, make_report(status="crashed", reason="PodTerminated"), LATER, retry=True),
    ],
)
def test_a_lost_attempt_that_may_be_repeated_waits_for_the_next(fact: Fact) -> None:
    after = advance(make_status("Running"), fact)
    assert after is not None
    assert (after.phase, after.attempt, after.pod_name, after.start_time) == ("Pending", 1, None, None)
    assert after.executor_run is None
    assert after.completion_time is None
    scheduled = find(after, "Scheduled")
    assert (scheduled.status, scheduled.reason) == ("False", "Retrying")
    assert "attempt 1 was lost" in scheduled.message
    late = ResultSeen(1, make_report(), LATER)
    assert advance(after, late) is None, "what the lost attempt says later is dropped"
    assert advance(after, Claimed("id", 1, "pod", "node", LATER)) is None
    again = advance(after, Claimed("id", 2, "pod", "node", LATER))
    assert again is not None
    assert (again.phase, again.attempt) == ("Running", 2)


def test_a_claim_names_the_run_and_a_reclaim_changes_nothing_but_the_time() -> None:
    claimed = advance(ExecutionStatus(), FACTS["claimed"])
    assert claimed is not None
    assert claimed.executor_run == RUN
    later = LATER + timedelta(seconds=20)
    reclaimed = advance(claimed, Reclaimed(1, RUN, later))
    assert reclaimed == claimed.model_copy(update={"start_time": later})


def test_what_a_later_version_has_written_into_a_status_is_dropped() -> None:
    status = ExecutionStatus.model_validate({"phase": "Running", "attempt": 1, "ofALaterVersion": {"a": 1}})
    assert status.to_kube() == {"phase": "Running", "attempt": 1}


def test_code_that_failed_is_never_repeated() -> None:
    after = advance(make_status("Running"), ResultSeen(1, make_report(status="failed"), LATER, retry=True))
    assert after is not None
    assert after.phase == "Failed"


def test_one_that_never_ran_says_that_it_was_not_scheduled() -> None:
    after = advance(ExecutionStatus(), FACTS["refused"])
    assert (find(after, "Scheduled").status, find(after, "Scheduled").reason) == ("False", "QueueFull")


def test_another_wait_of_the_same_reason_is_not_written_again_and_another_reason_is() -> None:
    waiting = advance(ExecutionStatus(), Waits("PoolNotFound", "no pool", NOW))
    assert waiting is not None
    assert advance(waiting, Waits("PoolNotFound", "other words", LATER)) is None
    queued = advance(waiting, Waits("Queued", "no slot", LATER))
    assert find(queued, "Scheduled").reason == "Queued"
    assert find(queued, "Scheduled").last_transition_time == NOW


def test_a_claim_turns_the_scheduled_condition_at_its_own_time() -> None:
    waiting = advance(ExecutionStatus(), Waits("Queued", "no slot", NOW))
    assert waiting is not None
    claimed = advance(waiting, FACTS["claimed"])
    assert find(claimed, "Scheduled").last_transition_time == LATER


def test_streams_keep_their_last_64_kib() -> None:
    report = make_report(stdout="a" * 70_000 + "é", stderr="short", stderr_truncated=True)
    after = advance(make_status("Running"), ResultSeen(1, report, LATER))
    assert after is not None
    assert after.stdout is not None
    assert after.stdout.endswith("aé")
    assert len(after.stdout.encode()) == 65_536
    assert (after.stdout_bytes, after.stdout_truncated) == (70_002, True)
    assert (after.stderr, after.stderr_bytes, after.stderr_truncated) == ("short", 5, True)


@given(st.text(max_size=40), st.integers(min_value=0, max_value=60))
def test_a_tail_is_whole_characters_and_as_long_as_can_be(text: str, limit: int) -> None:
    tail = utf8_tail(text.encode(), limit)
    assert text.endswith(tail)
    assert limit - 4 < len(tail.encode()) <= limit or tail == text


@pytest.mark.parametrize(
    ("value", "kept"), [("x" * 65_534, True), ("x" * 65_535, False), ({"é": ["é" * 40_000]}, False), (None, True)]
)
def test_a_return_value_over_64_kib_is_left_out(value: Any, kept: bool) -> None:
    after = advance(make_status("Running"), ResultSeen(1, make_report(return_value=value), LATER))
    assert after is not None
    assert after.return_value == (value if kept else None)
    assert after.return_value_truncated == (None if kept else True)


def test_the_first_200_artifacts_are_kept_and_all_are_counted() -> None:
    files = [{"path": f"f{number}", "size": number} for number in range(250)]
    report = make_report(artifacts=[item["path"] for item in files], artifact_metadata=files)
    after = advance(make_status("Running"), ResultSeen(1, report, LATER))
    assert after is not None
    assert len(after.artifacts or ()) == 200
    assert after.artifacts_total == 250


def test_nulls_inside_a_return_value_reach_the_api_server() -> None:
    after = advance(make_status("Running"), ResultSeen(1, make_report(return_value={"a": None, "b": [None]}), LATER))
    assert after is not None
    assert after.to_kube()["returnValue"] == {"a": None, "b": [None]}


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0.00s"), (0.042, "0.04s"), (59.9, "59.90s"), (185, "3m05s"), (3720, "1h02m")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_an_executors_words_are_bounded_in_the_status() -> None:
    running = ExecutionStatus(phase="Running", attempt=1, start_time=NOW)
    report = make_report(status="failed", reason="SandboxError", message="m" * 70_000)
    for fact in (ResultSeen(1, report, NOW), Refused("RefusedByExecutor", "m" * 70_000, "s" * 70_000, NOW)):
        after = advance(running, fact)
        assert after is not None
        assert len(str(after.to_kube())) < 20_000


def test_tails_are_shown_while_it_runs_and_gone_with_every_end_and_every_new_attempt() -> None:
    running = advance(ExecutionStatus(), FACTS["claimed"])
    assert running is not None
    shown = advance(running, HeartbeatSeen(1, None, LATER, Tails("x" * 5000 + "ä", "err")))
    assert shown is not None
    assert (shown.stdout_tail, shown.stderr_tail) == ("x" * 4094 + "ä", "err")
    silent = advance(shown, HeartbeatSeen(1, None, LATER + timedelta(seconds=5)))
    assert silent is not None
    assert silent.stderr_tail == "err"
    lost = ContainerLost(1, "OutOfMemory", "no memory", LATER, retry=True)
    for fact in (FACTS["success"], FACTS["lost"], FACTS["cancelled"], FACTS["crashed"], lost):
        after = advance(shown, fact)
        assert after is not None
        assert (after.stdout_tail, after.stderr_tail) == (None, None), fact


OUTPUT = StatusOutput(name="stdout", size=7, sha256="0" * 64, uri="s3://b/k")


@pytest.mark.parametrize(
    ("missing", "status", "reason", "message"),
    [
        (None, "True", "Stored", "1 outputs of 7 bytes are in the object store"),
        (
            OutputsMissing(reason="OutputTooLarge", message="b is too large"),
            "False",
            "OutputTooLarge",
            "b is too large",
        ),
    ],
)
def test_what_is_stored_stands_with_the_end_and_changes_nothing_of_it(
    missing: OutputsMissing | None, status: str, reason: str, message: str
) -> None:
    plain = advance(make_status("Running"), ResultSeen(1, make_report(), LATER), 4)
    after = advance(
        make_status("Running"), ResultSeen(1, make_report(), LATER, outputs=OutputsSeen((OUTPUT,), missing)), 4
    )
    assert plain is not None
    assert after is not None
    assert plain.outputs is None
    assert after.outputs == [OUTPUT]
    *before, stored = after.conditions or []
    assert before == plain.conditions
    assert (stored.type, stored.status, stored.reason, stored.message) == ("OutputsStored", status, reason, message)
    assert after.model_copy(update={"outputs": None, "conditions": plain.conditions}) == plain


def test_of_a_lost_attempt_that_is_retried_nothing_is_stored() -> None:
    crash = make_report(status="crashed", reason="PodTerminated", exit_code=-1)
    after = advance(make_status("Running"), ResultSeen(1, crash, LATER, retry=True, outputs=OutputsSeen((OUTPUT,))), 4)
    assert after is not None
    assert (after.phase, after.outputs) == ("Pending", None)
