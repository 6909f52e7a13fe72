"""What a stream of output consists of, between the executor that tells it and the client that is told."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = get_args(Stream)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many bytes of each stream of an attempt have been told. Attempt 0: none has begun."""

    attempt: int = 0
    stdout: int = 0
    stderr: int = 0

    def of(self, stream: Stream) -> int:
        """Bytes told of a stream."""
        return self.stdout if stream == "stdout" else self.stderr

    def at(self, stream: Stream, offset: int) -> "Cursor":
        """The same with another number of bytes of one stream."""
        return replace(self, stdout=offset) if stream == "stdout" else replace(self, stderr=offset)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a stream that follow those before."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a stream that nobody holds any more; ``end`` None: all that came after ``start``, however many."""

    stream: Stream
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt begins, with both streams at 0; what was told before belongs to earlier ones."""

    number: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing has happened for some seconds, and the one who waits shall know that the line is open."""


@dataclass(frozen=True, slots=True)
class Pause:
    """That is all there is now; the Execution goes on, and nobody wanted to wait."""


@dataclass(frozen=True, slots=True)
class End:
    """The Execution has ended, and all of its output has been told; bytes of each stream."""

    phase: str
    stdout_bytes: int
    stderr_bytes: int


Event = Chunk | Gap | Attempt | KeepAlive | Pause | End


def advance(cursor: Cursor, event: Event) -> Cursor:
    """Where a cursor stands after an event."""
    match event:
        case Chunk(stream, data):
            return cursor.at(stream, cursor.of(stream) + len(data))
        case Gap(stream, start, end):
            return cursor.at(stream, start if end is None else end)
        case Attempt(number):
            return Cursor(number)
        case _:
            return cursor
