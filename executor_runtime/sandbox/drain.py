"""Reads what comes out of a sandbox, and sees to it that user code cannot keep the executor busy by writing.

A read costs the event loop 50 to 100 µs, whatever it brings. So after one that brought little, and after each one of a
stream of which nothing more is kept, the reader pauses: the longer, the less came for the cost, and the more readers
pause at the same time. A pause is never so long that a full pipe of any size (4 KiB, where the uid's pipes are over
pipe-user-pages-soft, see pipe(7)) makes an honest program with much output run out of time.

Of what is more than it keeps, a drain remembers the last bytes, few or, once somebody follows the output (``output``),
many. Only where it was told to hold does it wait until what it has read was read from it in turn.
"""

import asyncio
import os
from collections.abc import Callable
from typing import ClassVar, Final

from executor_runtime.sandbox.overflow import Overflow
from executor_runtime.sandbox.ring import Ring

READ_AHEAD_BYTES: Final = 65_536
"""Of a stream that is held: what may be there unread, beyond what is kept, when more is read."""
_BUFFER: Final = memoryview(bytearray(1_048_576))
"""All streams are read into it, one at a time: memory of that size for each read would be mapped and unmapped."""
_CONTROL_READ_BYTES: Final = 4096
_SMALL_READ_BYTES: Final = 2048
"""A pipe of one page is fuller than that when it takes no more, however long each write is: those of at most a page are
not divided (pipe(7)). A byte a write, each a packet of its own (pipe(2), O_DIRECT), took more than half a CPU."""
_SHORT_PAUSE_S: Final = 0.001
"""The least that the event loop can wait (it counts milliseconds)."""
_LONG_PAUSE_S: Final = 0.01
_DROPPED_BYTES_PER_S: Final = 100 * 1_048_576
"""Of one stream, once nothing more is kept."""
_SHARE: Final = 4
"""Streams that may be read as fast as one alone; more of them share what these may take."""


class Drain:
    """Reads one pipe to its end and keeps at most ``limit`` bytes, whatever is written.

    ``is_ours``: user code has no end of it, so each word of it is read at once. ``tail_bytes``: what is remembered of
    the end of what is not kept.
    """

    pausing: ClassVar[int] = 0
    """How many of all are between two reads now."""

    def __init__(self, descriptor: int, limit: int, *, is_ours: bool = False, tail_bytes: int = 0) -> None:
        self.kept = bytearray()
        self.total_bytes = 0
        self.on_data: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        """When the last writer is gone."""
        self._descriptor, self._limit, self._is_ours = descriptor, limit, is_ours
        self._tail_bytes = tail_bytes
        self._tail: Ring | None = None
        self._overflow: Overflow | None = None
        self._holds = self._is_held = False
        self._taken_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = 0.0
        self._loop.add_reader(descriptor, self._on_readable)

    @property
    def truncated(self) -> bool:
        """Whether more came than is kept."""
        return self.total_bytes > len(self.kept)

    @property
    def held_bytes(self) -> int:
        """Memory that it takes."""
        return len(self.kept) + (self._tail.capacity if self._tail is not None else 0)

    def read(self, offset: int, size: int) -> tuple[int, bytes]:
        """(offset, at most ``size`` bytes from there on): a later offset than was asked for where that is gone."""
        if offset < len(self.kept):
            return offset, bytes(self.kept[offset : offset + size])
        if self._tail is None:
            return self.total_bytes, b""
        first = self.total_bytes - self._tail.written_bytes
        begin = max(offset - first, self._tail.begin)
        return first + begin, self._tail.read(begin, size)

    def read_last(self, size: int) -> bytes:
        """The last ``size`` bytes, or as many as there are."""
        offset, found = self.read(max(self.total_bytes - size, 0), size)
        return found + self.read(offset + len(found), size)[1]

    def keep_beyond(self, overflow: Overflow) -> None:
        """From now on what is more than it keeps goes there too."""
        self._overflow = overflow

    def remember(self, tail_bytes: int) -> None:
        """From now on it remembers so much of what it does not keep."""
        self._tail_bytes = tail_bytes
        if self._tail is not None and self._tail.capacity < tail_bytes:
            self._tail = self._tail.enlarged(tail_bytes)

    def hold(self) -> None:
        """From now on it does not read on while there is more, beyond what is kept, than somebody has taken."""
        self._holds = True

    def take(self, offset: int) -> None:
        """Somebody has read it up to here."""
        self._taken_bytes = max(self._taken_bytes, offset)
        if self._is_held and not self._must_hold():
            self._is_held = False
            self._loop.add_reader(self._descriptor, self._on_readable)

    def forget(self) -> None:
        """Gives its memory back, once it is finished; how much there was is still known."""
        self.kept, self._tail = bytearray(), None

    def finish(self) -> None:
        """Takes what is left in the pipe once every writer is gone, and stops."""
        self._loop.remove_reader(self._descriptor)
        self._is_held = False
        self._end_pause()
        while self._read_once():  # ends at the end of the pipe, and also if some writer is not gone
            pass

    def _on_readable(self) -> None:
        read_bytes = self._read_once()
        if read_bytes == 0:
            self._loop.remove_reader(self._descriptor)
            if self.on_end is not None:
                self.on_end()
        elif read_bytes is not None and self._holds and self._must_hold():
            self._is_held = True
            self._loop.remove_reader(self._descriptor)
        elif read_bytes is not None and not self._is_ours:
            self._pause_s = find_pause(read_bytes, self._pause_s, is_dropped=self.truncated)
            if self._pause_s:
                self._pause()

    def _must_hold(self) -> bool:
        return self.total_bytes - max(self._taken_bytes, self._limit) >= READ_AHEAD_BYTES

    def _pause(self) -> None:
        self._loop.remove_reader(self._descriptor)
        Drain.pausing += 1
        self._timer = self._loop.call_later(self._pause_s * max(1, Drain.pausing / _SHARE), self._resume)

    def _resume(self) -> None:
        self._end_pause()
        self._loop.add_reader(self._descriptor, self._on_readable)

    def _end_pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            Drain.pausing -= 1

    def _read_once(self) -> int | None:
        """How many bytes came: 0 at the end, None where there are none now."""
        try:
            size = os.readv(self._descriptor, [_BUFFER[:_CONTROL_READ_BYTES] if self._is_ours else _BUFFER])
        except BlockingIOError:
            return None
        data = _BUFFER[:size]
        self.total_bytes += size
        room = max(self._limit - len(self.kept), 0)
        self.kept += data[:room]
        if size > room and self._overflow is not None:
            self._overflow.write(data[room:])
        if size > room and self._tail_bytes:
            self._write_tail(data[room:])
        if size and self.on_data is not None:
            self.on_data()
        return size

    def _write_tail(self, data: memoryview) -> None:
        if self._tail is None:
            self._tail = Ring(self._tail_bytes)
        self._tail.write(data)


def find_pause(read_bytes: int, last_pause_s: float, *, is_dropped: bool) -> float:
    """Seconds until the next read of a stream alone, after one that brought so much and after the pause before that.

    ``is_dropped``: nothing more of it is kept. What comes in small pieces is read at most a hundred times a second, but
    only once it has come so for a while: a pipe may have been empty because it is small, and was read just now.
    """
    if read_bytes < _SMALL_READ_BYTES:
        return min(max(2 * last_pause_s, _SHORT_PAUSE_S), _LONG_PAUSE_S)
    return max(read_bytes / _DROPPED_BYTES_PER_S, _SHORT_PAUSE_S) if is_dropped else 0.0
