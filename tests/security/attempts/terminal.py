"""A terminal that the executor has inherited, as in a container with one: nothing in a sandbox may use it.

Somebody has typed a line that nobody has read yet. It must still be there afterwards, with nothing more behind it, and
nothing may have been written on the screen.
"""

import contextlib
import fcntl
import os
import struct
import termios
import time
import tty
from typing import Final

_READ_BYTES: Final = 65_536
_ARRIVES_WITHIN_S: Final = 60.0


class Terminal:
    """The controlling terminal of this process's session."""

    def __init__(self, screen: int, line: int, typed: str) -> None:
        """``screen`` and ``line`` are the two ends that ``open`` gave; this process leads a session without one."""
        self._screen, self._line, self._typed = screen, line, typed.encode()
        fcntl.ioctl(line, termios.TIOCSCTTY, 0)
        tty.setraw(line)
        for descriptor in (screen, line):
            os.set_blocking(descriptor, False)
        self.reset()

    def touched(self) -> bool:
        """Whether anything was typed, taken away or shown since ``reset``."""
        if _take(self._line) != self._typed or _take(self._screen):
            return True
        self._type()
        return False

    def reset(self) -> None:
        """An empty screen, and what was typed."""
        termios.tcflush(self._line, termios.TCIOFLUSH)
        _take(self._screen)
        self._type()

    def _type(self) -> None:
        """Until it can be read: the kernel hands it on in a thread of its own."""
        os.write(self._screen, self._typed)
        deadline = time.monotonic() + _ARRIVES_WITHIN_S
        while _waiting_bytes(self._line) < len(self._typed):
            assert time.monotonic() < deadline, "what was typed does not arrive"
            time.sleep(0.001)

    def close(self) -> None:
        """Gives both ends back."""
        os.close(self._screen)
        os.close(self._line)


def open_inheritable() -> tuple[int, int]:
    """Both ends of a new terminal, for a program that this process becomes."""
    ends = os.openpty()
    for end in ends:
        os.set_inheritable(end, True)
    return ends


def _waiting_bytes(descriptor: int) -> int:
    """How many can be read (ioctl_tty(2))."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])


def _take(descriptor: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, _READ_BYTES)
    return b""
