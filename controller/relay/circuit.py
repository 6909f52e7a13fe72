"""Keeps a dead Control Plane from costing more than one call at a time.

Closed: all calls may go. After a few failures in a row it opens: one call may go as a probe,
the next one a backoff later, and the first that gets an answer closes it again.
"""

from typing import Final

from contracts.control_plane_retry import backoff_s

OPEN_AFTER: Final = 5


class Circuit:
    """Times are monotonic seconds. Each ``enter`` that gave True is followed by one ``leave``."""

    def __init__(self) -> None:
        self._failures = 0
        self._probe_at = 0.0
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether calls go freely."""
        return self._failures < OPEN_AFTER

    def pause_s(self, now: float) -> float | None:
        """How long until a call may go; None: when the probe that is under way has ended."""
        if self.closed:
            return 0.0
        return None if self._probing else max(self._probe_at - now, 0.0)

    def enter(self, now: float) -> bool:
        """Whether a call may go now."""
        if self.closed:
            return True
        if self._probing or now < self._probe_at:
            return False
        self._probing = True
        return True

    def leave(self, now: float, *, answered: bool) -> None:
        """A call has ended; ``answered``: the Control Plane did its work, whatever it said."""
        self._probing = False
        if answered:
            self._failures = 0
            return
        self._failures += 1
        if not self.closed:
            self._probe_at = now + backoff_s(self._failures - OPEN_AFTER + 1)
