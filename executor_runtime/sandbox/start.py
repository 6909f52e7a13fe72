"""From nothing to a sandbox whose process 1 is up and waits for its job.

Nothing of a request is needed for that but what makes a ``Shape``: so it can be done before there is one (``warm``),
and is done in the same way when there was no time before (``runner``). A start is given one job, once.
"""

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING, Final

from contracts import bounds
from executor_runtime.sandbox.argv import build_argv
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.drain import Drain
from executor_runtime.sandbox.forking import ENDS, INFO_FD, ForkedProcess, ForkServer, Request
from executor_runtime.sandbox.header import Ends, build_header, build_setup
from executor_runtime.sandbox.model import Isolation, Job, build_start
from executor_runtime.sandbox.output import TAIL_BYTES
from executor_runtime.sandbox.placement import Gate
from executor_runtime.sandbox.process import Process
from executor_runtime.sandbox.shape import Shape
from executor_runtime.sandbox.sources import check_sources

if TYPE_CHECKING:
    from executor_runtime.workspace import Workspace

CONTROL_BYTES: Final = 65_536
_RETURN_HEAD_BYTES: Final = 1024
_UP_TIMEOUT_S: Final = 30.0
_WAITING: Final = re.compile(rb"^waiting$", re.MULTILINE)
_COUNTS: Final = rb" (\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18})"
STARTED: Final = re.compile(rb"^started" + _COUNTS + _COUNTS + rb" (\d{1,18})$", re.MULTILINE)
FAILED: Final = re.compile(rb"^failed (.*)$", re.MULTILINE)
EXITED: Final = re.compile(rb"^exited (\d{1,3}) (\d{1,3})" + _COUNTS + rb"\n", re.MULTILINE)
"""What process 1 says (``init.main``)."""


