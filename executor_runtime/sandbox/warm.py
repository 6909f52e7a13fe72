"""Sandboxes that are started before there is a job for them, each for one job only.

Each is a whole sandbox: its own bwrap, namespaces, interpreter and empty workspace. A start takes a multiple of what a
small job does, and is the same for every job of one shape: so it is done ahead, while there is a processor to spare.
Nothing of a job is known to it before it gets one, and it ends with that one.

Most can run any job. Some have another language's interpreter waiting in them: those take ten times the memory, and
are kept only while somebody asks for them.
"""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from executor_runtime.sandbox.errors import SandboxError
from executor_runtime.sandbox.model import Limits
from executor_runtime.sandbox.shape import WAITING, Shape
from executor_runtime.sandbox.start import Started

if TYPE_CHECKING:
    from executor_runtime.workspace import Workspace, Workspaces

WANTED_S = 300.0
"""How long after a job interpreters are kept waiting for the next one of that language."""
_AFTER_END_S: Final = 0.003
"""A start waits so long after a job's end: its answer and its report go first."""
_AFTER_TAKE_S: Final = 0.025
"""And so long after a job was begun, if that still runs then: most have ended by then."""
_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""After so many starts in a row that failed: cold starts, which say why, remain."""

log = logging.getLogger(__name__)


class Shelf:
    """Those of one shape: as it was asked for last, when none that waited had it."""

    def __init__(self, shape: Shape, size: int) -> None:
        self.shape = shape
        self.ready: deque[Started] = deque()
        self._size = size
        self._asked = -math.inf
        """Monotonic seconds."""

    def ask(self) -> None:
        """A job came that could run in one."""
        self._asked = time.monotonic()

    @property
    def wanted(self) -> int:
        """How many there should be."""
        is_wanted = self.shape.program is None or time.monotonic() < self._asked + WANTED_S
        return self._size if is_wanted else 0


class WarmSandboxes:
    """Keeps ``size`` of them, when it can be done without taking the processors from what runs."""

    def __init__(
        self,
        start: Callable[["Workspace", Shape], Started],
        workspaces: "Workspaces",
        size: int,
        programs: int,
        running: Callable[[], int],
    ) -> None:
        """``start`` starts one in a workspace; ``running``: how many jobs run now.

        ``programs``: how many more there may be in which an interpreter waits.
        """
        self._start, self._workspaces, self._running = start, workspaces, running
        self._processors = len(os.sched_getaffinity(0))
        self._shelf = Shelf(Shape.without_program(Limits()), size)
        self._programs = Shelf(Shape.with_program(WAITING, Limits(), {}) or self._shelf.shape, programs)
        self._reserved: dict[Workspace, Started] = {}
        self._changed = asyncio.Event()
        self._taken_at = self._ended_at = -math.inf
        """Monotonic seconds."""
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> int:
        """How many wait for a job."""
        return len(self._shelf.ready)

    @property
    def programs(self) -> int:
        """In how many more an interpreter waits for its code."""
        return len(self._programs.ready)

    def reserve(self, execution_id: str, shapes: Sequence[Shape]) -> "Workspace | None":
        """The workspace of one that has the first of these shapes that there is, and is this execution's from now on;
        None when there is none."""
        self._changed.set()
        for shape in shapes:
            workspace = self._reserve_from(self._shelf_for(shape), execution_id, shape)
            if workspace is not None:
                return workspace
        return None

    def _reserve_from(self, shelf: Shelf, execution_id: str, shape: Shape) -> "Workspace | None":
        shelf.ask()
        while shelf.ready:
            started = shelf.ready.popleft()
            if started.is_waiting and started.shape == shape:
                return self._give(started, execution_id)
            self._discard(started)
            if started.shape != shape:
                shelf.shape = shape
                return None
        return None

    def _shelf_for(self, shape: Shape) -> Shelf:
        return self._shelf if shape.program is None else self._programs

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
        self._taken_at = time.monotonic()
        return self._reserved.pop(workspace, None)

    def release(self, workspace: "Workspace") -> None:
        """Its job will not come; the workspace stays its owner's."""
        if (started := self._reserved.pop(workspace, None)) is not None:
            self._end(started)

    def look_again(self) -> None:
        """A job has ended: there may be time for a start."""
        self._ended_at = time.monotonic()
        self._changed.set()

    async def keep(self) -> None:
        """Starts what is missing, one at a time, until cancelled."""
        failures = 0
        while True:
            self._end_unwanted()
            short = next((shelf for shelf in (self._shelf, self._programs) if len(shelf.ready) < shelf.wanted), None)
            if short is None or self._running() >= self._processors:
                await self._wait_for_change(WANTED_S if self._programs.ready else None)
            elif (pause_s := self._pause_s(short)) > 0:
                await self._wait_for_change(pause_s)
            elif await self._start_one(short):
                failures = 0
            else:
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1

    def _pause_s(self, shelf: Shelf) -> float:
        """Until a start is in the way of no job that has just begun or ended; where most are gone it does not wait."""
        if 2 * len(shelf.ready) + 1 < shelf.wanted:
            return 0.0
        calm_at = self._taken_at + _AFTER_TAKE_S if self._running() else self._ended_at + _AFTER_END_S
        return calm_at - time.monotonic()

    async def _wait_for_change(self, timeout_s: float | None) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    def _end_unwanted(self) -> None:
        while len(self._programs.ready) > self._programs.wanted:
            self._discard(self._programs.ready.popleft())

    async def close(self) -> None:
        """Ends them all."""
        for started in (*self._shelf.ready, *self._programs.ready, *self._reserved.values()):
            self._discard(started)
        self._shelf.ready.clear()
        self._programs.ready.clear()
        self._reserved.clear()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _start_one(self, shelf: Shelf) -> bool:
        try:
            workspace = self._workspaces.create("warm")
        except SandboxError as error:
            log.warning("no sandbox can be started ahead", extra={"error": str(error)})
            return False
        try:
            started = self._start(workspace, shelf.shape)
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
        shelf.ready.append(started)
        started.process.exited.add_done_callback(lambda _: self._forget(shelf, started))
        return True

    def _forget(self, shelf: Shelf, started: Started) -> None:
        """It has ended; while it waited, if it is still among those that do."""
        if started in shelf.ready:
            log.warning("a sandbox ended while it waited for a job")
            shelf.ready.remove(started)
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
