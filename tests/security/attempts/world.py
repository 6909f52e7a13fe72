"""Everything that an attacker must not reach, made by the test, and what became of it.

It lives in the stage (``stage``): namespaces of the test's own, so that an attack that succeeds, as it must when its
protection is taken away, hits nothing else. An attempt's ``effect`` asks here.
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.fakes.control_plane import Call, FakeControlPlane
from tests.security.attempts.clock import ClockWatch
from tests.security.attempts.keyring import add_session_key
from tests.security.attempts.knocker import Knocker
from tests.security.attempts.listeners import Listeners
from tests.security.attempts.model import Outcome
from tests.security.attempts.shared_objects import SharedObjects
from tests.security.attempts.terminal import Terminal
from tests.security.attempts.victim import Victim

_GONE_WITHIN_S: Final = 1.0
"""A result is answered when its sandbox has ended; this is for the kernel's last steps."""
_GONE_WITHIN_LOOKS: Final = 100
"""So often, too, must what is left have been seen: a machine that stands still meanwhile is no reason to find it."""
_LOOKS: Final = 5
"""In a row, that must find nothing: processes that fork and end can hide from one."""
_NAMES: Final = (
    "canary",
    "watched",
    "victim_environment",
    "victim_memory",
    "shm",
    "msg",
    "posix_shm",
    "posix_mq",
    "execute_token",
    "internal_token",
    "report_token",
    "other_environment",
    "other_workspace",
    "other_memory",
    "other_report_token",
    "knock",
    "session_key",
    "terminal",
)


