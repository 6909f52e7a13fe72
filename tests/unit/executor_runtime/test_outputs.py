"""What of a run goes to the object store, and what a stream keeps for it beyond memory."""

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from contracts import bounds
from contracts.executor_api import ExecutionMetrics, ExecutionResult
from contracts.outputs import OutputLimits
from executor_runtime.artifacts import collect
from executor_runtime.outputs import Missing, Source, gather, has_any
from executor_runtime.sandbox import Output, Overflow
from executor_runtime.sandbox.drain import Drain
from executor_runtime.workspace import Workspace, Workspaces

LIMITS = OutputLimits(object_bytes=300_000, total_bytes=500_000)
LARGE = bounds.STATUS_STREAM_BYTES + 1


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "root").mkdir()
    return Workspaces(tmp_path / "root").create("x")


def make_result(workspace: Workspace | None = None, **fields: Any) -> ExecutionResult:
    found = collect(workspace, {}) if workspace is not None else []
    return ExecutionResult(
        execution_id="exec_20260115_a1b2c3d4",
        status="success",
        reason="Completed",
        exit_code=0,
        execution_time=0.1,
        metrics=ExecutionMetrics(duration_ms=100),
        artifacts=[artifact.path for artifact in found],
        artifact_metadata=found,
        **fields,
    )


def read(source: Source) -> bytes:
    content = b"".join(source.pieces())
    assert hashlib.sha256(content).hexdigest() == source.metadata.sha256
    assert len(content) == source.metadata.size
    return content


class Pipes:
    """The two drains of an output, as a sandbox has them, and what is written to them."""

    def __init__(self, limit: int) -> None:
        self.ends = [os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) for _ in range(2)]
        self.stdout, self.stderr = (Drain(end[0], limit) for end in self.ends)
        self.has_begun = True

    async def write(self, stream: int, data: bytes) -> None:
        """Until all of it was read."""
        rest, drain = memoryview(data), (self.stdout, self.stderr)[stream]
        end = drain.total_bytes + len(data)
        while drain.total_bytes < end:
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self.ends[stream][1], rest) :] if rest else rest
            await asyncio.sleep(0.001)

    def finish(self) -> None:
        for drain, end in zip((self.stdout, self.stderr), self.ends, strict=True):
            os.close(end[1])
            drain.finish()
            os.close(end[0])


async def run_output(tmp_path: Path, data: bytes, *, kept: int, beyond: int) -> Output:
    """An output of which a drain keeps ``kept`` bytes in memory, and ``beyond`` more on disk."""
    output = Output(make_overflow=lambda: Overflow(tmp_path, beyond))
    pipes = Pipes(kept)
    output.connect(pipes)  # type: ignore[arg-type]
    await pipes.write(0, data)
    pipes.finish()
    output.settle(begun=True)
    return output


async def test_a_stream_goes_on_on_disk_where_memory_ends(tmp_path: Path) -> None:
    data = os.urandom(250_000)
    output = await run_output(tmp_path, data, kept=100_000, beyond=200_000)
    assert output.kept_bytes("stdout") == 250_000
    [source] = gather(make_result(), output, None, LIMITS, Missing())
    assert (source.metadata.name, source.metadata.media_type) == ("stdout", "text/plain")
    assert not source.metadata.truncated
    assert read(source) == data
    assert read(source) == data, "it is read for its digest and once more to be sent"
    assert os.listdir(tmp_path) == [], "a file without a name"
    output.drop_overflow()
    assert output.kept_bytes("stdout") == 100_000


async def test_what_is_more_than_an_object_may_have_is_cut_and_said_so(tmp_path: Path) -> None:
    data = os.urandom(400_000)
    output = await run_output(tmp_path, data, kept=100_000, beyond=150_000)
    [source] = gather(make_result(), output, None, LIMITS, Missing())
    assert source.metadata.truncated
    assert read(source) == data[:250_000]
    [cut] = gather(make_result(), output, None, OutputLimits(120_000, 500_000), Missing())
    assert read(cut) == data[:120_000]
    output.drop_overflow()


