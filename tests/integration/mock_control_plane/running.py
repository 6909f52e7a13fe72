"""A mock Control Plane process for tests: started like a user would, ended by its pid."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]
_LISTENS = "the Control Plane listens on port "


class RunningControlPlane:
    """``python -m mock_control_plane`` on a free port of loopback."""

    def __init__(self, token: str) -> None:
        self.lines: list[str] = []
        self.token = token
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mock_control_plane"],
            cwd=ROOT,
            env=build_environment(HOST="127.0.0.1", PORT="0", INTERNAL_API_TOKEN=token),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Known once it listens."""
        return f"http://127.0.0.1:{self.wait_for_line(_LISTENS).removeprefix(_LISTENS)}"

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """Of the internal API, with its token unless another one is given; the caller's to close."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def wait_for_line(self, part: str, timeout_s: float = PATIENCE_S) -> str:
        """The first line of its log that has this part."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(part) or not self._reader.is_alive(), timeout_s)
            found = self._find(part)
        if found is None:
            raise AssertionError(f"no {part!r} in the Control Plane's log: {self.lines}")
        return found

    def close(self) -> None:
        """Ends it in any case."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _find(self, part: str) -> str | None:
        return next((line for line in self.lines if part in line), None)

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def build_environment(**variables: str) -> dict[str, str]:
    """Nothing of the tests' own environment but what an interpreter needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, **variables}


@contextmanager
def run_control_plane(token: str) -> Iterator[RunningControlPlane]:
    """A started Control Plane, ended at the end of the block."""
    running = RunningControlPlane(token)
    try:
        yield running
    finally:
        running.close()
