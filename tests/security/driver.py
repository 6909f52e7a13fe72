"""Runs sandboxes for the tests in a process of its own that has dropped root, as an executor does.

``python -m tests.security.driver LEVEL ROOT`` reads one JSON object a line, starts each job at once,
and answers with one JSON object a line as jobs end. ``ROOT/workspaces`` holds the workspaces.
"""

import asyncio
import base64
import gc
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from contracts.executor_api import ExecutionLimits, IsolationLevel
from executor_runtime import artifacts, privileges
from executor_runtime.capture import capture
from executor_runtime.sandbox import Job, Limits, RawRun, Sandbox, warm
from executor_runtime.sandbox.probe import probe_levels
from executor_runtime.workspace import Workspace, Workspaces

WARM = 2
PROGRAMS = 1
AHEAD = 1 + 5 * (WARM + PROGRAMS)
"""Processes that run ahead of any job: the fork server; and for each sandbox its keeper, bwrap, the holder, process 1,
and the user's."""
EXIT_S = 60.0
"""A process that ends has closed its descriptors, by which that is seen, before the kernel takes it from the table."""
LEVELS: dict[str, IsolationLevel] = {"full": "full", "reduced": "reduced"}


def main() -> None:
    level, root = LEVELS[sys.argv[1]], Path(sys.argv[2])
    os.environ["INTERNAL_API_TOKEN"] = "token-of-the-executor"
    privileges.drop_or_refuse([root / "workspaces"])
    privileges.set_non_dumpable()
    asyncio.run(serve(level, Workspaces(root / "workspaces")))


async def serve(level: IsolationLevel, workspaces: Workspaces) -> None:
    sandbox = Sandbox(await probe_levels((level,)), workspaces, warm=WARM, programs=PROGRAMS)
    await sandbox.prepare()
    warm.WANTED_S = math.inf
    sandbox.reserve("first", Limits(), "javascript", {})  # there is none yet, but from now on one is kept
    keeping = asyncio.create_task(sandbox.keep())
    answer({"ready": True, "uid": os.getuid()})
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=64 * 1_048_576)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    running: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        task = asyncio.create_task(handle(sandbox, workspaces, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(0)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    keeping.cancel()
    await sandbox.close()


async def handle(sandbox: Sandbox, workspaces: Workspaces, request: dict[str, Any]) -> None:
    number = request.pop("number")
    try:
        if request.pop("kind") == "held":
            await calm(sandbox)
            body = held()
        else:
            body = await run(sandbox, workspaces, request)
    except Exception as error:
        body = {"error": f"{type(error).__name__}: {error}"}
    answer({"number": number, **body})


async def calm(sandbox: Sandbox) -> None:
    """Until all that has ended is gone, and as many sandboxes wait for a job as there should."""
    await sandbox.settle()
    while sandbox.warm < WARM or sandbox.waiting_programs < PROGRAMS:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    until = time.monotonic() + EXIT_S
    while count_children() and time.monotonic() < until:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)


def count_children() -> int:
    """Processes below this one beside those that run ahead."""
    return len(psutil.Process().children(recursive=True)) - AHEAD


def held() -> dict[str, Any]:
    """What this process holds: it must be the same before and after any number of runs."""
    gc.collect()
    with open("/proc/self/statm") as file:
        resident_pages = int(file.read().split()[1])
    with open("/proc/self/mounts") as file:
        # bwrap builds a sandbox in /tmp, and workspaces lie below our root; elsewhere others may mount meanwhile.
        ours = "/tmp/newroot", "/tmp/oldroot", sys.argv[2]
        mounts = sum(line.split()[1].startswith(ours) for line in file)
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": count_children(),
        "mounts": mounts,
        "resident_pages": resident_pages,
    }


