"""Watches how much disk each run takes, from outside, while it runs.

An unprivileged executor can set no quota. What it can do is look: at the free space of the volume, which costs
microseconds, and only when that has changed at the workspaces themselves (``disk``). One thread does this for all
runs, so that no disk, however slow, holds up the event loop, and one walk is under way at a time. It exists as long as
something runs, and spawns nothing.

User code can hide a file from every count: a descriptor that is under way in a socket, or a mapping of an unlinked
file, is nowhere to be seen. So there is a last line: when the volume itself runs short, the run that has written most
is ended, before the others find the disk full.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from executor_runtime.sandbox.disk import DiskUsage, measure
from executor_runtime.sandbox.errors import WorkspaceError
from executor_runtime.sandbox.model import MIB, Overrun
from executor_runtime.sandbox.tree import Written, descendants, memory_devices

if TYPE_CHECKING:
    from executor_runtime.workspace import Workspace

_TICK_S: Final = 0.05
_PAUSE_S: Final = 0.25
"""Between two looks at a run while the volume changes, but not by much: others may free what this one takes."""
_SHARE: Final = 0.05
"""Of one CPU, that looking at one run may take."""
_URGENT_SHARE: Final = 0.5
"""The same while the volume loses a good part of the run's limit between two looks."""
_URGENT_PART: Final = 4
_RESERVE_BYTES: Final = 256 * MIB
"""What a fast disk takes in the time between a look and the end of a run."""
_RESERVE_ENTRIES: Final = 10_000
_RESERVE_PART: Final = 8
"""Of a small volume, the reserve is at most this part."""
_WORTHWHILE_PART: Final = 4
"""Of the reserve: a run that has taken less is not ended for what others have taken."""
_RELIEF_S: Final = 1.0
"""For what one ended run has held to be free again, before another one is ended."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Space:
    """Bytes and inodes of a volume."""

    bytes: int
    entries: int


@dataclass(frozen=True)
class Volume:
    """What statvfs(3) says of a file system. Some have no fixed number of inodes and say 0."""

    total: Space
    free: Space
    is_on_disk: bool = True
    """False: in memory (tmpfs)."""

    @classmethod
    def of(cls, workspace: "Workspace") -> "Volume":
        """Of the one that a workspace is on; the path to it is the executor's own. Raises OSError."""
        found = os.statvfs(workspace.path.parent)
        return cls(
            Space(found.f_blocks * found.f_frsize, found.f_files),
            Space(found.f_bavail * found.f_frsize, found.f_favail),
            is_on_disk(workspace.device),
        )

    def is_short_of_bytes(self) -> bool:
        """Whether the reserve is touched."""
        return self.free.bytes < reserve(self.total).bytes

    def is_short_of_entries(self) -> bool:
        """The same for inodes."""
        return self.free.entries < reserve(self.total).entries


