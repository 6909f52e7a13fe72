"""How many answers are sent at a time: bounded, for one user and for all, for each holds memory and connections."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from log_api.errors import StatusError
from log_api.metrics import Metrics


class Streams:
    """Counts the open ones. The API server and its admins come under the same bounds."""

    def __init__(self, most: int, most_per_user: int, metrics: Metrics) -> None:
        self._most = most
        self._most_per_user = most_per_user
        self._metrics = metrics
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, user: str) -> Iterator[None]:
        """One more, for as long as the block lasts.

        Raises:
            StatusError: 429.
        """
        if self._open[user] >= self._most_per_user:
            raise _too_many(f"user {user!r} follows {self._most_per_user} outputs already, and no more are allowed")
        if self._open.total() >= self._most:
            raise _too_many(f"{self._most} outputs are followed already, and no more are allowed")
        self._open[user] += 1
        self._metrics.streams.inc()
        try:
            yield
        finally:
            self._metrics.streams.dec()
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]


def _too_many(why: str) -> StatusError:
    return StatusError(429, why, retry_after_s=10)
