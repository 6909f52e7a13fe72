"""``GET /executions/{id}/output``: sends what an execution writes as server-sent events (``contracts.output_events``).

A reader never slows what it reads, unless the execution was to be held, and never what others run: it takes 32 KiB at
a time, and lets everybody else go on after each. One that takes nothing for a minute is cut off; it may come back.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contracts.execution import Phase
from contracts.executor_api import MAX_ATTEMPT, OWNER_PATTERN, ResultStatus
from contracts.output_events import KEEP_ALIVE, STREAMS, End, Ending, Event, Pause, Position, StreamName, encode
from executor_runtime.errors import NotFound, TooManyReaders, ValidationFailed
from executor_runtime.records import Faded, Record
from executor_runtime.sandbox import Reader

KEEP_ALIVE_S: Final = 10.0
"""The longest silence; proxies close connections in which nothing moves for a minute or so."""
SEND_TIMEOUT_S: Final = 60.0
MAX_READERS: Final = 64
MAX_READERS_OF_ONE: Final = 8

_OWNER: Final = re.compile(OWNER_PATTERN)
_OFFSET: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_PHASES: Final[Mapping[ResultStatus, Phase]] = {
    "success": "Succeeded",
    "failed": "Failed",
    "timeout": "TimedOut",
    "error": "Failed",
}


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wants to read."""

    position: Position = Position()
    follow: bool = True
    attempt: int | None = None
    """None: whichever is known."""
    owner: str | None = None
    """None: whosever it is."""


def parse_query(query: QueryParams) -> Asked:
    """What the query asks for.

    Raises:
        ValidationFailed: a parameter is not what it should be, or stands there twice.
    """
    for name in ("stdout", "stderr", "follow", "attempt", "owner"):
        if len(query.getlist(name)) > 1:
            raise _refuse(name, "stands there more than once", "Give it once.")
    follow, attempt, owner = query.get("follow", "true"), query.get("attempt"), query.get("owner")
    if follow not in ("true", "false"):
        raise _refuse("follow", "must be true or false", "Write follow=false to get what there is now.")
    if attempt is not None and (not _OFFSET.fullmatch(attempt) or not 1 <= int(attempt) <= MAX_ATTEMPT):
        raise _refuse("attempt", f"must be a whole number from 1 to {MAX_ATTEMPT}", "Leave it out for any attempt.")
    if owner is not None and not _OWNER.fullmatch(owner):
        raise _refuse("owner", f"must match {OWNER_PATTERN}", "Leave it out for any owner.")
    position = Position(_read_offset("stdout", query), _read_offset("stderr", query))
    return Asked(position, follow == "true", int(attempt) if attempt is not None else None, owner)


def _read_offset(stream: StreamName, query: QueryParams) -> int:
    text = query.get(stream, "0")
    if not _OFFSET.fullmatch(text):
        words = "Write how many bytes of it you have, or leave it out to begin with the first."
        raise _refuse(stream, "must be a whole number of bytes, not negative", words)
    return int(text)


def _refuse(name: str, problem: str, solution: str) -> ValidationFailed:
    return ValidationFailed(f"The parameter {name} is not valid.", f"{name}: {problem}", solution)


class Readers:
    """Everybody who follows an execution of this executor; there is a bound on them."""

    def __init__(self, most: int = MAX_READERS, most_of_one: int = MAX_READERS_OF_ONE) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._open = 0

    def open(self, known: Record | Faded, asked: Asked) -> tuple[Record, Reader]:
        """(the record, a reader that begins where it was asked to); the reader is to be given back.

        Raises:
            NotFound: the output is no longer held, or another attempt or somebody else's is known.
            ValidationFailed: an offset is beyond what was written.
            TooManyReaders: there are as many as there may be.
        """
        if not isinstance(known, Record) or not _is_meant(known, asked):
            raise NotFound(
                "The output of this execution is not held here.",
                solution="Take what its result has; the output itself is held while it runs and a while after that.",
            )
        _check_offsets(asked.position, known.output.shown_bytes)
        if self._open >= self._most or known.output.readers >= self._most_of_one:
            raise TooManyReaders(
                "As many clients follow output here as may.",
                detail=f"{known.output.readers} of {self._most_of_one} follow this execution, "
                f"{self._open} of {self._most} this executor",
                solution="Send the request again when one of them has ended.",
            )
        self._open += 1
        return known, known.output.open(asked.position)

    def close(self, reader: Reader) -> None:
        """It reads no more."""
        self._open -= 1
        reader.close()


def _is_meant(record: Record, asked: Asked) -> bool:
    return asked.attempt in (None, record.attempt) and asked.owner in (None, record.owner)


def _check_offsets(position: Position, shown: Position) -> None:
    for stream in STREAMS:
        if position.of(stream) > shown.of(stream):
            raise _refuse(
                stream,
                f"{position.of(stream)} is beyond the {shown.of(stream)} bytes that were written so far",
                "Write how many bytes of it you have; another attempt begins again at 0.",
            )


def describe_end(record: Record) -> Ending:
    """How an execution that has ended is said to have."""
    shown = record.output.shown_bytes
    phase: Phase = "Crashed" if record.status is None else _PHASES[record.status]
    return Ending(
        phase="Cancelled" if record.reason == "Cancelled" else phase,
        reason=record.reason or "PodTerminated",
        exit_code=record.exit_code,
        attempt=record.attempt,
        stdout_bytes=shown.stdout,
        stderr_bytes=shown.stderr,
    )


class OutputResponse(Response):
    """The answer: events until the execution has ended, or until all is sent where the client does not follow."""

    media_type = "text/event-stream"

    def __init__(self, record: Record, reader: Reader, readers: Readers, follow: bool) -> None:
        """Takes the reader over, and gives it back in the end."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self._record, self._reader, self._readers, self._follow = record, reader, readers, follow
        self._is_gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it."""
        watching = asyncio.create_task(self._watch(receive), name="a reader's connection")
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            is_whole = await self._send_events(send)
            if is_whole:
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("output_reader_stalled", execution_id=self._record.execution_id)  # uvicorn closes the connection
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._readers.close(self._reader)

    async def _send_events(self, send: Send) -> bool:
        """Whether all was sent; not to one that has gone."""
        while not self._is_gone:
            self._reader.changed.clear()
            event = self._next()
            if event is not None:
                await _send(send, encode(event))
                if isinstance(event, End | Pause):
                    return True
                self._record.output.take(event.after)
                await asyncio.sleep(0)  # a socket that takes all at once would keep everybody else waiting
            elif not await self._wait_for_more():
                await _send(send, KEEP_ALIVE)
        return False

    def _next(self) -> Event | None:
        found = self._reader.read()
        if found is not None:
            return found
        if self._record.ended.is_set():
            return End(describe_end(self._record), self._reader.position)
        return None if self._follow else Pause(self._reader.position)

    async def _wait_for_more(self) -> bool:
        """False after a silence that is to be broken."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_ALIVE_S):
                return await self._reader.changed.wait()
        return False

    async def _watch(self, receive: Receive) -> None:
        """Notices that the client has gone, also while there is nothing to send."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._reader.changed.set()


async def _send(send: Send, data: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": data, "more_body": True})
