"""What comes out of a sandbox: output with markers, the return channel, progress, and the result made of them."""

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from contracts.control_plane_api import Heartbeat, ResultReport
from contracts.execution import ExecutionStatus
from contracts.executor_api import ArtifactMetadata, ExecutionResult, Language
from controller.facts import HeartbeatSeen, ResultSeen
from controller.status import advance
from controller.storable import cut
from executor_runtime.capture import MARKER, MAX_DEPTH, capture, parse_value, split_marked
from executor_runtime.progress import MAX_PROGRESS_BYTES, parse_progress
from executor_runtime.sandbox import Ending, Job, RawRun, Stream, Usage
from executor_runtime.workspace import Workspace
from tests.unit.controller.builders import NOW
from tests.unit.fuzz.kubernetes import assert_storable
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import damaged, json_values, outcome_of, plain_text, wild_text, written

RUNNING = ExecutionStatus(phase="Running", attempt=1, start_time=NOW)

json_bytes = st.one_of(
    json_values(wild_text).map(written),
    damaged(json_values().map(written)),
    st.sampled_from(
        [b"NaN", b"1e999", b"1" * 4000, b'"\\ud800"', b"[" * 100_000, b'{"a":1,"a":2}', b"\xff", b"-" * 99]
    ),
    st.binary(max_size=40),
)


def assert_value(value: Any) -> None:
    """Strict JSON that every reader holds: no NaN, no number beyond a double, not too deep."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    TypeAdapter(dict[str, Any]).validate_json(b'{"value":%b}' % text)
    level, depth = [value], 0
    while level:
        depth += 1
        assert all(math.isfinite(float(part)) for part in level if isinstance(part, int | float))
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
    assert depth <= MAX_DEPTH + 2


@fuzzed
@given(json_bytes)
def test_a_return_value_is_strict_json_or_refused(body: bytes) -> None:
    value = outcome_of(lambda: parse_value(body), ValueError)
    if not isinstance(value, ValueError):
        assert_value(value)


pieces = st.lists(st.one_of(plain_text, st.just(MARKER), json_bytes.map(lambda raw: raw.decode("utf-8", "replace"))))


@fuzzed
@given(pieces)
def test_output_with_any_markers_is_split_without_loss(parts: list[str]) -> None:
    text = "\n".join(parts)
    stdout, value = split_marked(text)
    assert_value(value)
    if text.count(MARKER) < 2:
        assert (stdout, value) == (text, None)
    assert len(stdout) <= len(text)
    assert set(stdout) <= set(text)
    for part in parts:
        if not any(letter in part for letter in '0123456789{}[]"tfnN=' + MARKER) and part.strip():
            assert part in stdout  # what is no JSON is output like any other


@fuzzed
@given(plain_text, json_values(), plain_text)
def test_a_marked_value_comes_back(before: str, value: Any, after: str) -> None:
    body = written(value)
    kept = outcome_of(lambda: parse_value(body), ValueError)
    stdout, found = split_marked(f"{before}{MARKER}{body.decode()}{MARKER}{after}")
    if isinstance(kept, ValueError):
        assert stdout.startswith(before)
        return
    assert found == kept
    at_line_start = not before or before.endswith("\n")
    assert stdout == before + (after.removeprefix("\n") if at_line_start else after)


@fuzzed
@given(st.one_of(json_bytes, json_values().map(lambda value: written({"a": value}))))
def test_progress_is_an_object_that_a_status_holds_or_nothing(content: bytes) -> None:
    progress = parse_progress(content)
    if progress is None:
        return
    assert len(content) <= MAX_PROGRESS_BYTES
    beat = Heartbeat(timestamp=NOW, progress=progress)
    again = Heartbeat.model_validate_json(beat.model_dump_json(), strict=True)
    after = advance(RUNNING, HeartbeatSeen(1, again.progress, NOW))
    assert after is not None
    assert_storable(after.to_kube())


streams = st.builds(
    Stream,
    st.lists(wild_text, max_size=3).map("".join).map(lambda s: s.encode("utf-8", "replace").decode()),
    st.booleans(),
)
usages = st.builds(
    Usage,
    duration_s=st.floats(0, 1e6),
    cpu_time_s=st.floats(0, 1e6),
    peak_memory_bytes=st.integers(0, 2**62),
    io_read_bytes=st.integers(0, 2**62),
    io_write_bytes=st.integers(0, 2**62),
)
outcomes = st.sampled_from([b"returned", b"raised", b"exited", b"handler_missing", b"not_serializable", b"", b"\xff\n"])
returns = st.builds(lambda outcome, body: outcome + b"\n" + body, outcomes, json_bytes)
raw_runs = st.builds(
    RawRun,
    ending=st.sampled_from(Ending),
    usage=usages,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    stdout=streams,
    stderr=streams,
    returned=st.none() | returns,
    failure=plain_text,
)
artifacts = st.lists(st.builds(ArtifactMetadata, path=plain_text, size=st.integers(0, 2**62)), max_size=3)


@fuzzed
@given(st.sampled_from(("python", "javascript", "shell")), raw_runs, artifacts)
def test_every_run_has_a_result_that_all_readers_take(
    language: Language, raw: RawRun, found: list[ArtifactMetadata]
) -> None:
    job = Job("exec_20260115_a1b2c3d4", language, "", Workspace(Path("/nowhere"), 0, 0), 5)
    result = capture(job, raw, found)
    sent = result.model_dump_json()
    assert ExecutionResult.model_validate_json(sent, strict=True) == result
    report = ResultReport.model_validate_json(ResultReport.of(result).model_dump_json(), strict=True)
    after = advance(RUNNING, ResultSeen(1, report, NOW))
    assert after is not None
    assert (after.phase == "Succeeded") is (result.status == "success")
    assert_storable(after.to_kube())
    assert [
        len(json.dumps(cut(after, times).to_kube(), ensure_ascii=False)) < room
        for times, room in ((1, 350_000), (2, 10_000))
    ] == [True] * 2
    assert ExecutionStatus.model_validate(json.loads(json.dumps(after.to_kube()))) == after