@lru_cache(maxsize=1)
def is_on_disk(device: int) -> bool:
    """Whether a file system is none of those in memory, by its device number (proc(5), mountinfo)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo") as file:
        kinds = {line.partition(" - ")[2].split()[0] for line in file if line.split()[2] == number}
    return not kinds & {"tmpfs", "ramfs"}


def reserve(total: Space) -> Space:
    """What of a volume is left to all runs together when one has taken the rest."""
    return Space(
        min(_RESERVE_BYTES, total.bytes // _RESERVE_PART), min(_RESERVE_ENTRIES, total.entries // _RESERVE_PART)
    )


@dataclass(eq=False)
class WatchedRun:
    """One run as the watch sees it. ``init_pid`` is 0 until process 1 is known."""

    workspace: "Workspace"
    limit: DiskUsage
    on_over: Callable[[Overrun], None]
    """Called once at most, in the watch's thread."""
    init_pid: int = 0
    usage: DiskUsage = DiskUsage()
    written: Written = Written()
    over: Overrun | None = None
    _seen: Space | None = None
    """What the volume had free when this run was looked at last, or began to be watched."""
    _next_at: float = 0.0
    _urgent_at: float = 0.0
    _last_written: Written = Written()
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def spent_bytes(self, is_on_disk: bool) -> int:
        """What it holds, or what it has written where that is more: a file that it hides was written all the same.

        The kernel does not say how much went to a file system in memory; then all output counts.
        """
        written = self.written.disk - self.written.taken_back if is_on_disk else self.written.calls
        return max(self.usage.bytes, written)

    def is_due(self, free: Space, now: float) -> bool:
        """Whether to look at it: not while nothing on the volume changes, so what writes nothing costs nothing."""
        if self._seen is None:
            self._seen, self._next_at = free, now + _PAUSE_S
        if self.over is not None or free == self._seen:
            return False
        return now >= self._next_at or (now >= self._urgent_at and self._is_urgent(self._seen, free))

    def _is_urgent(self, seen: Space, free: Space) -> bool:
        gone = Space(seen.bytes - free.bytes, seen.entries - free.entries)
        return gone.bytes > self.limit.bytes // _URGENT_PART or gone.entries > self.limit.entries // _URGENT_PART

    def look(self, free: Space, clock: Callable[[], float]) -> None:
        """Counts what it holds; ``free`` is what the volume had just before."""
        began = time.thread_time()
        pids = descendants(self.init_pid) if self.init_pid else []
        written = Written.of_all([self.init_pid, *pids]) if self.init_pid else Written()
        self.written, self._last_written = self.written.grown(self._last_written, written), written
        with contextlib.suppress(OSError, WorkspaceError):  # it has ended, and its workspace is gone
            self.usage = self.count(pids)
        cost_s = time.thread_time() - began
        now = clock()
        self._seen = free
        self._next_at = now + max(_PAUSE_S, cost_s / _SHARE)
        self._urgent_at = now + cost_s / _URGENT_SHARE
        over = overrun(self.usage, self.limit)
        if over is not None:
            self.end(over)

    def count(self, pids: Sequence[int] = ()) -> DiskUsage:
        """What it holds, with what these processes hold open; blocks. One count at a time: each opens and closes again
        what is closed.

        Raises:
            OSError, WorkspaceError: it cannot be said.
        """
        with self._counting:
            descriptor = self.workspace.open()
            try:
                return measure(descriptor, self.limit, pids, memory_devices(self.init_pid) if pids else ())
            finally:
                os.close(descriptor)

    def end(self, over: Overrun) -> None:
        """Says that it is to end."""
        self.over = over
        self.on_over(over)


def overrun(usage: DiskUsage, limit: DiskUsage) -> Overrun | None:
    """What of a limit is exceeded."""
    if usage.too_deep:
        return Overrun.WORKSPACE_DEPTH
    if usage.bytes > limit.bytes:
        return Overrun.WORKSPACE_BYTES
    return Overrun.WORKSPACE_ENTRIES if usage.entries > limit.entries else None


class VolumeWatch:
    """Watches all runs of one executor; its thread sleeps while there is none."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        look_at: "Callable[[Workspace], Volume]" = Volume.of,
    ) -> None:
        self._clock, self._look_at = clock, look_at
        self._runs: list[WatchedRun] = []
        self._relieved_at = 0.0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, run: WatchedRun) -> None:
        """Begins to watch it."""
        with self._changed:
            self._runs.append(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch_forever, name="volume watch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, run: WatchedRun) -> None:
        """It has ended. A look that is under way may still be made, and finds nothing."""
        with self._changed:
            self._runs.remove(run)

    def _watch_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._runs)
            time.sleep(_TICK_S)
            try:
                self.look()
            except Exception:
                # The edge of this thread: without it nobody would watch the disk any more.
                log.exception("disk_not_watched")

    def look(self) -> None:
        """One look at the volume, and at the runs that may have taken of it."""
        with self._changed:
            runs = list(self._runs)
        if not runs:
            return
        volume = self._look_at(runs[0].workspace)
        for run in runs:
            if run.is_due(volume.free, self._clock()):
                run.look(volume.free, self._clock)
        if (volume.is_short_of_bytes() or volume.is_short_of_entries()) and self._clock() >= self._relieved_at:
            self._relieve(volume, runs)

    def _relieve(self, volume: Volume, runs: Sequence[WatchedRun]) -> None:
        """Ends the run that has taken most, if that is enough to make a difference: else the disk is full of others."""
        for run in runs:
            if run.over is None:
                run.look(volume.free, self._clock)
        least = reserve(volume.total)
        if volume.is_short_of_bytes():
            taken = {run: run.spent_bytes(volume.is_on_disk) for run in runs}
            enough = least.bytes // _WORTHWHILE_PART
        else:
            taken = {run: run.usage.entries for run in runs}
            enough = least.entries // _WORTHWHILE_PART
        taken = {run: amount for run, amount in taken.items() if run.over is None and amount >= enough}
        if taken:
            self._relieved_at = self._clock() + _RELIEF_S
            max(taken, key=taken.__getitem__).end(Overrun.VOLUME)
