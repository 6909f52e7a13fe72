"""Runs one job: starts the sandbox, waits for whatever ends it first, and tells what happened.

Nothing here depends on what user code does: it can fail, hang, write without end or kill everything
that it sees, and the answer is a ``RawRun``. Only what is ours to fix raises.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from contracts import bounds
from contracts.executor_api import Language
from executor_runtime.sandbox.argv import WORKSPACE, Start, build_argv
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.disk import DiskUsage, is_empty
from executor_runtime.sandbox.errors import LanguageUnavailable, WorkspaceError
from executor_runtime.sandbox.header import build_header
from executor_runtime.sandbox.model import Ending, Isolation, Job, Limits, Overrun, RawRun, Stream, Usage
from executor_runtime.sandbox.placement import NO_GATE, Gate, Placement
from executor_runtime.sandbox.process import Drain, Exit, Process
from executor_runtime.sandbox.sources import check_sources
from executor_runtime.sandbox.volume import VolumeWatch, WatchedRun, overrun
from executor_runtime.sandbox.watchdog import Watchdog

_CONTROL_BYTES: Final = 65_536
_RETURN_HEAD_BYTES: Final = 1024
_COUNTS: Final = rb" (\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18})$"
_STARTED: Final = re.compile(rb"^started" + _COUNTS, re.MULTILINE)
_FAILED: Final = re.compile(rb"^failed (.*)$", re.MULTILINE)
_EXITED: Final = re.compile(rb"^exited (\d{1,3}) (\d{1,3})" + _COUNTS, re.MULTILINE)


class Sandbox:
    """Runs jobs at the isolation that ``probe`` found."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._volume_watch = VolumeWatch()

    def languages(self) -> frozenset[Language]:
        """Languages whose interpreter the image has."""
        return frozenset(self._isolation.interpreters)

    async def run(self, job: Job, cancelled: asyncio.Event) -> RawRun:
        """Runs the job to its end, its timeout, a limit or ``cancelled``, and leaves nothing running.

        Raises:
            LanguageUnavailable: the image has no interpreter for it.
            BindSourceChanged: what it would be given of the file system is not what was probed.
            WorkspaceError: the workspace is not the directory that was made, or cannot be counted.
            asyncio.CancelledError: after the whole process tree has been killed and waited for.
        """
        if job.language not in self.languages():
            raise LanguageUnavailable(f"{job.language} is not installed in this executor's image")
        began = time.monotonic()
        with Descriptors() as descriptors:
            workspace = descriptors.hold(job.workspace.open())  # keeps the inode's number from being given to another
            check_sources(self._isolation.sources)
            try:
                running = _start(self._isolation, job, descriptors)
            except OSError as error:
                failure = f"bwrap cannot be started: {error.strerror}"
                return RawRun(Ending.FAILED, Usage(time.monotonic() - began), failure=failure)
            async with _ended_at_exit(running):
                with running.watched_by(self._volume_watch):
                    ending = await _first_ending(running, job, began + job.timeout_s, cancelled)
                if ending is not Ending.EXITED:
                    running.watchdog_sample()
            duration_s = time.monotonic() - began
            untouched = not running.has_started or is_empty(workspace)
            held = DiskUsage() if untouched else await asyncio.to_thread(_count, running.disk)
            return _collect(running, job, ending, held, duration_s)


@dataclass
class _Running:
    """One started sandbox and the pipes that come out of it."""

    process: Process
    stdout: Drain
    stderr: Drain
    returned: Drain
    status: Drain
    info: Drain
    limits: Limits
    disk: WatchedRun
    over_disk: asyncio.Future[Overrun]
    placement: Placement | None = None
    watchdog: Watchdog | None = None

    def on_info(self) -> None:
        self.process.learn_init(bytes(self.info.kept))
        if self.watchdog is None and self.process.init_pid is not None:
            self.disk.init_pid = self.process.init_pid
            self.watchdog = Watchdog(self.process.init_pid, self.limits)

    @property
    def has_started(self) -> bool:
        """Whether user code may have run: process 1 has said so."""
        return _STARTED.search(self.status.kept) is not None

    def on_status(self) -> None:
        if self.watchdog is not None:
            self.watchdog.is_inside = self.has_started

    @contextlib.contextmanager
    def watched_by(self, watch: VolumeWatch) -> Iterator[None]:
        """While it runs, so is what it takes of the disk."""
        watch.add(self.disk)
        try:
            yield
        finally:
            watch.remove(self.disk)

    @property
    def has_too_many_files(self) -> bool:
        """In ``/tmp`` and ``/dev/shm``."""
        return self.watchdog is not None and self.watchdog.has_too_many_files

    def watchdog_sample(self) -> None:
        """So that a run that is killed early has a peak too."""
        if self.watchdog is not None and not self.process.exited.done():
            self.watchdog.sample()

    async def wait_until_over(self) -> None:
        """Returns when the watchdog has something against it."""
        await self.process.wait_for_init()
        if self.watchdog is None:
            await self.process.exited
        else:
            await self.watchdog.wait_until_over()

    async def end(self) -> None:
        """Kills what still runs and gives everything back."""
        try:
            if not self.process.exited.done():
                await self.process.kill()
            if self.placement is not None:
                self.placement.kill()
                await self.placement.finish()
        finally:
            for drain in (self.stdout, self.stderr, self.returned, self.status, self.info):
                drain.finish()
            self.process.close()


