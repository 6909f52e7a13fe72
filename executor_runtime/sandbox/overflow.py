"""What a stream has beyond the part that is kept in memory: on disk, and only where there is an object store for it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

_READ_BYTES: Final = 262_144


class Overflow:
    """At most ``limit`` bytes, in a file without a name: no sandbox sees its folder, and it goes with this process."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.size = 0
        self.truncated = False
        """More came than is kept; or the disk took no more."""
        self._directory, self._limit = directory, limit
        self._file: IO[bytes] | None = None

    def write(self, data: memoryview) -> None:
        """Keeps it, as far as there is room. What came after something that is lost is lost too."""
        room = self._limit - self.size
        if self.truncated or room <= 0:
            self.truncated = True
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - ``close`` does
            self.size += _write_all(self._file, data[:room])
        except OSError:
            self.truncated = True
            return
        self.truncated = len(data) > room

    def read(self) -> Iterator[bytes]:
        """All of it, in pieces; blocks."""
        offset = 0
        while self._file is not None and offset < self.size:
            piece = os.pread(self._file.fileno(), min(_READ_BYTES, self.size - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece

    def close(self) -> None:
        """Gives the disk back."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file, self.size = None, 0


def _write_all(file: IO[bytes], data: memoryview) -> int:
    written = 0
    while written < len(data):
        written += file.write(data[written:])
    return written
