"""The output of an Execution whose executor holds it no longer: what ``.status`` keeps, and what is missing there."""

from collections.abc import Iterator

from contracts import bounds
from contracts.execution import ExecutionStatus
from contracts.output_events import MAX_CHUNK_BYTES, STREAMS, Ending, StreamName
from log_api.events import Chunk, Cursor, End, Event, Gap


def read_status(status: ExecutionStatus, cursor: Cursor) -> Iterator[Event]:
    """What comes after the cursor, first of stdout, then of stderr; in which order they came is not kept.

    The status has the last 64 KiB of what the executor kept of a stream, which are its first 10 MiB.
    """
    for stream in STREAMS:
        yield from _read_stream(status, stream, cursor.of(stream))
    yield End(_describe_end(status))


def _describe_end(status: ExecutionStatus) -> Ending:
    finished = next((condition for condition in status.conditions or () if condition.type == "Finished"), None)
    return Ending(
        phase=status.phase or "Pending",
        reason=finished.reason if finished else "",
        exit_code=status.exit_code,
        attempt=status.attempt or 1,
        stdout_bytes=status.stdout_bytes or 0,
        stderr_bytes=status.stderr_bytes or 0,
    )


def _read_stream(status: ExecutionStatus, stream: StreamName, told: int) -> Iterator[Event]:
    text, kept, cut = (
        (status.stdout, status.stdout_bytes, status.stdout_truncated)
        if stream == "stdout"
        else (status.stderr, status.stderr_bytes, status.stderr_truncated)
    )
    tail = (text or "").encode()
    end = max(kept or 0, len(tail))
    start = end - len(tail)
    if told < start:
        yield Gap(stream, told, start)
    rest = tail[max(told - start, 0) :]
    for at in range(0, len(rest), MAX_CHUNK_BYTES):
        yield Chunk(stream, rest[at : at + MAX_CHUNK_BYTES])
    more_was_dropped = start == 0 or end >= bounds.MAX_STREAM_BYTES
    if cut and more_was_dropped and told <= end:
        yield Gap(stream, end, None)
