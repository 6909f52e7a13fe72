"""A process of the executor's uid that nobody in a sandbox may touch; ``Victim`` starts it and looks after it.

It has one secret in its environment and one in its memory, may be opened and traced by every process of its uid
(Yama's restriction is lifted too), and writes the number of each signal that it gets to its standard output.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

ENVIRONMENT_NAME: Final = "VICTIM_SECRET"
_PR_SET_PTRACER: Final = 0x59616D61


@dataclass(frozen=True)
class _Condition:
    """What another process may change about one."""

    nice: int
    scheduler: int
    affinity: frozenset[int]
    files_limit: str
    oom_score_adj: str


class Victim:
    """The running one."""

    def __init__(self, environment_secret: str, memory_secret: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            env={ENVIRONMENT_NAME: environment_secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{memory_secret}\n".encode())
        self._process.stdin.flush()
        self._signals = self._process.stdout.fileno()
        assert os.read(self._signals, 1) == b"\0", "the victim did not start"
        os.set_blocking(self._signals, False)
        self.pid = self._process.pid
        self._condition = self._look()

    def alive(self) -> bool:
        """Running, not stopped, not traced, not dead."""
        return _state_of(self.pid) in ("R", "S", "D")

    def signals(self) -> list[int]:
        """Numbers of those that came since the last call."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._signals, 65_536))
        return []

    def changed(self) -> bool:
        """Whether its priority, scheduling or limits are not what they were."""
        try:
            return self._look() != self._condition
        except OSError:
            return True

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _look(self) -> _Condition:
        def read(name: str) -> str:
            with open(f"/proc/{self.pid}/{name}") as file:
                return file.read()

        return _Condition(
            os.getpriority(os.PRIO_PROCESS, self.pid),
            os.sched_getscheduler(self.pid),
            frozenset(os.sched_getaffinity(self.pid)),
            next(line for line in read("limits").splitlines() if line.startswith("Max open files")),
            read("oom_score_adj"),
        )


def _state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return "X"


def main() -> None:
    """The victim's own life."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # EINVAL where there is no Yama
    secret = sys.stdin.readline()
    os.set_blocking(1, False)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(1, warn_on_full_buffer=False)
    os.write(1, b"\0")
    while secret:
        signal.pause()


if __name__ == "__main__":
    main()