class World:
    """One for each executor; ``reset`` before each attempt."""

    def __init__(self, place: Path, listeners: Listeners, terminal: tuple[int, int]) -> None:
        """``place``: a directory of this uid, with ``listeners`` in it and nothing else; ``terminal``: its two ends."""
        self.secrets = {name: secrets.token_hex(16) for name in _NAMES}
        """Name → secret; each is hexadecimal and stands nowhere but where its name says."""
        self.canary, self.watched = place / "canary", place / "watched"
        self.workspaces = listeners.workspaces
        self.directory = self.workspaces.parent
        self.listeners = listeners
        tokens = {self.secrets[name] for name in ("internal_token", "report_token", "other_report_token")}
        self.control_plane = FakeControlPlane(tokens=tokens)
        self.knocker = Knocker(self.secrets["knock"])
        self.executions: set[str] = set()
        """Ids of all executions that the executor knows, seen after each attempt."""
        self.proving = False
        """A protection is taken away, and the effect must come: who waits for it waits long. Else nothing comes."""
        self.late = False
        """What an effect has seen since ``reset`` is that the answer came too late, and nothing else."""
        self.executor_facts: dict[str, Any] = {}
        """What the executor's keeper (``executor``) adds: ports, pids, ids."""
        self.executor_pids: Callable[[], set[int]] = set
        """Pids that are allowed to be there: the executor's and the other execution's."""
        self.other_runs: Callable[[], bool] = lambda: True
        """Whether every process of the other execution is there."""
        self.executor_runs: Callable[[], bool] = lambda: True
        """Whether the executor's process is there."""
        self.executor_log: Callable[[], list[str]] = list
        """Lines that the executor has logged so far."""
        add_session_key(self.secrets["session_key"])
        self._write_canaries()
        self._clock = ClockWatch()
        self._terminal = Terminal(*terminal, self.secrets["terminal"])
        self._victim = self._start_victim()
        self._objects = SharedObjects(self.secrets)
        self._expected: set[int] = set()

    async def __aenter__(self) -> Self:
        await self.control_plane.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.control_plane.__aexit__(kind, error, trace)
        finally:
            self._clock.close()
            self._terminal.close()
            self._victim.close()
            self._objects.remove()
            self.listeners.close()

    # --- what an attacker may know ---

    def facts(self) -> dict[str, Any]:
        """Paths, ports, pids, ids: everything but the secrets. The event of each attempt.

        ``patience_s`` is how long code waits for the world, ``hold_s`` for its end, ``beat_s`` for a heartbeat; each so
        that a busy machine makes no difference.
        """
        return {
            "canary_path": str(self.canary),
            "watched_path": str(self.watched),
            "victim_pid": self._victim.pid,
            "uid": os.getuid(),
            "workspaces_path": str(self.workspaces),
            "results_path": str(self.directory / "results"),
            "control_plane_url": self.control_plane.url,
            "control_plane_port": self.control_plane.port,
            "patience_s": 8.0 if self.proving else 0.5,
            "hold_s": 3.0 if self.proving else 30.0,
            "beat_s": 9.0 if self.proving else 5.5,
            **self.listeners.facts(),
            **self.knocker.facts(),
            **self._objects.facts(),
            **self.executor_facts,
        }

    # --- what happened ---

    def leaked(self, outcome: Outcome, *names: str) -> bool:
        """Whether one of these secrets, or any, is in what came out or in what a listener got."""
        text = outcome.everything + self.listeners_received()
        return any(self.secrets[name] in text for name in names or self.secrets)

    def reached(self, *listeners: str) -> bool:
        """Whether a connection or datagram came to one of these listeners (``Listeners``), or to any."""
        return self.listeners.reached(*listeners)

    def listeners_received(self) -> str:
        """All that listeners were sent."""
        self.listeners.reached()
        return self.listeners.received.decode("latin-1")

    def answered(self) -> bool:
        """Whether something in a sandbox answered at an address where the host knocked."""
        return self.knocker.answered

    def signalled(self) -> bool:
        """Whether the victim got any signal, was stopped or killed."""
        return bool(self._victim.signals()) or not self._victim.alive()

    def victim_alive(self) -> bool:
        """Neither dead nor stopped nor traced."""
        return self._victim.alive()

    def victim_changed(self) -> bool:
        """Whether its nice value, scheduler, CPUs, file limit or OOM score were changed."""
        return self._victim.changed()

    def clock_was_set(self) -> bool:
        """Whether somebody set the machine's clock, be it to what it was."""
        return self._clock.was_set()

    def terminal_touched(self) -> bool:
        """Whether anything was typed into, taken from or shown on the executor's terminal."""
        return self._terminal.touched()

    def canary_changed(self) -> bool:
        """Whether content, owner, mode, times, links or identity of the canary or the watched file changed."""
        return self._look_at_canaries() != self._canaries

    def objects_changed(self) -> bool:
        """Whether a shared segment, semaphore or queue was changed or removed."""
        return self._objects.changed()

    def segment_stayed(self) -> bool:
        """Whether there is a System V segment with ``unused_key``."""
        return self._objects.segment_stayed()

    def processes_left(self, _outcome: Outcome | None = None) -> bool:
        """Whether, a moment after the run, a process is there that was not before it."""
        return self._surplus_stays(_GONE_WITHIN_S, _GONE_WITHIN_LOOKS)

    def processes_now(self) -> bool:
        """The same without the moment."""
        return self._surplus_stays(0, 1)

    def _surplus_stays(self, within_s: float, within_looks: int) -> bool:
        deadline, looks_with, looks_without = time.monotonic() + within_s, 0, 0
        while looks_without < _LOOKS:
            if self.surplus_processes():
                looks_with, looks_without = looks_with + 1, 0
                if looks_with >= within_looks and time.monotonic() > deadline:
                    return True
            else:
                looks_without += 1
            time.sleep(0.005)
        return False

    def surplus_processes(self) -> set[int]:
        """Pids now, less those before the attempt."""
        return running_processes() - self._expected - self.executor_pids()

    def reports(self, execution_id: str) -> list[Call]:
        """Heartbeats and results that the Control Plane got about one execution since ``reset``."""
        return [call for call in self.control_plane.calls if call.execution_id == execution_id]

    # --- between attempts ---

    def sweep(self) -> None:
        """Removes what attempts on an executor that has ended have left in the test's directory."""
        ours = {self.canary, self.watched, self.directory, *self.listeners.paths}
        for path in set(self.canary.parent.iterdir()) - ours:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def reset(self) -> None:
        """Forgets what was recorded and mends what was harmed."""
        self.late = False
        self.listeners.reset()
        self.knocker.answered = False
        self.control_plane.calls.clear()
        self.clock_was_set()
        self._terminal.reset()
        if self.signalled() or self.victim_changed():
            self._victim.close()
            self._victim = self._start_victim()
        if self.canary_changed():
            self._write_canaries()
        if self._objects.changed() or self._objects.segment_stayed():
            self._objects.remove()
            self._objects = SharedObjects(self.secrets)
        self._expected = running_processes()

    def _start_victim(self) -> Victim:
        return Victim(self.secrets["victim_environment"], self.secrets["victim_memory"])

    def _write_canaries(self) -> None:
        for path in (self.canary, self.watched):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            path.write_text(self.secrets[path.name])
            path.chmod(0o640)
        self._canaries = self._look_at_canaries()

    def _look_at_canaries(self) -> list[tuple[object, ...]]:
        return [_look_at(path) for path in (self.canary, self.watched)]


def _look_at(path: Path) -> tuple[object, ...]:
    try:
        found = path.lstat()
        content = path.read_bytes()
    except OSError as error:
        return (type(error).__name__,)
    times = found.st_mtime_ns, found.st_ctime_ns
    return content, found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_nlink, times


def running_processes() -> set[int]:
    """Pids in the stage, zombies left out."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and not _is_zombie(name)}


def _is_zombie(pid: str) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"
    return False
