"""How output is written to the client: as plain text like a pod's log, or as the events that the executors send too."""

import json
from typing import Any, Final, Protocol

from contracts import output_events
from log_api.errors import StatusError
from log_api.events import Attempt, Chunk, Cursor, End, Event, Gap, KeepAlive, Pause, advance
from log_api.options import Wanted

EVENT_STREAM: Final = "text/event-stream"
PLAIN: Final = "text/plain"


class Writer(Protocol):
    """Turns events into bytes of the answer, in order."""

    content_type: str

    def write(self, event: Event) -> bytes:
        """The bytes of an event; empty when it has none in this form."""

    def fail(self, error: StatusError) -> bytes:
        """What to say when the stream ends before its end."""


class TextWriter:
    """Output as it was printed. What is missing is told in lines of their own, in brackets."""

    content_type = PLAIN

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._at_line_start = True
        self._attempt = 0

    def write(self, event: Event) -> bytes:
        """Bytes of the wanted streams; a line for a gap, and one between attempts."""
        match event:
            case Chunk(stream, data) if self._wanted in ("all", stream):
                if data:
                    self._at_line_start = data.endswith(b"\n")
                return data
            case Gap(stream, start, None) if self._wanted in ("all", stream):
                return self._note(f"what it printed to {stream} after the first {start} bytes was not kept")
            case Gap(stream, start, end) if self._wanted in ("all", stream):
                return self._note(f"bytes {start} to {end} of {stream} are not kept any more")
            case Attempt(number):
                before, self._attempt = self._attempt, number
                return self._note(f"attempt {before} was lost; attempt {number} begins") if before else b""
            case _:
                return b""

    def fail(self, error: StatusError) -> bytes:
        """A line with the message."""
        return self._note(f"this is not all: {error.message}")

    def _note(self, text: str) -> bytes:
        line = f"[sandbox-executor: {text}]\n".encode()
        if not self._at_line_start:
            line = b"\n" + line
        self._at_line_start = True
        return line


class EventWriter:
    """Server-sent events in the executors' form; after each one its id says how much of the attempt was told."""

    content_type = EVENT_STREAM

    def __init__(self, wanted: Wanted, start: Cursor) -> None:
        self._wanted = wanted
        self._cursor = start
        self._begun = False

    def write(self, event: Event) -> bytes:
        """An event; empty for a stream that is not wanted, whose bytes count in the ids all the same."""
        if isinstance(event, Attempt) and not self._begun and self._cursor.attempt in (0, event.number):
            self._cursor = Cursor(event.number, self._cursor.position)
        else:
            self._cursor = advance(self._cursor, event)
        self._begun = self._begun or isinstance(event, Attempt)
        after = self._cursor.position
        match event:
            case Chunk(stream, data):
                return output_events.encode(output_events.Chunk(stream, data, after)) if self._wants(stream) else b""
            case Gap(stream, start, None):
                return self._json("lost", {"stream": stream, "from": start}) if self._wants(stream) else b""
            case Gap(stream, start, int(end)):
                told = output_events.Gap(stream, start, end, after)
                return output_events.encode(told) if self._wants(stream) else b""
            case Attempt(number):
                return self._json("attempt", {"attempt": number})
            case KeepAlive():
                return output_events.KEEP_ALIVE
            case Pause():
                return output_events.encode(output_events.Pause(after))
            case End(ending):
                return output_events.encode(output_events.End(ending, after))
        raise TypeError(f"no form for {event}")

    def fail(self, error: StatusError) -> bytes:
        """An event with the Status."""
        return self._json("error", error.to_kube())

    def _wants(self, stream: str) -> bool:
        return self._wanted in ("all", stream)

    def _json(self, kind: str, data: dict[str, Any]) -> bytes:
        return output_events.encode_fields(
            kind, json.dumps(data, separators=(",", ":")).encode(), self._cursor.position
        )


def make_writer(accept: str, wanted: Wanted, start: Cursor) -> Writer:
    """The one that the client's ``Accept`` asks for."""
    offers = {offer.partition(";")[0].strip().lower() for offer in accept.split(",")}
    return EventWriter(wanted, start) if EVENT_STREAM in offers else TextWriter(wanted)


class Limit:
    """Counts the bytes of the wanted streams; with ``left`` None without end."""

    def __init__(self, left: int | None, wanted: Wanted) -> None:
        self._left = left
        self._wanted = wanted

    @property
    def reached(self) -> bool:
        """Whether no more may be sent."""
        return self._left == 0

    def cut(self, event: Event) -> Event:
        """The event, or as much of it as may still be sent."""
        if self._left is None or not isinstance(event, Chunk) or self._wanted not in ("all", event.stream):
            return event
        cut = Chunk(event.stream, event.data[: self._left])
        self._left -= len(cut.data)
        return cut
