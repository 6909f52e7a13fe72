"""When a call of the Control Plane's internal API is made again: the table that both of its callers keep to.

The executor and the controller speak the same protocol with clients of their own; what an answer
means, and how long to wait after a failure, is the protocol's.
"""

from enum import StrEnum
from http import HTTPStatus
from typing import Final

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 30.0
MAX_ATTEMPTS: Final = 5
"""In a row; what is left after that is sent again later, at a slower pace."""
MAX_BACKOFF_S: Final = 10.0
_BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0)
_TRY_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class Outcome(StrEnum):
    """What an answer, or its absence, means for the call."""

    ACCEPTED = "accepted"
    """2xx."""
    DROPPED = "dropped"
    """404 or 409: the Control Plane does not want it, now or ever."""
    REFUSED = "refused"
    """Another 4xx: the same call again would get the same answer."""
    UNAUTHORIZED = "unauthorized"
    """401: the token may just have been rotated."""
    UNAVAILABLE = "unavailable"
    """5xx, a redirect (not followed), or a 4xx that asks for patience (408, 425, 429)."""
    UNREACHABLE = "unreachable"
    """No answer at all."""

    @property
    def final(self) -> bool:
        """Whether the same call must not be made again (T037)."""
        return self in (Outcome.ACCEPTED, Outcome.DROPPED, Outcome.REFUSED)


def judge_status(status: int) -> Outcome:
    """The retry table of ``docs/control-plane.md`` for an HTTP status."""
    if 200 <= status < 300:
        return Outcome.ACCEPTED
    if status == HTTPStatus.UNAUTHORIZED:
        return Outcome.UNAUTHORIZED
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
        return Outcome.DROPPED
    final = 400 <= status < 500 and status not in _TRY_LATER
    return Outcome.REFUSED if final else Outcome.UNAVAILABLE


def backoff_s(failures: int) -> float:
    """Seconds to wait after this many failed attempts: 1, 2, 4, 8, and never above 10."""
    return _BACKOFF_S[failures - 1] if failures <= len(_BACKOFF_S) else MAX_BACKOFF_S
