"""Starts bwrap and sees it end. The only module of the executor that spawns a process.

Spawning is done in the thread of the event loop: ``--die-with-parent`` fires when the *thread* that
forked ends (prctl(2), PR_SET_PDEATHSIG). bwrap ends only after process 1 of its sandbox has, and the kernel
kills and reaps a whole pid namespace when its process 1 dies (pid_namespaces(7)); so bwrap's end means that
nothing of the run is left.
"""

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from resource import struct_rusage
from typing import Final, Self

from executor_runtime.sandbox.tree import children_of, parent_of

COUNT_WAIT_S: Final = 0.05
"""For process 1 to end and count the tree; much less than the 100 ms that a timeout may be late."""
KILL_WAIT_S: Final = 10.0
"""For the kernel to end what is killed: on a busy machine much memory takes seconds to give back."""
INIT_WAIT_S: Final = 1.0
"""For process 1 to be known."""
_CHILD_PID: Final = re.compile(rb'"child-pid": (\d{1,7})\b')

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spent:
    """What a process and all below it used (getrusage(2), blocks being 512 bytes)."""

    cpu_us: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    @classmethod
    def of(cls, used: struct_rusage) -> Self:
        """As the kernel says it."""
        return cls(int((used.ru_utime + used.ru_stime) * 1e6), used.ru_inblock * 512, used.ru_oublock * 512)


@dataclass(frozen=True)
class Exit:
    """How bwrap ended, or process 1 where that was forked; and what it and everything below it used."""

    code: int
    spent: Spent = Spent()


class Process:
    """One running bwrap and the sandbox's process 1."""

    def __init__(self, argv: Sequence[str], stdio: tuple[int, int, int], pass_fds: Sequence[int]) -> None:
        """Raises OSError when bwrap cannot be started."""
        stdin, stdout, stderr = stdio
        self._popen = subprocess.Popen(  # noqa: S603 - an absolute path and no shell
            argv, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, env={}, cwd="/", start_new_session=True
        )
        self.init_pid: int | None = None
        self.init_pidfd = -1
        self._loop = asyncio.get_running_loop()
        self._init_known = asyncio.Event()
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(self._popen.pid)
            self._loop.add_reader(self._pidfd, self._reap)
        except OSError:  # no descriptor left, or none can be waited for: nothing could see it end
            self._popen.kill()
            self._popen.wait()
            if self._pidfd >= 0:
                os.close(self._pidfd)
            raise

    def learn_init(self, info: bytes) -> None:
        """Takes process 1's pid from what bwrap wrote to ``--info-fd``, once, and only if it is bwrap's child."""
        found = _CHILD_PID.search(info)
        if self.init_pid is not None or found is None:
            return
        pid = int(found[1])
        descriptor = open_child(pid, self._popen.pid)
        if descriptor is not None:
            self.init_pidfd, self.init_pid = descriptor, pid
        self._init_known.set()

    async def wait_for_init(self) -> None:
        """Until process 1 is known, or bwrap has ended without one."""
        await self._init_known.wait()

    def _reap(self) -> None:
        pid, status, usage = os.wait4(self._popen.pid, os.WNOHANG)
        if pid == 0:
            return
        self._loop.remove_reader(self._pidfd)
        code = os.waitstatus_to_exitcode(status)
        self._popen.returncode = code
        self._init_known.set()
        if not self.exited.done():
            self.exited.set_result(Exit(code, Spent.of(usage)))

    async def kill(self) -> bool:
        """Kills the whole tree and waits; False when something survives that even SIGKILL does not end in time.

        First the children of process 1, which then ends the rest, counts what all of them used (the kernel does
        not count what it kills with a namespace) and exits. Then process 1, then bwrap.
        """
        with contextlib.suppress(TimeoutError):  # bwrap tells the pid before it lets process 1 go on
            await asyncio.wait_for(self._init_known.wait(), INIT_WAIT_S)
        if self.init_pid is not None and not self.exited.done():
            kill_children(self.init_pid)
            await asyncio.wait({self.exited}, timeout=COUNT_WAIT_S)
        elif not self.exited.done():
            # What is to be process 1 waits for bwrap's word, and is told to die with bwrap only after that: left alone
            # it would wait for ever, with our pipes open.
            signal.pidfd_send_signal(self._pidfd, signal.SIGSTOP)
            kill_children(self._popen.pid)
        return await kill_in_turn((self.init_pidfd, self._pidfd), self.exited)

    async def end(self) -> None:
        """Kills what still runs, and waits."""
        if not self.exited.done():
            await self.kill()

    def close(self) -> None:
        """Gives the descriptors back. A bwrap that is still there is killed and waited for by the loop later."""
        if self.init_pidfd >= 0:
            os.close(self.init_pidfd)
            self.init_pidfd = -1
        if self.exited.done():
            os.close(self._pidfd)
            return
        log.error("a sandbox did not end after SIGKILL", extra={"bwrap_pid": self._popen.pid})
        send_kill(self._pidfd)
        self.exited.add_done_callback(lambda _: os.close(self._pidfd))


def send_kill(pidfd: int) -> None:
    """To a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


async def kill_in_turn(pidfds: Iterable[int], exited: asyncio.Future[Exit]) -> bool:
    """One after the other (-1: there is none), until ``exited`` is done; whether it is, in the end."""
    for pidfd in pidfds:
        if pidfd >= 0 and not exited.done():
            send_kill(pidfd)
            await asyncio.wait({exited}, timeout=KILL_WAIT_S)
    return exited.done()


def is_alive(pidfd: int) -> bool:
    """Whether its pid is still its own: it has not been reaped."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    return True


async def wait_for_end(pidfd: int, timeout_s: float) -> None:
    """Until a process has ended, whoever its parent is; returns when the time is over, too."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), timeout_s)
    finally:
        loop.remove_reader(pidfd)


def kill_children(parent: int) -> None:
    """All that it has forked and not reaped."""
    for child in children_of(parent):
        _kill_child(child, parent)


def _kill_child(pid: int, parent: int) -> None:
    descriptor = open_child(pid, parent)
    if descriptor is not None:
        send_kill(descriptor)
        os.close(descriptor)


def open_child(pid: int, parent: int) -> int | None:
    """A pidfd, only if it still is that parent's child: a pid may have been given to another process meanwhile."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if parent_of(pid) == parent:
            return descriptor
    os.close(descriptor)
    return None
