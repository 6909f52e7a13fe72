"""Reading and writing of output in its forms: events, plain text, a status."""

import pytest

from contracts.bounds import MAX_STREAM_BYTES
from contracts.execution import ExecutionStatus
from contracts.output_events import Ending, Position
from log_api.ended import read_status
from log_api.errors import not_found
from log_api.events import Attempt, Chunk, Cursor, End, Event, Gap, KeepAlive, Pause
from log_api.rendering import EventWriter, Limit, TextWriter, make_writer


def _end(stdout: int, stderr: int = 0) -> End:
    return End(Ending(phase="Succeeded", stdout_bytes=stdout, stderr_bytes=stderr))


def _text(*events: Event, wanted: str = "all") -> bytes:
    writer = TextWriter(wanted)  # type: ignore[arg-type]
    return b"".join(writer.write(event) for event in events)


def test_text_is_what_was_printed() -> None:
    events = (Attempt(1), Chunk("stdout", b"a\n"), KeepAlive(), Chunk("stderr", b"b"), Chunk("stdout", b"c"), Pause())
    assert _text(*events) == b"a\nbc"
    assert _text(*events, wanted="stdout") == b"a\nc"
    assert _text(*events, wanted="stderr") == b"b"


def test_what_is_missing_stands_in_lines_of_its_own() -> None:
    events = (Gap("stdout", 0, 9), Chunk("stdout", b"x"), Gap("stdout", 10, None), _end(10))
    assert _text(*events) == (
        b"[sandbox-executor: bytes 0 to 9 of stdout are not kept any more]\nx\n"
        b"[sandbox-executor: what it printed to stdout after the first 10 bytes was not kept]\n"
    )
    assert _text(*events, wanted="stderr") == b""


def test_text_tells_a_failure() -> None:
    writer = TextWriter("all")
    writer.write(Chunk("stdout", b"x"))
    assert writer.fail(not_found("n")).startswith(b"\n[sandbox-executor: this is not all: ")


def _ids(writer: EventWriter, *events: Event) -> list[str]:
    written = [writer.write(event).decode() for event in events]
    return [text.splitlines()[0].removeprefix("id: ") for text in written if text.startswith("id: ")]


def test_ids_count_what_is_not_wanted_too() -> None:
    writer = EventWriter("stdout", Cursor(1, Position(5, 0)))
    events = (Attempt(1), Chunk("stderr", b"123"), Chunk("stdout", b"12"), Gap("stdout", 7, 9), Attempt(2), Pause())
    assert _ids(writer, *events) == ["5-0", "7-3", "9-3", "0-0", "0-0"]


def test_offsets_of_another_attempt_do_not_count() -> None:
    assert _ids(EventWriter("all", Cursor(1, Position(5, 5))), Attempt(2), Chunk("stdout", b"1")) == ["0-0", "1-0"]
    assert _ids(EventWriter("all", Cursor(0, Position(5, 5))), Attempt(2), Chunk("stdout", b"1")) == ["5-5", "6-5"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", TextWriter),
        ("", TextWriter),
        ("application/json, */*", TextWriter),
        ("text/event-stream", EventWriter),
        ("text/plain;q=0.5, Text/Event-Stream; q=0.9", EventWriter),
    ],
)
def test_accept_chooses(accept: str, kind: type) -> None:
    assert isinstance(make_writer(accept, "all", Cursor()), kind)


def test_a_limit_counts_what_is_wanted() -> None:
    limit = Limit(3, "stdout")
    assert limit.cut(Chunk("stderr", b"abcdef")) == Chunk("stderr", b"abcdef")
    assert limit.cut(Chunk("stdout", b"ab")) == Chunk("stdout", b"ab")
    assert not limit.reached
    assert limit.cut(Chunk("stdout", b"cd")) == Chunk("stdout", b"c")
    assert limit.reached
    assert not Limit(None, "all").reached


def _status(**fields: object) -> ExecutionStatus:
    return ExecutionStatus.model_validate({"phase": "Succeeded", **fields})


def test_a_whole_status() -> None:
    status = _status(stdout="out", stdoutBytes=3, stderr="err", stderrBytes=3)
    end = _end(3, 3)
    assert list(read_status(status, Cursor())) == [Chunk("stdout", b"out"), Chunk("stderr", b"err"), end]
    assert list(read_status(status, Cursor(1, Position(2, 3)))) == [Chunk("stdout", b"t"), end]
    assert list(read_status(status, Cursor(1, Position(99, 99)))) == [end]


def test_the_tail_of_more() -> None:
    status = _status(stdout="tail", stdoutBytes=100, stdoutTruncated=True)
    end = _end(100)
    assert list(read_status(status, Cursor())) == [Gap("stdout", 0, 96), Chunk("stdout", b"tail"), end]
    assert list(read_status(status, Cursor(1, Position(98, 0)))) == [Chunk("stdout", b"il"), end]


def test_what_nobody_has_kept_is_told_at_the_end() -> None:
    size = MAX_STREAM_BYTES
    status = _status(stdout="tail", stdoutBytes=size, stdoutTruncated=True)
    *_, last, _ = read_status(status, Cursor())
    assert last == Gap("stdout", size, None)
    assert list(read_status(status, Cursor(1, Position(size + 1, 0)))) == [_end(size)]


def test_an_execution_that_never_ran_has_printed_nothing() -> None:
    assert list(read_status(_status(), Cursor())) == [_end(0)]
