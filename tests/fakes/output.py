"""An executor that runs nothing and tells output: ``GET /executions/{id}/output`` as the real one serves it."""

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

_PIECE_BYTES = 32_768


@dataclass
class Output:
    """What an execution has printed so far: pieces in order, each ``("stdout", b"...")``."""

    pieces: list[tuple[str, bytes]] = field(default_factory=list)
    phase: str = ""
    attempt: int = 1
    owner: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    """So many bytes of a stream, from its beginning, are not held any more."""
    break_after: list[int] = field(default_factory=list)
    """The next connections break off after so many bytes."""
    large: Iterable[bytes] = ()
    """Comes first, on stdout; made while it is sent."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """The offsets of each request."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, stream: str, data: bytes) -> None:
        """Prints more."""
        self.pieces.append((stream, data))
        self._tell()

    def end(self, phase: str = "Succeeded") -> None:
        """It has ended."""
        self.phase = phase
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class OutputExecutor:
    """Listens on a loopback address."""

    token: str
    outputs: dict[str, Output] = field(default_factory=dict)
    port: int = 0
    keep_alive_s: float = 10.0

    async def __aenter__(self) -> "OutputExecutor":
        app = web.Application()
        app.router.add_get("/executions/{id}/output", self._output)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _output(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refuse(401, "Executor.Unauthorized")
        output = self.outputs.get(request.match_info["id"])
        if output is None or not _is_meant(output, request):
            return _refuse(404, "Executor.NotFound")
        start = {name: int(request.query.get(name, "0")) for name in ("stdout", "stderr")}
        output.asked.append((start["stdout"], start["stderr"]))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        sending = _Sending(response, output, start, output.break_after.pop(0) if output.break_after else None)
        try:
            await self._send(sending, follow=request.query.get("follow", "true") == "true")
        except _BrokenOff:
            assert request.transport is not None
            request.transport.abort()
        return response

    async def _send(self, sending: "_Sending", *, follow: bool) -> None:
        output = sending.output
        for data in output.large:
            await sending.piece("stdout", data)
        sent = 0
        while True:
            changed = output.changed
            while sent < len(output.pieces):
                await sending.piece(*output.pieces[sent])
                sent += 1
            if output.phase:
                told = {"phase": output.phase}
                await sending.event("end", {**told, **{f"{name}Bytes": at for name, at in sending.at.items()}})
                return
            if not follow:
                await sending.event("pause", {})
                return
            try:
                await asyncio.wait_for(changed.wait(), self.keep_alive_s)
            except TimeoutError:
                await sending.response.write(b": keep-alive\n\n")


class _BrokenOff(Exception):
    """The connection is to break off here."""


@dataclass
class _Sending:
    """One answer."""

    response: web.StreamResponse
    output: Output
    start: dict[str, int]
    break_after: int | None
    seen: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    at: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})

    def __post_init__(self) -> None:
        self.at = dict(self.start)

    async def piece(self, stream: str, data: bytes) -> None:
        """Sends what of a piece lies beyond the offsets."""
        begin = self.seen[stream]
        self.seen[stream] += len(data)
        held = self.output.dropped.get(stream, 0)
        if self.at[stream] < held and self.seen[stream] > self.at[stream]:
            at, self.at[stream] = self.at[stream], held
            await self.event("gap", {"stream": stream, "from": at, "to": held})
        rest = data[max(self.at[stream] - begin, 0) :]
        for first in range(0, len(rest), _PIECE_BYTES):
            part = rest[first : first + _PIECE_BYTES]
            if self.break_after is not None:
                part = part[: self.break_after]
                self.break_after -= len(part)
            self.at[stream] += len(part)
            await self._write(stream, base64.b64encode(part).decode())
            if self.break_after == 0:
                raise _BrokenOff

    async def event(self, kind: str, data: dict[str, Any]) -> None:
        """Sends an event with JSON."""
        await self._write(kind, json.dumps(data))

    async def _write(self, kind: str, data: str) -> None:
        event_id = f"{self.at['stdout']}-{self.at['stderr']}"
        await self.response.write(f"id: {event_id}\nevent: {kind}\ndata: {data}\n\n".encode())


def _is_meant(output: Output, request: web.Request) -> bool:
    owner = request.query.get("owner", "")
    return int(request.query.get("attempt", "1")) == output.attempt and owner in ("", output.owner)


def _refuse(status: int, code: str) -> web.Response:
    return web.json_response({"error_code": code, "description": code, "request_id": "r"}, status=status)
