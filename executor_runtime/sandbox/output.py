"""What one execution writes, for whoever follows it while it runs.

An execution that nobody follows pays for a reference to the two drains that read it anyway. From the first follower
on, or where the execution is to be held, the drains remember enough of their last bytes that one who was cut off can
go on where it was: what is on its way to it, in buffers of the kernel and of proxies, is lost with the connection.

Nothing is shown before user code has begun: what comes earlier is bubblewrap's own complaint, and names paths.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from contracts.output_events import MAX_CHUNK_BYTES, STREAMS, Chunk, Gap, Position, StreamName
from executor_runtime.sandbox.overflow import Overflow

if TYPE_CHECKING:
    from executor_runtime.sandbox.drain import Drain
    from executor_runtime.sandbox.start import Started

TAIL_BYTES: Final = 65_536
"""Of each stream that is longer than what is kept: its last bytes, also when nobody follows."""
RING_BYTES: Final = 16 * 1_048_576
"""The same once somebody follows. Of these up to 2 MiB may not have been sent yet (a read, and a pipe that was full at
the end). What was sent and did not arrive was half a MiB here at most (``process``), and more in the kernels of those
who read (tcp(7), tcp_rmem): with a reader slower than the code a ring of 8 was too small, and through log API and API
server, whose buffers are not ours, one of 9 (``tests/integration/log_api/test_real_executor.py``)."""
GRACE_S: Final = 30.0
"""A follower that was cut off is expected back for so long."""
_MAX_ORDERED: Final = 1024


class Output:
    """Both streams of one execution, from its acceptance until they are forgotten."""

    __slots__ = ("_drains", "_holds", "_left_at", "_make_overflow", "_overflows", "_readers", "_sandbox", "_shown")

    def __init__(self, *, holds: bool = False, make_overflow: Callable[[], Overflow] | None = None) -> None:
        """``holds``: it waits for its readers when it writes more than is held.

        ``make_overflow``: where what is more than is kept in memory goes; None: nowhere.
        """
        self._holds = holds
        self._make_overflow = make_overflow
        self._overflows: tuple[Overflow, ...] = ()
        self._drains: tuple[Drain, Drain] | None = None
        self._sandbox: Started | None = None
        self._shown = False
        self._readers: tuple[Reader, ...] = ()
        self._left_at: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether user code has begun, and so what there is may be shown."""
        if not self._shown and self._sandbox is not None:
            self._shown = self._sandbox.has_begun
        return self._shown

    @property
    def read_bytes(self) -> Position:
        """What was read of both streams, shown or not."""
        return Position(*(drain.total_bytes for drain in self._drains)) if self._drains is not None else Position()

    @property
    def shown_bytes(self) -> Position:
        """How far a reader can get now: what user code has written, as far as it was read."""
        return self.read_bytes if self.has_begun else Position()

    @property
    def held_bytes(self) -> int:
        """Memory that it takes."""
        return sum(drain.held_bytes for drain in self._drains) if self._drains is not None else 0

    @property
    def readers(self) -> int:
        """How many follow it now."""
        return len(self._readers)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody follows it, or is expected back."""
        return bool(self._readers) or (self._left_at is not None and time.monotonic() - self._left_at < GRACE_S)

    def connect(self, sandbox: "Started") -> None:
        """It is given to a sandbox; another time if the first one had ended before anything began."""
        self._sandbox, self._drains, self._shown = sandbox, (sandbox.stdout, sandbox.stderr), False
        if self._holds:
            for drain in self._drains:
                drain.hold()
        if self._make_overflow is not None:
            self.drop_overflow()
            self._overflows = (self._make_overflow(), self._make_overflow())
            for drain, overflow in zip(self._drains, self._overflows, strict=True):
                drain.keep_beyond(overflow)
        if self._holds or self._readers or self._left_at is not None:
            self._remember()
        for reader in self._readers:
            reader.begin_anew()

    def settle(self, *, begun: bool) -> None:
        """Nothing comes any more; ``begun``: user code may have run."""
        self._shown, self._sandbox = begun, None
        for drain in self._drains or ():
            drain.on_data = None
        self.wake()

    def forget(self) -> None:
        """Gives its memory back; who follows it still learns that there is a gap."""
        for drain in self._drains or ():
            drain.forget()

    def kept_bytes(self, stream: StreamName) -> int:
        """How much of the beginning of a stream ``read_whole`` gives."""
        beyond = self._overflows[STREAMS.index(stream)].size if self._overflows else 0
        return (len(self._drain(stream).kept) if self._drains is not None else 0) + beyond

    def read_whole(self, stream: StreamName) -> Iterator[bytes]:
        """A stream from its beginning, in pieces, once nothing comes any more; blocks."""
        if self._drains is not None:
            yield bytes(self._drain(stream).kept)
        if self._overflows:
            yield from self._overflows[STREAMS.index(stream)].read()

    def drop_overflow(self) -> None:
        """Gives the disk back that what was not kept in memory has taken."""
        for overflow in self._overflows:
            overflow.close()

    def read_last(self, size: int) -> tuple[bytes, bytes]:
        """The last ``size`` bytes of stdout and of stderr."""
        if self._drains is None or not self.has_begun:
            return b"", b""
        return self._drains[0].read_last(size), self._drains[1].read_last(size)

    def open(self, position: Position) -> "Reader":
        """A reader that begins there; to be closed."""
        reader = Reader(self, position)
        if self._sandbox is not None and not self._readers:
            self._remember()
        self._readers = (*self._readers, reader)
        return reader

    def leave(self, reader: "Reader") -> None:
        """It follows no longer; unless it has read all that there will be, it is expected back."""
        self._readers = tuple(other for other in self._readers if other is not reader)
        if self._sandbox is not None or reader.position != self.read_bytes:
            self._left_at = time.monotonic()

    def wake(self) -> None:
        """Whoever follows looks again."""
        for reader in self._readers:
            reader.changed.set()

    def read(self, stream: StreamName, offset: int, size: int) -> tuple[int, bytes]:
        """As ``Drain.read``."""
        return self._drain(stream).read(offset, size)

    def take(self, position: Position) -> None:
        """A reader has been sent everything up to here."""
        if self._holds and self._drains is not None:
            for drain, offset in zip(self._drains, position, strict=True):
                drain.take(offset)

    def _drain(self, stream: StreamName) -> "Drain":
        assert self._drains is not None
        return self._drains[STREAMS.index(stream)]

    def _remember(self) -> None:
        for stream in STREAMS:
            drain = self._drain(stream)
            drain.remember(RING_BYTES)
            drain.on_data = self._make_note(stream, drain)

    def _make_note(self, stream: StreamName, drain: "Drain") -> Callable[[], None]:
        def note() -> None:
            for reader in self._readers:
                reader.note(stream, drain.total_bytes)

        return note


class Reader:
    """Reads an output piece by piece, in the order in which it came as far as that was seen."""

    def __init__(self, output: Output, position: Position) -> None:
        self.position = position
        self.changed = asyncio.Event()
        """There may be more."""
        self._output = output
        self._due: deque[tuple[StreamName, int]] = deque()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Of what is there already the order is not known: stdout comes first."""
        self._due = deque(zip(STREAMS, self._output.read_bytes, strict=True))

    def note(self, stream: StreamName, offset: int) -> None:
        """A stream has been read up to here."""
        self.changed.set()
        if self._due and self._due[-1][0] == stream:
            self._due[-1] = (stream, offset)
        elif len(self._due) < _MAX_ORDERED:
            self._due.append((stream, offset))
        else:
            self.begin_anew()

    def read(self) -> Chunk | Gap | None:
        """The next piece; None: there is none now."""
        if not self._output.has_begun:
            return None
        while True:
            while self._due:
                stream, end = self._due[0]
                offset = self.position.of(stream)
                if offset < end:
                    return self._read(stream, offset, end)
                self._due.popleft()
            if all(offset >= end for offset, end in zip(self.position, self._output.read_bytes, strict=True)):
                return None
            self.begin_anew()  # what was read as the run ended

    def close(self) -> None:
        """To be called once it reads no more."""
        self._output.leave(self)

    def _read(self, stream: StreamName, offset: int, end: int) -> Chunk | Gap:
        begin, data = self._output.read(stream, offset, min(end - offset, MAX_CHUNK_BYTES))
        if begin > offset:
            self.position = self.position.moved(stream, begin)
            return Gap(stream, offset, begin, self.position)
        self.position = self.position.moved(stream, offset + len(data))
        return Chunk(stream, data, self.position)
