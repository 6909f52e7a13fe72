"""What ``GET /executions/{id}/output`` of an executor sends, as server-sent events, and how a client reads it.

https://html.spec.whatwg.org/multipage/server-sent-events.html; output is bytes, so it travels as base64. Each event's
id is the ``Position`` after it: with these two numbers a client that was cut off goes on where it was.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from contracts.execution import Phase

StreamName = Literal["stdout", "stderr"]
STREAMS: Final[tuple[StreamName, StreamName]] = ("stdout", "stderr")
"""In the order in which what is there already is told."""

MAX_CHUNK_BYTES: Final = 32_768
"""Of output in one event; in base64 a third more."""
MAX_EVENT_BYTES: Final = 65_536
KEEP_ALIVE: Final = b": keep-alive\n\n"
_POSITION: Final = re.compile(r"(\d{1,18})-(\d{1,18})")


class Position(NamedTuple):
    """How many bytes of each stream have been sent."""

    stdout: int = 0
    stderr: int = 0

    def moved(self, stream: StreamName, offset: int) -> "Position":
        """The position with one stream's offset changed."""
        return Position(offset, self.stderr) if stream == "stdout" else Position(self.stdout, offset)

    def of(self, stream: StreamName) -> int:
        """One stream's offset."""
        return self.stdout if stream == "stdout" else self.stderr


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one stream, the next ones."""

    stream: StreamName
    data: bytes
    after: Position


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of one stream that are no longer held: from ``begin`` up to, but without, ``end``."""

    stream: StreamName
    begin: int
    end: int
    after: Position


@dataclass(frozen=True, slots=True)
class Pause:
    """All that there is now has been sent; only where the client does not follow."""

    after: Position


class Ending(BaseModel):
    """How the execution ended."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    phase: Phase = Field(description="As .status.phase of an Execution would say it.")
    reason: str = Field(default="", description="As in the result.")
    exit_code: int | None = Field(default=None, description="As in the result; null: there is none.")
    attempt: int = Field(default=1, description="The X-Execution-Attempt that it was sent with.")
    stdout_bytes: int = Field(ge=0, description="That it wrote, held or not.")
    stderr_bytes: int = Field(ge=0, description="That it wrote, held or not.")


@dataclass(frozen=True, slots=True)
class End:
    """The last event: the execution has ended, and all of its output was sent."""

    ending: Ending
    after: Position


Event = Chunk | Gap | Pause | End


def encode(event: Event) -> bytes:
    """The event as it is sent."""
    match event:
        case Chunk(stream, data):
            return encode_fields(stream, base64.b64encode(data), event.after)
        case Gap(stream, begin, end):
            body = json.dumps({"stream": stream, "from": begin, "to": end}, separators=(",", ":"))
            return encode_fields("gap", body.encode(), event.after)
        case Pause():
            return encode_fields("pause", b"{}", event.after)
        case End(ending):
            return encode_fields("end", ending.model_dump_json(by_alias=True).encode(), event.after)


def encode_fields(name: str, data: bytes, after: Position) -> bytes:
    """An event of any name; ``data`` is one line."""
    return b"id: %d-%d\nevent: %b\ndata: %b\n\n" % (*after, name.encode(), data)


class EventError(ValueError):
    """What came is not such a stream."""


Fields = Mapping[str, bytes]
"""Of one event: its ``event``, ``data`` and ``id``; of a comment none."""


class FieldReader:
    """Makes events of the bytes of an answer, however they are divided, whatever they are called."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Fields]:
        """The events and comments that are complete now.

        Raises:
            EventError: it is longer than one can be.
        """
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return [
            dict(_split(line) for line in block.split(b"\n") if line and not line.startswith(b":")) for block in blocks
        ]


class EventReader:
    """Makes events of the bytes of an answer. Comments and unknown events are left out."""

    def __init__(self) -> None:
        self._reader = FieldReader()

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now.

        Raises:
            EventError: it is none of ours, or longer than one can be.
        """
        return [event for event in map(decode, self._reader.feed(data)) if event is not None]


def decode(fields: Fields) -> Event | None:
    """An event; None for one that is none of these.

    Raises:
        EventError: it is not what it should be.
    """
    name = fields.get("event", b"").decode("ascii", "replace")
    if name not in ("stdout", "stderr", "gap", "pause", "end"):
        return None
    try:
        after = _read_position(fields["id"].decode())
        match name:
            case "stdout" | "stderr":
                return Chunk(name, base64.b64decode(fields["data"], validate=True), after)
            case "gap":
                return _read_gap(json.loads(fields["data"]), after)
            case "pause":
                return Pause(after)
        return End(Ending.model_validate_json(fields["data"]), after)
    except (KeyError, TypeError, ValueError, binascii.Error, ValidationError) as error:
        raise EventError(f"an event {name} cannot be read: {type(error).__name__}") from error


def _split(line: bytes) -> tuple[str, bytes]:
    name, _, value = line.partition(b":")
    return name.decode("ascii", "replace"), value.removeprefix(b" ")


def _read_gap(body: dict[str, Any], after: Position) -> Gap:
    stream = body["stream"]
    if stream not in ("stdout", "stderr"):
        raise ValueError(stream)
    return Gap(stream, int(body["from"]), int(body["to"]), after)


def _read_position(text: str) -> Position:
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return Position(int(found[1]), int(found[2]))
