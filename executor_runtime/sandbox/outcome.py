"""What a run that has ended was: how it ended, what it wrote, what it used.

Process 1's word counts where there is one (``init``): user code can neither reach it nor its descriptor.
"""

import re

from executor_runtime.sandbox.argv import WORKSPACE
from executor_runtime.sandbox.disk import DiskUsage
from executor_runtime.sandbox.drain import Drain
from executor_runtime.sandbox.model import Ending, Overrun, RawRun, Stream, Usage
from executor_runtime.sandbox.run import Run
from executor_runtime.sandbox.start import EXITED, FAILED, STARTED
from executor_runtime.sandbox.volume import overrun


def collect(run: Run, ending: Ending, held: DiskUsage, duration_s: float) -> RawRun:
    """``held``: what its workspace holds; ``ending``: what ended it first."""
    sandbox, placement = run.sandbox, run.placement
    said = sandbox.said_at_begin
    started, exited = STARTED.search(said), EXITED.search(sandbox.status.kept)
    over = _overrun(run, held)
    failure = ""
    if placement is not None and placement.failure:
        ending, failure = Ending.FAILED, placement.failure
    elif exited is None and not sandbox.process.exited.done():
        ending, failure = Ending.FAILED, "the sandbox did not end after SIGKILL"
    elif not_prepared := FAILED.search(said):
        ending, failure = Ending.FAILED, f"the user's process: {not_prepared[1].decode(errors='replace')}"
    elif ending is Ending.EXITED and placement is not None and placement.was_out_of_memory:
        ending = Ending.MEMORY_LIMIT
    elif ending is Ending.EXITED and over is not None:
        ending = Ending.DISK_LIMIT
    elif ending is Ending.EXITED and exited is None:
        ending, failure = Ending.FAILED, _failure_of(run, started is not None)
    code, signal = (int(exited[1]), int(exited[2])) if exited else (0, 0)
    ended_alone = ending is Ending.EXITED
    returned = sandbox.returned
    return RawRun(
        ending=ending,
        usage=_usage(run, started, exited, duration_s),
        exit_code=code if ended_alone and not signal else None,
        signal=signal if ended_alone and signal else None,
        stdout=_stream(sandbox.stdout),
        stderr=_stream(sandbox.stderr) if started or exited else Stream(),
        returned=bytes(returned.kept) if returned.kept and not returned.truncated else None,
        overrun=over,
        workspace=held,
        failure=failure.replace(str(sandbox.workspace.path), WORKSPACE),  # no host path leaves the executor
        begun_at=int(started[9]) / 1e9 if started else None,
    )


def _overrun(run: Run, held: DiskUsage) -> Overrun | None:
    """What of the disk it has taken too much of: as it was noticed, or else as it has left the workspace."""
    if run.over_disk.done():
        return run.over_disk.result()
    return Overrun.TMP_ENTRIES if run.has_too_many_files else overrun(held, run.job.limits.workspace)


def _failure_of(run: Run, started: bool) -> str:
    process = run.sandbox.process
    ended = process.exited.result().code if process.exited.done() else 0
    said = run.sandbox.stderr.kept.decode(errors="replace").strip().rpartition("\n")[2]
    if not started:
        return said or f"bwrap ended with {ended} before the code started"
    return f"process 1 of the sandbox was ended from outside (bwrap: {ended}); was the node out of memory?"


def _usage(run: Run, started: re.Match[bytes] | None, exited: re.Match[bytes] | None, duration_s: float) -> Usage:
    """From process 1's own count where it could make one, else from bwrap's, less what was used before user code."""
    peak = run.watchdog.peak_bytes if run.watchdog else 0
    process = run.sandbox.process
    # Of the user's process, and of process 1.
    before = [int(field) for field in started.groups()] if started else [0] * 8
    if exited is not None:
        cpu_us, peak_kib, read, written = (int(field) for field in exited.groups()[2:])
        return _used(duration_s, cpu_us - before[0], max(peak, peak_kib * 1024), read - before[2], written - before[3])
    if run.placement is not None and run.placement.cpu_time_s:
        return Usage(duration_s, run.placement.cpu_time_s, peak)
    if started is None or not process.exited.done():
        return Usage(duration_s, peak_memory_bytes=peak)
    spent = process.exited.result().spent
    return _used(
        duration_s,
        spent.cpu_us - before[0] - before[4],
        peak,
        spent.read_bytes - before[2] - before[6],
        spent.written_bytes - before[3] - before[7],
    )


def _used(duration_s: float, cpu_us: float, peak_bytes: int, read: int, written: int) -> Usage:
    return Usage(duration_s, max(cpu_us, 0) / 1e6, peak_bytes, max(read, 0), max(written, 0))


def _stream(drain: Drain) -> Stream:
    return Stream(drain.kept.decode(errors="replace"), drain.truncated, drain.total_bytes)
