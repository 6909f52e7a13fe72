"""What a standby has seen of executor pods lately, for the moment in which it leads.

Whoever led before may have died before it wrote down that a container runs, and the pod may be gone before anybody
lists: then the standby's watch alone has known of that run. What the old leader has told in its last seconds is told
once more so, under the same key.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from controller.containers import ContainerRuns
from controller.resources import Pod

_KEPT: Final = timedelta(seconds=30)
"""Longer than a Lease lasts."""
_MAX_VIEWS: Final = 10_000


class Witness:
    """Views of pods, oldest first."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._views: deque[tuple[datetime, Pod, bool]] = deque(maxlen=_MAX_VIEWS)

    def see(self, pod: Pod, *, gone: bool) -> None:
        """A pod as it is now, or as it was when it went, while this process does not lead."""
        self._views.append((self._now(), pod, gone))
        self._forget()

    def testify(self, containers: ContainerRuns) -> None:
        """Tells of the runs that were seen; to be called once the pools' statuses are known, and before pods are."""
        self._forget()
        while self._views:
            _, pod, gone = self._views.popleft()
            containers.see(pod, pod.ready)
            if gone:
                containers.lose(pod.name, pod)

    def _forget(self) -> None:
        while self._views and self._now() - self._views[0][0] > _KEPT:
            self._views.popleft()