class Started:
    """One sandbox without a job, and the pipes that come out of it. ``finish`` must be awaited."""

    def __init__(
        self,
        isolation: Isolation,
        workspace: "Workspace",
        shape: Shape,
        server: ForkServer | None = None,
        *,
        is_ahead: bool = False,
    ) -> None:
        """Starts it. ``server``: its process 1 is forked by that; None: it is started by bwrap.

        ``is_ahead``: there is no job for it yet.

        Raises:
            OSError: bwrap cannot be started.
            BindSourceChanged: what it would be given of the file system is not what was probed.
            WorkspaceError: the workspace is not the directory that was made.
        """
        self.workspace, self.shape = workspace, shape
        self._isolation = isolation
        self._descriptors = Descriptors()
        try:
            self._start(server, is_ahead)
        except BaseException:
            self._descriptors.close_all()
            raise

    def _start(self, server: ForkServer | None, is_ahead: bool) -> None:
        descriptors, isolation = self._descriptors, self._isolation
        # Held open, the inode's number is given to no other directory.
        self.directory = descriptors.hold(self.workspace.open())
        check_sources(isolation.sources)
        out, err = descriptors.pipe(), descriptors.pipe()
        self._streams = (out[0], err[0])
        returned, status, began = descriptors.pipe(), descriptors.pipe(), descriptors.pipe()
        self.gate = Gate(descriptors)
        self._stdin = descriptors.blank("stdin")
        ends = ENDS if server is not None else Ends(status[1], began[1], returned[1], self.gate.descriptor)
        tmp_bytes = self.shape.tmp_bytes
        is_forked = server is not None
        setup = build_setup(isolation, self.workspace, ends, self.shape, is_forked=is_forked, is_ahead=is_ahead)
        theirs = (out[1], err[1], status[1], began[1], returned[1], self.gate.descriptor)
        self.info: Drain | None = None
        self.process: Process | ForkedProcess
        if server is not None:
            self._job = descriptors.blank("job", setup)
            start = build_start(isolation, self.workspace.path, tmp_bytes, INFO_FD)
            self.process = ForkedProcess(server, Request(start), (self._stdin, *theirs, self._job))
        else:
            self._job = descriptors.blank("job", isolation.init_code + setup)
            seccomp_fd, info = descriptors.memory("seccomp", isolation.seccomp_filter), descriptors.pipe()
            start = build_start(isolation, self.workspace.path, tmp_bytes, info[1], self._job, seccomp_fd)
            inherited = (self._job, seccomp_fd, info[1], *theirs[2:])
            self.process = Process(build_argv(start), (self._stdin, out[1], err[1]), inherited)
            descriptors.close(seccomp_fd, info[1])
            self.info = Drain(info[0], CONTROL_BYTES, is_ours=True)
            self.info.on_data = self._on_info
        descriptors.close(*theirs)
        self.stdout = Drain(out[0], bounds.MAX_STREAM_BYTES, tail_bytes=TAIL_BYTES)
        self.stderr = Drain(err[0], bounds.MAX_STREAM_BYTES, tail_bytes=TAIL_BYTES)
        self.returned = Drain(returned[0], bounds.MAX_RETURN_VALUE_BYTES + _RETURN_HEAD_BYTES)
        self.status = Drain(status[0], CONTROL_BYTES, is_ours=True)
        self._began, self._said = began[0], b""

    @property
    def is_waiting(self) -> bool:
        """Whether process 1 is up, has said so, and has not ended since."""
        is_up = _WAITING.search(self.status.kept) is not None and not self.process.exited.done()
        return is_up and self.process.init_pid is not None  # or nothing could be watched

    @property
    def complaint(self) -> str:
        """Why it does not come up, in one line."""
        said = self.stderr.kept.decode(errors="replace").strip().rpartition("\n")[2]
        failure = self.process.failure if isinstance(self.process, ForkedProcess) else ""
        return said or failure or "it does not answer"

    @property
    def said_at_begin(self) -> bytes:
        """What was said when the job was to begin: ``STARTED``, and ``FAILED`` after it if that was not possible."""
        with contextlib.suppress(OSError):  # nothing yet
            self._said += os.read(self._began, CONTROL_BYTES)
        return self._said

    @property
    def has_begun(self) -> bool:
        """Whether the user's process has said that all is prepared: what it does next is user code."""
        return STARTED.search(self.said_at_begin) is not None

    @property
    def may_have_run(self) -> bool:
        """Whether user code may have run: it has begun, or process 1 has said how it ended."""
        return self.has_ended or self.has_begun

    @property
    def has_ended(self) -> bool:
        """Whether process 1 has said how user code ended. It had reaped all other processes then."""
        return EXITED.search(self.status.kept) is not None

    def give(self, job: Job) -> None:
        """The job; process 1 begins with it when the gate is opened.

        Raises:
            OSError: there is no memory for it.
        """
        self._descriptors.enlarge(*self._streams)  # only now: what waits needs none
        self._descriptors.fill(self._stdin, job.stdin.encode("utf-8", "surrogatepass"))
        is_forked = isinstance(self.process, ForkedProcess)
        self._descriptors.fill(self._job, build_header(self._isolation, job, is_forked=is_forked))
        self._descriptors.close(self._stdin, self._job)

    @property
    def was_forked(self) -> bool:
        """Whether a fork server has given it a process 1."""
        return isinstance(self.process, ForkedProcess) and self.process.was_forked

    async def wait_until_up(self) -> bool:
        """Whether process 1 comes to wait for a job, within 30 s."""
        said = asyncio.Event()
        self.status.on_data = said.set
        self.process.exited.add_done_callback(lambda _: said.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UP_TIMEOUT_S):
                await said.wait()
                await self.process.wait_for_init()
        self.status.on_data = None
        return self.is_waiting

    async def finish(self) -> None:
        """Kills what still runs, waits, and gives everything back."""
        try:
            await self.process.end()
        finally:
            self.read_to_the_end()
            self.close()

    def read_to_the_end(self) -> None:
        """Takes what is left in the pipes; to be called when nothing runs any more."""
        for drain in (self.stdout, self.stderr, self.returned, self.status, self.info):
            if drain is not None:
                drain.finish()

    def close(self) -> None:
        """Gives everything back, once all is read."""
        self.process.close()
        self._descriptors.close_all()

    def _on_info(self) -> None:
        """bwrap has said which process is process 1."""
        if isinstance(self.process, Process) and self.info is not None:
            self.process.learn_init(bytes(self.info.kept))
