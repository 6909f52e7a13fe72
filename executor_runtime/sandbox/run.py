"""One job in one started sandbox: watched until something ends it, and nothing of it left then.

What ends a run first decides how it ended: its own end, its timeout, a limit, or whoever cancels it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from executor_runtime.sandbox.cgroup import Cgroups
from executor_runtime.sandbox.model import Ending, Job, Overrun
from executor_runtime.sandbox.placement import Placement
from executor_runtime.sandbox.start import Started
from executor_runtime.sandbox.volume import VolumeWatch, WatchedRun
from executor_runtime.sandbox.watchdog import FIRST_SAMPLE_S, Watchdog


class Run:
    """Begins when it is made. ``finish`` must be awaited; what it has left is read before that (``outcome``)."""

    def __init__(self, sandbox: Started, job: Job, cgroups: Cgroups | None) -> None:
        """Raises OSError when there is no memory for the job."""
        self.sandbox, self.job = sandbox, job
        self.began = time.monotonic()
        self.watchdog: Watchdog | None = None
        loop = asyncio.get_running_loop()
        self.over_disk: asyncio.Future[Overrun] = loop.create_future()
        self.disk = WatchedRun(sandbox.workspace, job.limits.workspace, _tell(self.over_disk))
        self.over: asyncio.Future[BaseException | None] = loop.create_future()
        """When the watchdog has something against it, or cannot watch."""
        self._watching: asyncio.Task[None] | None = None
        self.finished: asyncio.Future[None] = loop.create_future()
        """When process 1 has said that all of the run has ended, or has ended itself."""
        self._is_over = False
        sandbox.give(job)
        sandbox.status.on_data = self._on_status
        sandbox.process.exited.add_done_callback(lambda _: self._finish())
        self._meet_init()
        self.placement: Placement | None = None
        if cgroups is None:
            sandbox.gate.open()
            sandbox.gate.close()
        else:
            self.placement = Placement(cgroups, job.limits, sandbox.process, sandbox.gate)

    @property
    def has_too_many_files(self) -> bool:
        """In ``/tmp`` and ``/dev/shm``."""
        return self.watchdog is not None and self.watchdog.has_too_many_files

    @contextlib.contextmanager
    def watched_by(self, watch: VolumeWatch) -> Iterator[None]:
        """While it runs, so is what it takes of the disk."""
        watch.add(self.disk)
        try:
            yield
        finally:
            watch.remove(self.disk)

    async def wait(self, cancelled: asyncio.Event) -> Ending:
        """What ends it first."""
        loop = asyncio.get_running_loop()
        cancel = asyncio.ensure_future(cancelled.wait())
        watching = loop.call_later(FIRST_SAMPLE_S, self._watch)  # a short run costs no task for it
        waiting: set[asyncio.Future[Any]] = {self.finished, cancel, self.over, self.over_disk}
        timeout_s = max(self.began + self.job.timeout_s - time.monotonic(), 0)
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            cancel.cancel()
            if self._watching is not None:
                self._watching.cancel()
        if self.finished.done():
            return Ending.EXITED
        if self.over_disk.done():
            return Ending.DISK_LIMIT
        if self.over.done():
            if (error := self.over.result()) is not None:
                raise error
            return Ending.DISK_LIMIT if self.has_too_many_files else Ending.MEMORY_LIMIT
        return Ending.CANCELLED if cancelled.is_set() else Ending.TIMED_OUT

    def _watch(self) -> None:
        self._watching = asyncio.create_task(self._wait_until_over())
        self._watching.add_done_callback(self._on_over)

    def _on_over(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and not self.over.done():
            self.over.set_result(watching.exception())

    def sample(self) -> None:
        """So that a run that is killed early has a peak too."""
        if self.watchdog is not None and not self.sandbox.process.exited.done():
            self.watchdog.sample()

    def read_to_the_end(self) -> None:
        """Takes what user code has written; to be called when none of it runs any more."""
        for drain in (self.sandbox.stdout, self.sandbox.stderr, self.sandbox.returned):
            drain.finish()

    async def finish(self) -> None:
        """Ends it, and gives everything back."""
        try:
            await self.end()
        finally:
            self.sandbox.close()

    async def end(self) -> None:
        """Kills what still runs and waits; nothing of it is left then. ``finish`` is still to be awaited."""
        if self._is_over:
            return
        try:
            await self.sandbox.process.end()
            if self.placement is not None:
                self.placement.kill()
                await self.placement.finish()
        finally:
            self.sandbox.read_to_the_end()
        self._is_over = True

    async def _wait_until_over(self) -> None:
        """Returns when the watchdog has something against it."""
        await self.sandbox.process.wait_for_init()
        self._meet_init()
        if self.watchdog is None:
            await self.finished
        else:
            await self.watchdog.wait_until_over()

    def _meet_init(self) -> None:
        init_pid = self.sandbox.process.init_pid
        if self.watchdog is None and init_pid is not None:
            self.disk.init_pid = init_pid
            self.watchdog = Watchdog(init_pid, self.job.limits, lambda: self.sandbox.has_begun)

    def _on_status(self) -> None:
        if self.sandbox.has_ended:
            self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


def _tell(future: asyncio.Future[Overrun]) -> Callable[[Overrun], None]:
    """What another thread calls to set it."""
    loop = future.get_loop()

    def set_result(what: Overrun) -> None:
        if not future.done():
            future.set_result(what)

    def tell(what: Overrun) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the executor has ended
            loop.call_soon_threadsafe(set_result, what)

    return tell
