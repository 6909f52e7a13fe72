"""Sandboxes that are started before there is a job for them, each for one job only.

Each is a whole sandbox: its own bwrap, namespaces, interpreter and empty workspace. A start takes a multiple of what a
small job does, and is the same for every job but for the size of ``/tmp``: so it is done ahead, while there is a
processor to spare. Nothing of a job is known to it before it gets one, and it ends with that one.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from executor_runtime.sandbox.errors import SandboxError
from executor_runtime.sandbox.model import Limits
from executor_runtime.sandbox.start import Started

if TYPE_CHECKING:
    from executor_runtime.workspace import Workspace, Workspaces

_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""After so many starts in a row that failed: cold starts, which say why, remain."""

log = logging.getLogger(__name__)


class WarmSandboxes:
    """Keeps ``size`` of them, when it can be done without taking the processors from what runs."""

    def __init__(
        self,
        start: Callable[["Workspace", int], Started],
        workspaces: "Workspaces",
        size: int,
        running: Callable[[], int],
    ) -> None:
        """``start`` starts one in a workspace, with so much of ``/tmp``; ``running``: how many jobs run now."""
        self._start, self._workspaces, self._size, self._running = start, workspaces, size, running
        self._processors = len(os.sched_getaffinity(0))
        self._tmp_bytes = Limits().tmp_bytes
        """Of the next ones: as it was asked for last, when none that waited had it."""
        self._ready: deque[Started] = deque()
        self._reserved: dict[Workspace, Started] = {}
        self._changed = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> int:
        """How many wait for a job."""
        return len(self._ready)

    def reserve(self, execution_id: str, tmp_bytes: int) -> "Workspace | None":
        """The workspace of one that fits and is this execution's from now on; None when there is none."""
        self._changed.set()
        while self._ready:
            started = self._ready.popleft()
            if started.is_waiting and started.tmp_bytes == tmp_bytes:
                return self._give(started, execution_id)
            self._discard(started)
            if started.tmp_bytes != tmp_bytes:
                self._tmp_bytes = tmp_bytes
                return None
        return None

    def _give(self, started: Started, execution_id: str) -> "Workspace | None":
        try:
            started.workspace = self._workspaces.give(started.workspace, execution_id)
        except SandboxError as error:
            log.warning("the workspace of a sandbox that waits cannot be used", extra={"error": str(error)})
            self._discard(started)
            return None
        self._reserved[started.workspace] = started
        return started.workspace

    def take(self, workspace: "Workspace") -> Started | None:
        """The one that was reserved with this workspace, for its job; it is the caller's then."""
        return self._reserved.pop(workspace, None)

    def release(self, workspace: "Workspace") -> None:
        """Its job will not come; the workspace stays its owner's."""
        if (started := self._reserved.pop(workspace, None)) is not None:
            self._end(started)

    def look_again(self) -> None:
        """A job has ended: there may be time for a start."""
        self._changed.set()

    async def keep(self) -> None:
        """Starts what is missing, one at a time, until cancelled."""
        failures = 0
        while True:
            if self.ready >= self._size or self._running() >= self._processors:
                self._changed.clear()
                await self._changed.wait()
            elif await self._start_one():
                failures = 0
            else:
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1

    async def close(self) -> None:
        """Ends them all."""
        for started in (*self._ready, *self._reserved.values()):
            self._discard(started)
        self._ready.clear()
        self._reserved.clear()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _start_one(self) -> bool:
        try:
            workspace = self._workspaces.create("warm")
        except SandboxError as error:
            log.warning("no sandbox can be started ahead", extra={"error": str(error)})
            return False
        try:
            started = self._start(workspace, self._tmp_bytes)
        except (OSError, SandboxError) as error:
            log.warning("no sandbox can be started ahead", extra={"error": str(error)})
            await asyncio.to_thread(self._remove, workspace)
            return False
        try:
            is_up = await started.wait_until_up()
        except asyncio.CancelledError:
            self._discard(started)
            raise
        if not is_up:
            log.warning("a sandbox that was started ahead did not come up", extra={"error": started.complaint[:200]})
            self._discard(started)
            return False
        self._ready.append(started)
        started.process.exited.add_done_callback(lambda _: self._forget(started))
        return True

    def _forget(self, started: Started) -> None:
        """It has ended; while it waited, if it is still among those that do."""
        if started in self._ready:
            log.warning("a sandbox ended while it waited for a job")
            self._ready.remove(started)
            self._discard(started)
            self._changed.set()

    def _discard(self, started: Started) -> None:
        """It ends, and its workspace goes."""
        self._end(started, lambda: self._remove(started.workspace))

    def _end(self, started: Started, then: Callable[[], None] = lambda: None) -> None:
        async def end() -> None:
            await started.finish()
            await asyncio.to_thread(then)

        task = asyncio.create_task(end(), name=f"end {started.workspace.path.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _remove(self, workspace: "Workspace") -> None:
        try:
            self._workspaces.remove(workspace)
        except SandboxError as error:
            log.error("workspace_not_removed", extra={"error": str(error)})