def _start(isolation: Isolation, job: Job, descriptors: Descriptors) -> _Running:
    """Raises OSError when bwrap cannot be started."""
    gate = None if isolation.cgroups is None else Gate(descriptors)
    out, err, returned, status, info = (descriptors.pipe(large) for large in (True, True, False, False, False))
    seccomp_fd = descriptors.memory("seccomp", isolation.seccomp_filter)
    stdin_fd = descriptors.memory("stdin", job.stdin.encode("utf-8", "surrogatepass"))
    header = build_header(isolation, job, status[1], returned[1], NO_GATE if gate is None else gate.descriptor)
    job_fd = descriptors.memory("job", isolation.init_code + header)
    start = build_start(isolation, job, job_fd, seccomp_fd, info[1])
    inherited = (job_fd, seccomp_fd, info[1], status[1], returned[1], *([gate.descriptor] if gate else []))
    process = Process(build_argv(start), (stdin_fd, out[1], err[1]), inherited)
    descriptors.close(stdin_fd, out[1], err[1], *inherited)
    over_disk: asyncio.Future[Overrun] = asyncio.get_running_loop().create_future()
    running = _Running(
        process=process,
        stdout=Drain(out[0], bounds.MAX_STREAM_BYTES),
        stderr=Drain(err[0], bounds.MAX_STREAM_BYTES),
        returned=Drain(returned[0], bounds.MAX_RETURN_VALUE_BYTES + _RETURN_HEAD_BYTES),
        status=Drain(status[0], _CONTROL_BYTES),
        info=Drain(info[0], _CONTROL_BYTES),
        limits=job.limits,
        disk=WatchedRun(job.workspace, job.limits.workspace, _tell(over_disk)),
        over_disk=over_disk,
        placement=Placement(isolation.cgroups, job.limits, process, gate) if isolation.cgroups and gate else None,
    )
    running.info.on_data, running.status.on_data = running.on_info, running.on_status
    return running


def build_start(isolation: Isolation, job: Job, job_fd: int, seccomp_fd: int, info_fd: int) -> Start:
    """What the command line is made of: of a request no more than its workspace's name and the size of ``/tmp``."""
    return Start(
        level=isolation.level,
        bwrap=isolation.bwrap,
        interpreter=isolation.interpreters["python"],
        workspace=str(job.workspace.path),
        tmp_bytes=job.limits.tmp_bytes,
        links=isolation.links,
        alternatives=isolation.alternatives,
        job_fd=job_fd,
        seccomp_fd=seccomp_fd,
        info_fd=info_fd,
    )


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


def _count(run: WatchedRun) -> DiskUsage:
    """What the workspace holds, now that nothing changes it any more; blocks.

    Raises:
        WorkspaceError: it cannot be said.
    """
    try:
        return run.count()
    except OSError as error:
        raise WorkspaceError(f"workspace {run.workspace.path.name} cannot be counted: {error.strerror}") from error


@contextlib.asynccontextmanager
async def _ended_at_exit(running: _Running) -> AsyncIterator[None]:
    """Whatever happens in the body, cancellation included, the sandbox has ended afterwards."""
    try:
        yield
    finally:
        ending = asyncio.ensure_future(running.end())
        interrupted: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted
        ending.result()


