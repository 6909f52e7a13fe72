"""An executor process for tests: started like a user would, ended by its pid, nothing left behind."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[3]


class RunningExecutor:
    """``python -m executor_runtime`` on a free port of loopback."""

    def __init__(
        self, directory: Path, environment: dict[str, str], module: Sequence[str] = ("executor_runtime",)
    ) -> None:
        """``module`` and its arguments: another one starts the executor with something changed."""
        self.directory = directory
        self.workspaces = directory / "workspaces"
        self.results = directory / "results"
        self.log: list[dict[str, Any]] = []
        self.raw_log: list[str] = []
        self.started_at = time.monotonic()
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env={**base_environment(directory), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        """Known once it listens."""
        return int(self.wait_for_log("executor_started")["port"])

    @property
    def url(self) -> str:
        """Of its HTTP API."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client; each is the caller's to close."""
        return httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False, **options)

    def wait_for_log(self, event_type: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The first log record of this type."""
        with self._changed:
            ended = not self._changed.wait_for(lambda: self._find(event_type) or not self._reader.is_alive(), timeout_s)
            found = self._find(event_type)
        if found is None:
            reason = "timed out" if ended else f"ended: {self.stderr()}"
            raise AssertionError(f"no {event_type} in the executor's log ({reason}); it has {self.raw_log[-20:]}")
        return found

    def terminate(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> tuple[int, float]:
        """Sends the signal and waits; the exit code and the seconds it took, but for those it stood in line."""
        before_s, begun = self.in_line_s(), time.monotonic()
        self.process.send_signal(number)
        ended = partial(os.waitid, os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        wait_until(ended, f"{number.name} does not end it", timeout_s)
        took_s = time.monotonic() - begun - (self.in_line_s() - before_s)
        return self.process.wait(), took_s

    def in_line_s(self) -> float:
        """Seconds in which it was ready to run and neighbours had all processors (the kernel's schedstats)."""
        _, waited_ns, _ = Path(f"/proc/{self.process.pid}/schedstat").read_text().split()
        return int(waited_ns) / 1e9

    def wait_for_file(self, execution_id: object, name: str) -> None:
        """Until an execution has made a file of this name in its workspace: how tests see that its code runs."""
        wait_until(lambda: self.file_of(execution_id, name) is not None, f"{execution_id} made no {name}")

    def let_go(self, execution_id: object, name: str) -> None:
        """Makes the file that an execution waits for; it has made ``begun`` before."""
        self.wait_for_file(execution_id, "begun")
        begun = self.file_of(execution_id, "begun")
        assert begun is not None
        begun.with_name(name).touch()

    def file_of(self, execution_id: object, name: str) -> Path | None:
        """A file of this name in an execution's workspace."""
        return next(iter(self.workspaces.glob(f"{execution_id}-*/{name}")), None)

    def stderr(self) -> str:
        """What the ended process wrote there."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> None:
        """Ends it in any case."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _find(self, event_type: str) -> dict[str, Any] | None:
        return next((record for record in self.log if record.get("event_type") == event_type), None)

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.raw_log.append(line.decode())
                self.log.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def base_environment(directory: Path) -> dict[str, str]:
    """Nothing of the tests' own environment but what an interpreter needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "HOST": "127.0.0.1",
        "EXECUTOR_PORT": "0",
        "WORKSPACE_PATH": str(directory / "workspaces"),
        "RESULTS_PATH": str(directory / "results"),
        "CONTAINER_ID": "executor-under-test",
        "POD_NAME": "pod-under-test",
        "MAX_CONCURRENT_EXECUTIONS": "2",
        "ISOLATION_MODE": "best-effort",
    }


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that the unprivileged uid can reach, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="executor-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def run_executor(directory: Path, **environment: str) -> Iterator[RunningExecutor]:
    """A started executor, ended at the end of the block."""
    executor = RunningExecutor(directory, environment)
    try:
        yield executor
    finally:
        executor.close()


async def read_metric(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    text = (await client.get("/metrics")).text
    found = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return sum(sample.value for sample in found if labels.items() <= sample.labels.items())


async def wait_until_warm(client: httpx.AsyncClient, count: int) -> None:
    """Until so many sandboxes wait for code."""
    async with asyncio.timeout(PATIENCE_S):
        while await read_metric(client, "sandbox_executor_warm_sandboxes") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
