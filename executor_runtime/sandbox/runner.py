"""Runs one job: takes a sandbox, waits for whatever ends the run first, and tells what happened.

Nothing here depends on what user code does: it can fail, hang, write without end or kill everything
that it sees, and the answer is a ``RawRun``. Only what is ours to fix raises.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from contracts.executor_api import Language
from executor_runtime.sandbox.disk import DiskUsage, is_empty
from executor_runtime.sandbox.errors import LanguageUnavailable, WorkspaceError
from executor_runtime.sandbox.forking import ForkServer
from executor_runtime.sandbox.forks import Forks
from executor_runtime.sandbox.model import Ending, Isolation, Job, LaunchType, Limits, RawRun, Usage
from executor_runtime.sandbox.outcome import collect
from executor_runtime.sandbox.output import Output
from executor_runtime.sandbox.run import Run
from executor_runtime.sandbox.shape import WAITING, Shape
from executor_runtime.sandbox.start import Started
from executor_runtime.sandbox.volume import VolumeWatch, WatchedRun
from executor_runtime.sandbox.warm import WarmSandboxes

if TYPE_CHECKING:
    from executor_runtime.workspace import Workspace, Workspaces

_MAX_ENDING: Final = 16
"""Sandboxes that are being taken down beside those that run: more, and the next run waits for one of them."""


class Sandbox:
    """Runs jobs at the isolation that ``probe`` found."""

    def __init__(
        self,
        isolation: Isolation,
        workspaces: "Workspaces | None" = None,
        warm: int = 0,
        programs: int = 0,
        count: Callable[[LaunchType], None] = lambda launch_type: None,
    ) -> None:
        """``warm``: how many sandboxes are kept started ahead, with workspaces of their own from ``workspaces``;
        ``programs``: how many more at most with an interpreter that waits.

        ``count`` is told of each that is given a job.
        """
        self._count_start = count
        self._isolation = isolation
        self._volume_watch = VolumeWatch()
        self._ending: set[asyncio.Task[None]] = set()
        self._running = 0
        self._forks = Forks(isolation)
        self._warm: WarmSandboxes | None = None
        # In a cgroup, what an interpreter takes before it is put into the run's would be counted outside of it.
        if WAITING not in isolation.interpreters or isolation.cgroups is not None:
            programs = 0
        if workspaces is not None and warm + programs:
            self._warm = WarmSandboxes(self._start_ahead, workspaces, warm, programs, lambda: self._running)

    def languages(self) -> frozenset[Language]:
        """Languages whose interpreter the image has."""
        return frozenset(self._isolation.interpreters)

    async def prepare(self) -> None:
        """Finds out whether process 1 can be forked here; else, and until then, every one is started by bwrap."""
        await self._forks.start()

    @property
    def warm(self) -> int:
        """How many are up and wait for a job."""
        return self._warm.ready if self._warm is not None else 0

    @property
    def waiting_programs(self) -> int:
        """In how many more an interpreter waits for its code."""
        return self._warm.programs if self._warm is not None else 0

    def reserve(
        self, execution_id: str, limits: Limits, language: Language, env: Mapping[str, str]
    ) -> "Workspace | None":
        """The empty workspace of a sandbox that is up already: for one job, which runs in that sandbox then.

        None: there is none that fits. The workspace is the caller's to remove in the end.
        """
        if self._warm is None:
            return None
        shapes = (Shape.with_program(language, limits, env), Shape.without_program(limits))
        return self._warm.reserve(execution_id, [shape for shape in shapes if shape is not None])

    def release(self, workspace: "Workspace") -> None:
        """A reserved one that was given no job after all ends; nothing to do for all others."""
        if self._warm is not None:
            self._warm.release(workspace)

    async def keep(self) -> None:
        """Starts sandboxes ahead, and the fork server anew if it has ended; until cancelled."""
        if self._forks.server is None:
            await self._forks.start()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._forks.keep())
            if self._warm is not None:
                both.create_task(self._warm.keep())

    async def close(self) -> None:
        """Ends what was started ahead, and waits for what is ending."""
        if self._warm is not None:
            await self._warm.close()
        await self.settle()
        self._forks.close()

    async def settle(self) -> None:
        """Until nothing is left of the runs that have been answered."""
        while self._ending:
            await asyncio.wait(self._ending)

    async def run(self, job: Job, cancelled: asyncio.Event, output: Output | None = None) -> RawRun:
        """Runs the job to its end, its timeout, a limit or ``cancelled``, and leaves no process of it running.

        ``output`` shows what it writes meanwhile.

        Raises:
            LanguageUnavailable: the image has no interpreter for it.
            BindSourceChanged: what it would be given of the file system is not what was probed.
            WorkspaceError: the workspace is not the directory that was made, or cannot be counted.
            asyncio.CancelledError: after the whole process tree has been killed and waited for.
        """
        if job.language not in self.languages():
            raise LanguageUnavailable(f"{job.language} is not installed in this executor's image")
        while len(self._ending) >= _MAX_ENDING:
            await asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED)
        output = output or Output()
        self._running += 1
        try:
            return await self._run_warm(job, cancelled, output) or await self._run_cold(job, cancelled, output)
        finally:
            self._running -= 1
            if self._warm is not None:
                self._warm.look_again()

    async def _run_warm(self, job: Job, cancelled: asyncio.Event, output: Output) -> RawRun | None:
        """None: it has not begun, for want of a sandbox that was started ahead."""
        started = self._warm.take(job.workspace) if self._warm is not None else None
        if started is None:
            return None
        self._count_start("warm")
        raw = await self._run_in(started, job, cancelled, output)
        # One that had ended while it waited has begun nothing: another one may.
        if raw.ending is Ending.FAILED and not started.may_have_run:
            return None
        return replace(raw, launch_type="warm")

    async def _run_cold(self, job: Job, cancelled: asyncio.Event, output: Output) -> RawRun:
        began = time.monotonic()
        self._count_start("cold")
        shape = Shape.without_program(job.limits)
        try:
            started = await self._start_forked(job, shape) or self._start(job.workspace, shape, None)
        except OSError as error:
            failure = f"bwrap cannot be started: {error.strerror}"
            return RawRun(Ending.FAILED, Usage(time.monotonic() - began), failure=failure)
        return replace(await self._run_in(started, job, cancelled, output), launch_type="cold")

    async def _start_forked(self, job: Job, shape: Shape) -> Started | None:
        """One that waits for its job; None: it cannot be had, or does not come up."""
        server = self._forks.server
        if server is None:
            return None
        try:
            started = self._start(job.workspace, shape, server)
        except OSError:  # not now; for want of descriptors, for example, which user code can bring about
            return None
        try:
            if await started.wait_until_up():
                return started
        except BaseException:
            self._end_later(started.finish())
            raise
        if not started.was_forked:  # else it has ended for a reason of its own
            self._forks.doubt(started.complaint)
        self._end_later(started.finish())
        return None

    def _start(self, workspace: "Workspace", shape: Shape, server: ForkServer | None) -> Started:
        return Started(self._isolation, workspace, shape, server)

    def _start_ahead(self, workspace: "Workspace", shape: Shape) -> Started:
        return Started(self._isolation, workspace, shape, self._forks.server, is_ahead=True)

    async def _run_in(self, started: Started, job: Job, cancelled: asyncio.Event, output: Output) -> RawRun:
        if cancelled.is_set():
            self._end_later(started.finish())
            return RawRun(Ending.CANCELLED, Usage())
        try:
            run = Run(started, job, self._isolation.cgroups)
        except BaseException as error:
            self._end_later(started.finish())
            if not isinstance(error, OSError):
                raise
            return RawRun(Ending.FAILED, Usage(), failure=f"the job cannot be handed over: {error.strerror}")
        output.connect(started)
        try:
            with run.watched_by(self._volume_watch):
                ending = await run.wait(cancelled)
            if started.has_ended:
                duration_s = time.monotonic() - run.began
                run.read_to_the_end()
            else:
                run.sample()
                await _uninterrupted(run.end())
                duration_s = time.monotonic() - run.began
            untouched = not started.may_have_run or is_empty(started.directory)
            held = DiskUsage() if untouched else await asyncio.to_thread(_count, run.disk)
            return collect(run, ending, held, duration_s)
        finally:
            output.settle(begun=started.may_have_run)
            if started.has_ended:
                self._end_later(run.finish())
            else:
                await _uninterrupted(run.finish())

    def _end_later(self, ending: Coroutine[Any, Any, None]) -> None:
        """Out of the answer's way: no process of the user's is left, only what bwrap has made for it."""
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _uninterrupted(ending: Coroutine[Any, Any, None]) -> None:
    """To its end, whoever cancels meanwhile; the cancellation goes on after that."""
    task = asyncio.ensure_future(ending)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
    task.result()


def _count(run: WatchedRun) -> DiskUsage:
    """What the workspace holds, now that nothing changes it any more; blocks.

    Raises:
        WorkspaceError: it cannot be said.
    """
    try:
        return run.count()
    except OSError as error:
        raise WorkspaceError(f"workspace {run.workspace.path.name} cannot be counted: {error.strerror}") from error
