"""Descriptors for one start: all close-on-exec, so that sandboxes that start at the same moment share none."""

import contextlib
import fcntl
import os
from typing import Final, Self

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_PIPE_BYTES: Final = 1_048_576


class Descriptors:
    """Owns the descriptors of one start until they are closed; a context manager."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_all()

    def close_all(self) -> None:
        """Closes all that are still open."""
        self.close(*self._open)

    def hold(self, descriptor: int) -> int:
        """Closes it with the others."""
        self._open.add(descriptor)
        return descriptor

    def release(self, *descriptors: int) -> tuple[int, ...]:
        """They are somebody else's to close from now on."""
        self._open.difference_update(descriptors)
        return descriptors

    def close(self, *descriptors: int) -> None:
        """Closes those that are still open."""
        for descriptor in descriptors:
            if descriptor in self._open:
                self._open.discard(descriptor)
                os.close(descriptor)

    def memory(self, name: str, content: bytes) -> int:
        """Sealed memory with the content, read from its start: whoever gets it can neither change nor grow it."""
        descriptor = self.blank(name)
        self.fill(descriptor, content)
        return descriptor

    def blank(self, name: str, content: bytes = b"") -> int:
        """Memory that begins with the content, and that ``fill`` adds to, once."""
        descriptor = self.hold(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        _append(descriptor, content)
        return descriptor

    def fill(self, descriptor: int, content: bytes) -> None:
        """Adds the content and seals the memory. Where a reader of it has got to stays as it is."""
        _append(descriptor, content)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def pipe(self) -> tuple[int, int]:
        """(read end that does not block, write end)."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_end, False)
        return self.hold(read_end), self.hold(write_end)

    @staticmethod
    def enlarge(*ends: int) -> None:
        """Pipes through which much may go. All large pipes of a user together are bounded (pipe(7))."""
        for end in ends:
            with contextlib.suppress(OSError):  # over that sum: the default size works too
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _append(descriptor: int, content: bytes) -> None:
    """Not by write(2), which would move the offset that whoever has inherited the descriptor shares."""
    at = os.fstat(descriptor).st_size
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written
