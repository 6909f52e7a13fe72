"""A terminal that the executor has inherited, as in a container with one: nothing in a sandbox may use it.

Somebody has typed a line that nobody has read yet. It must still be there afterwards, with nothing more behind it, and
nothing may have been written on the screen.
"""

import contextlib
import fcntl
import os
import termios
import tty
from typing import Final

_READ_BYTES: Final = 65_536


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
        touched = _take(self._line) != self._typed or bool(_take(self._screen))
        self.reset()
        return touched

    def reset(self) -> None:
        """An empty screen, and what was typed."""
        termios.tcflush(self._line, termios.TCIOFLUSH)
        _take(self._screen)
        os.write(self._screen, self._typed)

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


def _take(descriptor: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, _READ_BYTES)
    return b""
