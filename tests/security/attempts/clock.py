"""Tells whether somebody has set the machine's clock, even to what it was (timerfd_create(2))."""

import ctypes
import os
from typing import Final

_CLOCK_REALTIME: Final = 0
_ABSOLUTE: Final = 1
_CANCEL_ON_SET: Final = 2
_FAR_AWAY_S: Final = 2**40
_libc: Final = ctypes.CDLL(None, use_errno=True)


class ClockWatch:
    """A timer that never expires, and that the kernel cancels when the clock is set."""

    def __init__(self) -> None:
        self._timer = _libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        self._arm()

    def was_set(self) -> bool:
        """Since the last call."""
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return False
        except OSError:  # ECANCELED
            self._arm()
        return True

    def close(self) -> None:
        """Gives the timer back."""
        os.close(self._timer)

    def _arm(self) -> None:
        times = (ctypes.c_long * 4)(0, 0, _FAR_AWAY_S, 0)
        result = _libc.timerfd_settime(self._timer, _ABSOLUTE | _CANCEL_ON_SET, times, None)
        assert result == 0, os.strerror(ctypes.get_errno())
