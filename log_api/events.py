"""What a stream of output consists of, between the executor that tells it and the client that is told.

More than ``contracts.output_events``: an Execution may have several attempts, and its status knows that something is
missing, but not how much.
"""

from dataclasses import dataclass, replace

from contracts.output_events import STREAMS, Ending, Position, StreamName


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many bytes of each stream of an attempt have been told. Attempt 0: none has begun."""

    attempt: int = 0
    position: Position = Position()

    def of(self, stream: StreamName) -> int:
        """Bytes told of a stream."""
        return self.position[STREAMS.index(stream)]

    def at(self, stream: StreamName, offset: int) -> "Cursor":
        """The same with another number of bytes of one stream."""
        return replace(self, position=self.position.moved(stream, offset))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a stream that follow those before."""

    stream: StreamName
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a stream that nobody holds any more; ``end`` None: all that came after ``start``, however many."""

    stream: StreamName
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
    """The Execution has ended, and all of its output has been told."""

    ending: Ending


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
