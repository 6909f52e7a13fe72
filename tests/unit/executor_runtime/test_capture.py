"""Every ending, one row each (spec.md, ExecutionResult)."""

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from contracts import bounds
from contracts.executor_api import ArtifactMetadata, ExecutionResult
from executor_runtime.capture import (
    MARKER,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_STREAM_JSON_BYTES,
    bound,
    capture,
    parse_value,
    split_marked,
)
from executor_runtime.sandbox import Ending, Job, Limits, Overrun, RawRun, Stream, Usage
from executor_runtime.workspace import Workspace

JOB = Job(
    execution_id="exec_20260115_a1b2c3d4",
    language="python",
    code="",
    workspace=Workspace(Path("/nowhere"), 0, 0),
    timeout_s=2,
    limits=Limits(
        memory_bytes=128 << 20, cpu_seconds=5, file_size_bytes=100, workspace_bytes=8 << 20, workspace_entries=77
    ),
)
USAGE = Usage(duration_s=1.5, cpu_time_s=0.25, peak_memory_bytes=3 << 20, io_read_bytes=4096, io_write_bytes=512)


def captured(ending: Ending, **fields: object) -> ExecutionResult:
    return capture(JOB, RawRun(ending, USAGE, **fields), [])  # type: ignore[arg-type]


def said(outcome: bytes) -> dict[str, object]:
    return {"exit_code": 1, "returned": outcome + b"\nthe detail"}


@pytest.mark.parametrize(
    ("ending", "fields", "status", "reason", "exit_code", "says"),
    [
        (Ending.EXITED, {"exit_code": 0, "returned": b'returned\n{"a": 1}'}, "success", "Completed", 0, "returned"),
        (Ending.EXITED, {"exit_code": 0}, "success", "Completed", 0, "no value"),
        (Ending.EXITED, {"exit_code": 0, "returned": b"raised\nE"}, "success", "Completed", 0, "no value"),
        (Ending.EXITED, {"exit_code": 3}, "failed", "NonZeroExit", 3, "exited with 3"),
        (Ending.EXITED, {"exit_code": 3, "returned": b"exited\n"}, "failed", "NonZeroExit", 3, "exited with 3"),
        (Ending.EXITED, {"exit_code": 3, "returned": b"returned\n1"}, "failed", "NonZeroExit", 3, "exited with 3"),
        (Ending.EXITED, said(b"handler_missing"), "failed", "HandlerMissing", 1, "def handler"),
        (Ending.EXITED, said(b"raised"), "failed", "HandlerRaised", 1, "the detail"),
        (Ending.EXITED, said(b"not_serializable"), "failed", "ResultNotSerializable", 1, "the detail"),
        (Ending.EXITED, {"exit_code": 0, "returned": b"returned\nNaN"}, "failed", "ResultNotSerializable", 1, "NaN"),
        (Ending.EXITED, {"signal": signal.SIGSEGV}, "failed", "Signaled", 139, "SIGSEGV"),
        (Ending.EXITED, {"signal": 64}, "failed", "Signaled", 192, "SIGRTMAX"),
        (Ending.EXITED, {"signal": 50}, "failed", "Signaled", 178, "signal 50"),
        (Ending.EXITED, {"signal": signal.SIGXCPU}, "failed", "Signaled", 152, "limit of 5 s"),
        (Ending.EXITED, {"signal": signal.SIGXFSZ}, "failed", "DiskLimit", 153, "limit of 100 bytes"),
        (Ending.TIMED_OUT, {}, "timeout", "TimedOut", -1, "timeout of 2 s"),
        (Ending.CANCELLED, {}, "failed", "Cancelled", 137, "cancelled"),
        (Ending.MEMORY_LIMIT, {}, "failed", "MemoryLimit", 137, "limit of 128 MiB"),
        (Ending.DISK_LIMIT, {"overrun": Overrun.WORKSPACE_BYTES}, "failed", "DiskLimit", 137, "limit of 8 MiB"),
        (Ending.DISK_LIMIT, {"overrun": Overrun.WORKSPACE_ENTRIES}, "failed", "DiskLimit", 137, "limit of 77"),
        (Ending.DISK_LIMIT, {"overrun": Overrun.WORKSPACE_DEPTH}, "failed", "DiskLimit", 137, "deeper than 128"),
        (Ending.DISK_LIMIT, {"overrun": Overrun.TMP_ENTRIES}, "failed", "DiskLimit", 137, "/tmp and /dev/shm"),
        (Ending.DISK_LIMIT, {"overrun": Overrun.VOLUME}, "failed", "DiskLimit", 137, "written most"),
        (Ending.FAILED, {"failure": "bwrap: no"}, "error", "SandboxError", -1, "bwrap: no"),
    ],
)
def test_each_ending(
    ending: Ending, fields: dict[str, object], status: str, reason: str, exit_code: int, says: str
) -> None:
    result = captured(ending, **fields)
    assert (result.status, result.reason, result.exit_code) == (status, reason, exit_code)
    assert says in result.message


