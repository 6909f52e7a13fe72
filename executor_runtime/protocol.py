"""HTTP/1.1 with a bound on what a stranger can hold open before authentication.

uvicorn's fast protocol bounds neither the size of a request's head nor the time that it takes.
The body has its own bounds (``request``).
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose request heads are too long or too slow."""

    head_timeout_s = 20.0

    _head_begun = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the pieces that neither begin nor end a head: they belong to it from end to end."""
        continues = self._head_begun
        super().data_received(data)
        if continues and self._head_begun:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        """A head begins; on a connection that was kept alive, its time begins too."""
        self._await_head()
        self._head_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_begun = False
        self._stop_timer()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