async def test_without_a_store_nothing_is_kept_beyond_memory(tmp_path: Path) -> None:
    output = Output()
    pipes = Pipes(1000)
    output.connect(pipes)  # type: ignore[arg-type]
    await pipes.write(0, b"x" * 5000)
    pipes.finish()
    output.settle(begun=True)
    assert output.kept_bytes("stdout") == 1000


def test_a_disk_that_takes_no_more_ends_what_is_kept(tmp_path: Path) -> None:
    overflow = Overflow(tmp_path / "absent", 1000)
    overflow.write(memoryview(b"lost"))
    assert (overflow.truncated, overflow.size, list(overflow.read())) == (True, 0, [])
    overflow.close()


def test_a_short_result_has_nothing_to_store() -> None:
    assert not has_any(make_result(stdout="x" * 1000, return_value={"a": [1, 2, 3]}), Output())


def test_a_long_text_a_large_value_or_a_file_is_stored(workspace: Workspace) -> None:
    assert has_any(make_result(stdout="x" * LARGE), Output())
    assert has_any(make_result(stderr="ä" * (LARGE // 2 + 1)), Output())
    assert has_any(make_result(return_value=["x" * LARGE]), Output())
    (workspace.path / "file").touch()
    assert has_any(make_result(workspace), Output())


def test_a_return_value_is_stored_when_the_status_has_no_room_for_it() -> None:
    value = {"numbers": list(range(20_000))}
    [source] = gather(make_result(return_value=value), Output(), None, LIMITS, Missing())
    assert (source.metadata.name, source.metadata.media_type) == ("returnValue", "application/json")
    assert read(source).startswith(b'{"numbers":[0,1,2,')
    assert gather(make_result(return_value=["x" * 30_000]), Output(), None, LIMITS, Missing()) == []


def test_artifacts_are_stored_under_a_name_that_no_stream_has(workspace: Workspace) -> None:
    (workspace.path / "stdout").write_bytes(b"not it")
    (workspace.path / "data").mkdir()
    (workspace.path / "data" / "table.csv").write_bytes(b"a,b\n")
    found = gather(make_result(workspace), Output(), workspace, LIMITS, Missing())
    assert [(one.metadata.name, one.metadata.media_type) for one in found] == [
        ("artifacts/data/table.csv", "text/csv"),
        ("artifacts/stdout", "application/octet-stream"),
    ]
    assert [read(one) for one in found] == [b"a,b\n", b"not it"]


def test_what_is_too_large_or_too_much_is_left_out_and_named(workspace: Workspace) -> None:
    for name, size in (("a\nb", 300_001), ("c", 250_000), ("d", 250_001), ("e", 250_000)):
        with (workspace.path / name).open("wb") as file:
            file.truncate(size)
    missing = Missing()
    found = gather(make_result(workspace), Output(), workspace, LIMITS, missing)
    assert [one.metadata.name for one in found] == ["artifacts/c", "artifacts/e"]
    told = missing.tell()
    assert told is not None
    assert told.reason == "OutputTooLarge"
    assert told.message == ("not in the object store: 'artifacts/a\\nb', 'artifacts/d': it has more than 300000 bytes")


def test_more_files_than_a_status_has_rows_are_left_out(workspace: Workspace) -> None:
    for number in range(bounds.MAX_OUTPUTS + 7):
        (workspace.path / f"{number:03}").write_bytes(b"%d" % number)
    missing = Missing()
    found = gather(make_result(workspace), Output(), workspace, LIMITS, missing)
    assert len(found) == bounds.MAX_OUTPUTS
    told = missing.tell()
    assert told is not None
    assert told.reason == "TooManyOutputs"
    assert "and 2 more" in told.message


def test_a_file_that_is_gone_is_left_out(workspace: Workspace) -> None:
    (workspace.path / "gone").touch()
    result = make_result(workspace)
    (workspace.path / "gone").unlink()
    missing = Missing()
    assert gather(result, Output(), workspace, LIMITS, missing) == []
    told = missing.tell()
    assert told is not None
    assert told.reason == "UploadStopped"
