"""A client of ``GET /executions/{id}/output`` for tests: reads the real stream, and can break off in the middle."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

import httpx

from contracts.output_events import Chunk, End, Ending, EventReader, Gap, Pause, Position


@dataclass
class Followed:
    """What was read so far; kept over several connections."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    position: Position = field(default_factory=Position)
    order: list[str] = field(default_factory=list)
    """Of each piece: its stream."""
    gaps: list[Gap] = field(default_factory=list)
    ending: Ending | None = None
    paused: bool = False
    keep_alives: int = 0
    longest_silence_s: float = 0.0

    @property
    def total(self) -> int:
        """Bytes of both streams."""
        return len(self.stdout) + len(self.stderr)


async def follow(
    client: httpx.AsyncClient,
    execution_id: object,
    followed: Followed | None = None,
    until: Callable[[Followed], bool] = lambda _: False,
    **query: str,
) -> Followed:
    """Reads on from where ``followed`` is, to the end or until that is so; then the connection is simply closed."""
    followed = followed or Followed()
    begun_at = {"stdout": str(followed.position.stdout), "stderr": str(followed.position.stderr)}
    path, reader, last = f"/executions/{execution_id}/output", EventReader(), time.monotonic()
    async with client.stream("GET", path, params={**begun_at, **query}) as answer:
        if answer.status_code != 200:
            await answer.aread()
            raise AssertionError(answer.text)
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with aclosing(cast(AsyncGenerator[bytes, None], answer.aiter_raw())) as pieces:
            async for piece in pieces:
                now = time.monotonic()
                followed.longest_silence_s, last = max(followed.longest_silence_s, now - last), now
                followed.keep_alives += piece.count(b": keep-alive\n")
                for event in reader.feed(piece):
                    _take(followed, event)
                    if until(followed):
                        return followed
    return followed


def _take(followed: Followed, event: Chunk | Gap | Pause | End) -> None:
    assert followed.ending is None, "nothing comes after the end"
    match event:
        case Chunk(stream, data, after):
            getattr(followed, stream).extend(data)
            followed.order.append(stream)
            assert after == followed.position.moved(stream, followed.position.of(stream) + len(data))
        case Gap(stream, begin, end, after):
            assert begin == followed.position.of(stream) < end
            assert after == followed.position.moved(stream, end)
            followed.gaps.append(event)
        case Pause():
            followed.paused = True
        case End(ending):
            followed.ending = ending
    followed.position = event.after