async def _first_ending(running: _Running, job: Job, deadline: float, cancelled: asyncio.Event) -> Ending:
    if cancelled.is_set():
        return Ending.CANCELLED
    cancel = asyncio.ensure_future(cancelled.wait())
    over = asyncio.ensure_future(running.wait_until_over())
    exited = running.process.exited
    waiting: set[asyncio.Future[Any]] = {exited, cancel, over, running.over_disk}
    try:
        await asyncio.wait(
            waiting,
            timeout=max(deadline - time.monotonic(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        cancel.cancel()
        over.cancel()
        await asyncio.wait({cancel, over})
    if exited.done():
        return Ending.EXITED
    if running.over_disk.done():
        return Ending.DISK_LIMIT
    if over.done() and not over.cancelled():
        over.result()
        return Ending.DISK_LIMIT if running.has_too_many_files else Ending.MEMORY_LIMIT
    return Ending.CANCELLED if cancelled.is_set() else Ending.TIMED_OUT


def _collect(running: _Running, job: Job, ending: Ending, held: DiskUsage, duration_s: float) -> RawRun:
    status = bytes(running.status.kept)
    started, exited = _STARTED.search(status), _EXITED.search(status)
    over = _overrun(running, held)
    failure = ""
    if running.placement is not None and running.placement.failure:
        ending, failure = Ending.FAILED, running.placement.failure
    elif not running.process.exited.done():
        ending, failure = Ending.FAILED, "the sandbox did not end after SIGKILL"
    elif not_prepared := _FAILED.search(status):
        ending, failure = Ending.FAILED, f"the user's process: {not_prepared[1].decode(errors='replace')}"
    elif ending is Ending.EXITED and running.placement is not None and running.placement.was_out_of_memory:
        ending = Ending.MEMORY_LIMIT
    elif ending is Ending.EXITED and over is not None:
        ending = Ending.DISK_LIMIT
    elif ending is Ending.EXITED and exited is None:
        ending, failure = Ending.FAILED, _failure_of(running, started is not None)
    code, signal = (int(exited[1]), int(exited[2])) if exited else (0, 0)
    ended_alone = ending is Ending.EXITED
    return RawRun(
        ending=ending,
        usage=_usage(running, started, exited, duration_s),
        exit_code=code if ended_alone and not signal else None,
        signal=signal if ended_alone and signal else None,
        stdout=_stream(running.stdout),
        stderr=_stream(running.stderr) if started else Stream(),
        returned=bytes(running.returned.kept) if running.returned.kept and not running.returned.truncated else None,
        overrun=over,
        workspace=held,
        failure=failure.replace(str(job.workspace.path), WORKSPACE),  # no host path leaves the executor
    )


def _overrun(running: _Running, held: DiskUsage) -> Overrun | None:
    """What of the disk it has taken too much of: as it was noticed, or else as it has left the workspace."""
    if running.over_disk.done():
        return running.over_disk.result()
    return Overrun.TMP_ENTRIES if running.has_too_many_files else overrun(held, running.limits.workspace)


def _failure_of(running: _Running, started: bool) -> str:
    ended: Exit = running.process.exited.result()
    said = running.stderr.kept.decode(errors="replace").strip().rpartition("\n")[2]
    if not started:
        return said or f"bwrap ended with {ended.code} before the code started"
    return f"process 1 of the sandbox was ended from outside (bwrap: {ended.code}); was the node out of memory?"


def _usage(
    running: _Running, started: re.Match[bytes] | None, exited: re.Match[bytes] | None, duration_s: float
) -> Usage:
    """From process 1's own count where it could make one, else from bwrap's, less what process 1 used itself."""
    peak = running.watchdog.peak_bytes if running.watchdog else 0
    if exited is not None:
        cpu_us, peak_kib, read, written = (int(field) for field in exited.groups()[2:])
        return Usage(duration_s, cpu_us / 1e6, max(peak, peak_kib * 1024), read, written)
    if running.placement is not None and running.placement.cpu_time_s:
        return Usage(duration_s, running.placement.cpu_time_s, peak)
    if started is None or not running.process.exited.done():
        return Usage(duration_s, peak_memory_bytes=peak)
    used = running.process.exited.result().usage
    own_cpu_us, _, own_read, own_written = (int(field) for field in started.groups())
    return Usage(
        duration_s,
        max(used.ru_utime + used.ru_stime - own_cpu_us / 1e6, 0.0),
        peak,
        max(used.ru_inblock * 512 - own_read, 0),
        max(used.ru_oublock * 512 - own_written, 0),
    )


def _stream(drain: Drain) -> Stream:
    return Stream(drain.kept.decode(errors="replace"), drain.truncated, drain.total_bytes)
