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
        for descriptor in list(self._open):
            self.close(descriptor)

    def hold(self, descriptor: int) -> int:
        """Closes it with the others."""
        self._open.add(descriptor)
        return descriptor

    def close(self, *descriptors: int) -> None:
        """Closes those that are still open."""
        for descriptor in descriptors:
            if descriptor in self._open:
                self._open.discard(descriptor)
                os.close(descriptor)

    def memory(self, name: str, content: bytes) -> int:
        """Sealed memory with the content, read from its start: whoever gets it can neither change nor grow it."""
        descriptor = self.hold(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return descriptor

    def pipe(self, large: bool = False) -> tuple[int, int]:
        """(read end that does not block, write end)."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_end, False)
        if large:
            with contextlib.suppress(OSError):  # over this user's sum for all pipes: the default size works too
                fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self.hold(read_end), self.hold(write_end)