def test_streams_usage_and_artifacts_are_carried_over() -> None:
    raw = RawRun(
        Ending.TIMED_OUT, USAGE, stdout=Stream("out", truncated=True, total_bytes=9), stderr=Stream("err", False, 3)
    )
    artifact = ArtifactMetadata(path="a/b.csv", size=3, mime_type="text/csv", type="output")
    result = capture(JOB, raw, [artifact])
    assert (result.stdout, result.stdout_truncated) == ("out", True)
    assert (result.stderr, result.stderr_truncated) == ("err", False)
    assert result.execution_time == 1.5
    assert result.metrics.model_dump() == {
        "duration_ms": 1500.0,
        "cpu_time_ms": 250.0,
        "peak_memory_mb": 3.0,
        "io_read_bytes": 4096,
        "io_write_bytes": 512,
    }
    assert result.artifacts == ["a/b.csv"]
    assert result.artifact_metadata == [artifact]


def test_a_value_is_only_taken_from_a_run_that_ended_by_itself() -> None:
    assert captured(Ending.TIMED_OUT, returned=b"returned\n1").return_value is None
    assert captured(Ending.EXITED, signal=9, returned=b"returned\n1").return_value is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[-Infinity]",
        b"1e999",
        b"-1e999",
        b"1" * 400 + b".0",
        b"1" * 299 + b"e99",
        b"1" * 400,
        b"[-" + b"9" * 309 + b"]",
        b"1" * 5000,
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"\xff",
        b"1 2",
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    ],
)
def test_a_forged_value_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_value(body)


def test_a_value_of_the_greatest_depth_can_be_written_again() -> None:
    body = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    result = captured(Ending.EXITED, exit_code=0, returned=b"returned\n" + body)
    assert json.loads(result.model_dump_json())["return_value"] == json.loads(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    max_leaves=20,
)


@settings(deadline=None)
@given(json_values)
def test_every_json_value_comes_back_as_it_was(value: object) -> None:
    assert parse_value(json.dumps(value).encode()) == value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_is_forged_gives_a_result_that_can_be_written(body: bytes) -> None:
    for head in (b"", b"returned\n", b"raised\n"):
        captured(Ending.EXITED, exit_code=0, returned=head + body).model_dump_json()
        captured(Ending.EXITED, exit_code=1, returned=head + body).model_dump_json()


VALUE = f"{MARKER}\n[1]\n{MARKER}\n"


@pytest.mark.parametrize(
    ("text", "stdout", "value"),
    [
        ("", "", None),
        ("plain\n", "plain\n", None),
        (VALUE, "", [1]),
        (f"before\n{VALUE}after\n", "before\nafter\n", [1]),
        (f"no newline{VALUE}", "no newline\n", [1]),
        (f"{VALUE}middle\n{MARKER}\n2\n{MARKER}\n", "middle\n", 2),
        (f"only one {MARKER}\n[1]", f"only one {MARKER}\n[1]", None),
        (f"{MARKER}no json{MARKER}", f"{MARKER}no json{MARKER}", None),
        (f"{MARKER}{VALUE}", f"{MARKER}\n", [1]),
        (f"{VALUE}{MARKER}", MARKER, [1]),
        (f"{MARKER}NaN{MARKER}", f"{MARKER}NaN{MARKER}", None),
    ],
)
def test_marked_values(text: str, stdout: str, value: object) -> None:
    assert split_marked(text) == (stdout, value)


def test_markers_without_end_do_not_keep_the_executor_busy() -> None:
    for text in (MARKER * 200_000, f"{MARKER}x" * 200_000, f"{MARKER}1{MARKER}" * 100_000):
        began = time.process_time()
        split_marked(text)
        assert time.process_time() - began < 1


def test_many_lists_and_objects_are_refused_but_in_strings() -> None:
    with pytest.raises(ValueError, match="more than 200000 lists and objects"):
        parse_value(b"[" + b"{}," * MAX_CONTAINERS + b"0]")
    for text in ("[{" * MAX_CONTAINERS, '"[\\"{\\' * MAX_CONTAINERS):
        assert parse_value(json.dumps([text, {}]).encode()) == [text, {}]


@pytest.mark.parametrize("character", ["x", "\n", '"', "\ufffd", "\0", "\x1b"])
def test_a_stream_takes_a_bounded_space_in_json(character: str) -> None:
    kept = Stream(character * bounds.MAX_STREAM_BYTES, False, 1)
    stream = bound(kept)
    size = len(to_json(stream.text)) - 2
    assert size <= MAX_STREAM_JSON_BYTES
    assert stream.truncated == (len(stream.text) < bounds.MAX_STREAM_BYTES) == (character < " " and character != "\n")
    assert size > MAX_STREAM_JSON_BYTES - 6 or stream is kept


def test_markers_mean_nothing_to_python() -> None:
    result = captured(Ending.EXITED, exit_code=0, stdout=Stream(VALUE, False, 0))
    assert (result.stdout, result.return_value) == (VALUE, None)


def test_a_program_that_fails_has_no_value() -> None:
    raw = RawRun(Ending.EXITED, USAGE, exit_code=1, stdout=Stream(VALUE, False, 0))
    result = capture(replace(JOB, language="shell"), raw, [])
    assert (result.stdout, result.return_value) == ("", None)
