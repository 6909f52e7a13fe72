"""Sandboxes whose process 1 is forked (``fork_server``) instead of started: the executor's side of it.

bwrap makes everything as it does otherwise, but stops short of starting process 1. All of it takes less
time than the start of an interpreter, and none of the executor's.
"""

import asyncio
import contextlib
import marshal
import os
import re
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from executor_runtime.sandbox.argv import Start, build_holder_argv
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.drain import Drain
from executor_runtime.sandbox.header import Ends
from executor_runtime.sandbox.model import Isolation
from executor_runtime.sandbox.process import (
    COUNT_WAIT_S,
    INIT_WAIT_S,
    KILL_WAIT_S,
    Exit,
    Spent,
    is_alive,
    kill_children,
    kill_in_turn,
    open_child,
    send_kill,
    wait_for_end,
)

ENDS: Final = Ends(status=3, began=4, returned=5, gate=6)
"""Under these numbers process 1 has them, and the job under the next."""
JOB_FD: Final = 7
INFO_FD: Final = 3
"""bwrap's."""
_NUMBERS: Final = [0, 1, 2, ENDS.status, ENDS.began, ENDS.returned, ENDS.gate, JOB_FD]
_SOURCE: Final = Path(__file__).with_name("fork_server.py")
_BOOTSTRAP: Final = (
    "import marshal;f=open({fd},'rb',closefd=False);s=marshal.load(f);n={{'__name__':'fork_server'}};"
    "exec(compile(s['source'],'<sandbox>','exec',dont_inherit=True,optimize=2),n);n[{entry!r}](s)"
)
_READY_TIMEOUT_S: Final = 30.0
_REPORT_BYTES: Final = 4096
_KEEPER: Final = re.compile(rb"^keeper (\d{1,7})$", re.MULTILINE)
_INIT: Final = re.compile(rb"^init (\d{1,7})$", re.MULTILINE)
_REAPED: Final = re.compile(rb"^reaped (-?\d{1,3}) (\d{1,18}) (\d{1,18}) (\d{1,18})$", re.MULTILINE)
_FAILED: Final = re.compile(rb"^failed (.*)$", re.MULTILINE)


class ForkServer:
    """The server's process, and the way to it."""

    def __init__(self, isolation: Isolation) -> None:
        """Starts it. Raises OSError when that is not possible."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        interpreter = isolation.interpreters["python"]
        with theirs, Descriptors() as descriptors:
            setup_fd = descriptors.blank("setup")
            first, second = ([interpreter, "-I", "-S", "-c", _boot(setup_fd, entry)] for entry in ("isolate", "main"))
            setup = {
                "source": _SOURCE.read_text(),
                "init_code": isolation.init_code,
                "python_path": list(isolation.python_path),
                "filter": isolation.seccomp_filter,
                "command": second,
                "parent": os.getpid(),
                "setup_fd": setup_fd,
                "control_fd": theirs.fileno(),
            }
            descriptors.fill(setup_fd, marshal.dumps(setup, 2))
            # Of the kinds that a run's are, for what the interpreter notes about them when it starts.
            stdin, out, err = descriptors.memory("stdin", b""), descriptors.pipe(), descriptors.pipe()
            self._popen = subprocess.Popen(  # noqa: S603 - an absolute path and no shell
                first,
                stdin=stdin,
                stdout=out[1],
                stderr=err[1],
                pass_fds=(setup_fd, theirs.fileno()),
                env={"LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
            self._complaints = descriptors.release(err[0])[0]

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return self._popen.poll() is None

    async def wait_until_ready(self) -> bool:
        """Whether it comes to serve."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_READY_TIMEOUT_S):
                return await asyncio.get_running_loop().sock_recv(self._control, 64) == b"ready"
        return False

    def complaint(self) -> str:
        """The last line of what it has written on why it does not serve."""
        with contextlib.suppress(OSError):
            return os.read(self._complaints, _REPORT_BYTES).decode(errors="replace").strip().rpartition("\n")[2]
        return ""

    def ask(self, request: "Request", descriptors: Sequence[int]) -> None:
        """For one sandbox. Raises OSError: it has ended, or has not come to read what was asked before."""
        message = {
            "argv": build_holder_argv(request.start),
            "info_fd": INFO_FD,
            "level": request.start.level,
            "numbers": _NUMBERS,
            "job_fd": JOB_FD,
            "check": request.is_check,
        }
        socket.send_fds(self._control, [marshal.dumps(message, 2)], descriptors)

    def close(self) -> None:
        """It ends, and all that it has forked with it."""
        self._control.close()
        os.close(self._complaints)
        self._popen.kill()
        self._popen.wait()


