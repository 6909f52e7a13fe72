"""Long commands that tell a person what they are at, and leave a log.

A line at the start with the time it usually takes, a heartbeat every half minute, a line at the end;
on failure the last lines of the log and where it lies. All of it goes to stderr: stdout belongs to
what was asked for (``env``, ``status``, ``run``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import StepFailed

HEARTBEAT_S = 30.0
TAIL_LINES = 25
GRACE_S = 5.0
LOG_LIMIT_BYTES = 4 << 20


def say(text: str) -> None:
    print(f"devcluster: {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """``41 s`` or ``7 min 03 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _open_log(log: Path) -> None:
    """Logs are appended to, so that a rerun does not hide why the first run failed; one old one is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.old"))


@dataclass(frozen=True)
class Step:
    """One long command. ``usual`` is how long it takes as a rule, in words; empty keeps it quiet."""

    title: str
    command: Sequence[str | Path]
    log: Path
    usual: str = ""
    env: Mapping[str, str] | None = None
    """Added to the environment of this process."""
    cwd: Path | None = None
    input_file: Path | None = None
    tries: int = 1
    """More than one for what gets something from the network, and goes on from where it failed."""

    def run(self) -> None:
        """Raises StepFailed with the end of the log."""
        for _ in range(self.tries - 1):
            try:
                return self._run()
            except StepFailed as failed:
                say(f"{failed}\n{self.title}: trying again")
        return self._run()

    def _run(self) -> None:
        _open_log(self.log)
        started = time.monotonic()
        if self.usual:
            say(f"{self.title} (usually {self.usual}; log {self.log})")
        with self.log.open("ab") as log:
            log.write(f"{time.strftime('%F %T')} $ {' '.join(map(str, self.command))}\n".encode())
            log.flush()
            code = self._wait(log.fileno(), started)
        if code:
            raise StepFailed(f"{self.title}: exit {code}\n{tail(self.log)}", log=self.log)
        if self.usual:
            say(f"{self.title}: done in {duration(time.monotonic() - started)}")

    def _wait(self, log: int, started: float) -> int:
        source = self.input_file.open("rb") if self.input_file else None
        process = subprocess.Popen(
            [*dies_with_us(), *map(str, self.command)],
            stdin=source or subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(self.env or {})},
            cwd=self.cwd,
        )
        try:
            while True:
                try:
                    return process.wait(HEARTBEAT_S)
                except subprocess.TimeoutExpired:
                    say(f"… {self.title}: {duration(time.monotonic() - started)} so far")
        except BaseException:
            _end(process)
            raise
        finally:
            if source:
                source.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Gently first; ``unshare`` for one ignores SIGTERM."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def dies_with_us() -> list[str]:
    """A prefix that ends the command when this process is killed: else a rerun would meet its orphan."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
