"""Server-sent events, read and written: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Final

MAX_EVENT_BYTES: Final = 131_072
"""An executor sends at most 32 KiB in one, as base64; it runs hostile code, and might have been captured by it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event; one without a kind is a comment."""

    kind: str
    data: str = ""


async def read_messages(pieces: AsyncIterable[bytes]) -> AsyncGenerator[Message, None]:
    """The events of a stream, however its bytes are cut.

    Raises:
        ValueError: one is larger than ``MAX_EVENT_BYTES``, or no UTF-8.
    """
    rest = bytearray()
    kind, size = "", 0
    data: list[str] = []
    async for piece in pieces:
        rest += piece
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        if len(rest) + size > MAX_EVENT_BYTES:
            raise ValueError("an event is too large")
        for line in lines:
            text = line.rstrip(b"\r").decode()
            size += len(line)
            if size > MAX_EVENT_BYTES:
                raise ValueError("an event is too large")
            if not text:
                if kind:
                    yield Message(kind, "\n".join(data))
                kind, data, size = "", [], 0
            elif text.startswith(":"):
                size -= len(line)
                yield Message("")
            else:
                name, _, value = text.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)


def write_message(kind: str, data: str, event_id: str) -> bytes:
    """One event; ``data`` is one line."""
    return f"event: {kind}\ndata: {data}\nid: {event_id}\n\n".encode()


COMMENT: Final = b": keep-alive\n\n"