def _boot(setup_fd: int, entry: str) -> str:
    return _BOOTSTRAP.format(fd=setup_fd, entry=entry)


@dataclass(frozen=True)
class Request:
    """For one sandbox."""

    start: Start
    is_check: bool = False
    """The job is code to be run in place of process 1 (``probe``)."""


class ForkedProcess:
    """A keeper, and the process 1 that it forks. As ``process.Process`` for whoever uses it."""

    def __init__(self, server: ForkServer, request: Request, handed: Sequence[int]) -> None:
        """``handed``: process 1's descriptors, in the order of their numbers there.

        Raises:
            OSError: the server cannot be asked.
        """
        self._server_pid = server.pid
        loop = asyncio.get_running_loop()
        self.init_pid: int | None = None
        self.was_forked = False
        """Whether there was a process 1, be it that it had ended before its pid could be looked up here."""
        self.failure = ""
        """Why there is no process 1, in one line."""
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self._gone = asyncio.Event()
        self._init_known = asyncio.Event()
        self._keeper_pid, self._keeper_pidfd, self._init_pidfd = 0, -1, -1
        self._descriptors = Descriptors()
        report, reports = self._descriptors.pipe()
        try:
            server.ask(request, (reports, *handed))
        except BaseException:
            self._descriptors.close_all()
            raise
        self._descriptors.close(reports)
        self._report = Drain(report, _REPORT_BYTES, is_ours=True)
        self._report.on_data, self._report.on_end = self._on_report, self._on_end

    async def wait_for_init(self) -> None:
        """Until process 1 is known, or there will be none."""
        await self._init_known.wait()

    async def kill(self) -> bool:
        """Kills the whole tree and waits; False when something survives that even SIGKILL does not end in time.

        First what process 1 has forked: it counts what all of them used, and exits. Then process 1; then the keeper,
        with which bwrap and process 1 end, too.
        """
        if not self.exited.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._init_known.wait(), INIT_WAIT_S)
        if self.init_pid is not None and not self.exited.done() and is_alive(self._init_pidfd):
            kill_children(self.init_pid)
            await asyncio.wait({self.exited}, timeout=COUNT_WAIT_S)
        return await kill_in_turn((self._init_pidfd, self._keeper_pidfd), self.exited)

    async def end(self) -> None:
        """Kills what still runs, and waits; the keeper has ended then, too."""
        if not self.exited.done():
            await self.kill()
        if self._init_pidfd >= 0:
            # Where the keeper was killed, process 1 is told to end only after the keeper's end was seen here. Nothing
            # of this run may go on when somebody concludes that it has not begun.
            send_kill(self._init_pidfd)
            await wait_for_end(self._init_pidfd, KILL_WAIT_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), KILL_WAIT_S)
        if self._keeper_pidfd >= 0 and not self._gone.is_set():
            send_kill(self._keeper_pidfd)

    def close(self) -> None:
        """Gives the descriptors back."""
        self._report.finish()
        for descriptor in (self._init_pidfd, self._keeper_pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._init_pidfd = self._keeper_pidfd = -1
        self._descriptors.close_all()

    def _on_report(self) -> None:
        said = bytes(self._report.kept)
        if self._keeper_pidfd < 0 and (keeper := _KEEPER.search(said)):
            self._keeper_pid = int(keeper[1])
            self._keeper_pidfd = _or_none(open_child(self._keeper_pid, self._server_pid))
        if not self._init_known.is_set() and (born := _INIT.search(said)):
            self.was_forked = True
            self._init_pidfd = _or_none(open_child(int(born[1]), self._keeper_pid))
            if self._init_pidfd >= 0:
                self.init_pid = int(born[1])
            self._init_known.set()
        if failed := _FAILED.search(said):
            self.failure = failed[1].decode(errors="replace")
        if reaped := _REAPED.search(said):
            code, cpu_us, read, written = map(int, reaped.groups())
            self._set_exited(Exit(code, Spent(cpu_us, read, written)))

    def _on_end(self) -> None:
        """The keeper has ended: nothing of it is left, or will be in a moment."""
        self._gone.set()
        self._set_exited(Exit(-1))

    def _set_exited(self, exit: Exit) -> None:
        self._init_known.set()
        if not self.exited.done():
            self.exited.set_result(exit)


def _or_none(descriptor: int | None) -> int:
    return -1 if descriptor is None else descriptor
