"""Runs one job: starts the sandbox, waits for whatever ends it first, and tells what happened.

Nothing here depends on what user code does: it can fail, hang, write without end or kill everything
that it sees, and the answer is a ``RawRun``. Only what is ours to fix raises.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from contracts import bounds
from contracts.executor_api import Language
from executor_runtime.sandbox.argv import WORKSPACE, Start, build_argv
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.errors import LanguageUnavailable
from executor_runtime.sandbox.header import build_header
from executor_runtime.sandbox.model import Ending, Isolation, Job, RawRun, Stream, Usage
from executor_runtime.sandbox.process import Drain, Exit, Process
from executor_runtime.sandbox.watchdog import Watchdog

_CONTROL_BYTES: Final = 65_536
_RETURN_HEAD_BYTES: Final = 1024
_STARTED: Final = re.compile(rb"^started (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
_FAILED: Final = re.compile(rb"^failed (.*)$", re.MULTILINE)
_EXITED: Final = re.compile(rb"^exited (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)


class Sandbox:
    """Runs jobs at the isolation that ``probe`` found."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation

    def languages(self) -> frozenset[Language]:
        """Languages whose interpreter the image has."""
        return frozenset(self._isolation.interpreters)

    async def run(self, job: Job, cancelled: asyncio.Event) -> RawRun:
        """Runs the job to its end, its timeout, its memory limit or ``cancelled``, and leaves nothing running.

        Raises:
            LanguageUnavailable: the image has no interpreter for it.
            WorkspaceError: the workspace is not the directory that was made.
            asyncio.CancelledError: after the whole process tree has been killed and waited for.
        """
        if job.language not in self.languages():
            raise LanguageUnavailable(f"{job.language} is not installed in this executor's image")
        began = time.monotonic()
        with Descriptors() as descriptors:
            descriptors.hold(job.workspace.open())  # keeps the inode's number from being given to another
            try:
                running = _start(self._isolation, job, descriptors)
            except OSError as error:
                failure = f"bwrap cannot be started: {error.strerror}"
                return RawRun(Ending.FAILED, Usage(time.monotonic() - began), failure=failure)
            async with _ended_at_exit(running):
                ending = await _first_ending(running, job, began + job.timeout_s, cancelled)
                if ending is not Ending.EXITED:
                    running.watchdog_sample()
            return _collect(running, job, ending, time.monotonic() - began)


@dataclass
class _Running:
    """One started sandbox and the pipes that come out of it."""

    process: Process
    stdout: Drain
    stderr: Drain
    returned: Drain
    status: Drain
    info: Drain
    memory_limit_bytes: int
    watchdog: Watchdog | None = None

    def on_info(self) -> None:
        self.process.learn_init(bytes(self.info.kept))
        if self.watchdog is None and self.process.init_pid is not None:
            self.watchdog = Watchdog(self.process.init_pid, self.memory_limit_bytes)

    def watchdog_sample(self) -> None:
        """So that a run that is killed early has a peak too."""
        if self.watchdog is not None and not self.process.exited.done():
            self.watchdog.sample()

    async def wait_until_over_memory(self) -> None:
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
        finally:
            for drain in (self.stdout, self.stderr, self.returned, self.status, self.info):
                drain.finish()
            self.process.close()


def _start(isolation: Isolation, job: Job, descriptors: Descriptors) -> _Running:
    """Raises OSError when bwrap cannot be started."""
    out, err, returned, status, info = (descriptors.pipe(large) for large in (True, True, False, False, False))
    seccomp_fd = descriptors.memory("seccomp", isolation.seccomp_filter)
    stdin_fd = descriptors.memory("stdin", job.stdin.encode("utf-8", "surrogatepass"))
    header = build_header(isolation, job, status[1], returned[1])
    job_fd = descriptors.memory("job", isolation.init_code + header)
    start = Start(
        level=isolation.level,
        bwrap=isolation.bwrap,
        interpreter=isolation.interpreters["python"],
        workspace=str(job.workspace.path),
        tmp_bytes=job.limits.tmp_bytes,
        links=isolation.links,
        alternatives=isolation.alternatives,
        job_fd=job_fd,
        seccomp_fd=seccomp_fd,
        info_fd=info[1],
    )
    inherited = (job_fd, seccomp_fd, info[1], status[1], returned[1])
    process = Process(build_argv(start), (stdin_fd, out[1], err[1]), inherited)
    descriptors.close(stdin_fd, out[1], err[1], *inherited)
    running = _Running(
        process=process,
        stdout=Drain(out[0], bounds.MAX_STREAM_BYTES),
        stderr=Drain(err[0], bounds.MAX_STREAM_BYTES),
        returned=Drain(returned[0], bounds.MAX_RETURN_VALUE_BYTES + _RETURN_HEAD_BYTES),
        status=Drain(status[0], _CONTROL_BYTES),
        info=Drain(info[0], _CONTROL_BYTES),
        memory_limit_bytes=job.limits.memory_bytes,
    )
    running.info.on_data = running.on_info
    return running


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
    over_memory = asyncio.ensure_future(running.wait_until_over_memory())
    exited = running.process.exited
    waiting: set[asyncio.Future[Any]] = {exited, cancel, over_memory}
    try:
        await asyncio.wait(
            waiting,
            timeout=max(deadline - time.monotonic(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        cancel.cancel()
        over_memory.cancel()
        await asyncio.wait({cancel, over_memory})
    if exited.done():
        return Ending.EXITED
    if over_memory.done() and not over_memory.cancelled():
        over_memory.result()
        return Ending.MEMORY_LIMIT
    return Ending.CANCELLED if cancelled.is_set() else Ending.TIMED_OUT


def _collect(running: _Running, job: Job, ending: Ending, duration_s: float) -> RawRun:
    status = bytes(running.status.kept)
    started, exited = _STARTED.search(status), _EXITED.search(status)
    failure = ""
    if not running.process.exited.done():
        ending, failure = Ending.FAILED, "the sandbox did not end after SIGKILL"
    elif not_prepared := _FAILED.search(status):
        ending, failure = Ending.FAILED, f"the user's process: {not_prepared[1].decode(errors='replace')}"
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
        failure=failure.replace(str(job.workspace.path), WORKSPACE),  # no host path leaves the executor
    )


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