async def run(sandbox: Sandbox, workspaces: Workspaces, request: dict[str, Any]) -> dict[str, Any]:
    cancel_after_s = request.pop("cancel_after_s", None)
    cancel_at_file = request.pop("cancel_at_file", None)
    stand_still_s = request.pop("stand_still_s", 0)
    interrupt_after_s = request.pop("interrupt_after_s", None)
    session = request.pop("session", None)
    brief = request.pop("brief", False)
    limits = Limits.from_request(ExecutionLimits(**request.pop("limits", {})))
    exchanged_by = request.pop("exchanged_by", "")
    workspace = workspaces.open_session(session) if session else None
    if workspace is None and not exchanged_by:
        workspace = sandbox.reserve("test", limits, request.get("language", "python"), request.get("env", {}))
    workspace = exchange(workspace or workspaces.create("test"), exchanged_by)
    job = Job(
        "exec_20260115_a1b2c3d4", request.pop("language", "python"), workspace=workspace, limits=limits, **request
    )
    cancelled = asyncio.Event()
    loop = asyncio.get_running_loop()
    timing = Timing(cancelled, job.timeout_s)
    if cancel_after_s is not None:
        loop.call_later(cancel_after_s, timing.cancel)
    if cancel_at_file is not None:
        timing.cancel_at(workspace.path / cancel_at_file)
    before = artifacts.snapshot(workspace)
    task = asyncio.ensure_future(sandbox.run(job, cancelled))
    if interrupt_after_s is not None:
        loop.call_later(interrupt_after_s, task.cancel)
    if stand_still_s:
        for _ in range(20):  # the start is asked for, and what it gives is not read yet
            await asyncio.sleep(0)
        time.sleep(stand_still_s)  # noqa: ASYNC251 - as an executor that gets no CPU
    try:
        raw = await task
    except asyncio.CancelledError:
        return {"interrupted": True}
    else:
        times = timing.take()
        return times | (measured(raw) if brief else described(job, raw, workspace, before))
    finally:
        timing.close()
        if not session:
            workspaces.remove(workspace)


class Timing:
    """When this process did what a run waits for: a machine that stands still does not count as the sandbox's time."""

    def __init__(self, cancelled: asyncio.Event, timeout_s: float) -> None:
        self._cancelled, self._loop = cancelled, asyncio.get_running_loop()
        self._cancelled_at: float | None = None
        self._late_s = 0.0
        self._due_at = self._loop.time() + timeout_s
        self._timer = self._loop.call_at(self._due_at, self._note)
        self._looking: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Now."""
        self._cancelled_at = self._loop.time()
        self._cancelled.set()

    def cancel_at(self, file: Path) -> None:
        """As soon as there is this file."""
        if file.exists():
            self.cancel()
        else:
            self._looking = self._loop.call_later(0.005, self.cancel_at, file)

    def take(self) -> dict[str, Any]:
        """``cancelled_s`` ago it was cancelled; a timer of this loop that was due with the timeout came ``late_s``."""
        if self._cancelled_at is None:
            return {"late_s": self._late_s}
        return {"late_s": self._late_s, "cancelled_s": self._loop.time() - self._cancelled_at}

    def close(self) -> None:
        """Ends what waits."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _note(self) -> None:
        self._late_s = self._loop.time() - self._due_at


def exchange(workspace: Workspace, by: str) -> Workspace:
    """Puts something else in the workspace's place; ``lie``: only process 1 can notice."""
    aside = workspace.path.with_name(f"{workspace.path.name}-aside")
    match by:
        case "link":
            workspace.path.rename(aside)
            workspace.path.symlink_to(aside)
        case "directory":
            workspace.path.rename(aside)
            workspace.path.mkdir()
        case "lie":
            return LyingWorkspace(workspace.path, workspace.device, workspace.inode + 1)
    return workspace


class LyingWorkspace(Workspace):
    """Opens without a look, as if the directory had been exchanged right after it."""

    def open(self) -> int:
        return os.open(self.path, os.O_PATH)


def measured(raw: RawRun) -> dict[str, Any]:
    """What costs this process next to nothing to answer."""
    return {
        "ending": raw.ending,
        "stdout_bytes": raw.stdout.total_bytes,
        "cpu_time_s": raw.usage.cpu_time_s,
        "peak_memory_bytes": raw.usage.peak_memory_bytes,
        "duration_s": raw.usage.duration_s,
    }


def described(job: Job, raw: RawRun, workspace: Workspace, before: artifacts.Snapshot) -> dict[str, Any]:
    result = capture(job, raw, artifacts.collect(workspace, before))
    return {
        **measured(raw),
        "exit_code": raw.exit_code,
        "signal": raw.signal,
        "stdout": raw.stdout.text,
        "stderr": raw.stderr.text,
        "returned": base64.b64encode(raw.returned or b"").decode(),
        "failure": raw.failure,
        "result": result.model_dump(mode="json"),
    }


def answer(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
