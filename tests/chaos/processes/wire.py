"""A TCP connection that can be cut: stands between any two parts, or for a Service that finds who is ready."""

import asyncio
import contextlib
from collections.abc import Callable

_CHUNK_BYTES = 65_536


class Wire:
    """Forwards what comes to ``port`` to wherever ``target`` says at that moment; an async context manager."""

    def __init__(self, target: Callable[[], int | None], port: int = 0) -> None:
        """``target`` gives a port of loopback, None when there is nobody."""
        self.port = port
        self._target = target
        self._cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._break_all()

    def cut(self) -> None:
        """Open connections break, new ones are refused at once."""
        self._cut = True
        self._break_all()

    def stall(self) -> None:
        """Nothing comes through and nothing breaks, as where packets are dropped; what was on its way comes late."""
        self._flows.clear()

    def mend(self) -> None:
        """Carries again."""
        self._cut = False
        self._flows.set()

    def break_open(self) -> None:
        """Open connections break; new ones work."""
        self._break_all()

    def _break_all(self) -> None:
        for writer in list(self._open):
            with contextlib.suppress(Exception):
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        target = None if self._cut else self._target()
        if target is None:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(self._pump(reader, far_writer)),
                    asyncio.ensure_future(self._pump(far_reader, writer)),
                ]
            )
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
